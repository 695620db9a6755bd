// What the cache remembers, against a naive book: every position that a table names holds what its
// tokens make of it, whoever computed it, and nobody is given what another owner computed.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "engine/kv_cache.h"
#include "property/kv_counts.h"
#include "support/seeds.h"

namespace hearth::engine {
namespace {

using test::Dice;
using Tokens = std::vector<TokenId>;

// Keys and values of a position: a function of all tokens up to it.
std::vector<std::uint64_t> contents(const Tokens& tokens) {
    std::vector<std::uint64_t> out;
    std::uint64_t hash = 0xcbf29ce484222325;
    for (const TokenId id : tokens)
        out.push_back(hash = (hash ^ std::uint64_t(id.value + 1)) * 0x100000001b3);
    return out;
}

struct Holder {
    KvTable table;
    Tokens tokens;  // what it will have computed
    PrefixOwner owner;
};

class Model {
  public:
    explicit Model(std::uint64_t seed)
        : dice_(seed),
          limits_{.n_blocks = dice_.roll(0, 30), .idle_ns = 100},
          cache_(dice_.roll(4, 40), limits_, clock_) {
        for (int i = 0; i < 4; ++i) {
            // Beginnings that differ late: by a token, by a block.
            Tokens stem;
            for (int t = 0; t < 100; ++t) stem.push_back(TokenId(t < 40 ? 1 : 1 + (t * i) % 3));
            stems_.push_back(stem);
        }
        mark_.assign(stems_[0].begin(), stems_[0].begin() + 16 * dice_.roll(0, 2));
    }

    void act() {
        clock_.now_ns += dice_.roll(0, 3);
        const std::int64_t what = dice_.roll(1, 20);
        if (holders_.empty() || what <= 6) {
            begin();
        } else if (what <= 12) {
            go_on(pick());
        } else if (what <= 16) {
            end(pick());
        } else if (what == 17) {
            fork(pick());
        } else if (what == 18) {
            cache_.forget_idle();
            ASSERT_GT(cache_.idle_in_ns().value_or(1), 0);
        } else if (dice_.chance(30)) {
            forget(OwnerId(dice_.roll(std::int64_t(kFirstOwner), 4)));
        } else {
            clock_.now_ns += dice_.roll(0, 60);
        }
    }

    void check() const {
        HolderCounts counts;
        for (const Holder& h : holders_) {
            const std::int64_t n = h.table.n_tokens();
            ASSERT_EQ(std::int64_t(h.table.blocks().size()), blocks_for(n));
            const auto expected = contents(h.tokens);
            for (std::int64_t p = 0; p < n; ++p)
                ASSERT_EQ(memory_.at({h.table.blocks()[std::size_t(p / 16)].value, p % 16}),
                          expected[std::size_t(p)])
                    << "position " << p;
            counts.add(h.table);
        }
        counts.check(cache_);
        ASSERT_LE(cache_.n_remembered(), limits_.n_blocks);
    }

    void finish() {
        while (!holders_.empty()) end(0);
        ASSERT_EQ(cache_.n_used(), 0);
        clock_.now_ns += 100;
        cache_.forget_idle();
        ASSERT_EQ(cache_.n_remembered(), 0);
        ASSERT_EQ(cache_.n_free(), cache_.n_blocks());
        // The free set is whole: every block can be had, once.
        KvTable all;
        ASSERT_TRUE(cache_.extend(all, 16 * cache_.n_blocks()));
        std::set<BlockId> seen(all.blocks().begin(), all.blocks().end());
        ASSERT_EQ(std::int64_t(seen.size()), cache_.n_blocks());
        cache_.release(all);
    }
    std::int64_t n_attached = 0;

  private:
    std::size_t pick() { return std::size_t(dice_.roll(0, std::int64_t(holders_.size()) - 1)); }

