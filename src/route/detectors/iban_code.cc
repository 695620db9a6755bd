// iban_code: a country of the registry, its length, ISO 7064 MOD 97-10.
//
// Written compactly or in groups with a separator or two spaces between them, perhaps glued to the
// word "IBAN"; all in one case. The check digits and the length prove enough: no context is needed.
//
// Source: ISO 13616-1; the SWIFT IBAN registry.
#include <string>

#include "route/checksums.h"
#include "route/detector.h"

namespace hearth::route {
namespace {

constexpr const char* kEntities[] = {"iban_code"};
constexpr Keyword kKeywords[] = {{"iban"}, {"account"}, {"bank"}, {"transfer"}, {"konto"}};

// How many bytes a separator between groups takes at i.
std::size_t gap(const Scan& scan, std::size_t i) {
    if (scan.at(i) == ' ') return scan.at(i + 1) == ' ' ? 2 : 1;
    if (scan.at(i) == '-' || scan.at(i) == '.' || scan.at(i) == '/') return 1;
    return scan.at(i) == '\xC2' && scan.at(i + 1) == '\xA0' ? 2 : 0;
}

void on_token(Scan& scan, std::size_t start, std::size_t) {
    if (scan.is_here(start, "iban")) start += scan.at(start + 4) == '_' ? 5 : 4;
    const auto letter = [&](std::size_t i) { return char(scan.at(i) & ~0x20); };
    if (!is_alpha(scan.at(start)) || !is_alpha(scan.at(start + 1))) return;
    if (!is_digit(scan.at(start + 2)) || !is_digit(scan.at(start + 3))) return;
    const int length = iban_length(letter(start), letter(start + 1));
    if (length == 0) return;
    const bool small = is_lower(scan.at(start));
    std::string iban;
    std::size_t i = start;
    while (int(iban.size()) < length) {
        const char c = scan.at(i);
        if (is_digit(c) || (small ? is_lower(c) : is_upper(c))) {
            iban.push_back(is_digit(c) ? c : letter(i));
            ++i;
        } else if (const std::size_t bytes = gap(scan, i);
                   bytes > 0 && is_alnum(scan.at(i + bytes))) {
            i += bytes;
        } else {
            return;
        }
    }
    if (is_word(scan.at(i)) || !iban_holds(iban)) return;
    scan.add(start, i, "iban_code", Sensitivity::restricted,
             scan.around(0, start, i, 64) ? 1.0 : 0.9);
}

}  // namespace

extern const Detector detector_iban_code;
const Detector detector_iban_code = {.name = "iban_code",
                                     .entities = kEntities,
                                     .keywords = kKeywords,
                                     .on_token = on_token,
                                     .token_bytes_min = 4};

}  // namespace hearth::route
