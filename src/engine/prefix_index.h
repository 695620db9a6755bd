// PrefixIndex: for which tokens a block's keys and values were computed, and in which order blocks
// that nobody holds are forgotten.
//
// Keys and values of a token depend on every token before it, so a block is named by a chain: its
// own tokens, the entry of the block before it, and whom it belongs to. Numbers of entries are
// never used twice: what followed a forgotten block is found by nobody. A hash only finds
// candidates; a hit compares number, owner and every token. Its factors are drawn anew for each
// index: whoever chooses tokens does not choose buckets.
//
// Blocks that remember and are held by nobody rest, in the order in which they began to. A sequence
// gives its last block back first, so that a chain is forgotten from its end.
//
// Thread:     engine only. Nothing is allocated after construction.
// Invariants: (1) no two entries have the same parent, owner and tokens.
//             (2) a block that rests has an entry.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/ids.h"
#include "engine/model/device.h"

namespace hearth::engine {

// Whose a block is. Nobody's leaves no entry and finds none; everyone finds the public one's.
using OwnerId = std::uint64_t;
inline constexpr OwnerId kNobody = 0, kPublic = 1, kFirstOwner = 2;

class PrefixIndex {
  public:
    using EntryId = std::uint64_t;
    static constexpr EntryId kNone = 0;  // no entry; as a parent: the block begins a prompt

    // n_blocks 0: there is no index, and nothing has an entry.
    explicit PrefixIndex(std::int64_t n_blocks);

    EntryId entry(BlockId block) const { return entries_.empty() ? kNone : at(block).id; }
    OwnerId owner(BlockId block) const { return at(block).owner; }
    // Requires, here and below: tokens are kBlockTokens.
    std::optional<BlockId> find(EntryId parent, OwnerId owner,
                                std::span<const TokenId> tokens) const;
    // Requires: the block has no entry, and no other block this one.
    void add(BlockId block, EntryId parent, OwnerId owner, std::span<const TokenId> tokens);
    // Its entry is gone, and its rest over. Requires: it has one.
    void drop(BlockId block);

    // Where its candidates are. (Tests ask.)
    std::size_t bucket_of(EntryId parent, OwnerId owner, std::span<const TokenId> tokens) const;

    std::int64_t n_resting() const { return n_resting_; }
    bool rests(BlockId block) const { return at(block).newer != kAwake; }
    void rest(BlockId block, std::int64_t now_ns);  // Requires: it has an entry and is awake
    void wake(BlockId block);                       // Requires: it rests
    // The block that has rested longest, and since when. Requires: one rests.
    BlockId oldest() const { return BlockId(oldest_); }
    std::int64_t oldest_since_ns() const { return at(oldest()).since_ns; }

  private:
    static constexpr std::int32_t kEnd = -1, kAwake = -2;  // in place of a block
    struct Entry {
        EntryId id = kNone, parent = kNone;
        OwnerId owner = kNobody;
        std::int64_t since_ns = 0;                    // resting
        std::int32_t newer = kAwake, older = kAwake;  // neighbours among those that rest
        std::int32_t next = kEnd;                     // in its bucket
    };
    const Entry& at(BlockId block) const { return entries_[std::size_t(block.value)]; }
    Entry& at(BlockId block) { return entries_[std::size_t(block.value)]; }
    std::span<const TokenId> tokens_of(BlockId block) const;

    std::array<std::uint64_t, model::kBlockTokens + 5> factors_;  // two ids, the tokens, and 1
    std::vector<Entry> entries_;         // of each block
    std::vector<TokenId> tokens_;        // [n_blocks, kBlockTokens]
    std::vector<std::int32_t> buckets_;  // first block of each; a power of two
    EntryId next_id_ = 1;
    std::int64_t n_resting_ = 0;
    std::int32_t oldest_ = kEnd, newest_ = kEnd;
};

}  // namespace hearth::engine
