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
static_assert(sizeof(act_q8) == 40, "rows of blocks are packed");

inline size_t act_q8_bytes(int64_t k) {
    return size_t(k / 32) * sizeof(act_q8);
}

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

inline int32_t act_q8_sum(const act_q8* a) {
    return a->half[0] + a->half[1];
}

inline void act_q8_make(void* act, const float* x, int64_t k) {
    act_q8* out = (act_q8*)act;
    for (int64_t b = 0; b < k / 32; ++b) act_q8_block(out + b, x + b * 32);
}

}  // namespace
#endif
