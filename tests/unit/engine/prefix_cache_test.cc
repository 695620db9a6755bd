// What the cache remembers of blocks, case by case. Random use is in tests/property.
#include <gtest/gtest.h>

#include "engine/kv_cache.h"

namespace hearth::engine {
namespace {

using Tokens = std::vector<TokenId>;
using Blocks = std::vector<BlockId>;

constexpr PrefixOwner kAnn{.id = 2}, kBen{.id = 3};
constexpr std::int64_t kMinute = 60 * kNsPerS;

// n blocks of one token each.
Tokens of(std::initializer_list<int> ids) {
    Tokens out;
    for (const int id : ids) out.insert(out.end(), 16, TokenId(id));
    return out;
}

Blocks blocks(const KvTable& table) {
    return {table.blocks().begin(), table.blocks().end()};
}

struct Rig {
    explicit Rig(std::int64_t n_blocks, std::int64_t n_remembered = 100)
        : cache(n_blocks, {.n_blocks = n_remembered, .idle_ns = kMinute}, clock) {}

    KvTable computed(const Tokens& tokens, const PrefixOwner& owner) {
        KvTable table;
        EXPECT_TRUE(cache.extend(table, std::int64_t(tokens.size())));
        cache.remember(table, tokens, owner);
        return table;
    }
    Blocks answered(const Tokens& tokens, const PrefixOwner& owner) {
        KvTable table = computed(tokens, owner);
        const Blocks held = blocks(table);
        cache.release(table);
        return held;
    }
    // How many blocks of these tokens are there for an owner.
    std::int64_t found(const Tokens& tokens, const PrefixOwner& owner) {
        KvTable table;
        cache.attach(table, tokens, owner, std::int64_t(tokens.size()) / 16);
        const auto n = std::int64_t(table.blocks().size());
        EXPECT_EQ(table.n_tokens(), n * 16);
        cache.release(table);
        return n;
    }

