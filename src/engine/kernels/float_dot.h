/* Weights that are floats (f32, f16, bf16) and their matmul, written once over the primitives.
 *
 * out[t, n] = sum_k w[n, k] * x[t, k]. Lane l sums k = l, l + 16, l + 32, … with fused
 * multiply-adds, and the 16 lanes are added by f_sum. That order is the same for every element in
 * every tile shape, so the shape is free. bf16_pairs.h has another way to meet, in the same tiles.
 *
 * Few rows of activations: kTileN rows of weights (with a lone row of activations kAlone) and
 * kTileT of activations share registers, and weights are widened on the way. Many: kFloatN rows of
 * kPanelVecs vectors of weights are widened once into the nearest cache, and tiles of kFloatT rows
 * of activations pass over them; the lanes of each element wait in memory from one panel to the
 * next.
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

/* How weights and activations meet: vectors of kValues of each, and a dot that adds their products
 * to 16 lanes. Beyond n values a vector has zeros. */
template <class W>
struct widened {
    using weight = W;
    using act = float;
    using vec = f32x16;
    static constexpr int kValues = 16;
    static constexpr int kAlone = kTileN; /* rows of weights that meet a lone row of activations */
    static int64_t act_stride(int64_t K) { return K; } /* values from one row to the next */
    static vec weights(const W* p) { return widen(p); }
    static vec weights_n(const W* p, int64_t n) { return widen_n(p, n); }
    static vec acts(const float* p) { return f_load(p); }
    static vec acts_n(const float* p, int64_t n) { return f_load_n(p, n); }
    static vec zeros() { return f_zero(); }
    static f32x16 dot(f32x16 acc, vec a, vec b) { return f_fma(a, b, acc); }
};

/* N rows of weights from n on against T rows of activations from x on. */
template <class Form, int N, int T>
inline void float_tile(float* out, int64_t ld_out, const typename Form::act* x, const void* w,
                       size_t stride, int64_t n, int64_t K) {
    using weight = typename Form::weight;
    const int64_t ld = Form::act_stride(K), whole = K / Form::kValues * Form::kValues;
    f32x16 acc[N][T];
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i)
#pragma GCC unroll 4
        for (int t = 0; t < T; ++t) acc[i][t] = f_zero();
    for (int64_t k = 0; k < whole; k += Form::kValues) {
        typename Form::vec a[T];
#pragma GCC unroll 4
        for (int t = 0; t < T; ++t) a[t] = Form::acts(x + t * ld + k);
#pragma GCC unroll 4
        for (int i = 0; i < N; ++i) {
            const auto b = Form::weights(row_of<weight>(w, stride, n + i) + k);
            /* The next group of rows, where hardware would start anew; into the second-level cache,
             * as rows whose stride is a multiple of 4 KiB share eight places of the nearest one. A
             * hint cannot fault. */
            __builtin_prefetch(row_of<weight>(w, stride, n + N + i) + k, 0, 2);
#pragma GCC unroll 4
            for (int t = 0; t < T; ++t) acc[i][t] = Form::dot(acc[i][t], a[t], b);
        }
    }
    if (whole < K) {
#pragma GCC unroll 4
        for (int i = 0; i < N; ++i) {
            const auto b = Form::weights_n(row_of<weight>(w, stride, n + i) + whole, K - whole);
#pragma GCC unroll 4
            for (int t = 0; t < T; ++t)
                acc[i][t] = Form::dot(acc[i][t], Form::acts_n(x + t * ld + whole, K - whole), b);
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t)
#pragma GCC unroll 4
        for (int i = 0; i < N; ++i) out[t * ld_out + n + i] = f_sum(acc[i][t]);
}

/* All T activation rows against N weight rows: tiles of Tile while there are as many, then smaller
 * ones. */
template <class Form, int N, int Tile>
inline void float_rows(float* out, int64_t ld_out, const typename Form::act* x, int64_t T,
                       const void* w, size_t stride, int64_t n, int64_t K) {
    const int64_t ld = Form::act_stride(K);
    for (; T >= Tile; T -= Tile, x += Tile * ld, out += Tile * ld_out)
        float_tile<Form, N, Tile>(out, ld_out, x, w, stride, n, K);
    if constexpr (Tile > 1)
        if (T > 0) float_rows<Form, N, Tile / 2>(out, ld_out, x, T, w, stride, n, K);
}

constexpr int64_t kPanelVecs = 32; /* of each of kFloatN = 8 rows: 16 KiB */
/* Rows of activations that one widening serves: with 32 vectors each 256 KiB, which a second-level
 * cache holds beside the rest. */
constexpr int64_t kFloatRows = 128;

/* kFloatN rows of n weights, a vector of each row in turn, against T rows of activations. sums:
 * kFloatN vectors of lanes for each row of activations; next: n weights that are asked for. */
