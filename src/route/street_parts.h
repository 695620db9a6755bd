// What an address is read by: words on both sides of a number, kinds of streets by their endings,
// flats, postcodes, and what else belongs to an address behind its core. All look at the text from
// one place, and no further than some hundred bytes.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>

#include "route/detector.h"

namespace hearth::route {

// A capital, or a letter of Latin, Greek or Cyrillic beyond ASCII; signs such as × and ÷ are none.
inline bool capital(const Scan& scan, std::size_t i) {
    const auto c = (unsigned char)scan.at(i), next = (unsigned char)scan.at(i + 1);
    if (c == 0xC3) return next < 0x9F && next != 0x97;
    return is_upper(char(c)) || (c >= 0xC4 && c <= 0xD4);
}
inline bool letter(char c) {  // 0xC2 and 0xE2 begin signs: °, –, …
    const auto byte = (unsigned char)c;
    return is_alpha(c) || (byte >= 0x80 && byte != 0xC2 && byte != 0xE2) || c == '\'';
}

struct Word {
    std::size_t start = 0, end = 0;
    bool none() const { return start == end; }
};

// A word in small letters; what is longer than any word of the lists is cut.
class Folded {
  public:
    Folded(const Scan& scan, Word w) : n_(std::min(w.end - w.start, bytes_.size())) {
        for (std::size_t i = 0; i < n_; ++i) bytes_[i] = lower(scan.text[w.start + i]);
    }
    operator std::string_view() const { return {bytes_.data(), n_}; }
    bool operator==(std::string_view text) const { return std::string_view(*this) == text; }
    std::size_t size() const { return n_; }

  private:
    std::array<char, 32> bytes_;
    std::size_t n_;
};

// The word that ends before `at`, over one space, and a full stop of an abbreviation.
Word word_before(const Scan& scan, std::size_t at);
// The word behind `at`, over one space; ordinals and hyphens belong to it.
Word word_after(const Scan& scan, std::size_t at);

// Does a word in small letters end as streets do; and does it so where other words do as well?
bool street_ending(std::string_view word);
bool weak_ending(std::string_view word);

// A flat, a box: "Apt. 902", "Suite 510", "Box 8858"; its end, 0 for none.
std::size_t flat_at(const Scan& scan, std::size_t i);
// A postcode: 3 to 6 digits, two groups with a hyphen or space of at most 9; its end, 0 for none.
std::size_t postcode_at(const Scan& scan, std::size_t i);
// Where the address that has a core ending at `end` ends itself.
std::size_t address_end(const Scan& scan, std::size_t end);

}  // namespace hearth::route
