/* act_q8: activations in blocks of 32 as 8-bit integers, the form that quantized formats multiply
 * with.
 *
 *   d = max|x| / 127 (f32, not rounded further),  q = x * (127 / max|x|) rounded to nearest even
 *
 * |q| <= 127 always. The sums of q are there for formats and ISAs that add a constant to the
 * weights. Blocks whose largest |x| is below 2^-100 become zeros (127 / max would overflow); a
 * block with an infinity or NaN gets d = NaN, so that the mistake shows in every output instead of
 * a wrong number.
 *
 * Every operation is exact or rounds alone, so all ISAs agree. Error of a value: |x - d q| <= d / 2
 * * (1 + 2^-15): half a step, and for |x 127 / max| < 128 two roundings (of 127 / max and of the
 * product) of relative 2^-24 each.
 */
#ifndef HEARTH_ACT_Q8_H
#define HEARTH_ACT_Q8_H

/* In every caller: as calls these pass vectors through memory. */
#ifndef HEARTH_INLINED
#define HEARTH_INLINED __attribute__((always_inline))
#endif
#define HEARTH_INLINE HEARTH_INLINED inline

namespace {

/* Blocks are rounded sixteen at a time, a lane for each: the two divisions and the sums are then of
 * vectors. */
constexpr int kActBlocks = 16;
struct act_q8_blocks {
    float d[kActBlocks];
    int32_t half[2][kActBlocks]; /* sums of q[0..15] and of q[16..31]: at most 16 * 127 */
    int8_t q[kActBlocks][32];
};

/* Of sixteen blocks the magnitude of the largest value, as bits: magnitudes of floats are ordered
 * as these are, with infinity and NaN above all. */
HEARTH_INLINE i32x16 act_q8_largest(const float* x, int64_t n) {
    const i32x16 magnitude = i_set(0x7fffffff);
    i32x16 most[kActBlocks];
    for (int64_t b = 0; b < n; ++b)
        most[b] = i_max(i_and(i_bits(f_load(x + 32 * b)), magnitude),
                        i_and(i_bits(f_load(x + 32 * b + 16)), magnitude));
    for (int64_t b = n; b < kActBlocks; ++b) most[b] = i_set(0);
    i32x16 largest = i_set(0);
    for (int at = 0; at < 64; at += 16) {
        i32x16 turned[4];
        i_turn4(turned, (const uint8_t*)most + at, sizeof most[0]);
        for (int j = 0; j < 4; ++j) largest = i_max(largest, turned[j]);
    }
    return largest;
}

/* The n blocks of x, 1 <= n <= 16; what is there for the others is zero. */
HEARTH_INLINE void act_q8_round(act_q8_blocks* out, const float* x, int64_t n) {
    constexpr int32_t kInfinity = 0x7f800000, kLeast = (127 - 100) << 23; /* 2^-100 */
    const i32x16 largest = act_q8_largest(x, n);
    int32_t bits[kActBlocks];
    f32x16 size;
    __builtin_memcpy(bits, &largest, sizeof bits);
    __builtin_memcpy(&size, &largest, sizeof size);
    float by[kActBlocks];
    f_store(by, f_div(f_set(127.0f), f_max(size, f_set(0x1p-100f))));
    f_store(out->d, f_div(size, f_set(127.0f)));
    /* Adding 1.5 * 2^23 puts the unit in the last place at 1: the sum's low bits are the rounded
     * value. */
    const f32x16 magic = f_set(0x1.8p23f);
    for (int64_t b = 0; b < n; ++b)
        for (int j = 0; j < 32; j += 16)
            i_store_i8(out->q[b] + j,
                       i_bits(f_add(f_mul(f_load(x + 32 * b + j), f_set(by[b])), magic)));
    if (n < kActBlocks) __builtin_memset(out->q[n], 0, size_t(kActBlocks - n) * 32);

    int rare = 0;
    for (int b = 0; b < kActBlocks; ++b)
        rare |= int(bits[b] >= kInfinity) | (int(bits[b] > 0) & int(bits[b] < kLeast));
    if (rare)
        for (int64_t b = 0; b < n; ++b) {
            if (bits[b] >= kLeast && bits[b] < kInfinity) continue;
            out->d[b] = bits[b] < kInfinity ? 0.0f : __builtin_nanf("");
            __builtin_memset(out->q[b], 0, 32);
        }

    i8tile turned[8];
    t_load(turned, (const uint8_t*)out->q, 32);
    const int8_t one[4] = {1, 1, 1, 1};
    for (int half = 0; half < 2; ++half) {
        i32x16 sum = i_begin(-16);
        for (int j = 0; j < 4; ++j) sum = i_dot(sum, turned[4 * half + j], one);
        __builtin_memcpy(out->half[half], &sum, sizeof sum);
    }
}

/* A row of n blocks in memory, each member an array of its own: what a tile walks along stays
 * dense. */
struct act_row {
    const float* d;
    const float* minus_ds;     /* -(d * sum of q), what minima are multiplied with */
    const int32_t* minus_sum;  /* -(sum of q), what an offset of the weights is multiplied with */
    const int32_t* minus_half; /* two for each block: of q[0..15] and of q[16..31] */
    const int8_t* q;
    const uint8_t* tile; /* q as the ISA's tiles read it: with kActFlip applied */
};
constexpr size_t kActBlockBytes = 4 + 4 + 4 + 8 + 32 + (kActFlip ? 32 : 0);

inline size_t act_q8_bytes(int64_t k) {
    return size_t(k / 32) * kActBlockBytes;
}
inline act_row act_row_at(const void* act, int64_t n) {
    act_row row;
    row.d = (const float*)act;
    row.minus_ds = row.d + n;
    row.minus_sum = (const int32_t*)(row.minus_ds + n);
    row.minus_half = row.minus_sum + n;
    row.q = (const int8_t*)(row.minus_half + 2 * n);
    row.tile = (const uint8_t*)row.q + (kActFlip ? 32 * n : 0);
    return row;
}

/* Blocks b to b + n of a row, 1 <= n <= 16. */
HEARTH_INLINE void act_q8_make_some(act_row row, const float* x, int64_t b, int64_t n) {
    act_q8_blocks blocks;
    act_q8_round(&blocks, x + 32 * b, n);
    float minus_ds[kActBlocks];
    int32_t minus_sum[kActBlocks], minus_half[2 * kActBlocks];
    for (int i = 0; i < kActBlocks; ++i) {
        const int32_t sum = blocks.half[0][i] + blocks.half[1][i];
        minus_ds[i] = -(blocks.d[i] * float(sum));
        minus_sum[i] = -sum;
        minus_half[2 * i] = -blocks.half[0][i];
        minus_half[2 * i + 1] = -blocks.half[1][i];
    }
    __builtin_memcpy((float*)row.d + b, blocks.d, size_t(n) * 4);
    __builtin_memcpy((float*)row.minus_ds + b, minus_ds, size_t(n) * 4);
    __builtin_memcpy((int32_t*)row.minus_sum + b, minus_sum, size_t(n) * 4);
    __builtin_memcpy((int32_t*)row.minus_half + 2 * b, minus_half, size_t(n) * 8);
    __builtin_memcpy((int8_t*)row.q + 32 * b, blocks.q, size_t(n) * 32);
    if (kActFlip) {
        uint8_t tile[kActBlocks][32];
        for (int i = 0; i < kActBlocks; ++i)
            for (int j = 0; j < 32; ++j) tile[i][j] = uint8_t(blocks.q[i][j]) ^ kActFlip;
        __builtin_memcpy((uint8_t*)row.tile + 32 * b, tile, size_t(n) * 32);
    }
}
inline void act_q8_make(void* act, const float* x, int64_t k) {
    const int64_t n = k / 32;
    const act_row row = act_row_at(act, n);
    int64_t b = 0;
    for (; b + kActBlocks <= n; b += kActBlocks) act_q8_make_some(row, x, b, kActBlocks);
    if (b < n) act_q8_make_some(row, x, b, n - b);
}

}  // namespace
#endif
