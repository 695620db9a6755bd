// Check digits of payment cards, bank accounts and national numbers.
//
// All take the digits as a string_view of '0'..'9' (letters where said) without separators; the
// check digit is part of it. Each catches every single wrong digit; tests try them all.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace hearth::route {

bool luhn_holds(std::string_view digits);      // ISO/IEC 7812-1
bool verhoeff_holds(std::string_view digits);  // Verhoeff 1969, dihedral group D5

// ISO/IEC 7064 MOD 97-10 over digits and letters (A is 10 … Z is 35), 1 where it holds.
int mod_97(std::string_view text);
// The number modulo m.
int mod_of(std::string_view digits, int m);
// Σ digit · weight.
int weighted_sum(std::string_view digits, std::span<const std::uint8_t> weights);
// ISO/IEC 7064 MOD 11,10.
bool mod_11_10_holds(std::string_view digits);

bool iban_holds(std::string_view iban);  // compact, upper case: length of its country and mod 97
// Its country's length; 0 for letters that are no country of the registry.
int iban_length(char first, char second);

}  // namespace hearth::route
