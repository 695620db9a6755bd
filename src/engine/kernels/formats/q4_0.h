/* q4_0: 32 weights in 18 bytes.
 *
 *   bytes 0..1    d    f16 scale
 *   bytes 2..17   qs   low nibble of byte j is weight j, high nibble is weight j + 16
 *   w[j] = d * (q[j] - 8),   q in 0..15
 *
 * Encoding: d = v / -8 with v the weight of largest magnitude (so that v itself is q = 0, exactly
 * -8 d), q = whole part of w / d + 8.5, at most 15; the division is by the f32 d. Error of a weight
 * against the f32 scale: half a step, or a whole one at the end that has no q = 16; the scale's
 * rounding to f16 adds 8 times 2^-11 of a step.
 *
 * Dot: quant_dot.h, with exact sums of (q - 8) a: at most 32 * 8 * 127 < 2^24.
 * Source: GGUF tensor type 2; quantizer as ggml's reference describes it.
 */
#include "engine/kernels/quant_panel.h"
#include "engine/kernels/quant_encode.h"

namespace {

struct q4_0 {
    static constexpr int kBytes = 18, kChunks = 1, kOffset = 8;
    static constexpr bool kMin = false, kHalves = false;
    static constexpr int kTogether = 8;
    using word = i32x16;
    struct block {};
    static void open(block&, const uint8_t*, size_t) {}
    template <int>
    static void unpack(block&, i32x16* q, f32x16* D, f32x16*, f32x16*, const uint8_t* rows,
                       size_t stride) {
        quant_nibbles(q, rows + 2, stride);
        *D = f_rows_h(rows, stride);
    }
};

void q4_0_decode(float* out, const void* blocks, int64_t n) {
    const uint8_t* p = (const uint8_t*)blocks;
    for (int64_t b = 0; b < n / 32; ++b, p += q4_0::kBytes, out += 32) {
        const float d = half_at_bytes(p);
        for (int j = 0; j < 16; ++j) {
            out[j] = d * float((p[2 + j] & 15) - 8);
            out[16 + j] = d * float((p[2 + j] >> 4) - 8);
        }
    }
}

void q4_0_encode(void* blocks, const float* x, int64_t n) {
    uint8_t* p = (uint8_t*)blocks;
    for (int64_t b = 0; b < n / 32; ++b, p += q4_0::kBytes, x += 32) {
        const float d = largest_of(x, 32) / -8.0f, inverse = inverse_of(d);
        uint8_t q[32];
        for (int j = 0; j < 32; ++j) q[j] = uint8_t(whole_of(x[j] * inverse, 8.5f, 15));
        put_half(p, d);
        put_nibbles(p + 2, q);
    }
}

const hearth_format format_q4_0 = {
    "q4_0",
    2,
    32,
    q4_0::kBytes,
    q4_0_decode,
    q4_0_encode,
    act_q8_bytes,
    act_q8_make,
    quant_matmul<q4_0>,
    HEARTH_ACT_Q8,
};

}  // namespace
