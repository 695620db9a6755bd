#include "route/national_id.h"

#include <algorithm>
#include <bit>

namespace hearth::route {
namespace {

constexpr std::size_t kCompactMax = 24;
constexpr std::size_t kContextBytes = 80;

struct Compact {
    char text[kCompactMax];
    std::size_t n = 0;
};

// A hyphen or a dash of three bytes: U+2010 to U+2014.
bool is_hyphen(const Scan& scan, std::size_t i) {
    return scan.at(i) == '\xE2' && scan.at(i + 1) == '\x80' && scan.at(i + 2) >= '\x90' &&
           scan.at(i + 2) <= '\x94';
}

// Where the shape that begins at start ends; 0 where the text is not of it.
std::size_t match(const Scan& scan, std::size_t start, const char* shape, Compact& out) {
    std::size_t i = start;
    out.n = 0;
    for (const char* s = shape; *s; ++s, ++i) {
        const char c = scan.at(i);
        const bool fits = *s == 'd'   ? is_digit(c)
                          : *s == 'L' ? is_alpha(c)
                          : *s == 'A' ? is_alnum(c)
                                      : c == *s;
        if (fits) {
            if (*s == 'd' || *s == 'L' || *s == 'A')
                out.text[out.n++] = is_lower(c) ? char(c - 32) : c;
            continue;
        }
        if (*s == ' ' && c == '\xC2' && scan.at(i + 1) == '\xA0')
            ++i;
        else if (*s == '-' && is_hyphen(scan, i))
            i += 2;
        else
            return 0;
    }
    return i;
}

// No part of a longer number or name begins before start, or goes on at end.
bool free_before(const Scan& scan, std::size_t start) {
    const char left = scan.before(start);
    if (is_word(left)) return scan.unspaced_before(start);
    return (left != '-' && left != '.' && left != '/' && left != '+') || start < 2 ||
           !is_alnum(scan.at(start - 2));
}
bool free_behind(const Scan& scan, std::size_t end) {
    const char right = scan.at(end), next = scan.at(end + 1);
    if (is_word(right)) return Scan::is_unspaced(right);
    if ((right == '-' || right == '/') && is_alnum(next)) return false;
    return right != '.' || !is_digit(next);
}

// One of a row of groups of the same length, as in a table of numbers.
bool in_a_table(const Scan& scan, std::size_t start, std::size_t end, const char* shape) {
    const std::string_view places = shape;
    const std::size_t first = std::min(places.find_first_not_of('d'), places.size());
    const std::size_t last = places.size() - 1 - places.find_last_not_of('d');
    if (first == places.size() || first == 0 || last == 0) return false;
    // Hexadecimal tables are some; a neighbour without a digit is a word.
    std::size_t before = 0, behind = 0;
    bool digit_before = false, digit_behind = false;
    if (scan.before(start) == places[first])
        for (; before < 24 && start >= 2 + before && is_hex(scan.at(start - 2 - before)); ++before)
            digit_before |= is_digit(scan.at(start - 2 - before));
    if (scan.at(end) == places[first])
        for (; behind < 24 && is_hex(scan.at(end + 1 + behind)); ++behind)
            digit_behind |= is_digit(scan.at(end + 1 + behind));
    return (before == first && digit_before) || (behind == last && digit_behind);
}

void try_row(Scan& scan, std::size_t start, const NationalId& row) {
    Compact compact;
    const std::size_t end = match(scan, start, row.shape, compact);
    if (end == 0 || !free_behind(scan, end)) return;
    const auto named = [&] { return scan.around(row.group, start, end, kContextBytes); };
    if ((!row.alone || in_a_table(scan, start, end, row.shape)) && !named()) return;
    if (row.holds && !row.holds({compact.text, compact.n})) return;
    scan.add(start, end, row.entity, Sensitivity::restricted, named() ? 0.95 : 0.7);
}

}  // namespace

void NationalIds::try_rows(Scan& scan, std::size_t start, std::size_t behind,
                           std::uint64_t rows) const {
    rows &= by_next_[next_of(scan.at(behind))];
    if (rows == 0 || !free_before(scan, start)) return;
    for (; rows != 0; rows &= rows - 1)
        try_row(scan, start, rows_[std::size_t(std::countr_zero(rows))]);
}

void NationalIds::find(Scan& scan, const Chain& chain) const {
    if (chain.digits < kDigitsMin) return;
    std::size_t left = chain.digits;  // from the group g on
    for (std::size_t g = 0; g < chain.n; left -= chain.groups[g].n, ++g) {
        const std::size_t n = chain.groups[g].n;
        if (n >= kBeginMax) continue;
        const std::size_t second =
            g + 1 < chain.n ? std::min(chain.groups[g + 1].n, kBeginMax - 1) : 0;
        const std::uint64_t rows =
            by_digits_[n] & by_second_[second] & by_left_[std::min(left, kBeginMax - 1)];
        if (rows != 0) try_rows(scan, chain.groups[g].start, chain.groups[g].end(), rows);
    }
    find_behind_letters(scan, chain.groups[0].start);
}

void NationalIds::find_behind_letters(Scan& scan, std::size_t digits) const {
    const char gap = scan.before(digits);
    if (gap != ' ' && gap != '-') return;
    const std::size_t end = digits - 1;
    std::size_t n = 0;
    while (n < kBeginMax && n < end && is_alpha(scan.at(end - n - 1))) ++n;
    if (n > 0 && n < kBeginMax) try_rows(scan, end - n, end, by_letters_[n]);
}

void NationalIds::find(Scan& scan, std::size_t token) const {
    std::size_t n = 0;
    if (is_digit(scan.at(token))) {  // as an MBI does; chains of more digits were looked at
        while (n < kDigitsMin && is_digit(scan.at(token + n))) ++n;
        if (n == kDigitsMin) return;
        try_rows(scan, token, token + n, by_digits_[n]);
        return find_behind_letters(scan, token);
    }
    while (n < kBeginMax && is_alpha(scan.at(token + n))) ++n;
    if (n < kBeginMax) try_rows(scan, token, token + n, by_letters_[n]);
}

bool is_date(std::string_view year, std::string_view month, std::string_view day) {
    const auto number = [](std::string_view digits) {
        int value = 0;
        for (const char c : digits) value = value * 10 + (c - '0');
        return value;
    };
    constexpr int kDays[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const int m = number(month), d = number(day);
    if (m < 1 || m > 12 || d < 1 || d > kDays[m - 1]) return false;
    return year.size() != 4 || (number(year) >= 1850 && number(year) <= 2100);
}

}  // namespace hearth::route
