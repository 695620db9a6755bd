/* The matmul of bf16 weights on ISAs with a dot of bf16 pairs: activations are rounded to bf16, 32
 * values at a time meet as they lie.
 *
 * out[t, n] = sum_k w[n, k] * bf16(x[t, k]). Lane l of 16 adds, for k = 32 i + 2 l, first the
 * product at k + 1, then the one at k, each rounded once (products of bf16 are exact in f32); then
 * f_sum. The order is the same in every tile. Subnormal weights, activations and sums count as
 * zero.
 *
 * Error: an activation is off by 2^-8 of itself, lane l rounds 2 ceil(K / 32) times, the tree 4:
 * |out - exact| <= (2^-8 + gamma(2 ceil(K / 32) + 4)) * sum_k |w x|, and 2^-125 for every value
 * that counts as zero.
 */
#ifndef HEARTH_BF16_PAIRS_H
#define HEARTH_BF16_PAIRS_H

#include "engine/kernels/float_dot.h"

namespace {

constexpr int kPairN = 4, kPairT = 6; /* 24 sums, 4 weights and an activation of 32 registers */
/* Rows of activations that a group of weights meets while it is in the nearest cache. */
constexpr int64_t kPairRows = 96;

template <int N, int T>
inline void pair_tile(float* out, int64_t ld_out, const bf16* x, const void* w, size_t stride,
                      int64_t n, int64_t K) {
    f32x16 acc[N][T];
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i)
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) acc[i][t] = f_zero();
    const int64_t whole = K & ~int64_t(31);
    for (int64_t k = 0; k < K; k += 32) {
        b16x32 b[N];
#pragma GCC unroll 4
        for (int i = 0; i < N; ++i) {
            const bf16* row = row_of<bf16>(w, stride, n + i) + k;
            b[i] = k < whole ? b_load(row) : b_load_n(row, K - k);
        }
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) {
            const b16x32 a = k < whole ? b_load(x + t * K + k) : b_load_n(x + t * K + k, K - k);
#pragma GCC unroll 4
            for (int i = 0; i < N; ++i) acc[i][t] = f_dot2(acc[i][t], a, b[i]);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i)
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) out[t * ld_out + n + i] = f_sum(acc[i][t]);
}

template <int N>
inline void pair_rows(float* out, int64_t ld_out, const bf16* x, int64_t T, const void* w,
                      size_t stride, int64_t n, int64_t K) {
    int64_t t = 0;
    for (; t + kPairT <= T; t += kPairT)
        pair_tile<N, kPairT>(out + t * ld_out, ld_out, x + t * K, w, stride, n, K);
    for (; t < T; ++t) pair_tile<N, 1>(out + t * ld_out, ld_out, x + t * K, w, stride, n, K);
}

void pair_matmul(float* out, int64_t ld_out, const void* act, int64_t T, const void* w,
                 size_t stride, int64_t n0, int64_t n1, int64_t K) {
    for (int64_t t = 0; t < T; t += kPairRows) {
        const bf16* x = (const bf16*)act + t * K;
        const int64_t n_rows = T - t < kPairRows ? T - t : kPairRows;
        int64_t n = n0;
        for (; n + kPairN <= n1; n += kPairN)
            pair_rows<kPairN>(out + t * ld_out, ld_out, x, n_rows, w, stride, n, K);
        for (; n < n1; ++n) pair_rows<1>(out + t * ld_out, ld_out, x, n_rows, w, stride, n, K);
    }
}

inline size_t pair_act_bytes(int64_t k) {
    return size_t(k) * sizeof(bf16);
}

}  // namespace
#endif
