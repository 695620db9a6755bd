/* act_q8: activations in blocks of 32 as 8-bit integers, the form that quantized formats multiply
 * with.
 *
 *   d = max|x| / 127 (f32, not rounded further),  q = x * (127 / max|x|) rounded to nearest even
 *
 * |q| <= 127 always. The sums of q are there for formats and ISAs that add a constant to the
 * weights. Blocks whose largest |x| is below 2^-100 become zeros (127 / max would overflow); a
 * block with an infinity or NaN gets d = NaN, so that the mistake shows in every output instead of
 * a wrong number.
 *
 * Plain C that the compiler vectorizes: every operation is exact or rounds alone, so all ISAs
 * agree. Error of a value: |x - d q| <= d / 2 * (1 + 2^-15): half a step, and for |x 127 / max| <
 * 128 two roundings (of 127 / max and of the product) of relative 2^-24 each.
 */
#ifndef HEARTH_ACT_Q8_H
#define HEARTH_ACT_Q8_H

namespace {

struct act_q8 {
    float d;
    int16_t half[2]; /* sums of q[0..15] and of q[16..31]: at most 16 * 127 */
    int8_t q[32];
};

inline void act_q8_block(act_q8* out, const float* x) {
    int32_t bits[32], largest = 0;
    __builtin_memcpy(bits, x, sizeof bits);
    /* As integers, magnitudes of floats are ordered as the floats, with infinity and NaN above all.
     */
    for (int j = 0; j < 32; ++j) {
        const int32_t magnitude = bits[j] & 0x7fffffff;
        largest = magnitude > largest ? magnitude : largest;
    }
    float size;
    __builtin_memcpy(&size, &largest, 4);
    if (largest >= 0x7f800000 || size < 0x1p-100f) {
        *out = act_q8{};
        if (largest >= 0x7f800000) out->d = __builtin_nanf("");
        return;
    }
    const float by = 127.0f / size;
    /* Adding 1.5 * 2^23 puts the unit in the last place at 1: the sum's low bits are the rounded
     * value. */
    const float magic = 0x1.8p23f;
    int32_t q[32], sum[2] = {};
    float shifted[32];
    for (int j = 0; j < 32; ++j) shifted[j] = x[j] * by + magic;
    __builtin_memcpy(q, shifted, sizeof q);
    for (int j = 0; j < 32; ++j) {
        q[j] -= 0x4b400000;
        out->q[j] = (int8_t)q[j];
    }
    for (int j = 0; j < 16; ++j) {
        sum[0] += q[j];
        sum[1] += q[16 + j];
    }
    out->d = size / 127.0f;
    out->half[0] = (int16_t)sum[0];
    out->half[1] = (int16_t)sum[1];
}

/* A row of n blocks in memory, each member an array of its own: what a tile walks along stays
 * dense. */
struct act_row {
    const float* d;
    const float* minus_ds;     /* -(d * sum of q), what minima are multiplied with */
    const int32_t* minus_sum;  /* -(sum of q), what an offset of the weights is multiplied with */
    const int32_t* minus_half; /* two for each block: of q[0..15] and of q[16..31] */
    const int8_t* q;
    const uint8_t* tile; /* q as the ISA's tiles read it: with kActFlip applied */
};
constexpr size_t kActBlockBytes = 4 + 4 + 4 + 8 + 32 + (kActFlip ? 32 : 0);

inline size_t act_q8_bytes(int64_t k) {
    return size_t(k / 32) * kActBlockBytes;
}
inline act_row act_row_at(const void* act, int64_t n) {
    act_row row;
    row.d = (const float*)act;
    row.minus_ds = row.d + n;
    row.minus_sum = (const int32_t*)(row.minus_ds + n);
    row.minus_half = row.minus_sum + n;
    row.q = (const int8_t*)(row.minus_half + 2 * n);
    row.tile = (const uint8_t*)row.q + (kActFlip ? 32 * n : 0);
    return row;
}

inline void act_q8_make(void* act, const float* x, int64_t k) {
    const act_row row = act_row_at(act, k / 32);
    float *d = (float*)row.d, *minus_ds = (float*)row.minus_ds;
    int32_t *minus_sum = (int32_t*)row.minus_sum, *minus_half = (int32_t*)row.minus_half;
    int8_t* q = (int8_t*)row.q;
    uint8_t* tile = (uint8_t*)row.tile;
    for (int64_t b = 0; b < k / 32; ++b) {
        act_q8 block;
        act_q8_block(&block, x + 32 * b);
        d[b] = block.d;
        const int32_t sum = block.half[0] + block.half[1];
        minus_ds[b] = -(block.d * float(sum));
        minus_sum[b] = -sum;
        minus_half[2 * b] = -block.half[0];
        minus_half[2 * b + 1] = -block.half[1];
        __builtin_memcpy(q + 32 * b, block.q, 32);
        if (kActFlip)
            for (int j = 0; j < 32; ++j) tile[32 * b + j] = uint8_t(block.q[j]) ^ kActFlip;
    }
}

}  // namespace
#endif
