// TextStream: the bytes of tokens → text that can be shown.
//
// Two things hold bytes back. A code point cut between tokens waits for its rest; bytes that cannot
// become UTF-8 are U+FFFD, one for each. Then stop strings: each is matched with its own
// Knuth-Morris-Pratt automaton, whose state is the length of the longest tail of the text that
// begins that stop string. The longest of these tails is held, so no byte of a stop string is ever
// shown.
//
// The stop string that is complete first ends the text; of several complete at the same byte the
// longest. The text ends where it begins. This depends on the bytes alone, not on how they were
// cut.
//
// Invariants: (1) text given out is UTF-8, and given out + held is what came in, repaired.
//             (2) held_.size() == max of states_, once push() returns.
// Source:     Knuth, Morris, Pratt, "Fast pattern matching in strings", SIAM J. Computing 6(2),
// 1977.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hearth::engine {

// Errors: invalid_request for too many, too long, empty, or not UTF-8.
Status check_stops(std::span<const std::string> stops);

class TextStream {
  public:
    // Requires: checked stops.
    explicit TextStream(std::vector<std::string> stops);

    // Appends to out what can be shown after these bytes. True once a stop string is complete; the
    // stop string and what follows are dropped, and nothing may be pushed any more.
    bool push(std::string_view bytes, std::string& out);
    // Appends to out what was held back: no more bytes will come. True when that completed a stop
    // string (one with U+FFFD in it).
    bool finish(std::string& out);

  private:
    bool match(std::string_view text, std::string& out);

    std::vector<std::string> stops_;
    std::vector<std::vector<std::uint32_t>> borders_;  // of each prefix: its longest proper border
    std::vector<std::uint32_t> states_;                // bytes matched of each stop string
    std::string partial_;                              // the start of a code point
    std::string held_;                                 // may begin a stop string
};

}  // namespace hearth::engine
