/* q4_k: 256 weights in 144 bytes, in 8 sub-blocks of 32.
 *
 *   bytes 0..15     d, dmin, 6-bit scales and minima   as quant_k.h describes
 *   bytes 16..143   qs   nibbles q, in 0..15
 *   w = (d * scale) * q - (dmin * min)
 *
 * Encoding: quant_k.h. Dot: quant_dot.h with D = d * scale and M = dmin * min; exact sums of q a:
 * at most 32 * 15 * 127 < 2^24. Source: GGUF tensor type 12.
 */
#include "engine/kernels/quant_k.h"

namespace {

struct q4_k {
    static constexpr int kBytes = 144, kChunks = 8, kStep = 2, kAtHalf = -1, kOffset = 0;
    static constexpr bool kMin = true, kHalves = false;
    static constexpr int kReach = 15, kTogether = 8;
    using word = i32x16;
    struct block {
        k_heads heads;
        i32x16 raw[8];
    };
    template <class Rows>
    static void open(block& b, Rows rows) {
        k_open(b.heads, rows);
    }
    template <int C, class Rows>
    HEARTH_INLINE static void unpack(block& b, int i, i32x16* q, f32x16* D, f32x16* M, Rows rows) {
        k_nibbles<C>(q, b.raw, rows, 16 + 32 * i);
        k_scales<C>(D, M, b.heads, i);
    }
};

void q4_k_decode(float* out, const void* blocks, int64_t n) {
    const uint8_t* p = (const uint8_t*)blocks;
    for (int64_t b = 0; b < n / 256; ++b, p += q4_k::kBytes, out += 256) {
        const float d = half_at_bytes(p), dmin = half_at_bytes(p + 2);
        const k_numbers k = k_read(p);
        for (int i = 0; i < 8; ++i) {
            const float scale = d * float(k.scale[i]), min = dmin * float(k.min[i]);
            const uint8_t* qs = p + 16 + 32 * (i / 2);
            for (int j = 0; j < 32; ++j)
                out[32 * i + j] = scale * float(qs[j] >> 4 * (i % 2) & 15) - min;
        }
    }
}

void q4_k_encode(void* blocks, const float* x, int64_t n) {
    uint8_t* p = (uint8_t*)blocks;
    for (int64_t b = 0; b < n / 256; ++b, p += q4_k::kBytes, x += 256) {
        uint8_t q[256];
        k_quantize(p, q, x, 15);
        k_put_nibbles(p + 16, q);
    }
}

const hearth_format format_q4_k = quant_format<q4_k>("q4_k", 12, q4_k_decode, q4_k_encode);

}  // namespace
