/* q6_k: 256 weights in 210 bytes, in 16 sub-blocks of 16.
 *
 *   bytes 0..127     ql       lower four bits, bytes 128..191 qh: upper two
 *   bytes 192..207   scales   int8; sub-block i is weights 16 i..16 i + 15
 *   bytes 208..209   d        f16 scale of the scales
 *   w = (d * scale) * (q - 32),   q in 0..63; the first product is exact in f32, the second rounds
 *
 * The two halves h of a block are alike. Weight 128 h + 32 i + j, with i in 0..3 and j in 0..31:
 *   lower bits   byte 64 h + 32 (i % 2) + j of ql, its low nibble for i < 2, its high one after
 *   upper bits   bits 2 i and 2 i + 1 of byte 32 h + j of qh
 *
 * Encoding: search_scale for every sub-block; d is the scale of largest magnitude / -128, rounded
 * to f16; then scales and weights are rounded to nearest by what is stored. Error of a sub-block,
 * as root of the mean square: a step of the starting grid, max|w| / 32, and 16 |d| from rounding
 * the scale (up to 32 |d| where -128 d is wanted with the other sign).
 *
 * Dot: quant_dot.h with D = d; S = scale_0 * S_0 + scale_1 * S_1 over the two sixteens of a chunk,
 * exact: at most 2 * 128 * (16 * 32 * 127) = 16,646,144 < 2^24. Source: GGUF tensor type 14.
 */
#include "engine/kernels/quant_panel.h"
#include "engine/kernels/quant_search.h"

namespace {

struct q6_k {
    static constexpr int kBytes = 210, kChunks = 8, kStep = 4, kAtHalf = 208, kOffset = 32;
    static constexpr bool kMin = false, kHalves = true;
    static constexpr int kReach = 32, kTogether = 4;
    /* Packed in the order in which unpack() reads: scales, d, then of each half qh and ql. As the
     * file has it, 210 bytes, loads of every second block cross lines, and three places are read in
     * turns, which no prefetcher of a core follows. d takes a whole word. */
    static constexpr int kPackedBytes = 64 * 53;
    static constexpr int place(int at) {
        if (at >= 192) return 16 * (at - 192); /* d, at 208, comes to 256 */
        const int half = at < 128 ? at / 64 : (at - 128) / 32;
        return 64 * 5 + 16 * (96 * half + (at < 128 ? 32 + at % 64 : at % 32));
    }
    using word = i32x16;
    struct block {
        f32x16 d;
        i32x16 scales[4]; /* words of four int8 */
        i32x16 low[16];   /* ql of a half */
        i32x16 high[8];   /* qh of a half */
    };
    template <class Rows>
    static void open(block& b, Rows rows) {
        rows.turn4(b.scales, 192);
        b.d = rows.half(208);
    }
    template <int C, class Rows>
    HEARTH_INLINE static void unpack(block& b, int i, i32x16* q, f32x16* D, f32x16* s, Rows rows) {
        if constexpr (C == 0)
            for (int j = 0; j < 2; ++j) rows.turn4(b.high + 4 * j, 128 + 32 * i + 16 * j);
        if constexpr (C < 2)
            for (int j = 0; j < 2; ++j) rows.turn4(b.low + 8 * C + 4 * j, 64 * i + 32 * C + 16 * j);
        for (int j = 0; j < 8; ++j) {
            const i32x16 low = b.low[8 * (C % 2) + j];
            i32x16 high; /* two bits of each byte to bits 4 and 5 */
            if constexpr (C < 2)
                high = i_shl<4 - 2 * C>(b.high[j]);
            else
                high = i_shr<2 * C - 4>(b.high[j]);
            q[j] = i_or(C < 2 ? quant_low(low) : quant_high(low), i_and(high, i_set(0x30303030)));
        }
        *D = b.d;
        const i32x16 scales = b.scales[2 * i + C / 2]; /* of sub-blocks 8 i + 4 (C / 2) and on */
        s[0] = f_of_i(i_sar<24>(i_shl<24 - 16 * (C % 2)>(scales)));
        s[1] = f_of_i(i_sar<24>(i_shl<16 - 16 * (C % 2)>(scales)));
    }
};

void q6_k_decode(float* out, const void* blocks, int64_t n) {
    const uint8_t* p = (const uint8_t*)blocks;
    for (int64_t b = 0; b < n / 256; ++b, p += q6_k::kBytes, out += 256) {
        const float d = half_at_bytes(p + 208);
        for (int at = 0; at < 256; ++at) {
            const int h = at / 128, i = at / 32 % 4, j = at % 32;
            const int low = p[64 * h + 32 * (i % 2) + j] >> 4 * (i / 2) & 15;
            const int high = p[128 + 32 * h + j] >> 2 * i & 3;
            const float scale = d * float((int8_t)p[192 + at / 16]);
            out[at] = scale * float((low | high << 4) - 32);
        }
    }
}

void q6_k_encode(void* blocks, const float* x, int64_t n) {
    uint8_t* p = (uint8_t*)blocks;
    for (int64_t b = 0; b < n / 256; ++b, p += q6_k::kBytes, x += 256) {
        float scale[16];
        for (int i = 0; i < 16; ++i) scale[i] = search_scale(x + 16 * i, 16, 32);
        put_half(p + 208, largest_of(scale, 16) / -128.0f);
        const float d = half_at_bytes(p + 208);
        __builtin_memset(p, 0, 192);
        for (int i = 0; i < 16; ++i) {
            const int s = nearest_in(scale[i] * inverse_of(d), -128, 127);
            p[192 + i] = (uint8_t)(int8_t)s;
            const float step = d * float(s);
            for (int at = 16 * i; at < 16 * i + 16; ++at) {
                const int h = at / 128, part = at / 32 % 4, j = at % 32;
                const bool some = step > 0.0f || step < 0.0f;
                const int q = some ? nearest_in(x[at] / step, -32, 31) + 32 : 32;
                uint8_t *low = p + 64 * h + 32 * (part % 2) + j, *high = p + 128 + 32 * h + j;
                *low = uint8_t(*low | (q & 15) << 4 * (part / 2));
                *high = uint8_t(*high | q >> 4 << 2 * part);
            }
        }
    }
}

const hearth_format format_q6_k = quant_format<q6_k>("q6_k", 14, q6_k_decode, q6_k_encode);

}  // namespace
