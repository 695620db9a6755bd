#include "engine/prefix_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

namespace hearth::engine {
namespace {

// Tokens that differ in as many bits as n has: neighbours as somebody who tries would send them.
std::vector<TokenId> block_of(std::int32_t n) {
    std::vector<TokenId> tokens;
    for (int i = 0; i < model::kBlockTokens; ++i) tokens.emplace_back(n >> i & 1);
    return tokens;
}

TEST(PrefixIndex, what_meets_in_one_bucket_is_apart_in_the_next_index) {
    constexpr std::int64_t kBuckets = 256;
    const PrefixIndex one(kBuckets), other(kBuckets);
    const auto bucket = [](const PrefixIndex& index, std::int32_t n) {
        return index.bucket_of(PrefixIndex::kNone, kFirstOwner, block_of(n));
    };
    // 65,536 blocks fall into 256 buckets, so that one has at least 256 of them.
    std::vector<std::vector<std::int32_t>> met(kBuckets);
    for (std::int32_t n = 0; n < 65'536; ++n) met.at(bucket(one, n)).push_back(n);
    const auto most = *std::ranges::max_element(met, {}, &std::vector<std::int32_t>::size);
    ASSERT_GE(most.size(), 256u);
    std::set<std::size_t> apart;
    for (const std::int32_t n : most) apart.insert(bucket(other, n));
    EXPECT_GT(apart.size(), 64u);  // of about 160
}

TEST(PrefixIndex, owner_and_parent_matter_to_the_bucket) {
    const PrefixIndex index(1 << 16);
    std::set<std::size_t> buckets;
    for (OwnerId owner = kFirstOwner; owner < 12; ++owner)
        for (PrefixIndex::EntryId parent = 0; parent < 10; ++parent)
            buckets.insert(index.bucket_of(parent << 32, owner, block_of(1)));
    EXPECT_GT(buckets.size(), 50u);  // of 100
}

}  // namespace
}  // namespace hearth::engine
