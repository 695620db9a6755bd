#include "route/checksums.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace hearth::route {

bool luhn_holds(std::string_view digits) {
    int sum = 0;
    for (std::size_t i = 0; i < digits.size(); ++i) {
        int d = digits[digits.size() - 1 - i] - '0';
        if (i % 2 == 1) d = d < 5 ? 2 * d : 2 * d - 9;
        sum += d;
    }
    return !digits.empty() && sum % 10 == 0;
}

bool verhoeff_holds(std::string_view digits) {
    // The product of D5: rotations are 0..4, reflections 5..9.
    const auto times = [](int a, int b) {
        if (a < 5) return b < 5 ? (a + b) % 5 : 5 + (a + b - 5) % 5;
        return b < 5 ? 5 + (a - 5 - b + 5) % 5 : (a - b + 5) % 5;
    };
    constexpr std::array<int, 10> kPermutation{1, 5, 7, 6, 2, 8, 3, 0, 9, 4};
    int check = 0;
    for (std::size_t i = 0; i < digits.size(); ++i) {
        int d = digits[digits.size() - 1 - i] - '0';
        for (std::size_t k = 0; k < i % 8; ++k) d = kPermutation[std::size_t(d)];
        check = times(check, d);
    }
    return !digits.empty() && check == 0;
}

int mod_97(std::string_view text) {
    int rest = 0;
    for (const char c : text) {
        if (c >= '0' && c <= '9')
            rest = (rest * 10 + (c - '0')) % 97;
        else
            rest = (rest * 100 + (c - 'A' + 10)) % 97;
    }
    return rest;
}

int mod_of(std::string_view digits, int m) {
    int rest = 0;
    for (const char c : digits) rest = (rest * 10 + (c - '0')) % m;
    return rest;
}

int weighted_sum(std::string_view digits, std::span<const std::uint8_t> weights) {
    int sum = 0;
    for (std::size_t i = 0; i < std::min(digits.size(), weights.size()); ++i)
        sum += (digits[i] - '0') * weights[i];
    return sum;
}

bool mod_11_10_holds(std::string_view digits) {
    int product = 10;
    for (std::size_t i = 0; i + 1 < digits.size(); ++i) {
        int sum = (digits[i] - '0' + product) % 10;
        if (sum == 0) sum = 10;
        product = 2 * sum % 11;
    }
    return !digits.empty() && (product + digits.back() - '0') % 10 == 1;
}

// Source: the SWIFT IBAN registry; countries and lengths are facts.
int iban_length(char first, char second) {
    struct Country {
        char code[3];
        std::int8_t n;
    };
    // clang-format off
    static constexpr Country kCountries[] = {
        {"AD", 24}, {"AE", 23}, {"AL", 28}, {"AT", 20}, {"AZ", 28}, {"BA", 20}, {"BE", 16},
        {"BG", 22}, {"BH", 22}, {"BI", 27}, {"BR", 29}, {"BY", 28}, {"CH", 21}, {"CR", 22},
        {"CY", 28}, {"CZ", 24}, {"DE", 22}, {"DJ", 27}, {"DK", 18}, {"DO", 28}, {"EE", 20},
        {"EG", 29}, {"ES", 24}, {"FI", 18}, {"FK", 18}, {"FO", 18}, {"FR", 27}, {"GB", 22},
        {"GE", 22}, {"GI", 23}, {"GL", 18}, {"GR", 27}, {"GT", 28}, {"HN", 28}, {"HR", 21},
        {"HU", 28}, {"IE", 22}, {"IL", 23}, {"IQ", 23}, {"IS", 26}, {"IT", 27}, {"JO", 30},
        {"KW", 30}, {"KZ", 20}, {"LB", 28}, {"LC", 32}, {"LI", 21}, {"LT", 20}, {"LU", 20},
        {"LV", 21}, {"LY", 25}, {"MC", 27}, {"MD", 24}, {"ME", 22}, {"MK", 19}, {"MN", 20},
        {"MR", 27}, {"MT", 31}, {"MU", 30}, {"NI", 28}, {"NL", 18}, {"NO", 15}, {"OM", 23},
        {"PK", 24}, {"PL", 28}, {"PS", 29}, {"PT", 25}, {"QA", 29}, {"RO", 24}, {"RS", 22},
        {"RU", 33}, {"SA", 24}, {"SC", 31}, {"SD", 18}, {"SE", 24}, {"SI", 19}, {"SK", 24},
        {"SM", 27}, {"SO", 23}, {"ST", 25}, {"SV", 28}, {"TL", 23}, {"TN", 24}, {"TR", 26},
        {"UA", 29}, {"VA", 22}, {"VG", 24}, {"XK", 20}, {"YE", 30}};
    // clang-format on
    for (const Country& country : kCountries)
        if (country.code[0] == first && country.code[1] == second) return country.n;
    return 0;
}

bool iban_holds(std::string_view iban) {
    if (iban.size() < 15 || int(iban.size()) != iban_length(iban[0], iban[1])) return false;
    // Check digits are 02 to 98: 00, 01 and 99 are congruent to others and never issued.
    const int check = (iban[2] - '0') * 10 + (iban[3] - '0');
    if (check < 2 || check > 98) return false;
    int rest = mod_97(iban.substr(4));
    for (const char c : iban.substr(0, 4))
        rest = c >= 'A' ? (rest * 100 + (c - 'A' + 10)) % 97 : (rest * 10 + (c - '0')) % 97;
    return rest == 1;
}

}  // namespace hearth::route
