/* The matmul of quantized weights with act_q8 activations, written once over the primitives; a
 * format only says how 16 rows of a block are unpacked.
 *
 * Weights are taken in chunks of 32, the activations' block. In chunk c of row n
 *
 *   w[j] = D * (s[j / 16] * (q[j] - offset)) - M          q below 128, or an int8 (word)
 *
 * with D and M in f32, exact products of a block's f16 scale and small integers, and s = 1 except
 * where a format scales sixteens (kHalves). The integer part S = sum_j s (q[j] - offset) a[j] is
 * exact and below 2^24, so its conversion is exact too. Then, in the order of the chunks,
 *
 *   acc = fma(S, D * d_a, acc)
 *   acc = fma(M, -(d_a * sum_j a[j]), acc)                 only where the format has minima
 *
 * Each chunk so rounds twice in its first line (the product of the scales, the fma) and twice in
 * its second: against exact arithmetic on the quantized activations
 *   |out - exact| <= gamma(lines * n_chunks + 1) * sum_c (|D d_a S| + |M d_a sum a|)
 * where lines is 1, or 2 with minima.
 *
 * Lane i of a vector is row i of 16, so an element's order of sums is that of its own blocks and
 * depends on nothing else. One or two rows of activations meet the weights here, unpacked on the
 * way; more of them in quant_panel.h. Each element goes through the same operations in both.
 *
 * A format is a struct:
 *   kBytes, kChunks      a block's size, and its chunks of 32
 *   kOffset              subtracted from every q; of int8, what an ISA adds to have them unsigned
 *   kMin, kHalves        does it have minima, or scales for sixteens
 *   kReach               max|q - offset|
 *   kTogether            words whose products with activations are added in 16 bits
 *   word                 a vector of four q of each row: i32x16 where q < 128, i8tile for int8
 *   block                what open() reads once for a block
 *   open(b, rows, stride)
 *   unpack<C>(b, q, D, more, rows, stride)     chunk C, with its M, or its two s, into more; chunks
 *                                              are unpacked in order
 */
#ifndef HEARTH_QUANT_DOT_H
#define HEARTH_QUANT_DOT_H

#include "engine/kernels/act_q8.h"

