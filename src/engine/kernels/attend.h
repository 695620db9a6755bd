/* Scores and weighted sums over keys and values, written once for every element type.
 *
 * Keys lie in blocks of sixteen, across: one vector holds value d of all of them, and a score needs
 * no sum over lanes. It is four sums of fused multiply-adds, of d = 0, 4, 8, …, of d = 1, 5, 9, …
 * and so on, added as (0 + 2) + (1 + 3), then scaled. A weighted sum adds its rows in ascending
 * order with one fma each, so its cutting into calls is free.
 *
 * Queries of a KV head go together, so that what is widened serves several; how many, and how many
 * of their sums at a time, is what fits the registers.
 *
 * Error of a score: |score - exact| <= gamma(ceil(head_dim / 4) + 3) * scale * sum_d |q k|.
 */
#ifndef HEARTH_ATTEND_H
#define HEARTH_ATTEND_H

#include "engine/kernels/float_dot.h"

namespace {

/* How rows and blocks of plain elements lie; a type of blocks brings its own (kv/q8_0.h). */
template <class Element>
struct kv_plain {
    static size_t bytes(int64_t head_dim) { return size_t(head_dim) * sizeof(Element); }
    static f32x16 widen(const void* row, int64_t d) { return ::widen((const Element*)row + d); }
    static f32x16 widen_n(const void* row, int64_t d, int64_t n) {
        return ::widen_n((const Element*)row + d, n);
    }
    /* Value d of the sixteen keys. */
    static f32x16 across(const void* block, int64_t d) {
        return ::widen((const Element*)block + d * HEARTH_KV_KEYS);
    }
    static void store_key(void* block, int64_t at, const float* x, int64_t head_dim) {
        Element few[16];
        for (int64_t d = 0; d < head_dim; d += 16) {
            const int64_t n = head_dim - d < 16 ? head_dim - d : 16;
            float_encode<Element>(few, x + d, n);
            for (int64_t i = 0; i < n; ++i)
                ((Element*)block)[(d + i) * HEARTH_KV_KEYS + at] = few[i];
        }
    }
};

constexpr int kScoreSums = 4;

/* A block against so many Queries, Sums of their four sums in one pass over it. */
template <class Rows, int Queries, int Sums>
inline void score_tile(float* scores, int64_t ld, const float* const* all_q, const void* block,
                       int64_t S, int64_t head_dim, float scale) {
    const float* q[Queries];
    for (int h = 0; h < Queries; ++h) q[h] = all_q[h];
    f32x16 all[kScoreSums][Queries];
    for (int first = 0; first < kScoreSums; first += Sums) {
        f32x16 acc[Sums][Queries];
        for (int j = 0; j < Sums; ++j)
            for (int h = 0; h < Queries; ++h) acc[j][h] = f_zero();
        int64_t d = first;
        for (; d + Sums <= head_dim; d += kScoreSums)
            for (int j = 0; j < Sums; ++j) {
                const f32x16 k = Rows::across(block, d + j);
                for (int h = 0; h < Queries; ++h)
                    acc[j][h] = f_fma(f_set(q[h][d + j]), k, acc[j][h]);
            }
        for (int j = 0; d + j < head_dim && j < Sums; ++j) {
            const f32x16 k = Rows::across(block, d + j);
            for (int h = 0; h < Queries; ++h) acc[j][h] = f_fma(f_set(q[h][d + j]), k, acc[j][h]);
        }
        for (int j = 0; j < Sums; ++j)
            for (int h = 0; h < Queries; ++h) all[first + j][h] = acc[j][h];
    }
    for (int h = 0; h < Queries; ++h) {
        const f32x16 sum = f_add(f_add(all[0][h], all[2][h]), f_add(all[1][h], all[3][h]));
        const f32x16 scaled = f_mul(sum, f_set(scale));
        if (S == HEARTH_KV_KEYS)
            f_store(scores + h * ld, scaled);
        else
            f_store_n(scores + h * ld, scaled, S);
    }
}

template <class Rows>
void kv_scores(float* scores, int64_t ld, const float* const* q, int64_t G, const void* block,
               int64_t S, int64_t head_dim, float scale) {
    int64_t g = 0;
    const auto tile = [&]<int Queries, int Sums>() {
        for (; g + Queries <= G; g += Queries)
            score_tile<Rows, Queries, Sums>(scores + g * ld, ld, q + g, block, S, head_dim, scale);
    };
    tile.template operator()<4, kScoreTogether>();
    tile.template operator()<2, kScoreTogether>();
    tile.template operator()<1, kScoreTogether>();
}

/* Parts * 16 (or, at the end, n) values of so many Queries, from value d of the rows on. */
template <class Rows, int Queries, int Parts>
inline void weigh_tile(float* const* acc, const float* p, int64_t ld, const uint8_t* v, int64_t S,
                       int64_t head_dim, int64_t d) {
    const size_t bytes = Rows::bytes(head_dim);
    f32x16 sum[Queries][Parts];
    for (int h = 0; h < Queries; ++h)
        for (int i = 0; i < Parts; ++i) sum[h][i] = f_load(acc[h] + d + 16 * i);
    for (int64_t s = 0; s < S; ++s) {
        const uint8_t* row = v + size_t(s) * bytes;
        f32x16 value[Parts];
        for (int i = 0; i < Parts; ++i) value[i] = Rows::widen(row, d + 16 * i);
        for (int h = 0; h < Queries; ++h) {
            const f32x16 by = f_set(p[h * ld + s]);
            for (int i = 0; i < Parts; ++i) sum[h][i] = f_fma(by, value[i], sum[h][i]);
        }
    }
    for (int h = 0; h < Queries; ++h)
        for (int i = 0; i < Parts; ++i) f_store(acc[h] + d + 16 * i, sum[h][i]);
}

template <class Rows, int Queries>
inline void weigh_rest(float* const* acc, const float* p, int64_t ld, const uint8_t* v, int64_t S,
                       int64_t head_dim, int64_t d) {
    const size_t bytes = Rows::bytes(head_dim);
    const int64_t n = head_dim - d;
    f32x16 sum[Queries];
    for (int h = 0; h < Queries; ++h) sum[h] = f_load_n(acc[h] + d, n);
    for (int64_t s = 0; s < S; ++s) {
        const f32x16 value = Rows::widen_n(v + size_t(s) * bytes, d, n);
        for (int h = 0; h < Queries; ++h) sum[h] = f_fma(f_set(p[h * ld + s]), value, sum[h]);
    }
    for (int h = 0; h < Queries; ++h) f_store_n(acc[h] + d, sum[h], n);
}

template <class Rows, int Queries>
inline void weigh_queries(float* const* acc, const float* p, int64_t ld, const uint8_t* v,
                          int64_t S, int64_t head_dim) {
    int64_t d = 0;
    for (; d + 16 * kWeighParts <= head_dim; d += 16 * kWeighParts)
        weigh_tile<Rows, Queries, kWeighParts>(acc, p, ld, v, S, head_dim, d);
    for (; d + 16 <= head_dim; d += 16) weigh_tile<Rows, Queries, 1>(acc, p, ld, v, S, head_dim, d);
    if (d < head_dim) weigh_rest<Rows, Queries>(acc, p, ld, v, S, head_dim, d);
}

template <class Rows>
void kv_weigh(float* const* acc, const float* p, int64_t ld, int64_t G, const void* v, int64_t S,
              int64_t head_dim) {
    int64_t g = 0;
    const auto tile = [&]<int Queries>() {
        for (; g + Queries <= G; g += Queries)
            weigh_queries<Rows, Queries>(acc + g, p + g * ld, ld, (const uint8_t*)v, S, head_dim);
    };
    tile.template operator()<4>();
    tile.template operator()<2>();
    tile.template operator()<1>();
}

}  // namespace
#endif
