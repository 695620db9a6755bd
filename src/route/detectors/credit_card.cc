// credit_card: payment card numbers of the issuers' prefixes and lengths whose Luhn digit holds.
//
//   groups   one run of digits; or fours with a short last one, 4-6-5 and 4-6-4, with the
//            same blanks or hyphens between all of them, or beside a card's word dots or slashes.
//            Fours in a longer row of fours are a table's, not a card's
//   context  "card", "visa", …: raises the confidence; needed for numbers of 12, 13 and 17 to 19
//            digits, where a prefix of one or two digits and a check digit prove little. With it a
//            number of any prefix counts: issuers' ranges grow
//
// Source: ISO/IEC 7812-1; the issuers' published ranges.
#include <array>

#include "route/checksums.h"
#include "route/detector.h"

namespace hearth::route {
namespace {

constexpr const char* kEntities[] = {"credit_card"};
constexpr std::size_t kDigitsMax = 19;
constexpr Keyword kKeywords[] = {
    {"card"},
    {"cards"},
    {"cc"},
    {"credit"},
    {"debit"},
    {"visa"},
    {"mastercard"},
    {"maestro"},
    {"amex"},
    {"american"},
    {"discover"},
    {"diners"},
    {"jcb"},
    {"unionpay"},
    {"payment"},
    {"pan"},
    {"carte"},
    {"tarjeta"},
    {"karte"},
    {"kreditkarte"},
    {"carta"},
    {"cartão"},
    {"kort"},
    {"karta"},
    {"cvv"},
    {"cvc"},
    {"expires"},
    {"expiry"},
    {"cardnumber"},
    {"card_number"},
    {"creditcard"},
    {"credit_card"},
    {"ccnum"},
    {"ccn"},
    {"bancaire"},
    {"карты"},
    {"карта"},
    {"картой"},
    {"卡号", 0, true},
    {"信用卡", 0, true},
    {"カード", 0, true},
};

int number(std::string_view digits, std::size_t n) {
    int value = 0;
    for (std::size_t i = 0; i < n; ++i) value = value * 10 + (digits[i] - '0');
    return value;
}

struct Issuer {
    int low, high;          // of the first digits
    std::size_t prefix;     // how many these are
    std::uint32_t lengths;  // bit n: n digits
};
constexpr std::uint32_t bits(int low, int high) {
    return (2u << high) - (1u << low);
}
// clang-format off
constexpr Issuer kIssuers[] = {
    {4, 4, 1, 1u << 13 | 1u << 16 | 1u << 19},                      // Visa
    {51, 55, 2, 1u << 16}, {2221, 2720, 4, 1u << 16},               // Mastercard
    {34, 34, 2, 1u << 15}, {37, 37, 2, 1u << 15},                   // American Express
    {6011, 6011, 4, bits(16, 19)}, {644, 649, 3, bits(16, 19)}, {65, 65, 2, bits(16, 19)},
    {300, 305, 3, bits(14, 19)}, {309, 309, 3, bits(14, 19)},       // Diners Club
    {36, 36, 2, bits(14, 19)}, {38, 39, 2, bits(14, 19)},
    {3528, 3589, 4, bits(16, 19)},                                  // JCB
    {1800, 1800, 4, 1u << 15}, {2131, 2131, 4, 1u << 15},           // JCB, older
    {62, 62, 2, bits(16, 19)}, {81, 81, 2, bits(16, 19)},           // UnionPay
    {50, 50, 2, bits(12, 19)}, {56, 58, 2, bits(12, 19)},           // Maestro
    {60, 60, 2, bits(12, 19)}, {61, 61, 2, bits(12, 19)}, {63, 63, 2, bits(12, 19)},
    {66, 69, 2, bits(12, 19)},
    {2200, 2204, 4, bits(16, 19)},                                  // Mir
    {9792, 9792, 4, 1u << 16},                                      // Troy
};
// clang-format on

bool of_an_issuer(std::string_view digits) {
    for (const Issuer& issuer : kIssuers) {
        const int first = number(digits, issuer.prefix);
        if (first >= issuer.low && first <= issuer.high && issuer.lengths >> digits.size() & 1)
            return true;
    }
    return false;
}

// What stands between the groups g and g + 1.
std::string_view gap(const Scan& scan, const Chain& chain, std::size_t g) {
    const std::size_t end = chain.groups[g].end();
    return scan.text.substr(end, chain.groups[g + 1].start - end);
}

// Groups [from, from + n) are cut as cards are printed, all with the same between them.
bool cut_as_a_card(const Scan& scan, const Chain& chain, std::size_t from, std::size_t n) {
    if (n == 1) return true;
    const auto size = [&](std::size_t g) { return chain.groups[from + g].n; };
    for (std::size_t g = 1; g + 1 < n; ++g)
        if (gap(scan, chain, from + g) != gap(scan, chain, from)) return false;
    if (size(0) != 4) return false;
    if (n == 3 && size(1) == 6) return size(2) == 5 || size(2) == 4;
    for (std::size_t g = 1; g + 1 < n; ++g)
        if (size(g) != 4) return false;
    return n >= 4 && size(n - 1) <= 4;
}

bool plain_gap(std::string_view gap) {
    return gap.find_first_of("./()") == gap.npos;
}

// The groups [from, from + n) stand in a row of six fours or more that is not cards alone.
bool in_a_table(const Scan& scan, const Chain& chain, std::size_t from, std::size_t n) {
    if (n != 4 || chain.n < 6) return false;
    const auto joined = [&](std::size_t g) {  // g and g + 1 are fours of one row
        return chain.groups[g].n == 4 && chain.groups[g + 1].n == 4 &&
               gap(scan, chain, g) == gap(scan, chain, from);
    };
    std::size_t first = from, last = from + n - 1;
    while (first > 0 && joined(first - 1)) --first;
    while (last + 1 < chain.n && joined(last)) ++last;
    if (last - first + 1 < 6) return false;
    if ((last - first + 1) % 4 != 0 || (from - first) % 4 != 0) return true;
    for (std::size_t g = first; g < last; g += 4) {
        std::array<char, 16> digits;
        for (std::size_t k = 0; k < digits.size(); ++k)
            digits[k] = scan.text[chain.groups[g + k / 4].start + k % 4];
        if (!luhn_holds({digits.data(), digits.size()})) return true;
    }
    return false;
}

bool all_alike(std::string_view digits) {
    return digits.find_first_not_of(digits[0]) == digits.npos;
}

void on_chain(Scan& scan, const Chain& chain) {
    for (std::size_t from = 0; from < chain.n; ++from) {
        if (chain.groups[from].n < 4) continue;  // no card begins with a shorter group
        std::array<char, kDigitsMax> bytes;
        std::size_t n_digits = 0;
        for (std::size_t n = 1; n <= 5 && from + n <= chain.n; ++n) {
            const Chain::Group& last = chain.groups[from + n - 1];
            if (n_digits + last.n > kDigitsMax) break;
            for (std::size_t i = 0; i < last.n; ++i) bytes[n_digits++] = scan.text[last.start + i];
            const std::string_view digits(bytes.data(), n_digits);
            if (digits.size() < 12 || all_alike(digits)) continue;
            if (chain.glued && from + n == chain.n) continue;
            if (!cut_as_a_card(scan, chain, from, n)) continue;
            if (!luhn_holds(digits)) continue;
            const std::size_t start = chain.groups[from].start;
            // A decimal's digits are no card: "0.4111111111111111".
            if (scan.before(start) == '.' && is_digit(scan.at(start - 2))) continue;
            if (scan.at(last.end()) == '.' && is_digit(scan.at(last.end() + 1))) continue;
            const bool context = scan.around(0, start, last.end(), 64);
            if (!context && n > 1 &&
                (!plain_gap(gap(scan, chain, from)) || in_a_table(scan, chain, from, n)))
                continue;
            const bool known = of_an_issuer(digits);
            const bool weak = n == 1 && (digits.size() < 14 || digits.size() > 16);
            if ((weak || !known) && !context) continue;
            scan.add(start, last.end(), "credit_card", Sensitivity::restricted,
                     !known    ? 0.7
                     : context ? 1.0
                               : 0.8);
        }
    }
}

}  // namespace

extern const Detector detector_credit_card;
const Detector detector_credit_card = {.name = "credit_card",
                                       .entities = kEntities,
                                       .keywords = kKeywords,
                                       .on_chain = on_chain,
                                       .chain_digits_min = 12};

}  // namespace hearth::route
