/* The matmul of weights that widen to f32 (f32, f16, bf16), written once over the primitives.
 *
 * out[t, n] = sum_k w[n, k] * x[t, k]. Lane l sums k = l, l + 16, l + 32, … with fused
 * multiply-adds, and the 16 lanes are added by f_sum. That order is the same for every element in
 * every tile shape, so the shape is free: kTileN rows of weights and kTileT of activations share
 * registers, and the weights of a row group stay in the nearest cache while the activations pass.
 *
 * Error: lane l adds m = ceil(K / 16) terms with one rounding each, the tree 4 more, so
 * |out - exact| <= gamma(m + 4) * sum_k |w x|.   (gamma(n) = n u / (1 - n u), u = 2^-24)
 */
#ifndef HEARTH_FLOAT_DOT_H
#define HEARTH_FLOAT_DOT_H

namespace {

inline f32x16 widen(const float* p) {
    return f_load(p);
}
inline f32x16 widen(const uint16_t* p) {
    return f_load_h(p);
}
inline f32x16 widen(const bf16* p) {
    return f_load_b(p);
}
inline f32x16 widen_n(const bf16* p, int64_t n) {
    return f_load_b_n(p, n);
}
inline f32x16 widen_n(const float* p, int64_t n) {
    return f_load_n(p, n);
}
inline f32x16 widen_n(const uint16_t* p, int64_t n) {
    return f_load_h_n(p, n);
}

template <class Weight>
inline const Weight* row_of(const void* w, size_t stride, int64_t n) {
    return (const Weight*)((const uint8_t*)w + size_t(n) * stride);
}

/* N rows of weights from n on against T rows of activations from x on. */
template <class Weight, int N, int T>
inline void float_tile(float* out, int64_t ld_out, const float* x, const void* w, size_t stride,
                       int64_t n, int64_t K) {
    f32x16 acc[N][T];
    for (int i = 0; i < N; ++i)
        for (int t = 0; t < T; ++t) acc[i][t] = f_zero();
    const int64_t whole = K & ~int64_t(15);
    for (int64_t k = 0; k < whole; k += 16) {
        f32x16 a[T];
        for (int t = 0; t < T; ++t) a[t] = f_load(x + t * K + k);
        for (int i = 0; i < N; ++i) {
            const f32x16 b = widen(row_of<Weight>(w, stride, n + i) + k);
            /* The next group of rows, where hardware would start anew. A hint cannot fault. */
            __builtin_prefetch(row_of<Weight>(w, stride, n + N + i) + k);
            for (int t = 0; t < T; ++t) acc[i][t] = f_fma(a[t], b, acc[i][t]);
        }
    }
    if (whole < K) {
        for (int i = 0; i < N; ++i) {
            const f32x16 b = widen_n(row_of<Weight>(w, stride, n + i) + whole, K - whole);
            for (int t = 0; t < T; ++t)
                acc[i][t] = f_fma(f_load_n(x + t * K + whole, K - whole), b, acc[i][t]);
        }
    }
    for (int t = 0; t < T; ++t)
        for (int i = 0; i < N; ++i) out[t * ld_out + n + i] = f_sum(acc[i][t]);
}

/* All T activation rows against N weight rows. */
template <class Weight, int N>
inline void float_rows(float* out, int64_t ld_out, const float* x, int64_t T, const void* w,
                       size_t stride, int64_t n, int64_t K) {
    int64_t t = 0;
    for (; t + kTileT <= T; t += kTileT)
        float_tile<Weight, N, kTileT>(out + t * ld_out, ld_out, x + t * K, w, stride, n, K);
    for (; t < T; ++t)
        float_tile<Weight, N, 1>(out + t * ld_out, ld_out, x + t * K, w, stride, n, K);
}

/* Weights of a group and activations of a chunk stay in the second-level cache together while each
 * weight row meets each activation row. */
constexpr int64_t kFloatCacheBytes = 256 << 10;
inline int64_t float_fitting(size_t row_bytes, int64_t tile) {
    const int64_t fitting = kFloatCacheBytes / int64_t(row_bytes) / tile * tile;
    return fitting < tile ? tile : fitting;
}

template <class Weight>
inline void float_matmul(float* out, int64_t ld_out, const void* act, int64_t T, const void* w,
                         size_t stride, int64_t n0, int64_t n1, int64_t K) {
    const int64_t group = float_fitting(stride, kTileN);
    const int64_t chunk = float_fitting(size_t(K) * sizeof(float), kTileT);
    for (int64_t g = n0; g < n1; g += group) {
        const int64_t end = n1 - g < group ? n1 : g + group;
        for (int64_t t = 0; t < T; t += chunk) {
            const float* x = (const float*)act + t * K;
            const int64_t n_rows = T - t < chunk ? T - t : chunk;
            int64_t n = g;
            for (; n + kTileN <= end; n += kTileN)
                float_rows<Weight, kTileN>(out + t * ld_out, ld_out, x, n_rows, w, stride, n, K);
            for (; n < end; ++n)
                float_rows<Weight, 1>(out + t * ld_out, ld_out, x, n_rows, w, stride, n, K);
        }
    }
}

inline size_t float_act_bytes(int64_t k) {
    return size_t(k) * sizeof(float);
}
inline void float_make_act(void* act, const float* x, int64_t k) {
    __builtin_memcpy(act, x, float_act_bytes(k));
}

}  // namespace
#endif
