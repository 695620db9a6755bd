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
 * depends on nothing else. A few rows of activations meet the weights here, unpacked on the way;
 * more of them in quant_panel.h. Each element goes through the same operations in both.
 *
 * Weights lie as in a file, row after row, and 16 rows are turned into vectors for every step; or
 * packed (kernels.h), turned once. Formats read through a Rows and do not know which.
 *
 * A format is a struct:
 *   kBytes, kChunks      a block's size, and its chunks of 32
 *   kStep                chunks that are unpacked alike, step after step
 *   kOffset              subtracted from every q; of int8, what an ISA adds to have them unsigned
 *   kMin, kHalves        does it have minima, or scales for sixteens
 *   kReach               max|q - offset|
 *   kTogether            words whose products with activations are added in 16 bits
 *   word                 a vector of four q of each row: i32x16 where q < 128, i8tile for int8
 *   block                what open() reads once for a block
 *   kAtHalf              place of a lone f16 in the block, -1 without one; all else is words of
 *                        four bytes, counted from the block's begin or from that f16's end
 *   kPackedBytes, place(at)   where it is packed in another order than the file's: bytes of 16 rows
 *                        of a block, and where byte `at` of them begins
 *   open(b, rows)
 *   unpack<C>(b, i, q, D, more, rows)  chunk C of step i, with its M, or its two s, into more;
 *                                      chunks are unpacked in order
 */
#ifndef HEARTH_QUANT_DOT_H
#define HEARTH_QUANT_DOT_H

#include "engine/kernels/act_q8.h"

namespace {

constexpr int kQuantRows = HEARTH_PACKED_ROWS;
/* So many bytes before they are read packed rows are asked for, where they are read in order: more
 * than two blocks of any format. bench_kernels 1 256, one row, Zen 4: q4_k at 61, 82, 88 and 90 %
 * of the memory's rate with 2048, 4096, 6144 and 8192, no more with 16384. int8 have nothing to
 * unpack, and far hints only meet what the machine fetches by itself: q8_0 at 95 % with 2048, 87 %
 * with 8192. */
template <class Format>
constexpr size_t kPackedAhead = Format::kReach == 128 ? 2048 : 8192;

template <int... C>
struct chunk_list {};
template <int N>
struct chunks_of;
template <>
struct chunks_of<1> {
    using type = chunk_list<0>;
};
template <>
struct chunks_of<2> {
    using type = chunk_list<0, 1>;
};
template <>
struct chunks_of<4> {
    using type = chunk_list<0, 1, 2, 3>;
};

/* 16 rows of a block as they lie in a file, `stride` bytes apart. Bytes are named by their place in
 * the block. */
struct quant_file_rows {
    const uint8_t* p;
    size_t stride;
    f32x16 half(int at) const { return f_rows_h(p + at, stride); }
    i32x16 word(int at) const { return i_rows(p + at, stride); }
    void turn4(i32x16* out, int at) const { i_turn4(out, p + at, stride); } /* four words */
    void tile(i8tile* out, int at) const { t_load(out, p + at, stride); }   /* 32 int8 */
    void ahead(int) const {}
};

/* Where byte `at` of a packed block's rows begins: in the order of the block, or in the one that a
 * format gives as place(at), the order in which it reads, each word aligned. */
template <class Format>
constexpr int packed_place(int at) {
    if constexpr (requires { Format::place(at); })
        return Format::place(at);
    else
        return kQuantRows * at;
}
/* Bytes of a packed block. */
template <class Format>
constexpr int packed_block() {
    if constexpr (requires { Format::kPackedBytes; })
        return Format::kPackedBytes;
    else
        return kQuantRows * Format::kBytes;
}

/* The same bytes packed: from packed_place(at) on goes the first word of each row, then the second
 * of each (of a lone f16, just that). */
template <class Format>
struct quant_packed_rows {
    const uint8_t* p;
    size_t distance;
    const uint8_t* at(int byte) const { return p + packed_place<Format>(byte); }
    f32x16 half(int byte) const { return f_load_h((const uint16_t*)at(byte)); }
    i32x16 word(int byte) const { return i_load(at(byte)); }
    void turn4(i32x16* out, int byte) const {
        for (int j = 0; j < 4; ++j) out[j] = word(byte + 4 * j);
    }
    void tile(i8tile* out, int byte) const {
        for (int j = 0; j < 8; ++j) out[j] = t_turned(at(byte + 4 * j));
    }
    /* Asks for what is read next, a chunk's part of it with each chunk: all of a block at once
     * would fill the queue of misses, and loads wait behind it. A compiler gathers the hints of
     * all chunks, and the loads, where it sees no reason not to. */
    HEARTH_INLINE void ahead(int c) const {
        constexpr int kChunks = Format::kChunks;
        constexpr int kLines = (packed_block<Format>() + 64 * kChunks - 1) / (64 * kChunks);
        for (int i = 0; i < kLines; ++i)
            __builtin_prefetch(p + distance + 64 * (kLines * c + i), 0, 2);
        asm volatile("" ::: "memory");
    }
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

/* Where the sum of a chunk's products begins: at minus the offset times the activations' sum. */
template <class Format>
inline i32x16 quant_begin(const i32x16*, const int32_t* minus_sum) {
    if constexpr (Format::kOffset == 0)
        return i_set(0);
    else
        return i_shl<__builtin_ctz(Format::kOffset)>(i_set(*minus_sum));
}
template <class Format>
inline i32x16 quant_begin(const i8tile*, const int32_t* minus_sum) {
    return i_begin(*minus_sum);
}
inline i32x16 quant_dot(i32x16 acc, i32x16 q, const int8_t* a) {
    return u_dot(acc, q, a);
}
inline i32x16 quant_dot(i32x16 acc, i8tile q, const int8_t* a) {
    return i_dot(acc, q, a);
}

/* The integer parts of one chunk with block b of T rows of activations; a word after the other goes
 * through all sums, so that none waits for the one before it. */
template <class Format, int T>
HEARTH_INLINE void quant_sums(f32x16* S, const quant_chunk<Format>& w, const act_row* act,
                              int64_t b) {
    constexpr int kParts = Format::kHalves ? 2 : 1, kWords = 8 / kParts;
#pragma GCC unroll 2
    for (int part = 0; part < kParts; ++part) {
        i32x16 sum[T];
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t)
            sum[t] = quant_begin<Format>(
                w.q, Format::kHalves ? act[t].minus_half + 2 * b + part : act[t].minus_sum + b);
#pragma GCC unroll 8
        for (int j = kWords * part; j < kWords * (part + 1); ++j)
#pragma GCC unroll 8
            for (int t = 0; t < T; ++t)
                sum[t] = quant_dot(sum[t], w.q[j], act[t].q + 32 * b + 4 * j);
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) {
            const f32x16 whole = f_of_i(sum[t]);
            if constexpr (!Format::kHalves)
                S[t] = whole;
            else /* integers: exact */
                S[t] = part == 0 ? f_mul(whole, w.more[0]) : f_fma(whole, w.more[1], S[t]);
        }
    }
}
/* acc with one chunk's product added; S is its integer part. */
template <class Format>
HEARTH_INLINE f32x16 quant_add(f32x16 acc, f32x16 S, f32x16 D, const f32x16* more, act_row row,
                               int64_t b) {
    acc = f_fma(S, f_mul(D, f_set(row.d[b])), acc);
    if constexpr (Format::kMin) acc = f_fma(more[0], f_set(row.minus_ds[b]), acc);
    return acc;
}

