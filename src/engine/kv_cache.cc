#include "engine/kv_cache.h"

#include <algorithm>

#include "base/check.h"

namespace hearth::engine {
namespace {

std::span<const TokenId> tokens_of(std::span<const TokenId> tokens, std::int64_t block) {
    return tokens.subspan(std::size_t(block * model::kBlockTokens),
                          std::size_t(model::kBlockTokens));
}

}  // namespace

KvCache::KvCache(std::int64_t n_blocks, const PrefixLimits& limits, const Clock& clock)
    : limits_(limits),
      clock_(clock),
      refs_(std::size_t(n_blocks), 0),
      index_(limits.n_blocks > 0 ? n_blocks : 0) {
    CHECK(n_blocks > 0 && n_blocks <= INT32_MAX);
    free_.reserve(std::size_t(n_blocks));
    for (std::int64_t b = n_blocks; b-- > 0;) free_.push_back(BlockId(std::int32_t(b)));
}

// What remembers nothing first, then what nobody used for longest.
BlockId KvCache::take_free() {
    if (free_.empty()) forget_block(index_.oldest());
    const BlockId block = free_.back();
    free_.pop_back();
    CHECK(refs(block) == 0);
    return block;
}

void KvCache::give_back(BlockId block) {
    CHECK(refs(block) > 0);
    if (--refs_[std::size_t(block.value)] > 0) return;
    if (index_.entry(block) == PrefixIndex::kNone) return free_.push_back(block);
    index_.rest(block, clock_.mono_ns());
    if (index_.n_resting() > limits_.n_blocks) forget_block(index_.oldest());
}

void KvCache::forget_block(BlockId block) {
    index_.drop(block);
    if (refs(block) == 0) free_.push_back(block);
}

bool KvCache::extend(KvTable& table, std::int64_t n_tokens) {
    CHECK(n_tokens >= 0);
    const std::int64_t n_new =
        blocks_for(table.n_tokens_ + n_tokens) - std::int64_t(table.blocks_.size());
    if (n_new > n_free()) return false;
    // A last block that is not full is about to be written: nobody else may read it.
    const bool writes_last = n_tokens > 0 && table.n_tokens_ % model::kBlockTokens != 0;
    CHECK(!writes_last || (refs(table.blocks_.back()) == 1 &&
                           index_.entry(table.blocks_.back()) == PrefixIndex::kNone));
    for (std::int64_t i = 0; i < n_new; ++i) {
        const BlockId block = take_free();
        refs_[std::size_t(block.value)] = 1;
        table.blocks_.push_back(block);
    }
    table.n_tokens_ += n_tokens;
    return true;
}

KvTable KvCache::fork(const KvTable& table, std::int64_t n_tokens) {
    KvTable copy;
    fork_into(copy, table, n_tokens);
    return copy;
}

void KvCache::fork_into(KvTable& copy, const KvTable& table, std::int64_t n_tokens) {
    CHECK(copy.blocks_.empty() && n_tokens >= 0 && n_tokens <= table.n_tokens_);
    const std::int64_t n_whole = n_tokens / model::kBlockTokens;
    copy.blocks_.assign(table.blocks_.begin(), table.blocks_.begin() + n_whole);
    copy.n_tokens_ = n_whole * model::kBlockTokens;
    copy.n_noted_ = std::min(table.n_noted_, n_whole);
    for (const BlockId block : copy.blocks_) ++refs_[std::size_t(block.value)];
}

void KvCache::truncate(KvTable& table, std::int64_t n_tokens) {
    CHECK(n_tokens >= 0 && n_tokens <= table.n_tokens_);
    const std::int64_t n_whole = n_tokens / model::kBlockTokens;
    // Last block first, so that the stack hands them out again in their old order.
    while (std::int64_t(table.blocks_.size()) > n_whole) {
        give_back(table.blocks_.back());
        table.blocks_.pop_back();
    }
    table.n_tokens_ = n_whole * model::kBlockTokens;
    table.n_noted_ = std::min(table.n_noted_, n_whole);
}

void KvCache::release(KvTable& table) {
    truncate(table, 0);
}

void KvCache::attach(KvTable& table, std::span<const TokenId> tokens, const PrefixOwner& owner,
                     std::int64_t n_blocks) {
    CHECK(table.blocks_.empty());
    if (!is_on() || owner.id == kNobody) return;
    PrefixIndex::EntryId parent = PrefixIndex::kNone;
    for (std::int64_t b = 0; b < n_blocks; ++b) {
        const auto block = index_.find(parent, owner.of(b), tokens_of(tokens, b));
        if (!block) break;
        if (refs_[std::size_t(block->value)]++ == 0) index_.wake(*block);
        table.blocks_.push_back(*block);
        parent = index_.entry(*block);
    }
    table.n_noted_ = std::int64_t(table.blocks_.size());
    table.n_tokens_ = table.n_noted_ * model::kBlockTokens;
}

void KvCache::remember(KvTable& table, std::span<const TokenId> tokens, const PrefixOwner& owner) {
    if (!is_on() || owner.id == kNobody) return;
    for (; (table.n_noted_ + 1) * model::kBlockTokens <= table.n_tokens_; ++table.n_noted_) {
        const std::int64_t b = table.n_noted_;
        const auto parent =
            b > 0 ? index_.entry(table.blocks_[std::size_t(b - 1)]) : PrefixIndex::kNone;
        // Forgotten while it was held: what follows could be found by nobody.
        if (b > 0 && parent == PrefixIndex::kNone) return;
        BlockId& own = table.blocks_[std::size_t(b)];
        const auto block = index_.find(parent, owner.of(b), tokens_of(tokens, b));
        if (!block) {
            index_.add(own, parent, owner.of(b), tokens_of(tokens, b));
            continue;
        }
        if (refs_[std::size_t(block->value)]++ == 0) index_.wake(*block);
        give_back(own);
        own = *block;
    }
}

void KvCache::forget(OwnerId owner) {
    for (std::int64_t b = 0; is_on() && b < n_blocks(); ++b) {
        const BlockId block{std::int32_t(b)};
        if (index_.entry(block) != PrefixIndex::kNone && index_.owner(block) == owner)
            forget_block(block);
    }
}

void KvCache::forget_all() {
    for (std::int64_t b = 0; is_on() && b < n_blocks(); ++b) {
        const BlockId block{std::int32_t(b)};
        if (index_.entry(block) != PrefixIndex::kNone) forget_block(block);
    }
}

void KvCache::forget_idle() {
    while (const auto left_ns = idle_in_ns()) {
        if (*left_ns > 0) return;
        forget_block(index_.oldest());
    }
}

std::optional<std::int64_t> KvCache::idle_in_ns() const {
    if (n_remembered() == 0) return {};
    return index_.oldest_since_ns() + limits_.idle_ns - clock_.mono_ns();
}

}  // namespace hearth::engine
