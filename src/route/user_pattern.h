// UserPattern: a small regular expression that is matched in linear time.
//
//   x          the byte itself; \ before . [ ] ( ) { } ? * + | \ / - makes it literal
//   . \d \w \s any byte but a newline; digits; letters, digits and _; space, tab, newline
//   [a-z0-9_]  one of these; [^…] any other byte but a newline
//   (…)  a|b   groups, alternatives
//   ? * + {n} {n,} {n,m}   repeats
//
// No anchors, back references or look-around. Letters match their own case. A match begins and ends
// on a word's edge: no letter or digit goes on where it has one itself. The leftmost match is
// found, and of those the longest.
//
// The expression becomes places (one per class, repeats written out) and the edges between them
// (Glushkov's automaton); a scan carries for each place the earliest start that reaches it, so that
// no text makes it slower than n_edges steps per byte.
// Source: Glushkov 1961; Thompson 1968.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hearth::route {

class UserPattern {
  public:
    // Errors: invalid_request: what is wrong, and at which byte of the pattern.
    static Result<UserPattern> parse(std::string_view pattern);

    // Calls found(start, end) for each match, left to right, none overlapping; stops when it
    // returns false.
    void scan(std::string_view text,
              const std::function<bool(std::size_t start, std::size_t end)>& found) const;

  private:
    using Bytes = std::bitset<256>;
    using Places = std::vector<std::uint16_t>;
    struct Part {  // of the expression: what it may begin and end with, and whether it may be empty
        Places first, last;
        bool may_be_empty = false;
    };
    struct Parser;

    std::vector<Bytes> bytes_;    // by place
    std::vector<Places> follow_;  // by place
    Places first_;
    std::vector<std::uint8_t> accepts_;  // by place
    Bytes begins_;                       // bytes that a match may begin with
};

}  // namespace hearth::route
