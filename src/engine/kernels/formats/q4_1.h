/* q4_1: 32 weights in 20 bytes.
 *
 *   bytes 0..1    d    f16 scale
 *   bytes 2..3    m    f16 minimum
 *   bytes 4..19   qs   low nibble of byte j is weight j, high nibble is weight j + 16
 *   w[j] = d * q[j] + m,   q in 0..15; the product is exact in f32, the sum rounds
 *
 * Encoding: m = min w, d = (max w - min w) / 15, q = whole part of (w - m) / d + 0.5, by the f32 d
 * and m. Error of a weight: half a step, and the roundings of d and m to f16.
 *
 * Dot: quant_dot.h with M = -m; exact sums of q a: at most 32 * 15 * 127 < 2^24.
 * Source: GGUF tensor type 3; quantizer as ggml's reference describes it.
 */
#include "engine/kernels/quant_panel.h"
#include "engine/kernels/quant_encode.h"

namespace {

struct q4_1 {
    static constexpr int kBytes = 20, kChunks = 1, kOffset = 0;
    static constexpr bool kMin = true, kHalves = false;
    static constexpr int kTogether = 8;
    using word = i32x16;
    struct block {};
    static void open(block&, const uint8_t*, size_t) {}
    template <int>
    static void unpack(block&, i32x16* q, f32x16* D, f32x16* M, f32x16*, const uint8_t* rows,
                       size_t stride) {
        quant_nibbles(q, rows + 4, stride);
        const i32x16 head = i_rows(rows, stride);
        *D = f_of_h(head);
        *M = f_sub(f_zero(), f_of_h(i_shr<16>(head)));
    }
};

void q4_1_decode(float* out, const void* blocks, int64_t n) {
    const uint8_t* p = (const uint8_t*)blocks;
    for (int64_t b = 0; b < n / 32; ++b, p += q4_1::kBytes, out += 32) {
        const float d = half_at_bytes(p), m = half_at_bytes(p + 2);
        for (int j = 0; j < 16; ++j) {
            out[j] = d * float(p[4 + j] & 15) + m;
            out[16 + j] = d * float(p[4 + j] >> 4) + m;
        }
    }
}

void q4_1_encode(void* blocks, const float* x, int64_t n) {
    uint8_t* p = (uint8_t*)blocks;
    for (int64_t b = 0; b < n / 32; ++b, p += q4_1::kBytes, x += 32) {
        float low, high;
        range_of(&low, &high, x, 32);
        const float d = (high - low) / 15.0f, inverse = inverse_of(d);
        uint8_t q[32];
        for (int j = 0; j < 32; ++j) q[j] = uint8_t(whole_of((x[j] - low) * inverse, 0.5f, 15));
        put_half(p, d);
        put_half(p + 2, low);
        put_nibbles(p + 4, q);
    }
}

const hearth_format format_q4_1 = {
    "q4_1",
    3,
    32,
    q4_1::kBytes,
    q4_1_decode,
    q4_1_encode,
    act_q8_bytes,
    act_q8_make,
    quant_matmul<q4_1>,
    HEARTH_ACT_Q8,
};

}  // namespace
