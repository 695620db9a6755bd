/* q5_0: 32 weights in 22 bytes.
 *
 *   bytes 0..1    d    f16 scale
 *   bytes 2..5    qh   bit j is the fifth bit of weight j (a little-endian word)
 *   bytes 6..21   qs   low nibble of byte j is weight j, high nibble is weight j + 16
 *   w[j] = d * (q[j] - 16),   q in 0..31
 *
 * Encoding as q4_0 with d = v / -16 and q = whole part of w / d + 16.5, at most 31.
 *
 * Dot: quant_dot.h, with exact sums of (q - 16) a: at most 32 * 16 * 127 < 2^24.
 * Source: GGUF tensor type 6; quantizer as ggml's reference describes it.
 */
#include "engine/kernels/quant_panel.h"
#include "engine/kernels/quant_encode.h"

namespace {

struct q5_0 {
    static constexpr int kBytes = 22, kChunks = 1, kOffset = 16;
    static constexpr bool kMin = false, kHalves = false;
    static constexpr int kTogether = 8;
    using word = i32x16;
    struct block {};
    static void open(block&, const uint8_t*, size_t) {}
    template <int>
    static void unpack(block&, i32x16* q, f32x16* D, f32x16*, f32x16*, const uint8_t* rows,
                       size_t stride) {
        quant_nibbles(q, rows + 6, stride);
        quant_fifths(q, i_rows(rows + 2, stride));
        *D = f_rows_h(rows, stride);
    }
};

void q5_0_decode(float* out, const void* blocks, int64_t n) {
    const uint8_t* p = (const uint8_t*)blocks;
    for (int64_t b = 0; b < n / 32; ++b, p += q5_0::kBytes, out += 32) {
        const float d = half_at_bytes(p);
        uint32_t fifths;
        __builtin_memcpy(&fifths, p + 2, 4);
        for (int j = 0; j < 16; ++j) {
            const int low = (p[6 + j] & 15) | int(fifths >> j & 1) << 4;
            const int high = p[6 + j] >> 4 | int(fifths >> (16 + j) & 1) << 4;
            out[j] = d * float(low - 16);
            out[16 + j] = d * float(high - 16);
        }
    }
}

void q5_0_encode(void* blocks, const float* x, int64_t n) {
    uint8_t* p = (uint8_t*)blocks;
    for (int64_t b = 0; b < n / 32; ++b, p += q5_0::kBytes, x += 32) {
        const float d = largest_of(x, 32) / -16.0f, inverse = inverse_of(d);
        uint8_t q[32];
        for (int j = 0; j < 32; ++j) q[j] = uint8_t(whole_of(x[j] * inverse, 16.5f, 31));
        put_half(p, d);
        const uint32_t fifths = put_nibbles(p + 6, q);
        __builtin_memcpy(p + 2, &fifths, 4);
    }
}

const hearth_format format_q5_0 = {
    "q5_0",
    6,
    32,
    q5_0::kBytes,
    q5_0_decode,
    q5_0_encode,
    act_q8_bytes,
    act_q8_make,
    quant_matmul<q5_0>,
    HEARTH_ACT_Q8,
};

}  // namespace
