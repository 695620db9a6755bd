// KvCache: which block holds which tokens, who still needs it, and what is remembered of it.
//
// The keys and values themselves lie in the device's KvStore; this is the book about them. A
// sequence's KvTable names its blocks in order. Free blocks that remember nothing form a stack, so
// that the warmest memory is used again first and an idle tail of the cache is never touched.
//
// Sequences share only full blocks: a fork takes the whole blocks of a prefix, and its owner
// computes the rest of the prefix again (less than one block), which costs less than copying on
// write would.
//
// A full block may be remembered (prefix_index.h): a later sequence of the same owner whose prompt
// begins with the same tokens attaches to it, whether somebody still holds it or not. Blocks that
// nobody holds are forgotten when their memory is needed, the longest unused first; when there are
// more than PrefixLimits says; when nobody used them for a time; or when their owner is. What is
// forgotten can be read by nobody through the engine, but its bytes lie in the KvStore until
// another sequence writes the block.
//
// Thread:     engine only.
// Invariants: (1) n_free + n_used == n_blocks; n_remembered of the free ones remember.
//             (2) a block with refs > 1, or with an entry, is full and never written.
//             (3) a table of t tokens holds ceil(t / kBlockTokens) blocks, in order.
//             (4) the parent of a block's entry is the entry of the block before it in every table,
//                 so a parent rests later than what follows it and is forgotten after that.
// Source:     PagedAttention, arXiv:2309.06180, section 4.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "engine/model/device.h"
#include "engine/prefix_index.h"

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
    std::int64_t n_noted_ = 0;  // of its first blocks, how many were given an entry
};

// Whose the blocks of one sequence are: the first may be public, the others are its owner's.
struct PrefixOwner {
    OwnerId id = kNobody;
    std::int64_t n_public = 0;  // blocks
    OwnerId of(std::int64_t block) const {
        return id != kNobody && block < n_public ? kPublic : id;
    }
};

struct PrefixLimits {
    std::int64_t n_blocks = 0;  // remembered and held by nobody; 0: nothing is remembered
    std::int64_t idle_ns = 0;   // forgotten when held by nobody for so long
};

class KvCache {
  public:
    explicit KvCache(std::int64_t n_blocks, const PrefixLimits& limits = {},
                     const Clock& clock = system_clock());

    std::int64_t n_blocks() const { return std::int64_t(refs_.size()); }
    std::int64_t n_free() const { return std::int64_t(free_.size()) + n_remembered(); }
    std::int64_t n_used() const { return n_blocks() - n_free(); }
    std::int64_t n_remembered() const { return index_.n_resting(); }  // of the free ones
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

    // Takes the blocks that are remembered of tokens, from the first on and at most n_blocks, into
    // the table. Requires: it is empty, tokens has those blocks whole.
    void attach(KvTable& table, std::span<const TokenId> tokens, const PrefixOwner& owner,
                std::int64_t n_blocks);
    // Notes of which tokens the table's full blocks are; every row of them has been computed. One
    // that is remembered already takes the place of the table's own, whose bits are the same.
    // Requires: tokens begins with the table's; the owner is the one of every call for this table.
    void remember(KvTable& table, std::span<const TokenId> tokens, const PrefixOwner& owner);
    // Blocks that are held stay with who holds them.
    void forget(OwnerId owner);
    void forget_all();
    void forget_idle();
    // How long until forget_idle() has something to do; nothing: there is nothing to forget.
    std::optional<std::int64_t> idle_in_ns() const;

  private:
    bool is_on() const { return limits_.n_blocks > 0; }
    BlockId take_free();
    void give_back(BlockId block);
    void forget_block(BlockId block);

    const PrefixLimits limits_;
    const Clock& clock_;
    std::vector<std::int32_t> refs_;  // owners of each block; 0: free
    std::vector<BlockId> free_;       // those that remember nothing
    PrefixIndex index_;
};

}  // namespace hearth::engine
