/* What an ISA can do at most: loops that do nothing else, with as many independent sums as a tile of
 * the matmuls keeps. A rate of the kernels is said as a share of theirs.
 */
#ifndef HEARTH_CEILING_H
#define HEARTH_CEILING_H

#include "engine/kernels/kernels.h"

namespace {

constexpr int kCeilingSums = kTileN * kTileT;

/* A value the compiler must believe to be read and changed. */
template <class T>
inline void opaque(T& value) {
    asm volatile("" : "+m"(value));
}

/* Weights and activations come from registers and the first-level cache. */
double ceiling_int8(int64_t n_rounds) {
    int8_t a[4 * kCeilingSums];
    for (int i = 0; i < 4 * kCeilingSums; ++i) a[i] = int8_t(i);
    opaque(a);
    const i32x16 w = i_set(0x01020304);
    i32x16 sum[kCeilingSums];
    for (int i = 0; i < kCeilingSums; ++i) sum[i] = i_set(0);
    for (int64_t r = 0; r < n_rounds; ++r)
        for (int i = 0; i < kCeilingSums; ++i) sum[i] = u_dot(sum[i], w, a + 4 * i);
    for (int i = 0; i < kCeilingSums; ++i) opaque(sum[i]);
    return 2.0 * 16 * 4 * kCeilingSums * double(n_rounds);
}

double ceiling_f32(int64_t n_rounds) {
    float one = 1.0f;
    opaque(one);
    const f32x16 w = f_set(one);
    f32x16 sum[kCeilingSums];
    for (int i = 0; i < kCeilingSums; ++i) sum[i] = f_set(float(i));
    for (int64_t r = 0; r < n_rounds; ++r)
        for (int i = 0; i < kCeilingSums; ++i) sum[i] = f_fma(w, w, sum[i]);
    for (int i = 0; i < kCeilingSums; ++i) opaque(sum[i]);
    return 2.0 * 16 * kCeilingSums * double(n_rounds);
}

/* Eight sums keep more loads under way than a core can. */
void ceiling_read(const void* from, int64_t n_bytes) {
    const float* p = (const float*)from;
    f32x16 sum[8];
    for (int i = 0; i < 8; ++i) sum[i] = f_zero();
    for (int64_t at = 0; at < n_bytes / 4; at += 16 * 8)
        for (int i = 0; i < 8; ++i) sum[i] = f_max(sum[i], f_load(p + at + 16 * i));
    for (int i = 0; i < 8; ++i) opaque(sum[i]);
}

}  // namespace
#endif
