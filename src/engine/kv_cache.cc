#include "engine/kv_cache.h"

#include "base/check.h"

namespace hearth::engine {

KvCache::KvCache(std::int64_t n_blocks) : refs_(std::size_t(n_blocks), 0) {
    CHECK(n_blocks > 0 && n_blocks <= INT32_MAX);
    free_.reserve(std::size_t(n_blocks));
    for (std::int64_t b = n_blocks; b-- > 0;) free_.push_back(BlockId(std::int32_t(b)));
}

bool KvCache::extend(KvTable& table, std::int64_t n_tokens) {
    CHECK(n_tokens >= 0);
    const std::int64_t n_new =
        blocks_for(table.n_tokens_ + n_tokens) - std::int64_t(table.blocks_.size());
    if (n_new > n_free()) return false;
    // A last block that is not full is about to be written: nobody else may read it.
    const bool writes_last = n_tokens > 0 && table.n_tokens_ % model::kBlockTokens != 0;
    CHECK(!writes_last || refs(table.blocks_.back()) == 1);
    for (std::int64_t i = 0; i < n_new; ++i) {
        const BlockId block = free_.back();
        free_.pop_back();
        CHECK(refs(block) == 0);
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
    for (const BlockId block : copy.blocks_) ++refs_[std::size_t(block.value)];
}

void KvCache::truncate(KvTable& table, std::int64_t n_tokens) {
    CHECK(n_tokens >= 0 && n_tokens <= table.n_tokens_);
    const std::int64_t n_whole = n_tokens / model::kBlockTokens;
    // Last block first, so that the stack hands them out again in their old order.
    while (std::int64_t(table.blocks_.size()) > n_whole) {
        const BlockId block = table.blocks_.back();
        table.blocks_.pop_back();
        CHECK(refs(block) > 0);
        if (--refs_[std::size_t(block.value)] == 0) free_.push_back(block);
    }
    table.n_tokens_ = n_whole * model::kBlockTokens;
}

void KvCache::release(KvTable& table) {
    truncate(table, 0);
}

}  // namespace hearth::engine
