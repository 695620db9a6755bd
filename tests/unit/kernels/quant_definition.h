// What the bits of quantized blocks mean, weight by weight in f64, written from the layouts alone:
//
//   w = product - minimum
//
// in exact arithmetic (scales have 11 bits, 6- and 8-bit integers and a weight of at most 8: no
// product here exceeds the 53 bits of f64).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "unit/kernels/kernels_support.h"

namespace hearth::test {

struct Definition {
    double product = 0, minimum = 0;
    double value() const { return product - minimum; }
};

// IEEE 754 binary16 (clause 3.4).
inline double defined_half(const std::uint8_t* p) {
    const int h = p[0] | p[1] << 8, exponent = h >> 10 & 31, fraction = h & 1023;
    const double sign = h >> 15 ? -1.0 : 1.0;
    if (exponent == 31) return fraction ? std::nan("") : sign * HUGE_VAL;
    return exponent == 0 ? sign * std::ldexp(fraction, -24)
                         : sign * std::ldexp(1024 + fraction, exponent - 25);
}

inline int bit_of(const std::uint8_t* p, int i) {
    return p[i / 8] >> i % 8 & 1;
}
inline int nibble_of(const std::uint8_t* p, int byte, bool high) {
    return high ? p[byte] / 16 : p[byte] % 16;
}

// Blocks of 32: [scale f16][minimum f16, if any][fifth bits, if any][16 bytes of nibbles].
inline Definition defined_32(const std::uint8_t* block, int i, bool min, bool fifth) {
    const std::uint8_t* bits = block + (min ? 4 : 2);
    int q = nibble_of(bits + (fifth ? 4 : 0), i % 16, i >= 16);
    if (fifth) q += 16 * bit_of(bits, i);
    if (!min) q -= fifth ? 16 : 8;
    return {defined_half(block) * q, min ? -defined_half(block + 2) : 0.0};
}

// The 12 bytes of 6-bit numbers as 8 pairs: the first four of each kind are whole bytes' low six
// bits; the last four have their low four bits in the last word and their high two on top of the
// first four.
inline int six_bits(const std::uint8_t* packed, int i, bool min) {
    const std::uint8_t* own = packed + (min ? 4 : 0);
    if (i < 4) return own[i] % 64;
    return nibble_of(packed + 8, i - 4, min) + 16 * (own[i - 4] / 64);
}
inline Definition defined_k(const std::uint8_t* block, int i, bool fifth) {
    const int sub = i / 32;
    const std::uint8_t* nibbles = block + (fifth ? 48 : 16);
    int q = nibble_of(nibbles, 32 * (sub / 2) + i % 32, sub % 2 == 1);
    if (fifth) q += 16 * bit_of(block + 16 + i % 32, sub);
    return {defined_half(block) * six_bits(block + 4, sub, false) * q,
            defined_half(block + 2) * six_bits(block + 4, sub, true)};
}

inline Definition defined_q6_k(const std::uint8_t* block, int i) {
    const int half = i / 128, quarter = i % 128 / 32, j = i % 32;
    const int low = nibble_of(block, 64 * half + 32 * (quarter % 2) + j, quarter >= 2);
    const std::uint8_t* upper = block + 128 + 32 * half + j;
    const int high = bit_of(upper, 2 * quarter) + 2 * bit_of(upper, 2 * quarter + 1);
    const int scale = static_cast<std::int8_t>(block[192 + i / 16]);
    return {defined_half(block + 208) * scale * (low + 16 * high - 32), 0.0};
}

inline Definition defined_weight(const hearth_format& format, const std::uint8_t* block, int i) {
    switch (format.gguf_type) {
        case 2:
            return defined_32(block, i, false, false);
        case 3:
            return defined_32(block, i, true, false);
        case 6:
            return defined_32(block, i, false, true);
        case 7:
            return defined_32(block, i, true, true);
        case 8:
            return {defined_half(block) * static_cast<std::int8_t>(block[2 + i]), 0.0};
        case 12:
            return defined_k(block, i, false);
        case 13:
            return defined_k(block, i, true);
        case 14:
            return defined_q6_k(block, i);
    }
    ADD_FAILURE() << format.name << " has no definition";
    return {};
}

inline bool is_quantized(const hearth_format& format) {
    return format.block > 1;
}

// Formats of blocks, that is with act_q8 activations.
inline std::vector<const hearth_format*> quantized_formats(const hearth_kernels& table) {
    std::vector<const hearth_format*> out;
    for (const hearth_format* format : formats_of(table))
        if (is_quantized(*format)) out.push_back(format);
    return out;
}

// A row of k weights.
inline std::vector<Definition> defined_row(const hearth_format& format, const std::uint8_t* row,
                                           std::int64_t k) {
    std::vector<Definition> out;
    for (std::int64_t i = 0; i < k; ++i)
        out.push_back(defined_weight(format, row + i / format.block * format.block_bytes,
                                     int(i % format.block)));
    return out;
}

}  // namespace hearth::test
