// KvCache: which block holds which tokens, and who still needs it.
//
// The keys and values themselves lie in the device's KvStore; this is the book about them. A
// sequence's KvTable names its blocks in order. Free blocks form a stack, so that the warmest
// memory is used again first and an idle tail of the cache is never touched.
//
// Sequences share only full blocks: a fork takes the whole blocks of a prefix, and its owner
// computes the rest of the prefix again (less than one block), which costs less than copying on
// write would.
//
// Thread:     engine only.
// Invariants: (1) n_free + n_used == n_blocks.
//             (2) a block with refs > 1 is full and never written.
//             (3) a table of t tokens holds ceil(t / kBlockTokens) blocks, in order.
// Source:     PagedAttention, arXiv:2309.06180, section 4.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "engine/model/device.h"

namespace hearth::engine {

constexpr std::int64_t blocks_for(std::int64_t n_tokens) {
    return (n_tokens + model::kBlockTokens - 1) / model::kBlockTokens;
}

// The blocks of one sequence. Moved, never copied; given back through KvCache::release.
class KvTable {
  public:
    KvTable() = default;
    KvTable(KvTable&&) = default;
    KvTable& operator=(KvTable&&) = default;
    KvTable(const KvTable&) = delete;
    std::int64_t n_tokens() const { return n_tokens_; }
    std::span<const BlockId> blocks() const { return blocks_; }
    void reserve(std::int64_t n_tokens) { blocks_.reserve(std::size_t(blocks_for(n_tokens))); }

  private:
    friend class KvCache;
    std::vector<BlockId> blocks_;
    std::int64_t n_tokens_ = 0;
};

class KvCache {
  public:
    explicit KvCache(std::int64_t n_blocks);

    std::int64_t n_blocks() const { return std::int64_t(refs_.size()); }
    std::int64_t n_free() const { return std::int64_t(free_.size()); }
    std::int64_t n_used() const { return n_blocks() - n_free(); }
    std::int64_t refs(BlockId block) const { return refs_[std::size_t(block.value)]; }

    // Makes room for n_tokens more. False, and nothing changed, when the free blocks do not
    // suffice.
    [[nodiscard]] bool extend(KvTable& table, std::int64_t n_tokens);
    // A table that shares the whole blocks among table's first n_tokens.
    // Requires: n_tokens <= table.n_tokens().
    KvTable fork(const KvTable& table, std::int64_t n_tokens);
    // The same into a table that keeps the room it has. Requires: it is empty.
    void fork_into(KvTable& copy, const KvTable& table, std::int64_t n_tokens);
    // Keeps of a table the whole blocks among its first n_tokens, gives the others back.
    // Requires: n_tokens <= table.n_tokens().
    void truncate(KvTable& table, std::int64_t n_tokens);
    // Gives the table's blocks back; those without another owner become free.
    void release(KvTable& table);

  private:
    std::vector<std::int32_t> refs_;  // owners of each block; 0: free
    std::vector<BlockId> free_;
};

}  // namespace hearth::engine
