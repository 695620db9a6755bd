// TextIndex: from a token's text to its id, without copying a text.
//
// Open addressing with linear probing over (hash, id) pairs, at most half full. A vocabulary of
// 150,000 tokens is indexed in milliseconds, which is most of what loading a tokenizer costs. The
// hash is seeded at random, so that no file can choose texts that collide; nothing else depends on
// the seed.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace hearth::model {

class TextIndex {
  public:
    // Room for all texts; empty. Requires: the texts stay where they are while the index is used.
    void reset(std::span<const std::string_view> texts);
    // Of equal texts the last one added is found. Requires: each id at most once.
    void add(std::int32_t id);
    // The id, or -1.
    std::int32_t find(std::string_view text) const { return find(text, hash_of(text)); }
    // The same in two steps, for who knows early what will be asked: ask() fetches the text's slot
    // into the cache and returns what find() wants later.
    std::uint64_t ask(std::string_view text) const;
    std::int32_t find(std::string_view text, std::uint64_t hash) const;
    std::size_t longest() const { return longest_; }  // bytes of the longest text

  private:
    struct Slot {
        std::uint32_t hash = 0;
        std::int32_t id = -1;  // -1: free
    };
    std::uint64_t hash_of(std::string_view text) const;
    std::size_t slot_of(std::uint64_t hash, std::string_view text) const;

    std::span<const std::string_view> texts_;
    std::vector<Slot> slots_;
    std::uint64_t seed_ = 0;
    std::size_t longest_ = 0;
};

// PairIndex: from two neighbouring tokens to the token that they merge into, and the merge's rank.
class PairIndex {
  public:
    struct Merge {
        std::int32_t rank = -1;  // -1: the two do not merge
        std::int32_t id = -1;
    };
    void reset(std::size_t n);
    // Of equal pairs the first one added counts. Requires: ids are not negative.
    void add(std::int32_t left, std::int32_t right, Merge merge);
    Merge find(std::int32_t left, std::int32_t right) const;
    // Fetches the pair's slot into the cache: add() or find() will follow.
    void ask(std::int32_t left, std::int32_t right) const;

  private:
    struct Slot {
        std::uint64_t key = 0;
        Merge merge;
    };
    std::size_t home_of(std::uint64_t key) const;
    std::size_t slot_of(std::uint64_t key) const;

    std::vector<Slot> slots_;
    std::uint64_t seed_ = 0;
};

}  // namespace hearth::model
