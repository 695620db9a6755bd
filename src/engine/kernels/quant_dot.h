/* The matmul of quantized weights with act_q8 activations, written once over the primitives; a
 * format only says how 16 rows of a block are unpacked.
 *
 * Weights are taken in chunks of 32, the activations' block. In chunk c of row n
 *
 *   w[j] = D * (s[j / 16] * (q[j] - offset)) - M          q an unsigned integer below 128
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
 * A tile is 16 rows of weights: lane i is row i, so an element's order of sums is that of its own
 * blocks and depends on nothing else. Weights are unpacked once for kQuantT rows of activations.
 *
 * A format is a struct:
 *   kBytes, kChunks      a block's size, and its chunks of 32
 *   kOffset              subtracted from every q
 *   kMin, kHalves        does it have minima, scales for sixteens
 *   block                what open() reads once for a block
 *   open(b, rows, stride)
 *   unpack<C>(b, q, D, M, s, rows, stride)     chunk C; chunks are unpacked in order
 */
#ifndef HEARTH_QUANT_DOT_H
#define HEARTH_QUANT_DOT_H

#include "engine/kernels/act_q8.h"

namespace {

constexpr int kQuantRows = 16, kQuantT = 8;

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

/* The integer part of one chunk. */
template <class Format>
inline f32x16 quant_sum(const i32x16* q, const f32x16* s, const act_q8* a) {
    if constexpr (Format::kHalves) {
        i32x16 low = i_set(-Format::kOffset * a->half[0]);
        i32x16 high = i_set(-Format::kOffset * a->half[1]);
        for (int j = 0; j < 4; ++j) {
            low = u_dot(low, q[j], a->q + 4 * j);
            high = u_dot(high, q[4 + j], a->q + 16 + 4 * j);
        }
        return f_fma(f_of_i(low), s[0], f_mul(f_of_i(high), s[1])); /* integers: exact */
    } else {
        i32x16 sum = i_set(Format::kOffset == 0 ? 0 : -Format::kOffset * act_q8_sum(a));
        for (int j = 0; j < 8; ++j) sum = u_dot(sum, q[j], a->q + 4 * j);
        return f_of_i(sum);
    }
}

template <class Format, int T, int C>
inline void quant_chunk(f32x16* acc, typename Format::block& block, const uint8_t* rows,
                        size_t stride, const uint8_t* act, size_t act_stride) {
    i32x16 q[8];
    f32x16 D, M, s[2];
    Format::template unpack<C>(block, q, &D, &M, s, rows, stride);
    for (int t = 0; t < T; ++t) {
        const act_q8* a = (const act_q8*)(act + size_t(t) * act_stride) + C;
        acc[t] = f_fma(quant_sum<Format>(q, s, a), f_mul(D, f_set(a->d)), acc[t]);
        if constexpr (Format::kMin)
            acc[t] = f_fma(M, f_set(-(a->d * float(act_q8_sum(a)))), acc[t]);
    }
}

template <class Format, int T, int... C>
inline void quant_block(f32x16* acc, const uint8_t* rows, size_t stride, const uint8_t* act,
                        size_t act_stride, chunk_list<C...>) {
    typename Format::block block;
    Format::open(block, rows, stride);
    (quant_chunk<Format, T, C>(acc, block, rows, stride, act, act_stride), ...);
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

/* 16 rows of weights, of which n_rows are stored, against T rows of activations. */
template <class Format, int T>
inline void quant_tile(float* out, int64_t ld_out, const uint8_t* act, size_t act_stride,
                       const uint8_t* w, size_t w_stride, int64_t n_rows, int64_t n_blocks) {
    constexpr size_t kBytes = Format::kBytes;
    f32x16 acc[T];
    for (int t = 0; t < T; ++t) acc[t] = f_zero();
    for (int64_t b = 0; b < n_blocks; ++b, w += kBytes, act += Format::kChunks * sizeof(act_q8)) {
        const uint8_t* rows = w;
        size_t stride = w_stride;
        uint8_t copy[kQuantRows * kBytes];
        if (n_rows < kQuantRows) { /* rows beyond the matrix are not read */
            __builtin_memset(copy, 0, sizeof copy);
            for (int64_t i = 0; i < n_rows; ++i)
                __builtin_memcpy(copy + size_t(i) * kBytes, w + size_t(i) * w_stride, kBytes);
            rows = copy;
            stride = kBytes;
        } else {
            quant_prefetch<Format::kBytes>(w + kQuantRows * w_stride, w_stride, b);
        }
        quant_block<Format, T>(acc, rows, stride, act, act_stride,
                               typename chunks_of<Format::kChunks>::type());
    }
    for (int t = 0; t < T; ++t) {
        if (n_rows == kQuantRows)
            f_store(out + t * ld_out, acc[t]);
        else
            f_store_n(out + t * ld_out, acc[t], n_rows);
    }
}

template <class Format>
void quant_matmul(float* out, int64_t ld_out, const void* act, int64_t T, const void* w,
                  size_t w_stride, int64_t n0, int64_t n1, int64_t K) {
    const int64_t n_blocks = K / (Format::kChunks * 32);
    const size_t act_stride = act_q8_bytes(K);
    for (int64_t n = n0; n < n1; n += kQuantRows) {
        const int64_t n_rows = n1 - n < kQuantRows ? n1 - n : kQuantRows;
        const uint8_t* rows = (const uint8_t*)w + size_t(n) * w_stride;
        const uint8_t* a = (const uint8_t*)act;
        float* o = out + n;
        int64_t t = 0;
        for (; t + kQuantT <= T; t += kQuantT, a += kQuantT * act_stride, o += kQuantT * ld_out)
            quant_tile<Format, kQuantT>(o, ld_out, a, act_stride, rows, w_stride, n_rows, n_blocks);
        for (; t + 2 <= T; t += 2, a += 2 * act_stride, o += 2 * ld_out)
            quant_tile<Format, 2>(o, ld_out, a, act_stride, rows, w_stride, n_rows, n_blocks);
        if (t < T)
            quant_tile<Format, 1>(o, ld_out, a, act_stride, rows, w_stride, n_rows, n_blocks);
    }
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
