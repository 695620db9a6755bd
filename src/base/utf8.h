// UTF-8 by the well-formedness table of Unicode 15, table 3-7: no overlong forms, no surrogates,
// nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace hearth {

// Length (1..4) of the well-formed sequence at the start of text; 0 if there is none.
std::size_t utf8_sequence_length(std::string_view text);

bool is_utf8(std::string_view text);

// How many bytes at the start of text can be shown now: everything but a sequence at the very end
// that is well formed so far and still incomplete (at most 3 bytes).
std::size_t utf8_complete_prefix(std::string_view text);

// The same text with each byte that belongs to no well-formed sequence replaced by U+FFFD.
std::string utf8_repaired(std::string_view text);

// As a terminal may show it: repaired, and control characters (U+0000 to 1F, 7F to 9F), which could
// move its cursor or rename its window, written as \u001b.
std::string utf8_visible(std::string_view text);

// Every byte that is no printable ASCII character as '?': for header values and terminals.
std::string printable_ascii(std::string_view text);

// Code point of the well-formed sequence at text[at]; advances at. Requires: well-formed text.
char32_t utf8_next(std::string_view text, std::size_t& at);
void append_utf8(std::string& out, char32_t code_point);

}  // namespace hearth