/* The same blocks of rows to come, into the second-level cache; a hint cannot fault. Every line
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

/* Calls use(c, chunk) for each chunk of a block of 16 rows. */
template <class Format, class Rows, class Use, int... C>
HEARTH_INLINE void quant_block(Rows rows, Use& use, chunk_list<C...>) {
    typename Format::block block;
    Format::open(block, rows);
/* Not unrolled: the code of all steps would be too much for a cache, and for the compiler. */
#pragma GCC unroll 1
    for (int i = 0; i < Format::kChunks / Format::kStep; ++i)
        (
            [&]() HEARTH_INLINED {
                quant_chunk<Format> w;
                const int c = i * Format::kStep + C;
                rows.ahead(c);
                Format::template unpack<C>(block, i, w.q, &w.D, w.more, rows);
                use(c, w);
            }(),
            ...);
}

/* Rows of a matrix as they lie in a file. */
struct quant_file {
    /* Rows of activations that meet the weights as they are unpacked: together, and at most. */
    template <class Format>
    static constexpr int kTile = 1;
    template <class Format>
    static constexpr int kDirectRows = 1;
    const uint8_t* w;
    size_t stride;
    int64_t distance; /* rows from those that are read to those that are asked for */
    /* Block b of the rows from n on, of which n_rows are stored; the others are zero. */
    template <class Format, class Use>
    inline void unpack(int64_t n, int64_t n_rows, int64_t b, Use&& use) const {
        constexpr size_t kBytes = Format::kBytes;
        quant_file_rows rows{w + size_t(n) * stride + size_t(b) * kBytes, stride};
        uint8_t copy[kQuantRows * kBytes];
        if (n_rows < kQuantRows) { /* rows beyond the matrix are not read */
            __builtin_memset(copy, 0, sizeof copy);
            for (int64_t i = 0; i < n_rows; ++i)
                __builtin_memcpy(copy + size_t(i) * kBytes, rows.p + size_t(i) * stride, kBytes);
            rows = {copy, kBytes};
        } else {
            quant_prefetch<Format::kBytes>(rows.p + size_t(distance) * stride, stride, b);
        }
        quant_block<Format>(rows, use, typename chunks_of<Format::kStep>::type());
    }
};

