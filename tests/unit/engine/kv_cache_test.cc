// The cache's book, case by case. Random use is in tests/property/kv_cache_test.cc.
#include "engine/kv_cache.h"

#include <gtest/gtest.h>

namespace hearth::engine {
namespace {

TEST(KvCache, holds_a_block_for_every_sixteen_tokens) {
    KvCache cache(10);
    KvTable table;
    for (const auto& [n_tokens, n_blocks] : {std::pair(0, 0), {1, 1}, {15, 1}, {1, 2}, {16, 3}}) {
        ASSERT_TRUE(cache.extend(table, n_tokens));
        EXPECT_EQ(cache.n_used(), n_blocks);
    }
    EXPECT_EQ(table.n_tokens(), 33);
    cache.release(table);
    EXPECT_EQ(cache.n_free(), 10);
    EXPECT_EQ(table.n_tokens(), 0);
}

TEST(KvCache, a_growth_that_does_not_fit_changes_nothing) {
    KvCache cache(3);
    KvTable table;
    ASSERT_TRUE(cache.extend(table, 20));
    EXPECT_FALSE(cache.extend(table, 29));
    EXPECT_EQ(table.n_tokens(), 20);
    EXPECT_EQ(cache.n_used(), 2);
    EXPECT_TRUE(cache.extend(table, 28));
    EXPECT_EQ(cache.n_free(), 0);
    EXPECT_TRUE(cache.extend(table, 0));
}

TEST(KvCache, a_fork_shares_whole_blocks_until_the_last_owner_leaves) {
    KvCache cache(10);
    KvTable a;
    ASSERT_TRUE(cache.extend(a, 40));
    KvTable b = cache.fork(a, 40);
    EXPECT_EQ(b.n_tokens(), 32);  // the 8 tokens of the last block are computed again
    EXPECT_EQ(cache.n_used(), 3);
    EXPECT_EQ(cache.refs(a.blocks()[0]), 2);
    EXPECT_EQ(cache.refs(a.blocks()[2]), 1);
    ASSERT_TRUE(cache.extend(b, 8));
    EXPECT_NE(a.blocks()[2], b.blocks()[2]);
    cache.release(a);
    EXPECT_EQ(cache.n_used(), 3);
    EXPECT_EQ(cache.refs(b.blocks()[0]), 1);
    cache.release(b);
    EXPECT_EQ(cache.n_used(), 0);
}

TEST(KvCache, freed_blocks_are_used_again_before_fresh_ones) {
    KvCache cache(10);
    KvTable a, b;
    ASSERT_TRUE(cache.extend(a, 32));
    const std::vector<BlockId> first(a.blocks().begin(), a.blocks().end());
    cache.release(a);
    ASSERT_TRUE(cache.extend(b, 32));
    EXPECT_EQ(std::vector<BlockId>(b.blocks().begin(), b.blocks().end()), first);
    cache.release(b);
}

}  // namespace
}  // namespace hearth::engine