    void begin() {
        Holder h;
        const Tokens& stem = stems_[std::size_t(dice_.roll(0, 3))];
        h.tokens.assign(stem.begin(), stem.begin() + dice_.roll(0, 100));
        for (std::int64_t n = dice_.roll(0, 30); n > 0; --n)
            h.tokens.push_back(TokenId(std::int32_t(dice_.roll(1, 2))));
        h.owner.id = OwnerId(dice_.roll(std::int64_t(kFirstOwner), 4));
        if (dice_.chance(10)) h.owner.id = kNobody;
        while ((h.owner.n_public + 1) * 16 <=
                   std::int64_t(std::min(mark_.size(), h.tokens.size())) &&
               std::equal(mark_.begin(), mark_.begin() + (h.owner.n_public + 1) * 16,
                          h.tokens.begin()))
            ++h.owner.n_public;
        const std::int64_t n_whole = std::int64_t(h.tokens.size()) / 16;
        cache_.attach(h.table, h.tokens, h.owner, n_whole);
        n_attached += h.table.n_tokens();
        const auto made = contents(h.tokens);
        for (std::int64_t b = 0; b < h.table.n_tokens() / 16; ++b)
            ASSERT_TRUE(noted_.contains({h.owner.of(b), made[std::size_t(b * 16 + 15)]}))
                << "nobody of this owner computed block " << b;
        holders_.push_back(std::move(h));
    }

    void go_on(std::size_t i) {
        Holder& h = holders_[i];
        const std::int64_t at = h.table.n_tokens();
        const std::int64_t n = dice_.roll(0, std::int64_t(h.tokens.size()) - at);
        const std::int64_t n_free = cache_.n_free();
        const bool fits = blocks_for(at + n) - blocks_for(at) <= n_free;
        ASSERT_EQ(cache_.extend(h.table, n), fits);
        if (!fits) return;
        const auto made = contents(h.tokens);
        for (std::int64_t p = at; p < at + n; ++p)
            memory_[{h.table.blocks()[std::size_t(p / 16)].value, p % 16}] = made[std::size_t(p)];
        cache_.remember(h.table, h.tokens, h.owner);
        ASSERT_EQ(h.table.n_tokens(), at + n);
        if (h.owner.id == kNobody) return;
        for (std::int64_t b = 0; b < (at + n) / 16; ++b)
            noted_.insert({h.owner.of(b), made[std::size_t(b * 16 + 15)]});
    }

    void end(std::size_t i) {
        cache_.release(holders_[i].table);
        holders_.erase(holders_.begin() + std::int64_t(i));
    }

    void fork(std::size_t i) {
        Holder copy;
        const Holder& from = holders_[i];
        copy.table = cache_.fork(from.table, dice_.roll(0, from.table.n_tokens()));
        copy.tokens.assign(from.tokens.begin(), from.tokens.begin() + copy.table.n_tokens());
        for (std::int64_t n = dice_.roll(0, 40); n > 0; --n)
            copy.tokens.push_back(TokenId(std::int32_t(dice_.roll(1, 2))));
        // Its rest is its own: what differs from the mark is not public.
        copy.owner = {.id = from.owner.id,
                      .n_public = std::min(from.owner.n_public, copy.table.n_tokens() / 16)};
        holders_.push_back(std::move(copy));
    }

    void forget(OwnerId owner) {
        cache_.forget(owner);
        std::erase_if(noted_, [&](const auto& entry) { return entry.first == owner; });
        for (Holder& h : holders_)
            if (h.owner.id == owner) h.owner.id = kNobody;
    }

    Dice dice_;
    ManualClock clock_;
    const PrefixLimits limits_;
    KvCache cache_;
    std::vector<Tokens> stems_;
    Tokens mark_;
    std::vector<Holder> holders_;
    std::map<std::pair<std::int32_t, std::int64_t>, std::uint64_t> memory_;
    std::set<std::pair<OwnerId, std::uint64_t>> noted_;  // whole blocks, by all tokens up to them
};

TEST(PrefixCacheProperty, agrees_with_a_naive_book) {
    std::int64_t n_attached = 0;
    for (const std::uint64_t seed : test::seeds(120)) {
        SCOPED_TRACE("HEARTH_SEED=" + std::to_string(seed));
        Model model(seed);
        for (int i = 0; i < 300; ++i) {
            model.act();
            model.check();
            if (testing::Test::HasFailure()) return;
        }
        model.finish();
        if (testing::Test::HasFailure()) return;
        n_attached += model.n_attached;
    }
    EXPECT_GT(n_attached, 0);
}

}  // namespace
}  // namespace hearth::engine
