#include "route/street_parts.h"

#include "route/street_words.h"

namespace hearth::route {

Word word_before(const Scan& scan, std::size_t at) {
    std::size_t end = at;
    if (scan.before(end) != ' ') return {};
    --end;
    if (scan.before(end) == '.') --end;
    std::size_t start = end;
    while (start > 0 && end - start < 40 &&
           (letter(scan.at(start - 1)) || scan.at(start - 1) == '-'))
        --start;
    return {start, end};
}

Word word_after(const Scan& scan, std::size_t at) {
    std::size_t start = at;
    if (scan.at(start) == '.') ++start;
    if (scan.at(start) != ' ') return {};
    ++start;
    std::size_t end = start;
    while (end - start < 40 && (letter(scan.at(end)) || is_digit(scan.at(end)) ||
                                scan.at(end) == '-' || scan.at(end) == '/'))
        ++end;
    return {start, end};
}

bool weak_ending(std::string_view word) {
    for (const std::string_view ending : kWeakEndings)
        if (word.ends_with(ending) && word != ending)
            return !word.ends_with("ntie") || word == "auntie";  // Finnish: Puru-n-tie
    return false;
}

bool street_ending(std::string_view word) {
    return kEndings.any(word, [&](std::string_view ending) {
        return word.size() > ending.size() + 1 ? word.ends_with(ending) && ending.size() >= 3
                                               : word == ending;
    });
}

std::size_t flat_at(const Scan& scan, std::size_t i) {
    static constexpr std::string_view kFlats[] = {"apartment", "apt",   "suite", "ste",
                                                  "unit",      "flat",  "box",   "p.o. box",
                                                  "po box",    "floor", "piso"};
    if (!std::string_view("asufbpASUFBP").contains(scan.at(i))) return 0;
    for (const std::string_view word : kFlats) {
        if (!scan.is_here(i, word)) continue;
        std::size_t k = i + word.size();
        if (scan.at(k) == '.') ++k;
        if (scan.at(k) != ' ' && scan.at(k) != '#') continue;
        while (scan.at(k) == ' ' || scan.at(k) == '#') ++k;
        const std::size_t from = k;
        while (k - from < 6 && is_alnum(scan.at(k))) ++k;
        bool digit = false;
        for (std::size_t d = from; d < k; ++d) digit |= is_digit(scan.at(d));
        if (digit && !is_word(scan.at(k))) return k;
    }
    return 0;
}

std::size_t postcode_at(const Scan& scan, std::size_t i) {
    std::size_t k = i, digits = 0;
    while (is_alnum(scan.at(k)) && k - i < 7) digits += is_digit(scan.at(k)), ++k;
    if (digits == 0 || is_word(scan.at(k))) return 0;
    const std::size_t first = k - i;
    if (digits < first && (first < 2 || first > 7 || !is_upper(scan.at(i)))) return 0;
    if ((scan.at(k) == ' ' || scan.at(k) == '-') && is_alnum(scan.at(k + 1))) {
        std::size_t second = k + 1;
        while (is_alnum(scan.at(second)) && second - k < 6) ++second;
        bool plain = true, digit = false;
        for (std::size_t d = k + 1; d < second; ++d)
            plain &= is_digit(scan.at(d)) || is_upper(scan.at(d)), digit |= is_digit(scan.at(d));
        const std::size_t n = second - k - 1;
        const bool more =
            (scan.at(second) == ' ' || scan.at(second) == '-') && is_digit(scan.at(second + 1));
        if (more && digit) return 0;  // a telephone number
        if (plain && n <= 4 && first + n >= 5 && !is_word(scan.at(second)) &&
            (digit || digits == 4))
            return second;
    }
    return digits == first && first >= 3 && first <= 6 ? k : digits < first && first >= 5 ? k : 0;
}

std::size_t address_end(const Scan& scan, std::size_t end) {
    std::size_t last = end, i = end;
    int unsure = 0;
    for (int piece = 0; piece < 14; ++piece) {
        std::size_t k = i;
        int newlines = 0;
        bool comma = false;
        if (scan.at(k) == '.' &&
            (scan.at(k + 1) == ' ' || scan.at(k + 1) == '\n' || scan.at(k + 1) == ',') &&
            piece == 0)
            ++k;
        for (; k - i < 12; ++k) {
            const char c = scan.at(k);
            if (c == '\n') {
                if (++newlines > 2) return last;
            } else if (c == ',') {
                comma = true;
            } else if (c != ' ' && c != '\t' && c != '\r' &&
                       !((c == '>' || c == '?' || c == '|') && newlines > 0)) {
                break;
            }
        }
        if (k == i) return last;
        if (const std::size_t flat = flat_at(scan, k)) {
            last = i = flat, unsure = 0;
            continue;
        }
        if (is_digit(scan.at(k)) || (is_upper(scan.at(k)) && is_alnum(scan.at(k + 1)))) {
            if (const std::size_t code = postcode_at(scan, k)) {
                last = i = code, unsure = 0;
                continue;
            }
            if (is_digit(scan.at(k))) return last;
        }
        if (!letter(scan.at(k)) && scan.at(k) != '(') return last;
        std::size_t w = k + (scan.at(k) == '(');
        while (w - k < 32 && (letter(scan.at(w)) || scan.at(w) == '-' || scan.at(w) == '.')) ++w;
        if (scan.at(w) == ':' || scan.at(w) == '@' || scan.at(w) == '_') return last;
        if (scan.at(w) == ')') ++w;
        const bool name = capital(scan, k) || scan.at(k) == '(' || newlines > 0 || comma ||
                          scan.is_here(k, "nan");
        if (!name && unsure == 0) return last;
        if (++unsure > 6) return last;
        i = w;
        if ((comma || newlines == 1) && capital(scan, k) && unsure <= 2) last = w;
    }
    return last;
}

}  // namespace hearth::route
