/* Scores and weighted sums over key and value rows, written once for every element type.
 *
 * A score is a dot product in the order of float_dot.h: 16 lanes over head_dim, then f_sum. A
 * weighted sum adds its rows in ascending order with one fma each, so its cutting into calls is
 * free. G query heads that share a KV head are taken kHeads at a time, so that a row is widened
 * once for them.
 */
#ifndef HEARTH_ATTEND_H
#define HEARTH_ATTEND_H

#include "engine/kernels/float_dot.h"

namespace {

/* How rows of plain elements lie; a type of blocks brings its own (kv/q8_0.h). */
template <class Element>
struct kv_plain {
    static size_t bytes(int64_t head_dim) { return size_t(head_dim) * sizeof(Element); }
    static f32x16 widen(const void* row, int64_t d) { return ::widen((const Element*)row + d); }
    static f32x16 widen_n(const void* row, int64_t d, int64_t n) {
        return ::widen_n((const Element*)row + d, n);
    }
};

/* Heads heads against keys s .. s + 16 / Heads; one vector per pair, summed together by f_sum16. */
template <class Row, int Heads>
inline void score_tile(float* scores, int64_t ld, const float* q, const uint8_t* k, int64_t s,
                       int64_t S, int64_t head_dim, float scale) {
    constexpr int kKeys = 16 / Heads;
    const size_t bytes = Row::bytes(head_dim);
    const uint8_t* row[kKeys];
    /* Past the end the last row stands in; its scores are not stored. */
    for (int j = 0; j < kKeys; ++j) row[j] = k + size_t(s + j < S ? s + j : S - 1) * bytes;
    f32x16 acc[16];
    for (int i = 0; i < 16; ++i) acc[i] = f_zero();
    const int64_t whole = head_dim & ~int64_t(15);
    for (int64_t d = 0; d < whole; d += 16) {
        f32x16 a[Heads];
        for (int h = 0; h < Heads; ++h) a[h] = f_load(q + h * head_dim + d);
        for (int j = 0; j < kKeys; ++j) {
            const f32x16 b = Row::widen(row[j], d);
            for (int h = 0; h < Heads; ++h) acc[h * kKeys + j] = f_fma(a[h], b, acc[h * kKeys + j]);
        }
    }
    if (whole < head_dim) {
        const int64_t m = head_dim - whole;
        for (int j = 0; j < kKeys; ++j) {
            const f32x16 b = Row::widen_n(row[j], whole, m);
            for (int h = 0; h < Heads; ++h)
                acc[h * kKeys + j] =
                    f_fma(f_load_n(q + h * head_dim + whole, m), b, acc[h * kKeys + j]);
        }
    }
    float sums[16];
    f_store(sums, f_mul(f_sum16(acc), f_set(scale)));
    for (int h = 0; h < Heads; ++h)
        for (int j = 0; j < kKeys && s + j < S; ++j) scores[h * ld + s + j] = sums[h * kKeys + j];
}

template <class Row, int Heads>
inline void score_heads(float* scores, int64_t ld, const float* q, const uint8_t* k, int64_t S,
                        int64_t head_dim, float scale) {
    for (int64_t s = 0; s < S; s += 16 / Heads)
        score_tile<Row, Heads>(scores, ld, q, k, s, S, head_dim, scale);
}

template <class Row>
void kv_scores(float* scores, int64_t ld, const float* q, int64_t G, const void* k, int64_t S,
               int64_t head_dim, float scale) {
    const uint8_t* rows = (const uint8_t*)k;
    int64_t g = 0;
    for (; g + 4 <= G; g += 4)
        score_heads<Row, 4>(scores + g * ld, ld, q + g * head_dim, rows, S, head_dim, scale);
    for (; g + 2 <= G; g += 2)
        score_heads<Row, 2>(scores + g * ld, ld, q + g * head_dim, rows, S, head_dim, scale);
    if (g < G) score_heads<Row, 1>(scores + g * ld, ld, q + g * head_dim, rows, S, head_dim, scale);
}

/* Sixteen (or, at the end, n) values of Heads heads, from value d of the rows on. */
template <class Row, int Heads>
inline void weigh_tile(float* acc, const float* p, int64_t ld, const uint8_t* v, int64_t S,
                       int64_t head_dim, int64_t d, int64_t n) {
    const size_t bytes = Row::bytes(head_dim);
    acc += d;
    f32x16 sum[Heads];
    for (int h = 0; h < Heads; ++h)
        sum[h] = n == 16 ? f_load(acc + h * head_dim) : f_load_n(acc + h * head_dim, n);
    for (int64_t s = 0; s < S; ++s) {
        const uint8_t* at = v + size_t(s) * bytes;
        const f32x16 row = n == 16 ? Row::widen(at, d) : Row::widen_n(at, d, n);
        for (int h = 0; h < Heads; ++h) sum[h] = f_fma(f_set(p[h * ld + s]), row, sum[h]);
    }
    for (int h = 0; h < Heads; ++h) {
        if (n == 16)
            f_store(acc + h * head_dim, sum[h]);
        else
            f_store_n(acc + h * head_dim, sum[h], n);
    }
}

template <class Row, int Heads>
inline void weigh_heads(float* acc, const float* p, int64_t ld, const uint8_t* v, int64_t S,
                        int64_t head_dim) {
    int64_t d = 0;
    for (; d + 16 <= head_dim; d += 16) weigh_tile<Row, Heads>(acc, p, ld, v, S, head_dim, d, 16);
    if (d < head_dim) weigh_tile<Row, Heads>(acc, p, ld, v, S, head_dim, d, head_dim - d);
}

template <class Row>
void kv_weigh(float* acc, const float* p, int64_t ld, int64_t G, const void* v, int64_t S,
              int64_t head_dim) {
    const uint8_t* rows = (const uint8_t*)v;
    int64_t g = 0;
    for (; g + 4 <= G; g += 4)
        weigh_heads<Row, 4>(acc + g * head_dim, p + g * ld, ld, rows, S, head_dim);
    for (; g < G; ++g) weigh_heads<Row, 1>(acc + g * head_dim, p + g * ld, ld, rows, S, head_dim);
}

}  // namespace
#endif