    ManualClock clock;
    KvCache cache;
};

TEST(PrefixCache, a_block_that_was_given_back_is_found_by_its_tokens) {
    Rig rig(10);
    const Blocks first = rig.answered(of({1, 2, 3}), kAnn);
    EXPECT_EQ(rig.cache.n_used(), 0);
    EXPECT_EQ(rig.cache.n_free(), 10);
    EXPECT_EQ(rig.cache.n_remembered(), 3);
    KvTable table;
    rig.cache.attach(table, of({1, 2, 4}), kAnn, 3);
    EXPECT_EQ(blocks(table), Blocks(first.begin(), first.begin() + 2));
    EXPECT_EQ(rig.cache.n_used(), 2);
    EXPECT_EQ(rig.cache.n_remembered(), 1);
    ASSERT_TRUE(rig.cache.extend(table, 16));  // goes on in a block of its own
    EXPECT_NE(table.blocks()[2], first[2]);
    rig.cache.release(table);
    EXPECT_EQ(rig.found(of({1, 2, 3}), kAnn), 3);
}

TEST(PrefixCache, no_more_than_asked_for_is_attached) {
    Rig rig(10);
    rig.answered(of({1, 2, 3}), kAnn);
    KvTable table;
    rig.cache.attach(table, of({1, 2, 3}), kAnn, 2);
    EXPECT_EQ(table.n_tokens(), 32);
    rig.cache.release(table);
}

TEST(PrefixCache, a_block_that_is_held_is_shared) {
    Rig rig(10);
    KvTable a = rig.computed(of({1, 2}), kAnn), b;
    rig.cache.attach(b, of({1, 2}), kAnn, 2);
    EXPECT_EQ(blocks(a), blocks(b));
    EXPECT_EQ(rig.cache.refs(a.blocks()[0]), 2);
    EXPECT_EQ(rig.cache.n_used(), 2);
    rig.cache.release(a);
    EXPECT_EQ(rig.cache.n_used(), 2);
    EXPECT_EQ(rig.cache.n_remembered(), 0);
    rig.cache.release(b);
    EXPECT_EQ(rig.cache.n_remembered(), 2);
}

TEST(PrefixCache, a_block_that_is_not_full_is_not_remembered) {
    Rig rig(10);
    Tokens tokens = of({1, 2});
    tokens.pop_back();
    rig.answered(tokens, kAnn);
    EXPECT_EQ(rig.cache.n_remembered(), 1);
    EXPECT_EQ(rig.found(of({1, 2}), kAnn), 1);
}

TEST(PrefixCache, every_token_counts) {
    for (int at = 0; at < 32; ++at) {
        Rig rig(10);
        rig.answered(of({1, 2}), kAnn);
        Tokens other = of({1, 2});
        other[std::size_t(at)] = TokenId(9);
        EXPECT_EQ(rig.found(other, kAnn), at / 16) << at;
    }
}

TEST(PrefixCache, the_same_tokens_after_others_are_another_block) {
    Rig rig(10);
    const Blocks a = rig.answered(of({1, 7}), kAnn), b = rig.answered(of({2, 7}), kAnn);
    EXPECT_NE(a[1], b[1]);
    for (const auto& [tokens, expected] : {std::pair(of({1, 7}), a), {of({2, 7}), b}}) {
        KvTable table;
        rig.cache.attach(table, tokens, kAnn, 2);
        EXPECT_EQ(blocks(table), expected);
        rig.cache.release(table);
    }
    EXPECT_EQ(rig.found(of({7}), kAnn), 0);
    EXPECT_EQ(rig.found(of({7, 7}), kAnn), 0);
}

TEST(PrefixCache, a_hash_that_collides_is_no_hit) {
    // Two buckets: half of all lookups meet another entry there.
    Rig rig(2);
    for (int i = 1; i <= 20; ++i) {
        rig.answered(of({i, 77}), kAnn);
        EXPECT_EQ(rig.found(of({77}), kAnn), 0) << i;
        EXPECT_EQ(rig.found(of({i + 1}), kAnn), 0) << i;
        EXPECT_EQ(rig.found(of({i, 78}), kAnn), 1) << i;
        EXPECT_EQ(rig.found(of({i, 77}), kBen), 0) << i;
        EXPECT_EQ(rig.found(of({i, 77}), kAnn), 2) << i;
    }
}

TEST(PrefixCache, owners_do_not_see_each_other) {
    Rig rig(10);
    const Blocks ann = rig.answered(of({1, 2}), kAnn);
    EXPECT_EQ(rig.found(of({1, 2}), kBen), 0);
    EXPECT_EQ(rig.found(of({1, 2}), PrefixOwner{}), 0);
    const Blocks ben = rig.answered(of({1, 2}), kBen);
    EXPECT_NE(ann[0], ben[0]);
    EXPECT_EQ(rig.cache.n_remembered(), 4);
    EXPECT_EQ(rig.found(of({1, 2}), kAnn), 2);
}

TEST(PrefixCache, nobody_leaves_nothing_and_finds_nothing) {
    Rig rig(10);
    const PrefixOwner nobody{.id = kNobody, .n_public = 1};
    rig.answered(of({1, 2}), nobody);
    EXPECT_EQ(rig.cache.n_remembered(), 0);
    rig.answered(of({1, 2}), {.id = 2, .n_public = 2});
    EXPECT_EQ(rig.found(of({1, 2}), nobody), 0);
}

TEST(PrefixCache, public_blocks_are_everyones_and_what_follows_is_not) {
    Rig rig(10);
    const PrefixOwner ann{.id = 2, .n_public = 1}, ben{.id = 3, .n_public = 1};
    const Blocks first = rig.answered(of({1, 2}), ann);
    EXPECT_EQ(rig.found(of({1, 2}), ben), 1);
    EXPECT_EQ(rig.found(of({1, 2}), ann), 2);
    // Who does not say that the block is public has to compute it.
    EXPECT_EQ(rig.found(of({1, 2}), kBen), 0);
    KvTable table = rig.computed(of({1, 3}), ben);
    EXPECT_EQ(table.blocks()[0], first[0]);
    rig.cache.release(table);
    rig.cache.forget(ann.id);
    EXPECT_EQ(rig.found(of({1, 2}), ann), 1);
    EXPECT_EQ(rig.found(of({1, 3}), ben), 2);
}

TEST(PrefixCache, what_is_computed_twice_is_kept_once) {
    Rig rig(10);
    KvTable a, b;
    ASSERT_TRUE(rig.cache.extend(a, 32));
    ASSERT_TRUE(rig.cache.extend(b, 40));  // side by side: neither has anything to find
    rig.cache.remember(a, of({1, 2}), kAnn);
    rig.cache.remember(b, of({1, 2, 3}), kAnn);
    EXPECT_EQ(blocks(a), Blocks(b.blocks().begin(), b.blocks().begin() + 2));
    EXPECT_EQ(rig.cache.refs(a.blocks()[0]), 2);
    EXPECT_EQ(rig.cache.n_used(), 3);
    rig.cache.release(a);
    // The same where the one before is held by nobody any more.
    KvTable c = rig.computed(of({4}), kAnn);
    rig.cache.release(c);
    KvTable d = rig.computed(of({4}), kAnn);
    EXPECT_EQ(rig.cache.n_used(), 4);
    EXPECT_EQ(rig.cache.n_remembered(), 0);
    rig.cache.release(d);
    rig.cache.release(b);
    EXPECT_EQ(rig.cache.n_used(), 0);
    EXPECT_EQ(rig.cache.n_remembered(), 3);
}

TEST(PrefixCache, memory_that_remembers_nothing_goes_first_then_the_longest_unused_from_its_end) {
    Rig rig(6);
    rig.answered(of({1, 2}), kAnn);
    rig.answered(of({3, 4}), kAnn);
    EXPECT_EQ(rig.found(of({1, 2}), kAnn), 2);  // now the other one is the longest unused
    const auto left = [&] { return std::pair(rig.cache.n_remembered(), rig.cache.n_free()); };
    KvTable table;
    ASSERT_TRUE(rig.cache.extend(table, 32));
    EXPECT_EQ(left(), std::pair(4l, 4l));
    ASSERT_TRUE(rig.cache.extend(table, 16));
    EXPECT_EQ(left(), std::pair(3l, 3l));
    EXPECT_EQ(rig.found(of({3, 4}), kAnn), 1);
    ASSERT_TRUE(rig.cache.extend(table, 32));  // and now this one
    EXPECT_EQ(rig.found(of({1, 2}), kAnn), 0);
    EXPECT_EQ(rig.found(of({3}), kAnn), 1);
    ASSERT_TRUE(rig.cache.extend(table, 16));
    EXPECT_EQ(left(), std::pair(0l, 0l));
    EXPECT_FALSE(rig.cache.extend(table, 1));
    rig.cache.release(table);
    EXPECT_EQ(left(), std::pair(0l, 6l));
}

TEST(PrefixCache, of_a_chain_beyond_the_bound_the_beginning_is_kept) {
    Rig rig(10, 3);
    rig.answered(of({1, 2, 3, 4, 5}), kAnn);
    EXPECT_EQ(rig.cache.n_remembered(), 3);
    EXPECT_EQ(rig.found(of({1, 2, 3, 4, 5}), kAnn), 3);
    rig.answered(of({6, 7}), kAnn);
    EXPECT_EQ(rig.cache.n_remembered(), 3);
    EXPECT_EQ(rig.found(of({1, 2, 3}), kAnn), 1);
    EXPECT_EQ(rig.found(of({6, 7}), kAnn), 2);
}

TEST(PrefixCache, blocks_that_are_held_do_not_count_for_the_bound) {
    Rig rig(10, 1);
    KvTable a = rig.computed(of({1, 2, 3}), kAnn);
    EXPECT_EQ(rig.found(of({1, 2, 3}), kAnn), 3);
    rig.cache.release(a);
    EXPECT_EQ(rig.found(of({1, 2, 3}), kAnn), 1);
}

TEST(PrefixCache, what_nobody_used_for_a_time_is_forgotten) {
    Rig rig(10);
    EXPECT_FALSE(rig.cache.idle_in_ns());
    rig.answered(of({1}), kAnn);
    rig.clock.now_ns += kMinute / 2;
    rig.answered(of({2}), kAnn);
    KvTable held = rig.computed(of({3}), kAnn);
    EXPECT_EQ(rig.cache.idle_in_ns(), kMinute / 2);
    rig.clock.now_ns += kMinute / 2 - 1;
    rig.cache.forget_idle();
    EXPECT_EQ(rig.cache.n_remembered(), 2);
    rig.clock.now_ns += 1;
    rig.cache.forget_idle();
    EXPECT_EQ(rig.found(of({1}), kAnn), 0);
    EXPECT_EQ(rig.found(of({2}), kAnn), 1);  // which is a use
    rig.clock.now_ns += kMinute - 1;
    rig.cache.forget_idle();
    EXPECT_EQ(rig.cache.n_remembered(), 1);
    rig.clock.now_ns += kMinute;
    rig.cache.forget_idle();
    EXPECT_EQ(rig.cache.n_remembered(), 0);
    EXPECT_EQ(rig.found(of({3}), kAnn), 1);  // as long as it is held
    rig.cache.release(held);
}

TEST(PrefixCache, an_owner_is_forgotten_alone) {
    Rig rig(10);
    KvTable held = rig.computed(of({1, 2}), kAnn);
    rig.answered(of({3}), kAnn);
    rig.answered(of({1, 2}), kBen);
    rig.cache.forget(kAnn.id);
    EXPECT_EQ(rig.found(of({1, 2}), kAnn), 0);
    EXPECT_EQ(rig.found(of({3}), kAnn), 0);
    EXPECT_EQ(rig.found(of({1, 2}), kBen), 2);
    EXPECT_EQ(held.n_tokens(), 32);
    EXPECT_EQ(rig.cache.n_used(), 2);
    rig.cache.release(held);
    EXPECT_EQ(rig.cache.n_remembered(), 2);
}

TEST(PrefixCache, nothing_follows_what_was_forgotten_while_it_was_held) {
    Rig rig(10);
    KvTable held = rig.computed(of({1}), kAnn);
    rig.cache.forget_all();
    ASSERT_TRUE(rig.cache.extend(held, 16));
    rig.cache.remember(held, of({1, 2}), kAnn);
    // A new chain of the same tokens has another number.
    rig.answered(of({1}), kAnn);
    EXPECT_EQ(rig.found(of({1, 2}), kAnn), 1);
    EXPECT_EQ(rig.found(of({2}), kAnn), 0);
    rig.cache.release(held);
    EXPECT_EQ(rig.cache.n_remembered(), 1);
}

TEST(PrefixCache, a_fork_goes_on_in_the_chain) {
    Rig rig(10);
    KvTable a = rig.computed(of({1, 2}), kAnn);
    KvTable b = rig.cache.fork(a, 32);
    ASSERT_TRUE(rig.cache.extend(b, 16));
    rig.cache.remember(b, of({1, 2, 3}), kAnn);
    rig.cache.release(a);
    rig.cache.release(b);
    EXPECT_EQ(rig.found(of({1, 2, 3}), kAnn), 3);
}

TEST(PrefixCache, without_a_bound_nothing_is_remembered) {
    KvCache cache(4);
    KvTable table;
    ASSERT_TRUE(cache.extend(table, 32));
    cache.remember(table, of({1, 2}), kAnn);
    cache.release(table);
    EXPECT_EQ(cache.n_remembered(), 0);
    cache.attach(table, of({1, 2}), kAnn, 2);
    EXPECT_EQ(table.n_tokens(), 0);
    cache.forget(kAnn.id);
    cache.forget_all();
    cache.forget_idle();
    EXPECT_EQ(cache.n_free(), 4);
}

}  // namespace
}  // namespace hearth::engine
