/* q5_1: 32 weights in 24 bytes.
 *
 *   bytes 0..1    d    f16 scale
 *   bytes 2..3    m    f16 minimum
 *   bytes 4..7    qh   bit j is the fifth bit of weight j (a little-endian word)
 *   bytes 8..23   qs   low nibble of byte j is weight j, high nibble is weight j + 16
 *   w[j] = d * q[j] + m,   q in 0..31; the product is exact in f32, the sum rounds
 *
 * Encoding as q4_1 with d = (max w - min w) / 31.
 *
 * Dot: quant_dot.h with M = -m; exact sums of q a: at most 32 * 31 * 127 < 2^24.
 * Source: GGUF tensor type 7; quantizer as ggml's reference describes it.
 */
#include "engine/kernels/quant_panel.h"
#include "engine/kernels/quant_encode.h"

namespace {

struct q5_1 {
    static constexpr int kBytes = 24, kChunks = 1, kOffset = 0;
    static constexpr bool kMin = true, kHalves = false;
    static constexpr int kTogether = 4;
    using word = i32x16;
    struct block {};
    static void open(block&, const uint8_t*, size_t) {}
    template <int>
    static void unpack(block&, i32x16* q, f32x16* D, f32x16* M, f32x16*, const uint8_t* rows,
                       size_t stride) {
        quant_nibbles(q, rows + 8, stride);
        quant_fifths(q, i_rows(rows + 4, stride));
        const i32x16 head = i_rows(rows, stride);
        *D = f_of_h(head);
        *M = f_sub(f_zero(), f_of_h(i_shr<16>(head)));
    }
};

void q5_1_decode(float* out, const void* blocks, int64_t n) {
    const uint8_t* p = (const uint8_t*)blocks;
    for (int64_t b = 0; b < n / 32; ++b, p += q5_1::kBytes, out += 32) {
        const float d = half_at_bytes(p), m = half_at_bytes(p + 2);
        uint32_t fifths;
        __builtin_memcpy(&fifths, p + 4, 4);
        for (int j = 0; j < 16; ++j) {
            const int low = (p[8 + j] & 15) | int(fifths >> j & 1) << 4;
            const int high = p[8 + j] >> 4 | int(fifths >> (16 + j) & 1) << 4;
            out[j] = d * float(low) + m;
            out[16 + j] = d * float(high) + m;
        }
    }
}

void q5_1_encode(void* blocks, const float* x, int64_t n) {
    uint8_t* p = (uint8_t*)blocks;
    for (int64_t b = 0; b < n / 32; ++b, p += q5_1::kBytes, x += 32) {
        float low, high;
        range_of(&low, &high, x, 32);
        const float d = (high - low) / 31.0f, inverse = inverse_of(d);
        uint8_t q[32];
        for (int j = 0; j < 32; ++j) q[j] = uint8_t(whole_of((x[j] - low) * inverse, 0.5f, 31));
        put_half(p, d);
        put_half(p + 2, low);
        const uint32_t fifths = put_nibbles(p + 8, q);
        __builtin_memcpy(p + 4, &fifths, 4);
    }
}

const hearth_format format_q5_1 = {
    "q5_1",
    7,
    32,
    q5_1::kBytes,
    q5_1_decode,
    q5_1_encode,
    act_q8_bytes,
    act_q8_make,
    quant_matmul<q5_1>,
    HEARTH_ACT_Q8,
};

}  // namespace
