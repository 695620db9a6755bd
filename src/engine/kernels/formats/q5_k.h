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
    static constexpr int kBytes = 176, kChunks = 8, kStep = 2, kAtHalf = -1, kOffset = 0;
    static constexpr bool kMin = true, kHalves = false;
    static constexpr int kReach = 31, kTogether = 4;
    using word = i32x16;
    struct block {
        k_heads heads;
        i32x16 raw[8], fifths[8];
    };
    template <class Rows>
    static void open(block& b, Rows rows) {
        k_open(b.heads, rows);
        rows.turn4(b.fifths, 16);
        rows.turn4(b.fifths + 4, 32);
    }
    template <int C, class Rows>
    HEARTH_INLINE static void unpack(block& b, int i, i32x16* q, f32x16* D, f32x16* M, Rows rows) {
        k_nibbles<C>(q, b.raw, rows, 48 + 32 * i);
        for (int j = 0; j < 8; ++j) { /* bit 2 i + C of each byte to bit 4 */
            const i32x16 fifth = i_and(i_shr(b.fifths[j], 2 * i + C), i_set(0x01010101));
            q[j] = i_or(q[j], i_shl<4>(fifth));
        }
        k_scales<C>(D, M, b.heads, i);
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