namespace {

constexpr int kQuantRows = 16;

template <int... C>
struct chunk_list {};
template <int N>
struct chunks_of;
template <>
struct chunks_of<1> {
    using type = chunk_list<0>;
};
template <>
struct chunks_of<8> {
    using type = chunk_list<0, 1, 2, 3, 4, 5, 6, 7>;
};

/* A chunk of 16 rows, unpacked. */
template <class Format>
struct quant_chunk {
    static_assert(!(Format::kMin && Format::kHalves));
    static_assert(2 * Format::kTogether * 127 * Format::kReach < 1 << 15);
    typename Format::word q[8];
    f32x16 D;
    f32x16 more[Format::kHalves ? 2 : 1]; /* s or M */
};

inline i32x16 quant_begin(const i32x16*, int32_t offset, int32_t sum) {
    return i_set(-offset * sum);
}
inline i32x16 quant_begin(const i8tile*, int32_t, int32_t sum) {
    return i_begin(sum);
}
inline i32x16 quant_dot(i32x16 acc, i32x16 q, const int8_t* a) {
    return u_dot(acc, q, a);
}
inline i32x16 quant_dot(i32x16 acc, i8tile q, const int8_t* a) {
    return i_dot(acc, q, a);
}

/* The integer part of one chunk with block b of a row of activations. */
template <class Format>
inline f32x16 quant_sum(const quant_chunk<Format>& w, act_row row, int64_t b) {
    const int8_t* a = row.q + 32 * b;
    if constexpr (Format::kHalves) {
        i32x16 low = quant_begin(w.q, Format::kOffset, row.half[2 * b]);
        i32x16 high = quant_begin(w.q, Format::kOffset, row.half[2 * b + 1]);
        for (int j = 0; j < 4; ++j) {
            low = quant_dot(low, w.q[j], a + 4 * j);
            high = quant_dot(high, w.q[4 + j], a + 16 + 4 * j);
        }
        /* Integers: exact. */
        return f_fma(f_of_i(low), w.more[0], f_mul(f_of_i(high), w.more[1]));
    } else {
        i32x16 sum =
            Format::kOffset == 0 ? i_set(0) : quant_begin(w.q, Format::kOffset, act_sum(row, b));
        for (int j = 0; j < 8; ++j) sum = quant_dot(sum, w.q[j], a + 4 * j);
        return f_of_i(sum);
    }
}
/* acc with one chunk's product added; S is its integer part. */
template <class Format>
inline f32x16 quant_add(f32x16 acc, f32x16 S, f32x16 D, const f32x16* more, act_row row,
                        int64_t b) {
    acc = f_fma(S, f_mul(D, f_set(row.d[b])), acc);
    if constexpr (Format::kMin) acc = f_fma(more[0], f_set(row.minus_ds[b]), acc);
    return acc;
}

/* The same blocks of the next 16 rows, into the second-level cache; a hint cannot fault. Every line
 * is asked for about once, and evenly: all 16 rows' at once, in every third block of q4_0, held
 * decode at 8 GB/s where it now reaches 12, the memory's speed (bench_kernels, one thread). */
template <int Bytes>
inline void quant_prefetch(const uint8_t* next, size_t stride, int64_t b) {
    /* Small blocks: a line holds kBlocks of them, and each block asks for the lines of some rows.
     */
    constexpr int kBlocks = Bytes < 64 ? 64 / Bytes : 1;
    const int first = int(b % kBlocks);
    for (int i = first; i < kQuantRows; i += kBlocks)
        for (int at = 0; at < Bytes; at += 64)
            __builtin_prefetch(next + size_t(i) * stride + at, 0, 2);
}

/* Block b of 16 rows, of which n_rows are stored; the others are zero. Calls use(c, chunk) for each
 * of its chunks. */
template <class Format, class Use, int... C>
inline void quant_block(const uint8_t* rows, size_t stride, Use& use, chunk_list<C...>) {
    typename Format::block block;
    Format::open(block, rows, stride);
    (
        [&] {
            quant_chunk<Format> w;
            Format::template unpack<C>(block, w.q, &w.D, w.more, rows, stride);
            use(C, w);
        }(),
        ...);
}
template <class Format, class Use>
inline void quant_unpack(const uint8_t* w, size_t w_stride, int64_t n_rows, int64_t b, Use&& use) {
    constexpr size_t kBytes = Format::kBytes;
    const uint8_t* rows = w + size_t(b) * kBytes;
    size_t stride = w_stride;
    uint8_t copy[kQuantRows * kBytes];
    if (n_rows < kQuantRows) { /* rows beyond the matrix are not read */
        __builtin_memset(copy, 0, sizeof copy);
        for (int64_t i = 0; i < n_rows; ++i)
            __builtin_memcpy(copy + size_t(i) * kBytes, rows + size_t(i) * stride, kBytes);
        rows = copy;
        stride = kBytes;
    } else {
        quant_prefetch<Format::kBytes>(rows + kQuantRows * w_stride, w_stride, b);
    }
    quant_block<Format>(rows, stride, use, typename chunks_of<Format::kChunks>::type());
}

inline void quant_store(float* out, f32x16 sum, int64_t n_rows) {
    if (n_rows >= kQuantRows)
        f_store(out, sum);
    else
        f_store_n(out, sum, n_rows);
}

/* 16 rows of weights against T rows of activations, unpacked on the way. */
template <class Format, int T>
inline void quant_direct(float* out, int64_t ld_out, const act_row* act, const uint8_t* w,
                         size_t w_stride, int64_t n_rows, int64_t n_blocks) {
    f32x16 acc[T];
    for (int t = 0; t < T; ++t) acc[t] = f_zero();
    for (int64_t b = 0; b < n_blocks; ++b)
        quant_unpack<Format>(w, w_stride, n_rows, b, [&](int c, const quant_chunk<Format>& chunk) {
            const int64_t at = b * Format::kChunks + c;
            for (int t = 0; t < T; ++t)
                acc[t] = quant_add<Format>(acc[t], quant_sum<Format>(chunk, act[t], at), chunk.D,
                                           chunk.more, act[t], at);
        });
    for (int t = 0; t < T; ++t) quant_store(out + t * ld_out, acc[t], n_rows);
}
template <class Format, int T>
inline void quant_rows(float* out, int64_t ld_out, const void* act, const uint8_t* w,
                       size_t w_stride, int64_t n0, int64_t n1, int64_t K) {
    act_row rows[T];
    for (int t = 0; t < T; ++t)
        rows[t] = act_row_at((const uint8_t*)act + size_t(t) * act_q8_bytes(K), K / 32);
    for (int64_t n = n0; n < n1; n += kQuantRows)
        quant_direct<Format, T>(out + n, ld_out, rows, w + size_t(n) * w_stride, w_stride, n1 - n,
                                K / (32 * Format::kChunks));
}

/* Nibbles of 32 weights: word j of each row holds bytes 4j..4j+3. */
inline i32x16 quant_low(i32x16 raw) {
    return i_and(raw, i_set(0x0f0f0f0f));
}
inline i32x16 quant_high(i32x16 raw) {
    return i_and(i_shr<4>(raw), i_set(0x0f0f0f0f));
}
/* 16 bytes of nibbles, as the formats of 32 weights have them: byte j holds weight j below and
 * weight j + 16 above. */
inline void quant_nibbles(i32x16* q, const uint8_t* p, size_t stride) {
    i32x16 raw[4];
    i_turn4(raw, p, stride);
    for (int j = 0; j < 4; ++j) {
        q[j] = quant_low(raw[j]);
        q[4 + j] = quant_high(raw[j]);
    }
}
/* Bits 4J..4J+3 of every lane, bit i of them as bit 4 of byte i: the four copies that the product
 * lays 7 bits apart do not overlap. */
template <int J>
inline i32x16 quant_fifth(i32x16 bits) {
    const i32x16 four = i_and(i_shr<4 * J>(bits), i_set(15));
    return i_and(i_mul(four, i_set(0x02040810)), i_set(0x10101010));
}
inline void quant_fifths(i32x16* q, i32x16 bits) {
    q[0] = i_or(q[0], quant_fifth<0>(bits));
    q[1] = i_or(q[1], quant_fifth<1>(bits));
    q[2] = i_or(q[2], quant_fifth<2>(bits));
    q[3] = i_or(q[3], quant_fifth<3>(bits));
    q[4] = i_or(q[4], quant_fifth<4>(bits));
    q[5] = i_or(q[5], quant_fifth<5>(bits));
    q[6] = i_or(q[6], quant_fifth<6>(bits));
    q[7] = i_or(q[7], quant_fifth<7>(bits));
}

}  // namespace
#endif
