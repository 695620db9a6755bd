/* The matmul of quantized weights with many rows of activations.
 *
 * Unpacking a chunk of weights costs about what eight rows of activations cost to multiply with it,
 * so it is done once for many: kPanelN times 16 rows of kPanelChunks chunks are unpacked into the
 * nearest cache, and tiles of up to kPanelT rows of activations pass over them.
 *
 * In a tile each loaded word of activations meets kPanelN words of weights, and the dots of one
 * word after the other go through all sums of the tile, so that none waits for the one before it.
 * With a minimum of other work for each chunk (a conversion, a product of scales, an fma) the dots
 * are 8 of 11 vector operations: that bounds the share of the ISA's peak at 73 %, with minima at
 * 67 %.
 *
 * Weights are signed bytes here. Where an ISA's dot wants one factor unsigned, the activations have
 * 128 added (kActFlip), and sums begin at -128 times the sum of the chunk's weights (w_begin).
 */
#ifndef HEARTH_QUANT_PANEL_H
#define HEARTH_QUANT_PANEL_H

#include "engine/kernels/quant_dot.h"

namespace {

/* With 16 * kPanelN rows 22 to 52 KiB; the activations of a tile are 6 KiB more. */
constexpr int kPanelChunks = 32;
/* Rows of activations that one unpacking serves. A panel's part of them, 36 bytes a chunk, stays in
 * a second-level cache of 1 MiB with room to spare. */
constexpr int64_t kPanelRows = 256;

/* A chunk of 16 rows as the tiles read it. */
template <class Format>
struct panel_chunk {
    static constexpr int kParts = Format::kHalves ? 2 : 1;
    w8x16 q[8];
    i32x16 begin[kParts];
    f32x16 D;
    f32x16 more[kParts]; /* s or M */
};

template <class Format>
inline void panel_pack(panel_chunk<Format>* out, const quant_chunk<Format>& w) {
    constexpr int kParts = panel_chunk<Format>::kParts;
    for (int j = 0; j < 8; ++j) out->q[j] = w_of(w.q[j], Format::kOffset);
    for (int i = 0; i < kParts; ++i) {
        out->begin[i] = w_begin<8 / kParts>(out->q + 8 / kParts * i);
        out->more[i] = w.more[i];
    }
    out->D = w.D;
}

/* Chunks of 16 * kPanelN rows, group r's at w + r * kPanelChunks, against T rows of activations;
 * b0: the first chunk's block in them. Sums begin at zero, or go on where `out` stands. */
template <class Format, int T>
inline void panel_tile(float* out, int64_t ld_out, bool begin, const act_row* act, int64_t b0,
                       const panel_chunk<Format>* w, int64_t n_chunks, int64_t n_rows) {
    constexpr int kParts = panel_chunk<Format>::kParts, kWords = 8 / kParts;
    f32x16 acc[kPanelN][T];
    const uint8_t* a[T];
#pragma GCC unroll 32
    for (int t = 0; t < T; ++t) {
        a[t] = act[t].tile + 32 * b0;
#pragma GCC unroll 4
        for (int r = 0; r < kPanelN; ++r) {
            const float* from = out + t * ld_out + kQuantRows * r;
            const int64_t n = n_rows - kQuantRows * r;
            acc[r][t] = begin || n <= 0   ? f_zero()
                        : n >= kQuantRows ? f_load(from)
                                          : f_load_n(from, n);
        }
    }
    for (int64_t c = 0; c < n_chunks; ++c) {
        f32x16 S[kPanelN][T];
#pragma GCC unroll 2
        for (int part = 0; part < kParts; ++part) {
            i32x16 sum[kPanelN][T];
#pragma GCC unroll 4
            for (int r = 0; r < kPanelN; ++r)
#pragma GCC unroll 32
                for (int t = 0; t < T; ++t) sum[r][t] = w[r * kPanelChunks + c].begin[part];
            w_dots<kPanelN, T, kWords, Format::kTogether>(
                sum, w[c].q + kWords * part, kPanelChunks * sizeof(panel_chunk<Format>), a,
                32 * c + 4 * kWords * part);
#pragma GCC unroll 4
            for (int r = 0; r < kPanelN; ++r)
#pragma GCC unroll 32
                for (int t = 0; t < T; ++t) {
                    const f32x16 whole = f_of_i(sum[r][t]);
                    const f32x16* s = w[r * kPanelChunks + c].more;
                    if constexpr (!Format::kHalves)
                        S[r][t] = whole;
                    else /* integers: exact */
                        S[r][t] = part == 0 ? f_mul(whole, s[0]) : f_fma(whole, s[1], S[r][t]);
                }
        }
#pragma GCC unroll 4
        for (int r = 0; r < kPanelN; ++r)
#pragma GCC unroll 32
            for (int t = 0; t < T; ++t)
                acc[r][t] = quant_add<Format>(acc[r][t], S[r][t], w[r * kPanelChunks + c].D,
                                              w[r * kPanelChunks + c].more, act[t], b0 + c);
    }
#pragma GCC unroll 4
    for (int r = 0; r < kPanelN; ++r)
#pragma GCC unroll 32
        for (int t = 0; t < T; ++t)
            if (n_rows > kQuantRows * r)
                quant_store(out + t * ld_out + kQuantRows * r, acc[r][t], n_rows - kQuantRows * r);
}

/* All T rows: tiles of Tile rows while there are as many, then smaller ones. */
template <class Format, int Tile>
inline void panel_tiles(float* out, int64_t ld_out, bool begin, const act_row* act, int64_t T,
                        int64_t b0, const panel_chunk<Format>* w, int64_t n_chunks,
                        int64_t n_rows) {
    for (; T >= Tile; T -= Tile, act += Tile, out += Tile * ld_out)
        panel_tile<Format, Tile>(out, ld_out, begin, act, b0, w, n_chunks, n_rows);
    if constexpr (Tile > 1)
        panel_tiles<Format, (Tile > 4 ? 4 : Tile / 2)>(out, ld_out, begin, act, T, b0, w, n_chunks,
                                                       n_rows);
}

template <class Format, class Matrix>
inline void panel_rows(float* out, int64_t ld_out, const uint8_t* act, size_t act_stride, int64_t T,
                       Matrix w, int64_t n0, int64_t n1, int64_t K) {
    constexpr int64_t kBlocks = kPanelChunks / Format::kChunks, kN = kPanelN * kQuantRows;
    constexpr int kTile = Format::kHalves ? kPanelTHalves : kPanelT;
    const int64_t n_blocks = K / (Format::kChunks * 32);
    act_row rows[kPanelRows];
    for (int64_t t = 0; t < T; ++t) rows[t] = act_row_at(act + size_t(t) * act_stride, K / 32);
    panel_chunk<Format> panel[kPanelN * kPanelChunks];
    for (int64_t b0 = 0; b0 < n_blocks; b0 += kBlocks) {
        const int64_t b1 = n_blocks - b0 < kBlocks ? n_blocks : b0 + kBlocks;
        for (int64_t n = n0; n < n1; n += kN) {
            for (int64_t r = 0; r < kPanelN; ++r) {
                const int64_t row = n + kQuantRows * r;
                panel_chunk<Format>* to = panel + r * kPanelChunks;
                if (row >= n1) { /* multiplied, and not stored */
                    __builtin_memset((void*)to, 0, kPanelChunks * sizeof *to);
                    continue;
                }
                for (int64_t b = b0; b < b1; ++b, to += Format::kChunks)
                    w.template unpack<Format>(row, n1 - row, b,
                                              [&](int c, const quant_chunk<Format>& chunk) {
                                                  panel_pack<Format>(to + c, chunk);
                                              });
            }
            panel_tiles<Format, kTile>(out + n, ld_out, b0 == 0, rows, T, b0 * Format::kChunks,
                                       panel, (b1 - b0) * Format::kChunks, n1 - n);
        }
    }
}

template <class Format, class Matrix>
inline void panel_matmul(float* out, int64_t ld_out, const void* act, int64_t T, Matrix w,
                         int64_t n0, int64_t n1, int64_t K) {
    const size_t act_stride = act_q8_bytes(K);
    for (int64_t t = 0; t < T; t += kPanelRows)
        panel_rows<Format>(out + t * ld_out, ld_out, (const uint8_t*)act + size_t(t) * act_stride,
                           act_stride, T - t < kPanelRows ? T - t : kPanelRows, w, n0, n1, K);
}
template <class Format>
void quant_matmul(float* out, int64_t ld_out, const void* act, int64_t T, const void* w,
                  size_t w_stride, int64_t n0, int64_t n1, int64_t K) {
    quant_file matrix{(const uint8_t*)w, w_stride, kQuantRows};
    if (T <= quant_file::kDirectRows<Format>)
        return quant_few<Format>(out, ld_out, act, T, matrix, n0, n1, K);
    matrix.distance = kPanelN * kQuantRows;
    panel_matmul<Format>(out, ld_out, act, T, matrix, n0, n1, K);
}
template <class Format>
void quant_matmul_packed(float* out, int64_t ld_out, const void* act, int64_t T, const void* packed,
                         int64_t n0, int64_t n1, int64_t K) {
    const size_t group_bytes = size_t(K / (32 * Format::kChunks)) * packed_block<Format>();
    quant_packed matrix{(const uint8_t*)packed, group_bytes, kPackedAhead<Format>};
    if (T <= quant_packed::kDirectRows<Format>)
        return quant_few<Format>(out, ld_out, act, T, matrix, n0, n1, K);
    matrix.distance = kPanelN * group_bytes;
    panel_matmul<Format>(out, ld_out, act, T, matrix, n0, n1, K);
}

/* The descriptor of a format of quant_dot.h. */
template <class Format>
constexpr hearth_format quant_format(const char* name, uint32_t gguf_type,
                                     void (*decode)(float*, const void*, int64_t),
                                     void (*encode)(void*, const float*, int64_t)) {
    return {
        .name = name,
        .gguf_type = gguf_type,
        .block = 32 * Format::kChunks,
        .block_bytes = Format::kBytes,
        .decode = decode,
        .encode = encode,
        .act_bytes = act_q8_bytes,
        .make_act = act_q8_make,
        .matmul = quant_matmul<Format>,
        .act = HEARTH_ACT_Q8,
        .pack = quant_pack<Format>,
        .matmul_packed = quant_matmul_packed<Format>,
        .packed_block_bytes = packed_block<Format>(),
    };
}

}  // namespace
#endif
