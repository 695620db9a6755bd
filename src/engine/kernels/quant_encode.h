/* What the encoders of quantized formats share. Plain C in a fixed order: every ISA gives the same
 * blocks. Requires: finite x, here and in all encoders. */
#ifndef HEARTH_QUANT_ENCODE_H
#define HEARTH_QUANT_ENCODE_H

namespace {

inline uint16_t half_of(float x) {
    uint16_t h[16];
    f_store_h(h, f_set(x));
    return h[0];
}
inline float float_of_half(uint16_t h) {
    float x[16];
    f_store(x, f_set_h(h));
    return x[0];
}
inline float half_at_bytes(const uint8_t* p) {
    uint16_t h;
    __builtin_memcpy(&h, p, 2);
    return float_of_half(h);
}
inline void put_half(uint8_t* p, float x) {
    const uint16_t h = half_of(x);
    __builtin_memcpy(p, &h, 2);
}

/* 1 / d, or 0 where that would overflow: such scales are 0 in f16 in any case. */
inline float inverse_of(float d) {
    return d > 0x1p-100f || d < -0x1p-100f ? 1.0f / d : 0.0f;
}
/* The whole part of x + shift, from 0 to most: the reference's (int)(x + 0.5) and its like. */
inline int whole_of(float x, float shift, int most) {
    const float y = x + shift;
    if (!(y > 0.0f)) return 0;
    return y >= float(most) ? most : int(y);
}
/* The nearest integer, ties to even, from low to high; low for NaN. */
inline int nearest_in(float x, int low, int high) {
    if (!(x > float(low))) return low;
    if (x >= float(high)) return high;
    const float shifted = x + 0x1.8p23f;
    int32_t bits;
    __builtin_memcpy(&bits, &shifted, 4);
    return bits - 0x4b400000;
}

/* The value of largest magnitude, with its sign; the first of equals. */
inline float largest_of(const float* x, int n) {
    float largest = 0.0f, size = 0.0f;
    for (int j = 0; j < n; ++j) {
        const float a = x[j] < 0.0f ? -x[j] : x[j];
        if (a > size) {
            size = a;
            largest = x[j];
        }
    }
    return largest;
}
inline void range_of(float* low, float* high, const float* x, int n) {
    *low = *high = x[0];
    for (int j = 1; j < n; ++j) {
        if (x[j] < *low) *low = x[j];
        if (x[j] > *high) *high = x[j];
    }
}

/* Four bits of weights j and j + 16 into byte j, the fifth of weight j into bit j of the result. */
inline uint32_t put_nibbles(uint8_t* p, const uint8_t* q) {
    uint32_t fifths = 0;
    for (int j = 0; j < 16; ++j) {
        p[j] = uint8_t((q[j] & 15) | (q[16 + j] & 15) << 4);
        fifths |= uint32_t(q[j] >> 4 & 1) << j | uint32_t(q[16 + j] >> 4 & 1) << (16 + j);
    }
    return fifths;
}

}  // namespace
#endif
