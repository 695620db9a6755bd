// SpecialSplit: cuts a text at the texts of special tokens, before any merging.
//
// User-defined tokens always match. Control and unknown tokens match where parse_special asks for
// it. Where matches overlap the longest wins wherever it stands, then the leftmost: so a long token
// is never broken by a short one that begins earlier. What is between matches is plain text.
//
// A trie of the special texts gives each place in the text its longest match; shorter ones hang on
// it as a chain of prefixes. Lengths are then handed out from the longest down. Time is n times the
// number of different lengths, which is a constant of the file (at most 60 in known ones).
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
    // Requires: text is not empty and at most kSpecialBytesMax long.
    void add(std::string_view text, std::int32_t token, bool user_defined);
    // Once, after the last add().
    void finish();
    // Adds to n_steps, if given, how many places and matches were looked at.
    std::vector<Part> split(std::string_view text, bool parse_special,
                            std::int64_t* n_steps = nullptr) const;

  private:
    struct Node {
        std::vector<std::pair<char, std::int32_t>> next;
        std::int32_t token = -1;
        std::int32_t length = 0;
        std::int32_t parent = -1;   // has a smaller index, always
        std::int32_t shorter = -1;  // nearest node above that ends a token; set by finish()
        bool user_defined = false;
    };
    struct Match {
        std::size_t at = 0;
        std::int32_t node = -1;
    };
    std::int32_t child(std::int32_t node, char c) const;
    std::int32_t usable(std::int32_t node, bool parse_special) const;
    std::vector<Match> longest_matches(std::string_view text, bool parse_special,
                                       std::int64_t& steps) const;

    std::vector<Node> nodes_ = std::vector<Node>(1);
    std::vector<std::int32_t> lengths_;  // of tokens, falling, each once
};

}  // namespace hearth::model
