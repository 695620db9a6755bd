/* q8_0: 32 weights in 34 bytes.
 *
 *   bytes 0..1    d    f16 scale
 *   bytes 2..33   q    int8; q[j] is weight j
 *   w[j] = d * q[j]
 *
 * Encoding: d = max|w| / 127, q = w / d rounded half away from zero (the division by the f32 d,
 * before d is rounded to f16, as in ggml's reference quantizer). Files may hold q = -128; the dot
 * is exact there too.
 *
 * Dot: quant_dot.h with D = d; S = sum_j q[j] a[j], exact: at most 32 * 128 * 127 < 2^24.
 * Source: GGUF tensor type 8.
 */
#include "engine/kernels/quant_encode.h"
#include "engine/kernels/quant_panel.h"

namespace {

struct q8_0 {
    static constexpr int kBytes = 34, kChunks = 1, kStep = 1, kAtHalf = 0;
    static constexpr int kOffset = 128; /* where an ISA adds it to have unsigned bytes */
    static constexpr bool kMin = false, kHalves = false;
    static constexpr int kReach = 128, kTogether = 1;
    using word = i8tile;
    struct block {};
    template <class Rows>
    static void open(block&, Rows) {}
    template <int, class Rows>
    HEARTH_INLINE static void unpack(block&, int, i8tile* q, f32x16* D, f32x16*, Rows rows) {
        rows.tile(q, 2);
        *D = rows.half(0);
    }
};

void q8_0_decode(float* out, const void* blocks, int64_t n) {
    const uint8_t* p = (const uint8_t*)blocks;
    for (int64_t b = 0; b < n / 32; ++b, p += q8_0::kBytes, out += 32) {
        const float d = half_at_bytes(p);
        for (int j = 0; j < 32; ++j) out[j] = d * float((int8_t)p[2 + j]);
    }
}

/* x rounded to an integer, half away from zero. Requires: |x| <= 2^22. x - whole is exact. */
inline float round_half_away(float x) {
    const float whole = float(int32_t(x)), part = x - whole;
    return whole + (part >= 0.5f ? 1.0f : part <= -0.5f ? -1.0f : 0.0f);
}

/* Requires: finite x. Blocks below 2^-93 become zeros: their scale is 0 in f16 in any case. */
void q8_0_encode(void* blocks, const float* x, int64_t n) {
    uint8_t* p = (uint8_t*)blocks;
    for (int64_t b = 0; b < n / 32; ++b, p += q8_0::kBytes, x += 32) {
        const float largest = largest_of(x, 32);
        const float d = (largest < 0.0f ? -largest : largest) / 127.0f, inverse = inverse_of(d);
        put_half(p, d);
        for (int j = 0; j < 32; ++j) p[2 + j] = (uint8_t)(int8_t)round_half_away(x[j] * inverse);
    }
}

const hearth_format format_q8_0 = quant_format<q8_0>("q8_0", 8, q8_0_decode, q8_0_encode);

}  // namespace
