/* Weights that widen to f32 (f32, f16, bf16) and their matmul, written once over the primitives.
 *
 * out[t, n] = sum_k w[n, k] * x[t, k]. Lane l sums k = l, l + 16, l + 32, … with fused
 * multiply-adds, and the 16 lanes are added by f_sum. That order is the same for every element in
 * every tile shape, so the shape is free.
 *
 * Few rows of activations: kTileN rows of weights and kTileT of activations share registers, and
 * weights are widened on the way. Many: kFloatN rows of kFloatPanel weights are widened once into
 * the nearest cache, and tiles of kFloatT rows of activations pass over them; the lanes of each
 * element wait in memory from one panel to the next.
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
inline f32x16 widen_n(const float* p, int64_t n) {
    return f_load_n(p, n);
}
inline f32x16 widen_n(const uint16_t* p, int64_t n) {
    return f_load_h_n(p, n);
}
inline f32x16 widen_n(const bf16* p, int64_t n) {
    return f_load_b_n(p, n);
}

inline void narrow(uint16_t* p, f32x16 x) {
    f_store_h(p, x);
}
inline void narrow(bf16* p, f32x16 x) {
    f_store_b(p, x);
}
inline void narrow_n(uint16_t* p, f32x16 x, int64_t n) {
    f_store_h_n(p, x, n);
}
inline void narrow_n(bf16* p, f32x16 x, int64_t n) {
    f_store_b_n(p, x, n);
}

/* n values between memory and f32; narrowing rounds to nearest even. */
template <class Weight>
void float_decode(float* out, const void* from, int64_t n) {
    const Weight* p = (const Weight*)from;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) f_store(out + i, widen(p + i));
    if (i < n) f_store_n(out + i, widen_n(p + i, n - i), n - i);
}
template <class Weight>
void float_encode(void* to, const float* x, int64_t n) {
    Weight* p = (Weight*)to;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) narrow(p + i, f_load(x + i));
    if (i < n) narrow_n(p + i, f_load_n(x + i, n - i), n - i);
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

constexpr int64_t kFloatPanel = 512; /* with kFloatN = 8 rows 16 KiB */
/* Rows of activations that one widening serves: with 512 values each 192 KiB, which a second-level
 * cache holds beside the rest. */
constexpr int64_t kFloatRows = 96;

/* kFloatN rows of n widened weights against T rows of activations; sixteen values of each row in
 * turn. sums: kFloatN vectors of lanes for each row of activations. */
template <int T>
inline void float_panel_tile(f32x16* sums, bool begin, const float* x, int64_t ld_x,
                             const float* panel, int64_t n) {
    f32x16 acc[kFloatN][T];
#pragma GCC unroll 8
    for (int i = 0; i < kFloatN; ++i)
#pragma GCC unroll 4
        for (int t = 0; t < T; ++t) acc[i][t] = begin ? f_zero() : sums[t * kFloatN + i];
    const int64_t whole = n & ~int64_t(15);
    for (int64_t k = 0; k < whole; k += 16) {
        f32x16 a[T];
#pragma GCC unroll 4
        for (int t = 0; t < T; ++t) a[t] = f_load(x + t * ld_x + k);
#pragma GCC unroll 8
        for (int i = 0; i < kFloatN; ++i) {
            f32x16 b = f_load(panel + k * kFloatN + 16 * i);
            f_renew(b); /* loaded once, not in each of its multiply-adds */
#pragma GCC unroll 4
            for (int t = 0; t < T; ++t) acc[i][t] = f_fma(a[t], b, acc[i][t]);
        }
    }
    if (whole < n) {
#pragma GCC unroll 4
        for (int t = 0; t < T; ++t) {
            const f32x16 a = f_load_n(x + t * ld_x + whole, n - whole);
#pragma GCC unroll 8
            for (int i = 0; i < kFloatN; ++i) /* the panel has zeros beyond the row */
                acc[i][t] = f_fma(a, f_load(panel + whole * kFloatN + 16 * i), acc[i][t]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kFloatN; ++i)
#pragma GCC unroll 4
        for (int t = 0; t < T; ++t) sums[t * kFloatN + i] = acc[i][t];
}

template <class Weight>
inline void float_widen(float* panel, const void* w, size_t stride, int64_t n, int64_t n_rows,
                        int64_t k0, int64_t n_values) {
    for (int64_t i = 0; i < kFloatN; ++i, panel += 16) {
        const Weight* row = row_of<Weight>(w, stride, n + i) + k0;
        for (int64_t k = 0; k < n_values; k += 16)
            f_store(panel + k * kFloatN, i >= n_rows          ? f_zero()
                                         : k + 16 <= n_values ? widen(row + k)
                                                              : widen_n(row + k, n_values - k));
    }
}

/* From so many rows of activations on, widening once for all pays. */
constexpr int64_t kFloatRowsMin = kFloatN;

/* Up to kFloatRows rows of activations against up to kFloatN rows of weights. */
template <class Weight>
inline void float_panels(float* out, int64_t ld_out, const float* x, int64_t T, const void* w,
                         size_t stride, int64_t n, int64_t n_rows, int64_t K) {
    alignas(64) float panel[kFloatN * kFloatPanel];
    f32x16 sums[kFloatRows * kFloatN];
    for (int64_t k0 = 0; k0 < K; k0 += kFloatPanel) {
        const int64_t n_values = K - k0 < kFloatPanel ? K - k0 : kFloatPanel;
        float_widen<Weight>(panel, w, stride, n, n_rows, k0, n_values);
        int64_t t = 0;
        for (; t + kFloatT <= T; t += kFloatT)
            float_panel_tile<kFloatT>(sums + t * kFloatN, k0 == 0, x + t * K + k0, K, panel,
                                      n_values);
        for (; t < T; ++t)
            float_panel_tile<1>(sums + t * kFloatN, k0 == 0, x + t * K + k0, K, panel, n_values);
    }
    for (int64_t t = 0; t < T; ++t)
        for (int64_t i = 0; i < n_rows; ++i) out[t * ld_out + n + i] = f_sum(sums[t * kFloatN + i]);
}

template <class Weight>
inline void float_matmul(float* out, int64_t ld_out, const void* act, int64_t T, const void* w,
                         size_t stride, int64_t n0, int64_t n1, int64_t K) {
    const float* x = (const float*)act;
    if (T >= kFloatRowsMin) {
        for (int64_t t = 0; t < T; t += kFloatRows)
            for (int64_t n = n0; n < n1; n += kFloatN)
                float_panels<Weight>(out + t * ld_out, ld_out, x + t * K,
                                     T - t < kFloatRows ? T - t : kFloatRows, w, stride, n,
                                     n1 - n < kFloatN ? n1 - n : kFloatN, K);
        return;
    }
    int64_t n = n0;
    for (; n + kTileN <= n1; n += kTileN)
        float_rows<Weight, kTileN>(out, ld_out, x, T, w, stride, n, K);
    for (; n < n1; ++n) float_rows<Weight, 1>(out, ld_out, x, T, w, stride, n, K);
}

inline size_t float_act_bytes(int64_t k) {
    return size_t(k) * sizeof(float);
}
inline void float_make_act(void* act, const float* x, int64_t k) {
    __builtin_memcpy(act, x, float_act_bytes(k));
}

}  // namespace
#endif
