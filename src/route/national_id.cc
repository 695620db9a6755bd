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
        if (*s != ' ' || c != '\xC2' || scan.at(i + 1) != '\xA0') return 0;
        ++i;
    }
    return i;
}

// The span is no part of a longer number or name.
bool stands_free(const Scan& scan, std::size_t start, std::size_t end) {
    const char left = scan.before(start);
    if (is_word(left)) return false;
    if ((left == '-' || left == '.' || left == '/' || left == '+') && start >= 2 &&
        is_alnum(scan.at(start - 2)))
        return false;
    const char right = scan.at(end), next = scan.at(end + 1);
    if (is_word(right)) return false;
    if ((right == '-' || right == '/') && is_alnum(next)) return false;
    return right != '.' || !is_digit(next);
}

void try_row(Scan& scan, std::size_t start, const NationalId& row) {
    Compact compact;
    const std::size_t end = match(scan, start, row.shape, compact);
    if (end == 0 || !stands_free(scan, start, end)) return;
    if (row.holds && !row.holds({compact.text, compact.n})) return;
    const bool named = scan.around(row.group, start, end, kContextBytes);
    if (!named && !row.alone) return;
    scan.add(start, end, row.entity, Sensitivity::restricted, named ? 0.95 : 0.7);
}

}  // namespace

void NationalIds::try_rows(Scan& scan, std::size_t start, std::uint64_t rows) const {
    for (; rows != 0; rows &= rows - 1)
        try_row(scan, start, rows_[std::size_t(std::countr_zero(rows))]);
}

void NationalIds::find(Scan& scan, const Chain& chain) const {
    if (chain.digits < kDigitsMin) return;
    for (std::size_t g = 0; g < chain.n; ++g)
        if (const std::size_t n = chain.groups[g].n; n < kBeginMax)
            try_rows(scan, chain.groups[g].start, by_digits_[n]);
    // "AB 12 34 56 C": letters and digits with a blank between them are no token of their own.
    const std::size_t end = chain.groups[0].start - (chain.groups[0].start > 0 ? 1 : 0);
    if (scan.at(end) != ' ') return;
    std::size_t n = 0;
    while (n < kBeginMax && n < end && is_alpha(scan.at(end - n - 1))) ++n;
    if (n > 0 && n < kBeginMax) try_rows(scan, end - n, by_letters_[n]);
}

void NationalIds::find(Scan& scan, std::size_t token) const {
    std::size_t n = 0;
    while (n < kBeginMax && is_alpha(scan.at(token + n))) ++n;
    if (n < kBeginMax) try_rows(scan, token, by_letters_[n]);
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