/* The same packed, 16 rows after 16 rows; n and the matrix's rows are multiples of 16. */
struct quant_packed {
    template <class Format>
    static constexpr int kTile = Format::kHalves ? kPackedHalves : kPackedRows;
    template <class Format>
    static constexpr int kDirectRows = 2 * kTile<Format>;
    const uint8_t* w;
    size_t group_bytes; /* of 16 rows */
    size_t distance;    /* from a block to the one that is asked for while it is read */
    template <class Format, class Use>
    inline void unpack(int64_t n, int64_t, int64_t b, Use&& use) const {
        const uint8_t* p =
            w + size_t(n / kQuantRows) * group_bytes + size_t(b) * packed_block<Format>();
        quant_block<Format>(quant_packed_rows<Format>{p, distance}, use,
                            typename chunks_of<Format::kStep>::type());
    }
};

/* Packs a block of 16 rows, which lie `stride` bytes apart in w. */
template <class Format>
inline void quant_pack_block(uint8_t* out, const uint8_t* w, size_t stride) {
    __builtin_memset(out, 0, packed_block<Format>());
    for (int at = 0; at < Format::kBytes;) {
        const int n = at == Format::kAtHalf ? 2 : 4;
        uint8_t* to = out + packed_place<Format>(at);
        for (int i = 0; i < kQuantRows; ++i)
            __builtin_memcpy(to + n * i, w + size_t(i) * stride + at, size_t(n));
        at += n;
    }
}
template <class Format>
void quant_pack(void* packed, const void* w, size_t w_stride, int64_t K) {
    uint8_t* out = (uint8_t*)packed;
    const uint8_t* rows = (const uint8_t*)w;
    for (int64_t b = 0; b < K / (32 * Format::kChunks); ++b) {
        quant_pack_block<Format>(out, rows + size_t(b) * Format::kBytes, w_stride);
        out += packed_block<Format>();
    }
}

inline void quant_store(float* out, f32x16 sum, int64_t n_rows) {
    if (n_rows >= kQuantRows)
        f_store(out, sum);
    else
        f_store_n(out, sum, n_rows);
}

/* 16 rows of weights against T rows of activations, unpacked on the way. */
template <class Format, int T, class Matrix>
inline void quant_direct(float* out, int64_t ld_out, const act_row* act, Matrix w, int64_t n,
                         int64_t n_rows, int64_t n_blocks) {
    f32x16 acc[T];
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) acc[t] = f_zero();
    for (int64_t b = 0; b < n_blocks; ++b)
        w.template unpack<Format>(
            n, n_rows, b, [&](int c, const quant_chunk<Format>& chunk) HEARTH_INLINED {
                const int64_t at = b * Format::kChunks + c;
                f32x16 S[T];
                quant_sums<Format, T>(S, chunk, act, at);
#pragma GCC unroll 8
                for (int t = 0; t < T; ++t)
                    acc[t] = quant_add<Format>(acc[t], S[t], chunk.D, chunk.more, act[t], at);
            });
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) quant_store(out + t * ld_out, acc[t], n_rows);
}
/* Tiles of Tile rows of activations while there are as many, then smaller ones. */
template <class Format, int Tile, class Matrix>
inline void quant_tiles(float* out, int64_t ld_out, const act_row* act, int64_t T, Matrix w,
                        int64_t n, int64_t n_rows, int64_t n_blocks) {
    for (; T >= Tile; T -= Tile, act += Tile, out += Tile * ld_out)
        quant_direct<Format, Tile>(out, ld_out, act, w, n, n_rows, n_blocks);
    if constexpr (Tile > 1)
        if (T > 0) quant_tiles<Format, Tile / 2>(out, ld_out, act, T, w, n, n_rows, n_blocks);
}
/* All tiles pass over 16 rows of weights before the next 16 are read. */
template <class Format, class Matrix>
inline void quant_few(float* out, int64_t ld_out, const void* act, int64_t T, Matrix w, int64_t n0,
                      int64_t n1, int64_t K) {
    constexpr int kTile = Matrix::template kTile<Format>;
    act_row rows[Matrix::template kDirectRows<Format>];
    for (int64_t t = 0; t < T; ++t)
        rows[t] = act_row_at((const uint8_t*)act + size_t(t) * act_q8_bytes(K), K / 32);
    for (int64_t n = n0; n < n1; n += kQuantRows)
        quant_tiles<Format, kTile>(out + n, ld_out, rows, T, w, n, n1 - n,
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
template <class Rows>
HEARTH_INLINE void quant_nibbles(i32x16* q, Rows rows, int at) {
    i32x16 raw[4];
    rows.turn4(raw, at);
    for (int j = 0; j < 4; ++j) {
        q[j] = quant_low(raw[j]);
        q[4 + j] = quant_high(raw[j]);
    }
}
/* Bits 4J..4J+3 of every lane, bit i of them as bit 4 of byte i: the four copies that the product
 * lays 7 bits apart do not overlap. */
template <int J>
HEARTH_INLINE i32x16 quant_fifth(i32x16 bits) {
    const i32x16 four = i_and(i_shr<4 * J>(bits), i_set(15));
    return i_and(i_mul(four, i_set(0x02040810)), i_set(0x10101010));
}
HEARTH_INLINE void quant_fifths(i32x16* q, i32x16 bits) {
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