template <class Form, int T>
inline void float_panel_tile(f32x16* sums, bool begin, const typename Form::act* x, int64_t ld,
                             const typename Form::vec* panel, int64_t n,
                             const typename Form::weight* next) {
    constexpr int kValues = Form::kValues;
    f32x16 acc[kFloatN][T];
#pragma GCC unroll 8
    for (int i = 0; i < kFloatN; ++i)
#pragma GCC unroll 4
        for (int t = 0; t < T; ++t) acc[i][t] = begin ? f_zero() : sums[t * kFloatN + i];
    const int64_t whole = n / kValues * kValues;
    for (int64_t k = 0; k < whole; k += kValues, panel += kFloatN) {
        __builtin_prefetch(next + k);
        typename Form::vec a[T];
#pragma GCC unroll 4
        for (int t = 0; t < T; ++t) a[t] = Form::acts(x + t * ld + k);
#pragma GCC unroll 8
        for (int i = 0; i < kFloatN; ++i) {
            typename Form::vec b = panel[i];
            f_renew(b); /* loaded once, not in each of its multiply-adds */
#pragma GCC unroll 4
            for (int t = 0; t < T; ++t) acc[i][t] = Form::dot(acc[i][t], a[t], b);
        }
    }
    if (whole < n) {
#pragma GCC unroll 4
        for (int t = 0; t < T; ++t) {
            const auto a = Form::acts_n(x + t * ld + whole, n - whole);
#pragma GCC unroll 8
            for (int i = 0; i < kFloatN; ++i) acc[i][t] = Form::dot(acc[i][t], a, panel[i]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kFloatN; ++i)
#pragma GCC unroll 4
        for (int t = 0; t < T; ++t) sums[t * kFloatN + i] = acc[i][t];
}

/* Rows from n on, of which n_rows are there, as the tiles read them; zeros elsewhere. */
template <class Form>
inline void float_panel(typename Form::vec* panel, const void* w, size_t stride, int64_t n,
                        int64_t n_rows, int64_t k0, int64_t n_values) {
    for (int64_t i = 0; i < kFloatN; ++i, ++panel) {
        const auto* row = row_of<typename Form::weight>(w, stride, n + i) + k0;
        for (int64_t k = 0; k < n_values; k += Form::kValues)
            panel[k / Form::kValues * kFloatN] = i >= n_rows ? Form::zeros()
                                                 : k + Form::kValues <= n_values
                                                     ? Form::weights(row + k)
                                                     : Form::weights_n(row + k, n_values - k);
    }
}

/* Up to kFloatRows rows of activations against up to kFloatN rows of weights. */
template <class Form>
inline void float_panels(float* out, int64_t ld_out, const typename Form::act* x, int64_t T,
                         const void* w, size_t stride, int64_t n, int64_t n_rows, int64_t K) {
    constexpr int64_t kPanel = kPanelVecs * Form::kValues;
    const int64_t ld = Form::act_stride(K);
    typename Form::vec panel[kFloatN * kPanelVecs];
    f32x16 sums[kFloatRows * kFloatN];
    for (int64_t k0 = 0; k0 < K; k0 += kPanel) {
        const int64_t n_values = K - k0 < kPanel ? K - k0 : kPanel;
        float_panel<Form>(panel, w, stride, n, n_rows, k0, n_values);
        /* Tile i asks for row i of the next panel. */
        const bool last = k0 + kPanel >= K;
        int64_t t = 0, i = 0;
        const auto next = [&] {
            const int64_t row = i++ % kFloatN;
            return row_of<typename Form::weight>(w, stride, last ? n + kFloatN + row : n + row) +
                   (last ? 0 : k0 + kPanel);
        };
        for (; t + kFloatT <= T; t += kFloatT)
            float_panel_tile<Form, kFloatT>(sums + t * kFloatN, k0 == 0, x + t * ld + k0, ld, panel,
                                            n_values, next());
        for (; t < T; ++t)
            float_panel_tile<Form, 1>(sums + t * kFloatN, k0 == 0, x + t * ld + k0, ld, panel,
                                      n_values, next());
    }
    constexpr int64_t kTogether = 16 / kFloatN; /* f_sum of sixteen at a time */
    for (int64_t t = 0; t < T; t += kTogether) {
        float whole[16];
        f_store(whole, f_sum16(sums + t * kFloatN));
        for (int64_t j = 0; j < kTogether && t + j < T; ++j)
            for (int64_t i = 0; i < n_rows; ++i)
                out[(t + j) * ld_out + n + i] = whole[j * kFloatN + i];
    }
}

template <class Form>
void float_matmul(float* out, int64_t ld_out, const void* act, int64_t T, const void* w,
                  size_t stride, int64_t n0, int64_t n1, int64_t K) {
    const auto* x = (const typename Form::act*)act;
    if (T >= kFloatRowsMin) {
        const int64_t ld = Form::act_stride(K);
        for (int64_t t = 0; t < T; t += kFloatRows)
            for (int64_t n = n0; n < n1; n += kFloatN)
                float_panels<Form>(out + t * ld_out, ld_out, x + t * ld,
                                   T - t < kFloatRows ? T - t : kFloatRows, w, stride, n,
                                   n1 - n < kFloatN ? n1 - n : kFloatN, K);
        return;
    }
    int64_t n = n0;
    if (T == 1)
        for (; n + Form::kAlone <= n1; n += Form::kAlone)
            float_tile<Form, Form::kAlone, 1>(out, ld_out, x, w, stride, n, K);
    for (; n + kTileN <= n1; n += kTileN)
        float_rows<Form, kTileN, kTileT>(out, ld_out, x, T, w, stride, n, K);
    for (; n < n1; ++n) float_rows<Form, 1, kTileT>(out, ld_out, x, T, w, stride, n, K);
}

inline size_t float_act_bytes(int64_t k) {
    return size_t(k) * sizeof(float);
}
inline void float_make_act(void* act, const float* x, int64_t k) {
    __builtin_memcpy(act, x, float_act_bytes(k));
}

}  // namespace
#endif
