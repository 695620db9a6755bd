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
    // The fewest digits that a row asks for before its first letter, and bytes of the token that
    // another begins with; most chains and tokens have fewer.
    static constexpr std::size_t kDigitsMin = 6, kTokenBytesMin = 4;

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
            if (shape[n] == 'A') throw "where the first digits or letters end must be known";
            (first == 'd' ? by_digits_ : by_letters_)[n] |= std::uint64_t(1) << r;
            for (std::size_t second = 0; second < kBeginMax; ++second)
                if (may_go_on(shape + n, second)) by_second_[second] |= std::uint64_t(1) << r;
            for (std::size_t left = digits_of(shape); left < kBeginMax; ++left)
                by_left_[left] |= std::uint64_t(1) << r;
            for (std::size_t next = 0; next < kNextKinds; ++next)
                if (shape[n] == '\0' ? next != kLetter
                                     : next == next_of(shape[n] == 'd' ? '0' : shape[n]))
                    by_next_[next] |= std::uint64_t(1) << r;
        }
    }

    // Reports what the rows find at the chain's groups and at letters a blank before it, or at the
    // token's start.
    void find(Scan& scan, const Chain& chain) const;
    void find(Scan& scan, std::size_t token) const;

  private:
    // What follows a shape's first digits or letters, in a shape and in a text. A shape that ends
    // there asks for no letter; its other edges are looked at later.
    enum Next : std::uint8_t { kLetter, kDigit, kSpace, kDash, kDot, kSlash, kPlus, kOther };
    static constexpr std::size_t kNextKinds = kOther + 1;
    static constexpr Next next_of(char c) {
        if (is_digit(c)) return kDigit;
        if (is_alpha(c)) return kLetter;
        switch (c) {
            case ' ':
            case '\xC2':  // a no-break space
                return kSpace;
            case '-':
            case '\xE2':  // a hyphen or a dash
                return kDash;
            case '.':
                return kDot;
            case '/':
                return kSlash;
            case '+':
                return kPlus;
            default:
                return kOther;
        }
    }

    // The rest of a shape may be that of a chain whose next group has so many digits, 0 for none.
    static constexpr bool may_go_on(const char* rest, std::size_t digits) {
        if (rest[0] == '\0' || rest[0] == '+' || rest[1] != 'd') return true;
        std::size_t n = 1;
        while (rest[n + 1] == 'd') ++n;
        return rest[n + 1] == 'A' ? digits >= n : digits == n;
    }

    // The digits that a shape asks for before a letter, or a '+', which no chain goes on over.
    static constexpr std::size_t digits_of(const char* shape) {
        std::size_t n = 0;
        for (; *shape && *shape != 'L' && *shape != 'A' && *shape != '+'; ++shape)
            n += *shape == 'd';
        return n;
    }

    // "AB 12 34 56 C", "X-1234567-L": with a blank or a hyphen between them letters and digits are
    // no token of their own.
    void find_behind_letters(Scan& scan, std::size_t digits) const;

    // The rows that begin as the text does up to `behind`.
    void try_rows(Scan& scan, std::size_t start, std::size_t behind, std::uint64_t rows) const;

    std::span<const NationalId> rows_;
    std::array<std::uint64_t, kBeginMax> by_digits_{}, by_letters_{}, by_second_{}, by_left_{};
    std::array<std::uint64_t, kNextKinds> by_next_{};
};

// Two digits each, or four of the year; a day of the calendar.
bool is_date(std::string_view year, std::string_view month, std::string_view day);

}  // namespace hearth::route
