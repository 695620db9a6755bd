/* q5_k: 256 weights in 176 bytes, in 8 sub-blocks of 32.
 *
 *   bytes 0..15     d, dmin, 6-bit scales and minima   as quant_k.h describes
 *   bytes 16..47    qh   bit i of byte j is the fifth bit of weight j of sub-block i
 *   bytes 48..175   qs   the lower four bits, as quant_k.h describes; q in 0..31
 *   w = (d * scale) * q - (dmin * min)
 *
 * Encoding: quant_k.h. Dot: quant_dot.h with D = d * scale and M = dmin * min; exact sums of q a:
 * at most 32 * 31 * 127 < 2^24. Source: GGUF tensor type 13.
 */
#include "engine/kernels/quant_k.h"

namespace {

struct q5_k {
    static constexpr int kBytes = 176, kChunks = 8, kOffset = 0;
    static constexpr bool kMin = true, kHalves = false;
    static constexpr int kReach = 31, kTogether = 4;
    using word = i32x16;
    struct block {
        k_heads heads;
        i32x16 raw[8], fifths[8];
    };
    static void open(block& b, const uint8_t* rows, size_t stride) {
        k_open(b.heads, rows, stride);
        i_turn4(b.fifths, rows + 16, stride);
        i_turn4(b.fifths + 4, rows + 32, stride);
    }
    template <int C>
    static void unpack(block& b, i32x16* q, f32x16* D, f32x16* M, const uint8_t* rows,
                       size_t stride) {
        k_nibbles<C>(q, b.raw, rows + 48, stride);
        for (int j = 0; j < 8; ++j) {
            i32x16 fifth; /* bit C of each byte to bit 4 */
            if constexpr (C < 4)
                fifth = i_shl<4 - C>(b.fifths[j]);
            else
                fifth = i_shr<C - 4>(b.fifths[j]);
            q[j] = i_or(q[j], i_and(fifth, i_set(0x10101010)));
        }
        k_scales<C>(D, M, b.heads);
    }
};

void q5_k_decode(float* out, const void* blocks, int64_t n) {
    const uint8_t* p = (const uint8_t*)blocks;
    for (int64_t b = 0; b < n / 256; ++b, p += q5_k::kBytes, out += 256) {
        const float d = half_at_bytes(p), dmin = half_at_bytes(p + 2);
        const k_numbers k = k_read(p);
        for (int i = 0; i < 8; ++i) {
            const float scale = d * float(k.scale[i]), min = dmin * float(k.min[i]);
            const uint8_t *qh = p + 16, *qs = p + 48 + 32 * (i / 2);
            for (int j = 0; j < 32; ++j) {
                const int q = (qs[j] >> 4 * (i % 2) & 15) | (qh[j] >> i & 1) << 4;
                out[32 * i + j] = scale * float(q) - min;
            }
        }
    }
}

void q5_k_encode(void* blocks, const float* x, int64_t n) {
    uint8_t* p = (uint8_t*)blocks;
    for (int64_t b = 0; b < n / 256; ++b, p += q5_k::kBytes, x += 256) {
        uint8_t q[256];
        k_quantize(p, q, x, 31);
        k_put_nibbles(p + 48, q);
        __builtin_memset(p + 16, 0, 32);
        for (int j = 0; j < 256; ++j)
            p[16 + j % 32] = uint8_t(p[16 + j % 32] | (q[j] >> 4) << j / 32);
    }
}

const hearth_format format_q5_k = quant_format<q5_k>("q5_k", 13, q5_k_decode, q5_k_encode);

}  // namespace
