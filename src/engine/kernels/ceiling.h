/* What an ISA can do at most: loops that do nothing else, with as many independent sums as a tile
 * of the matmuls keeps. A rate of the kernels is said as a share of theirs.
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

/* The result is needed. By value, so that sums can stay in registers while they grow. */
inline void keep(f32x16 sum) {
    float values[16];
    f_store(values, sum);
    opaque(values);
}

/* All in registers: renewed, or a compiler would leave some of the sums in memory. Weights are new
 * in every round, or products would be kept from one to the next; sums begin apart, or two of them
 * would be one. */
double ceiling_int8(int64_t n_rounds) {
    int8_t a[16];
    for (int i = 0; i < 16; ++i) a[i] = int8_t(i);
    opaque(a);
    i32x16 w = i_set(0x01020304), sum[kCeilingSums];
#pragma GCC unroll 16
    for (int i = 0; i < kCeilingSums; ++i) sum[i] = i_set(i);
    for (int64_t r = 0; r < n_rounds; ++r) {
        i_renew(w);
#pragma GCC unroll 16
        for (int i = 0; i < kCeilingSums; ++i) {
            sum[i] = u_dot(sum[i], w, a + 4 * (i % 4));
            i_renew(sum[i]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < kCeilingSums; ++i) keep(f_of_i(sum[i]));
    return 2.0 * 16 * 4 * kCeilingSums * double(n_rounds);
}

double ceiling_f32(int64_t n_rounds) {
    float one = 1.0f;
    opaque(one);
    const f32x16 w = f_set(one);
    f32x16 sum[kCeilingSums];
#pragma GCC unroll 16
    for (int i = 0; i < kCeilingSums; ++i) sum[i] = f_set(float(i));
    for (int64_t r = 0; r < n_rounds; ++r)
#pragma GCC unroll 16
        for (int i = 0; i < kCeilingSums; ++i) sum[i] = f_fma(w, w, sum[i]);
#pragma GCC unroll 16
    for (int i = 0; i < kCeilingSums; ++i) keep(sum[i]);
    return 2.0 * 16 * kCeilingSums * double(n_rounds);
}

#ifdef __AVX512BF16__
double ceiling_bf16(int64_t n_rounds) {
    uint16_t ones[32];
    for (int i = 0; i < 32; ++i) ones[i] = 0x3f80;
    opaque(ones);
    const b16x32 w = b_load((const bf16*)ones);
    f32x16 sum[kCeilingSums];
#pragma GCC unroll 16
    for (int i = 0; i < kCeilingSums; ++i) sum[i] = f_set(float(i));
    for (int64_t r = 0; r < n_rounds; ++r)
#pragma GCC unroll 16
        for (int i = 0; i < kCeilingSums; ++i) sum[i] = f_dot2(sum[i], w, w);
#pragma GCC unroll 16
    for (int i = 0; i < kCeilingSums; ++i) keep(sum[i]);
    return 2.0 * 16 * 2 * kCeilingSums * double(n_rounds);
}
#else
constexpr double (*ceiling_bf16)(int64_t) = nullptr;
#endif

/* Eight sums keep more loads under way than a core can. */
void ceiling_read(const void* from, int64_t n_bytes) {
    const float* p = (const float*)from;
    f32x16 sum[8];
#pragma GCC unroll 16
    for (int i = 0; i < 8; ++i) sum[i] = f_zero();
    for (int64_t at = 0; at < n_bytes / 4; at += 16 * 8)
#pragma GCC unroll 16
        for (int i = 0; i < 8; ++i) sum[i] = f_max(sum[i], f_load(p + at + 16 * i));
#pragma GCC unroll 16
    for (int i = 0; i < 8; ++i) keep(sum[i]);
}

}  // namespace
#endif
