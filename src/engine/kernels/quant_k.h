/* What q4_k and q5_k share: 8 sub-blocks of 32 weights, each with a scale and a minimum of 6 bits.
 *
 *   bytes 0..1    d      f16 scale of the scales
 *   bytes 2..3    dmin   f16 scale of the minima
 *   bytes 4..15   three words a, b, c of 4 bytes; with i in 0..3
 *     scale[i]     = a[i] & 63            min[i]     = b[i] & 63
 *     scale[i + 4] = (c[i] & 15) | (a[i] >> 6) << 4
 *     min[i + 4]   = (c[i] >> 4) | (b[i] >> 6) << 4
 *   w = (d * scale) * q - (dmin * min);  both products exact in f32 (17 bits), the sum rounds
 *   qs: 128 bytes; sub-block 2 i is the low nibbles of bytes 32 i..32 i + 31, 2 i + 1 the high ones
 *
 * Encoding: search_min for every sub-block; d and dmin are the largest scale and minimum / 63,
 * rounded to f16; then scales, minima and weights are rounded to nearest by what is stored. Error
 * of a sub-block, as root of the mean square: half a step of the starting grid, and from rounding
 * scale and minimum at most (most / 2) d + dmin / 2, most being the largest q.
 */
#ifndef HEARTH_QUANT_K_H
#define HEARTH_QUANT_K_H

#include "engine/kernels/quant_panel.h"
#include "engine/kernels/quant_search.h"

namespace {

/* Scales and minima of 16 rows, as bytes of words: sub-blocks 0..3 and 4..7. */
struct k_heads {
    f32x16 d, dmin;
    i32x16 scales[2], mins[2];
};
template <class Rows>
HEARTH_INLINE void k_open(k_heads& h, Rows rows) {
    i32x16 head[4];
    rows.turn4(head, 0);
    const i32x16 low6 = i_set(0x3f3f3f3f), low4 = i_set(0x0f0f0f0f), top2 = i_set(0x30303030);
    h.d = f_of_h(head[0]);
    h.dmin = f_of_h(i_shr<16>(head[0]));
    h.scales[0] = i_and(head[1], low6);
    h.mins[0] = i_and(head[2], low6);
    h.scales[1] = i_or(i_and(head[3], low4), i_and(i_shr<2>(head[1]), top2));
    h.mins[1] = i_or(i_and(i_shr<4>(head[3]), low4), i_and(i_shr<2>(head[2]), top2));
}
/* Of sub-block 2 i + C. */
template <int C>
HEARTH_INLINE void k_scales(f32x16* D, f32x16* M, const k_heads& h, int i) {
    const i32x16 byte = i_set(0xff);
    const int shift = 8 * (2 * (i % 2) + C);
    *D = f_mul(h.d, f_of_i(i_and(i_shr(h.scales[i / 2], shift), byte)));
    *M = f_mul(h.dmin, f_of_i(i_and(i_shr(h.mins[i / 2], shift), byte)));
}

struct k_numbers {
    uint8_t scale[8], min[8];
};
inline k_numbers k_read(const uint8_t* p) {
    k_numbers k;
    for (int i = 0; i < 4; ++i) {
        const uint8_t a = p[4 + i], b = p[8 + i], c = p[12 + i];
        k.scale[i] = a & 63;
        k.min[i] = b & 63;
        k.scale[4 + i] = uint8_t((c & 15) | a >> 6 << 4);
        k.min[4 + i] = uint8_t(c >> 4 | b >> 6 << 4);
    }
    return k;
}
inline void k_write(uint8_t* p, const k_numbers& k) {
    for (int i = 0; i < 4; ++i) {
        p[4 + i] = uint8_t(k.scale[i] | k.scale[4 + i] >> 4 << 6);
        p[8 + i] = uint8_t(k.min[i] | k.min[4 + i] >> 4 << 6);
        p[12 + i] = uint8_t((k.scale[4 + i] & 15) | (k.min[4 + i] & 15) << 4);
    }
}

/* Head of a block into p, its 256 weights into q. */
inline void k_quantize(uint8_t* p, uint8_t* q, const float* x, int most) {
    float scale[8], min[8], largest_scale = 0.0f, largest_min = 0.0f;
    for (int i = 0; i < 8; ++i) {
        search_min(&scale[i], &min[i], x + 32 * i, 32, most);
        if (scale[i] > largest_scale) largest_scale = scale[i];
        if (min[i] > largest_min) largest_min = min[i];
    }
    put_half(p, largest_scale / 63.0f);
    put_half(p + 2, largest_min / 63.0f);
    const float d = half_at_bytes(p), dmin = half_at_bytes(p + 2);
    k_numbers k;
    for (int i = 0; i < 8; ++i) {
        k.scale[i] = uint8_t(nearest_in(scale[i] * inverse_of(d), 0, 63));
        k.min[i] = uint8_t(nearest_in(min[i] * inverse_of(dmin), 0, 63));
        const float step = d * float(k.scale[i]), low = dmin * float(k.min[i]);
        for (int j = 32 * i; j < 32 * i + 32; ++j)
            q[j] = step > 0.0f ? uint8_t(nearest_in((x[j] + low) / step, 0, most)) : uint8_t(0);
    }
    k_write(p, k);
}
/* The low four bits of 256 weights. */
inline void k_put_nibbles(uint8_t* p, const uint8_t* q) {
    for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 32; ++j)
            p[32 * i + j] = uint8_t((q[64 * i + j] & 15) | (q[64 * i + 32 + j] & 15) << 4);
}

/* Nibbles of the sub-block that has byte `at` of the block and those after it; the raw bytes of an
 * even one (C = 0) serve the odd one after it. */
template <int C, class Rows>
HEARTH_INLINE void k_nibbles(i32x16* q, i32x16* raw, Rows rows, int at) {
    if constexpr (C == 0) {
        rows.turn4(raw, at);
        rows.turn4(raw + 4, at + 16);
        for (int j = 0; j < 8; ++j) q[j] = quant_low(raw[j]);
    } else {
        for (int j = 0; j < 8; ++j) q[j] = quant_high(raw[j]);
    }
}

}  // namespace
#endif
