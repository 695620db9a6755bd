#include "engine/prefix_index.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "base/ids.h"

namespace hearth::engine {

PrefixIndex::PrefixIndex(std::int64_t n_blocks)
    : entries_(std::size_t(n_blocks)),
      tokens_(std::size_t(n_blocks * model::kBlockTokens), TokenId(0)),
      buckets_(std::bit_ceil(std::size_t(n_blocks)), kEnd) {
    for (std::uint64_t& factor : factors_) factor = random_u64();
}

std::span<const TokenId> PrefixIndex::tokens_of(BlockId block) const {
    return std::span(tokens_).subspan(std::size_t(block.value * model::kBlockTokens),
                                      std::size_t(model::kBlockTokens));
}

// The upper half of a sum of 32-bit words, each times a random factor. Any two blocks meet with a
// probability of one in n_buckets, so that however tokens were chosen a lookup walks past fewer
// than one other on average.
// Source: Lemire and Kaser, Strongly universal string hashing is fast, arXiv:1202.4961,
// MULTILINEAR.
std::size_t PrefixIndex::bucket_of(EntryId parent, OwnerId owner,
                                   std::span<const TokenId> tokens) const {
    CHECK(std::int64_t(tokens.size()) == model::kBlockTokens);
    std::uint64_t sum = factors_.back();
    const std::uint64_t* factor = factors_.data();
    for (const std::uint64_t id : {parent, owner}) {
        sum += *factor++ * (id & UINT32_MAX);
        sum += *factor++ * (id >> 32);
    }
    for (const TokenId id : tokens) sum += *factor++ * std::uint32_t(id.value);
    return std::size_t(sum >> 32) & (buckets_.size() - 1);
}

std::optional<BlockId> PrefixIndex::find(EntryId parent, OwnerId owner,
                                         std::span<const TokenId> tokens) const {
    if (entries_.empty()) return {};
    for (std::int32_t b = buckets_[bucket_of(parent, owner, tokens)]; b != kEnd;) {
        const BlockId block(b);
        const Entry& e = at(block);
        if (e.parent == parent && e.owner == owner && std::ranges::equal(tokens_of(block), tokens))
            return block;
        b = e.next;
    }
    return {};
}

void PrefixIndex::add(BlockId block, EntryId parent, OwnerId owner,
                      std::span<const TokenId> tokens) {
    Entry& e = at(block);
    CHECK(e.id == kNone && owner != kNobody);
    std::int32_t& bucket = buckets_[bucket_of(parent, owner, tokens)];
    e = {.id = next_id_++, .parent = parent, .owner = owner, .next = bucket};
    bucket = block.value;
    std::ranges::copy(tokens, tokens_.begin() + block.value * model::kBlockTokens);
}

void PrefixIndex::drop(BlockId block) {
    if (rests(block)) wake(block);
    Entry& e = at(block);
    CHECK(e.id != kNone);
    std::int32_t* link = &buckets_[bucket_of(e.parent, e.owner, tokens_of(block))];
    while (*link != block.value) link = &at(BlockId(*link)).next;
    *link = e.next;
    e = {};
}

void PrefixIndex::rest(BlockId block, std::int64_t now_ns) {
    Entry& e = at(block);
    CHECK(e.id != kNone && !rests(block));
    e.since_ns = now_ns;
    e.newer = kEnd;
    e.older = newest_;
    (newest_ == kEnd ? oldest_ : at(BlockId(newest_)).newer) = block.value;
    newest_ = block.value;
    ++n_resting_;
}

void PrefixIndex::wake(BlockId block) {
    Entry& e = at(block);
    CHECK(rests(block));
    (e.newer == kEnd ? newest_ : at(BlockId(e.newer)).older) = e.older;
    (e.older == kEnd ? oldest_ : at(BlockId(e.older)).newer) = e.newer;
    e.newer = e.older = kAwake;
    --n_resting_;
}

}  // namespace hearth::engine
