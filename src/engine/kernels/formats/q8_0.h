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
 * Dot with act_q8 activations: exact int32 inside a block, one f32 scale per block, blocks in
 * order: acc = fma(float(sum_j q[j] a[j]), d_w * d_a, acc) |sum_j q a| <= 32 * 128 * 127 < 2^24, so
 * its conversion is exact. Each block rounds twice (the product of the scales, the fma), so against
 * exact arithmetic on the quantized activations |out - exact| <= gamma(n_blocks + 1) * sum_b |d_w
 * d_a sum_j q a|. A tile is 16 rows of weights: lane i is row i, so that an element's order of sums
 * is that of its own blocks and depends on nothing else. Weights are turned once per block and used
 * for kQ8T rows of activations; a layout that stores them turned would only replace t_load and
 * f_rows_h. Source: GGUF tensor type 8.
 */
#include "engine/kernels/act_q8.h"

namespace {

constexpr int kQ8Block = 32, kQ8Bytes = 34, kQ8Rows = 16, kQ8T = 8;

void q8_0_decode(float* out, const void* blocks, int64_t n) {
    const uint8_t* p = (const uint8_t*)blocks;
    for (int64_t b = 0; b < n / kQ8Block; ++b, p += kQ8Bytes, out += kQ8Block) {
        uint16_t half[16] = {};
        float d[16];
        __builtin_memcpy(half, p, 2);
        f_store(d, f_load_h(half));
        for (int j = 0; j < kQ8Block; ++j) out[j] = d[0] * float((int8_t)p[2 + j]);
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
    for (int64_t b = 0; b < n / kQ8Block; ++b, p += kQ8Bytes, x += kQ8Block) {
        float largest = 0.0f;
        for (int j = 0; j < kQ8Block; ++j) {
            const float size = x[j] < 0.0f ? -x[j] : x[j];
            if (size > largest) largest = size;
        }
        const float d = largest / 127.0f, inverse = d > 0x1p-100f ? 1.0f / d : 0.0f;
        uint16_t half[16];
        f_store_h(half, f_set(d));
        __builtin_memcpy(p, half, 2);
        for (int j = 0; j < kQ8Block; ++j)
            p[2 + j] = (uint8_t)(int8_t)round_half_away(x[j] * inverse);
    }
}

/* 16 rows of weights, of which n_rows are stored, against T rows of activations. */
template <int T>
inline void q8_0_tile(float* out, int64_t ld_out, const uint8_t* act, size_t act_stride,
                      const uint8_t* w, size_t w_stride, int64_t n_rows, int64_t n_blocks) {
    f32x16 acc[T];
    for (int t = 0; t < T; ++t) acc[t] = f_zero();
    for (int64_t b = 0; b < n_blocks; ++b, w += kQ8Bytes, act += sizeof(act_q8)) {
        const uint8_t* rows = w;
        size_t stride = w_stride;
        uint8_t copy[kQ8Rows * kQ8Bytes];
        if (n_rows < kQ8Rows) {  // rows beyond the matrix are not read
            __builtin_memset(copy, 0, sizeof copy);
            for (int64_t i = 0; i < n_rows; ++i)
                __builtin_memcpy(copy + i * kQ8Bytes, w + size_t(i) * w_stride, kQ8Bytes);
            rows = copy;
            stride = kQ8Bytes;
        }
        i8tile q[8];
        t_load(q, rows + 2, stride);
        /* The next tile, a line in about two blocks; without it decode reads at half the memory's
         * speed. */
        if (b % 2 == 0)
            for (int i = 0; i < kQ8Rows; ++i)
                __builtin_prefetch(w + size_t(kQ8Rows + i) * w_stride);
        const f32x16 d = f_rows_h(rows, stride);
        for (int t = 0; t < T; ++t) {
            const act_q8* a = (const act_q8*)(act + size_t(t) * act_stride);
            i32x16 sum = i_begin(act_q8_sum(a));
            for (int j = 0; j < 8; ++j) sum = i_dot(sum, q[j], a->q + 4 * j);
            acc[t] = f_fma(f_of_i(sum), f_mul(d, f_set(a->d)), acc[t]);
        }
    }
    for (int t = 0; t < T; ++t) {
        if (n_rows == kQ8Rows)
            f_store(out + t * ld_out, acc[t]);
        else
            f_store_n(out + t * ld_out, acc[t], n_rows);
    }
}

void q8_0_matmul(float* out, int64_t ld_out, const void* act, int64_t T, const void* w,
                 size_t w_stride, int64_t n0, int64_t n1, int64_t K) {
    const int64_t n_blocks = K / kQ8Block;
    const size_t act_stride = act_q8_bytes(K);
    for (int64_t n = n0; n < n1; n += kQ8Rows) {
        const int64_t n_rows = n1 - n < kQ8Rows ? n1 - n : kQ8Rows;
        const uint8_t* rows = (const uint8_t*)w + size_t(n) * w_stride;
        const uint8_t* a = (const uint8_t*)act;
        float* o = out + n;
        int64_t t = 0;
        for (; t + kQ8T <= T; t += kQ8T, a += kQ8T * act_stride, o += kQ8T * ld_out)
            q8_0_tile<kQ8T>(o, ld_out, a, act_stride, rows, w_stride, n_rows, n_blocks);
        for (; t + 2 <= T; t += 2, a += 2 * act_stride, o += 2 * ld_out)
            q8_0_tile<2>(o, ld_out, a, act_stride, rows, w_stride, n_rows, n_blocks);
        if (t < T) q8_0_tile<1>(o, ld_out, a, act_stride, rows, w_stride, n_rows, n_blocks);
    }
}

const hearth_format format_q8_0 = {
    "q8_0",       8,           kQ8Block,    kQ8Bytes, q8_0_decode, q8_0_encode,
    act_q8_bytes, act_q8_make, q8_0_matmul, 0,
};

}  // namespace
