// The cache's book against a naive one that recounts everything from the owners' lists.
#include "engine/kv_cache.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "property/kv_counts.h"
#include "support/seeds.h"

namespace hearth::engine {
namespace {

using test::Dice;

// What a sequence wrote, position by position; blocks are looked up in a map of the "memory".
struct Owner {
    KvTable table;
    std::vector<int> written;
};

class Model {
  public:
    Model(std::uint64_t seed, std::int64_t n_blocks) : dice_(seed), cache_(n_blocks) {}

    void act() {
        const std::int64_t what = dice_.roll(1, 10);
        if (owners_.empty() || what <= 2) {
            owners_.emplace_back();
        } else if (what <= 7) {
            write(pick(), dice_.roll(0, 40));
        } else if (what == 8) {
            fork(pick());
        } else {
            const std::size_t i = pick();
            cache_.release(owners_[i].table);
            owners_.erase(owners_.begin() + std::int64_t(i));
        }
    }

    void check() const {
        HolderCounts counts;
        for (const Owner& owner : owners_) {
            const auto n = std::int64_t(owner.written.size());
            ASSERT_EQ(owner.table.n_tokens(), n);
            ASSERT_EQ(std::int64_t(owner.table.blocks().size()), (n + 15) / 16);
            std::set<std::int32_t> own;
            for (const BlockId block : owner.table.blocks())
                ASSERT_TRUE(own.insert(block.value).second) << "a block twice in one table";
            counts.add(owner.table);
            for (std::int64_t p = 0; p < n; ++p)
                ASSERT_EQ(memory_.at({owner.table.blocks()[std::size_t(p / 16)].value, p % 16}),
                          owner.written[std::size_t(p)])
                    << "position " << p << " was overwritten";
        }
        counts.check(cache_);
    }

    void release_all() {
        for (Owner& owner : owners_) cache_.release(owner.table);
        ASSERT_EQ(cache_.n_used(), 0);
    }

  private:
    std::size_t pick() { return std::size_t(dice_.roll(0, std::int64_t(owners_.size()) - 1)); }

    void write(std::size_t i, std::int64_t n) {
        Owner& owner = owners_[i];
        const auto before = std::int64_t(owner.written.size());
        const std::int64_t n_new = (before + n + 15) / 16 - (before + 15) / 16;
        const std::int64_t n_free = cache_.n_free();
        ASSERT_EQ(cache_.extend(owner.table, n), n_new <= n_free);
        if (n_new > n_free) return;
        for (std::int64_t p = before; p < before + n; ++p) {
            owner.written.push_back(next_value_);
            memory_[{owner.table.blocks()[std::size_t(p / 16)].value, p % 16}] = next_value_++;
        }
    }

    void fork(std::size_t i) {
        const auto n = dice_.roll(0, std::int64_t(owners_[i].written.size()));
        Owner copy;
        copy.table = cache_.fork(owners_[i].table, n);
        ASSERT_EQ(copy.table.n_tokens(), n / 16 * 16);
        copy.written.assign(owners_[i].written.begin(), owners_[i].written.begin() + n / 16 * 16);
        owners_.push_back(std::move(copy));
    }

    Dice dice_;
    KvCache cache_;
    std::vector<Owner> owners_;
    std::map<std::pair<std::int32_t, std::int64_t>, int> memory_;
    int next_value_ = 0;
};

TEST(KvCacheProperty, agrees_with_a_naive_book) {
    for (const std::uint64_t seed : test::seeds(60)) {
        SCOPED_TRACE("HEARTH_SEED=" + std::to_string(seed));
        Dice dice(seed);
        Model model(seed, dice.roll(1, 40));
        for (int i = 0; i < 300; ++i) {
            model.act();
            model.check();
            if (testing::Test::HasFailure()) return;
        }
        model.release_all();
    }
}

}  // namespace
}  // namespace hearth::engine
