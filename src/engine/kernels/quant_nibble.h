/* What q4_0, q4_1, q5_0 and q5_1 share: 32 weights as one f16 scale, maybe an f16 minimum, maybe
 * fifth bits, and nibbles.
 *
 *   d      2 bytes     f16 scale
 *   m      2 bytes     f16 minimum, where the format has one
 *   qh     4 bytes     bit j is the fifth bit of weight j (a little-endian word), likewise
 *   qs     16 bytes    low nibble of byte j is weight j, high nibble is weight j + 16
 *
 *   w[j] = d * (q[j] - kOffset)       without a minimum, kOffset = 8, or 16 with fifth bits
 *   w[j] = d * q[j] + m               with one; the product is exact in f32, the sum rounds
 *
 * Encoding without a minimum: d = v / -kOffset with v the weight of largest magnitude (so that v
 * itself is q = 0, exactly -kOffset d), q = whole part of w / d + kOffset + 0.5, at most kMost; the
 * division is by the f32 d. Error of a weight against the f32 scale: half a step, or a whole one at
 * the end that has no q = 2 kOffset; the scale's rounding to f16 adds kOffset times 2^-11 of a
 * step.
 *
 * With one: m = min w, d = (max w - min w) / kMost, q = whole part of (w - m) / d + 0.5, by the f32
 * d and m. Error of a weight: half a step, and the roundings of d and m to f16.
 *
 * Source: the quantizers as ggml's reference describes them.
 */
#ifndef HEARTH_QUANT_NIBBLE_H
#define HEARTH_QUANT_NIBBLE_H

#include "engine/kernels/quant_encode.h"
#include "engine/kernels/quant_panel.h"

namespace {

/* A format of quant_dot.h. */
template <bool Min, bool Fifths>
struct quant_nibble {
    static constexpr int kMost = Fifths ? 31 : 15;
    static constexpr int kAtFifths = Min ? 4 : 2, kAtNibbles = kAtFifths + (Fifths ? 4 : 0);
    static constexpr int kBytes = kAtNibbles + 16, kChunks = 1, kStep = 1, kAtHalf = Min ? -1 : 0;
    static constexpr int kOffset = Min ? 0 : (kMost + 1) / 2;
    static constexpr bool kMin = Min, kHalves = false;
    static constexpr int kReach = Min ? kMost : kOffset, kTogether = kReach <= 16 ? 8 : 4;
    using word = i32x16;
    struct block {};
    template <class Rows>
    static void open(block&, Rows) {}
    template <int, class Rows>
    HEARTH_INLINE static void unpack(block&, int, i32x16* q, f32x16* D, f32x16* M, Rows rows) {
        quant_nibbles(q, rows, kAtNibbles);
        if constexpr (Fifths) quant_fifths(q, rows.word(kAtFifths));
        if constexpr (Min) {
            const i32x16 head = rows.word(0);
            *D = f_of_h(head);
            *M = f_sub(f_zero(), f_of_h(i_shr<16>(head)));
        } else {
            *D = rows.half(0);
        }
    }

    static void decode(float* out, const void* blocks, int64_t n) {
        const uint8_t* p = (const uint8_t*)blocks;
        for (int64_t b = 0; b < n / 32; ++b, p += kBytes, out += 32) {
            const float d = half_at_bytes(p), m = Min ? half_at_bytes(p + 2) : 0.0f;
            uint32_t fifths = 0;
            if (Fifths) __builtin_memcpy(&fifths, p + kAtFifths, 4);
            for (int j = 0; j < 32; ++j) {
                const int nibble = p[kAtNibbles + j % 16] >> (j < 16 ? 0 : 4) & 15;
                out[j] = d * float((nibble | int(fifths >> j & 1) << 4) - kOffset);
                if (Min) out[j] += m;
            }
        }
    }

    static void encode(void* blocks, const float* x, int64_t n) {
        uint8_t* p = (uint8_t*)blocks;
        for (int64_t b = 0; b < n / 32; ++b, p += kBytes, x += 32) {
            float low = 0.0f, high = 0.0f;
            if (Min) range_of(&low, &high, x, 32);
            const float d = Min ? (high - low) / float(kMost) : largest_of(x, 32) / -float(kOffset);
            const float inverse = inverse_of(d);
            uint8_t q[32];
            for (int j = 0; j < 32; ++j)
                q[j] = uint8_t(whole_of((x[j] - low) * inverse, float(kOffset) + 0.5f, kMost));
            put_half(p, d);
            if (Min) put_half(p + 2, low);
            const uint32_t fifths = put_nibbles(p + kAtNibbles, q);
            if (Fifths) __builtin_memcpy(p + kAtFifths, &fifths, 4);
        }
    }
};

template <class Nibble>
constexpr hearth_format nibble_format(const char* name, uint32_t gguf_type) {
    return quant_format<Nibble>(name, gguf_type, Nibble::decode, Nibble::encode);
}

}  // namespace
#endif
