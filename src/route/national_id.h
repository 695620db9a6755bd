// National ids and registration numbers: one table row per way of writing, one matcher.
//
// A row's shape is compared with the text byte by byte: 'd' a digit, 'L' a letter, 'A' either, ' '
// a space or a no-break space, anything else itself. What stands at the 'd', 'L' and 'A', letters
// in upper case, is handed to the row's rule, which knows check digits, dates and ranges.
//
// A number that proves little (nine digits of which one is a check digit) is reported only near a
// word that names it; one that is written in its country's own way, or that holds a date and two
// check digits, stands alone. A reported number is restricted.
#pragma once

#include <string_view>

#include "route/detector.h"

namespace hearth::route {

struct NationalId {
    const char* entity;
    std::uint8_t group;  // of the detector's keywords that name it
    bool alone;          // may stand without them
    const char* shape;
    bool (*holds)(std::string_view compact);
};

// The rows of a detector by how their shapes begin, a bit per row: most groups of digits are of a
// length that no row begins with, and are done after one look.
class NationalIds {
  public:
    static constexpr std::size_t kRowsMax = 64, kBeginMax = 24;
    // The fewest digits that a row asks for before its first letter; most chains have fewer.
    static constexpr std::size_t kDigitsMin = 6;

    // Not compiled where a row is one too many or begins with too many digits or letters.
    consteval explicit NationalIds(std::span<const NationalId> rows) : rows_(rows) {
        if (rows.size() > kRowsMax) throw "too many rows";
        for (std::size_t r = 0; r < rows.size(); ++r) {
            const char* shape = rows[r].shape;
            const char first = shape[0];
            std::size_t n = 0;
            while (shape[n] == first) ++n;
            if ((first != 'd' && first != 'L') || n >= kBeginMax)
                throw "a shape begins with digits or with letters";
            if (first == 'L' && shape[n] == 'A') throw "where the letters end must be known";
            (first == 'd' ? by_digits_ : by_letters_)[n] |= std::uint64_t(1) << r;
        }
    }

    // Reports what the rows find at the chain's groups and at letters a blank before it, or at the
    // token's start.
    void find(Scan& scan, const Chain& chain) const;
    void find(Scan& scan, std::size_t token) const;

  private:
    void try_rows(Scan& scan, std::size_t start, std::uint64_t rows) const;

    std::span<const NationalId> rows_;
    std::array<std::uint64_t, kBeginMax> by_digits_{}, by_letters_{};
};

// Two digits each, or four of the year; a day of the calendar.
bool is_date(std::string_view year, std::string_view month, std::string_view day);

}  // namespace hearth::route
