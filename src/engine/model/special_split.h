// SpecialSplit: cuts a text at the texts of special tokens, before any merging.
//
// User-defined tokens always match. Control and unknown tokens match where parse_special asks for
// it. Where matches overlap the longest wins wherever it stands, then the leftmost: so a long token
// is never broken by a short one that begins earlier. What is between matches is plain text.
//
// A trie of the special texts gives each place in the text its longest match; shorter ones hang on
// it as a chain of prefixes. Lengths are then handed out from the longest down. Time is n times the
// number of different lengths, which is a constant of the file (at most 60 in known ones).
//
// A text is cut in stretches, so that the memory stays small: with matches of a whole megabyte in
// it, the cost was 17 times that of a tenth. What is decided in a stretch does not depend on
// anything farther behind it than the sum of the different lengths, since a match gives way to one
// on its right only if that one is longer, which again only gives way to longer ones on its right;
// on its left all is decided already. So a stretch is read that much farther than it is decided.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace hearth::model {

class SpecialSplit {
  public:
    struct Part {
        std::string_view text;  // plain text if token < 0
        std::int32_t token = -1;
    };
    // Matches of 16 KiB, at most 400 KiB, stay in the second-level cache.
    static constexpr std::size_t kStretchBytes = 16384;
    // Requires: text is not empty and at most kSpecialBytesMax long.
    void add(std::string_view text, std::int32_t token, bool user_defined);
    // Once, after the last add().
    void finish();
    // The parts of one text, one after the other.
    class Parts {
      public:
        // Adds to n_steps, if given, how many places and matches were looked at. Requires: the
        // split is finished; it, the text and n_steps outlive this.
        Parts(const SpecialSplit& split, std::string_view text, bool parse_special,
              std::int64_t* n_steps = nullptr, std::size_t stretch_bytes = kStretchBytes);
        // False at the end of the text. No part is empty.
        bool next(Part& part);

      private:
        struct Match {
            std::size_t at = 0;
            std::int32_t node = -1;
        };
        void decide();
        void find_matches(std::string_view stretch);
        void hand_out(std::size_t n_bytes);

        const SpecialSplit& split_;
        std::string_view text_;
        bool parse_special_;
        std::int64_t* n_steps_;
        std::size_t stretch_bytes_;
        std::size_t at_ = 0;       // given out up to here
        std::size_t decided_ = 0;  // matches that begin before are decided
        // Of the stretch, places counted from its start: undecided matches; those that won, in
        // order; which bytes these take.
        std::vector<Match> open_, won_;
        std::vector<bool> taken_;
        std::size_t won_begin_ = 0, n_given_ = 0;  // where the stretch begins; how many were given
    };

  private:
    struct Node {
        std::vector<std::pair<char, std::int32_t>> next;
        std::int32_t token = -1;
        std::int32_t length = 0;
        std::int32_t parent = -1;   // has a smaller index, always
        std::int32_t shorter = -1;  // nearest node above that ends a token; set by finish()
        bool user_defined = false;
    };
    std::int32_t child(std::int32_t node, char c) const;
    std::int32_t usable(std::int32_t node, bool parse_special) const;

    std::vector<Node> nodes_ = std::vector<Node>(1);
    std::vector<std::int32_t> lengths_;  // of tokens, falling, each once
    std::size_t reach_ = 0;              // their sum: how far a decision can depend on what follows
};

}  // namespace hearth::model
