// flags:
// needs:
// when: .*
// rank: 0
// release: -O2 -fvect-cost-model=dynamic -fpeel-loops
//
// The primitives, in plain C: the oracle. This file says what each primitive means; every other
// ISA's file defines the same names and must give the same bits.
//
// A vector is always 16 lanes, whatever the machine's registers: AVX-512 holds one in one register,
// AVX2 in two, this file in an array. So the order of every sum belongs to the code that is written
// over the primitives, not to the ISA, and all ISAs agree bit for bit (but for bf16 weights where
// an ISA has a dot of bf16 pairs, kernels.h). Multiply and add are fused only where f_fma says so
// (-ffp-contract=off).
//
// The lines above are read by CMake: compiler flags of this ISA's object, the CPU features it needs
// at run time (names of cpu.cc), the processors it is built for, its rank (the highest that is
// supported and preferred is chosen), and, not in every file, the features without which it is not
// preferred (prefer), what optimises it in a release in place of -O3 (release), and the ISA (base)
// of which it only replaces some formats (formats). No standard C++ header may be included here or
// in any file that an ISA's object includes.
#ifndef HEARTH_SIMD_H
#define HEARTH_SIMD_H

#include <stddef.h>
#include <stdint.h>

namespace {

// Rows of weights and of activations that one pass of the float kernels keeps in registers.
constexpr int kTileN = 2, kTileT = 2;
// Widened weights and rows of activations in a float tile.
constexpr int kFloatN = 2, kFloatT = 2, kFloatRowsMin = 2;
// Attention: of four queries so many of their four sums at a time, and so many sixteens of values.
constexpr int kScoreTogether = 1, kWeighParts = 1;
// Rows of a quantized tile, and what its dots want flipped in activations: nothing.
constexpr int kPanelN = 1, kPanelT = 2, kPanelTHalves = 2;
// Rows of activations that meet packed weights as they are unpacked.
constexpr int kPackedRows = 1, kPackedHalves = 1;
// Calls are as good as anything here, and the compiler's time is short.
#define HEARTH_INLINED
constexpr uint8_t kActFlip = 0;

struct f32x16 {
    float v[16];
};
struct i32x16 {
    int32_t v[16];
};
// 16 rows of 4 consecutive int8 weights each.
struct i8tile {
    int8_t v[16][4];
};

inline uint32_t bits_of(float x) {
    uint32_t u;
    __builtin_memcpy(&u, &x, 4);
    return u;
}
inline float from_bits(uint32_t u) {
    float x;
    __builtin_memcpy(&x, &u, 4);
    return x;
}

// IEEE 754 binary16. Widening is exact (signalling NaNs become quiet); narrowing rounds to nearest
// even.
inline float f32_of_f16(uint16_t h) {
    const uint32_t sign = uint32_t(h & 0x8000u) << 16, magnitude = h & 0x7fffu;
    if (magnitude >= 0x7c00u) {  // infinity, NaN
        const uint32_t quiet = magnitude > 0x7c00u ? 0x00400000u : 0;
        return from_bits(sign | 0x7f800000u | quiet | (magnitude & 0x3ffu) << 13);
    }
    if (magnitude >= 0x0400u) return from_bits(sign | (magnitude + (112u << 10)) << 13);
    // Subnormal: magnitude * 2^-24, exact in f32.
    return from_bits(sign | bits_of(float(int32_t(magnitude)) * 0x1p-24f));
}
inline uint16_t f16_of_f32(float x) {
    const uint32_t u = bits_of(x), magnitude = u & 0x7fffffffu;
    const uint32_t sign = u >> 16 & 0x8000u;
    if (magnitude > 0x7f800000u) return uint16_t(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
    if (magnitude >= 0x477ff000u)
        return uint16_t(sign | 0x7c00u);  // 65520 and above round to infinity
    if (magnitude < 0x38800000u) {        // below 2^-14: a multiple of 2^-24
        // Adding 0.5 puts the unit in the last place at 2^-24, so the addition rounds as wanted.
        return uint16_t(sign | (bits_of(from_bits(magnitude) + 0.5f) - 0x3f000000u));
    }
    const uint32_t odd = magnitude >> 13 & 1u;
    return uint16_t(sign | (magnitude - (112u << 23) + 0x0fffu + odd) >> 13);
}

#define LANES for (int i = 0; i < 16; ++i)

inline f32x16 f_set(float x) {
    f32x16 r;
    LANES r.v[i] = x;
    return r;
}
inline f32x16 f_zero() {
    return f_set(0.0f);
}
inline f32x16 f_load(const float* p) {
    f32x16 r;
    __builtin_memcpy(r.v, p, sizeof r.v);
    return r;
}
// Lanes 0..n-1 from memory, which is not read beyond them; the others are 0. 1 <= n <= 16.
inline f32x16 f_load_n(const float* p, int64_t n) {
    f32x16 r = f_zero();
    __builtin_memcpy(r.v, p, size_t(n) * 4);
    return r;
}
inline void f_store(float* p, f32x16 a) {
    __builtin_memcpy(p, a.v, sizeof a.v);
}
inline void f_store_n(float* p, f32x16 a, int64_t n) {
    __builtin_memcpy(p, a.v, size_t(n) * 4);
}

// The same for f16 in memory.
inline f32x16 f_load_h_n(const uint16_t* p, int64_t n) {
    f32x16 r = f_zero();
    for (int64_t i = 0; i < n; ++i) r.v[i] = f32_of_f16(p[i]);
    return r;
}
inline f32x16 f_load_h(const uint16_t* p) {
    return f_load_h_n(p, 16);
}
inline void f_store_h_n(uint16_t* p, f32x16 a, int64_t n) {
    for (int64_t i = 0; i < n; ++i) p[i] = f16_of_f32(a.v[i]);
}
inline void f_store_h(uint16_t* p, f32x16 a) {
    f_store_h_n(p, a, 16);
}

// The same for bfloat16: the upper half of an f32. Widening is exact; narrowing rounds to nearest
// even, NaNs become quiet.
struct bf16 {
    uint16_t bits;
};
inline f32x16 f_load_b_n(const bf16* p, int64_t n) {
    f32x16 r = f_zero();
    for (int64_t i = 0; i < n; ++i) r.v[i] = from_bits(uint32_t(p[i].bits) << 16);
    return r;
}
inline f32x16 f_load_b(const bf16* p) {
    return f_load_b_n(p, 16);
}
inline void f_store_b_n(bf16* p, f32x16 a, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        const uint32_t u = bits_of(a.v[i]);
        const bool nan = (u & 0x7fffffffu) > 0x7f800000u;
        p[i].bits = uint16_t(nan ? u >> 16 | 0x40u : (u + 0x7fffu + (u >> 16 & 1u)) >> 16);
    }
}
inline void f_store_b(bf16* p, f32x16 a) {
    f_store_b_n(p, a, 16);
}
// One f16 in every lane.
inline f32x16 f_set_h(uint16_t h) {
    return f_set(f32_of_f16(h));
}
// 16 int8, exactly.
inline f32x16 f_load_i8(const int8_t* p) {
    f32x16 r;
    LANES r.v[i] = float(p[i]);
    return r;
}

inline f32x16 f_add(f32x16 a, f32x16 b) {
    LANES a.v[i] += b.v[i];
    return a;
}
inline f32x16 f_sub(f32x16 a, f32x16 b) {
    LANES a.v[i] -= b.v[i];
    return a;
}
inline f32x16 f_mul(f32x16 a, f32x16 b) {
    LANES a.v[i] *= b.v[i];
    return a;
}
inline f32x16 f_div(f32x16 a, f32x16 b) {
    LANES a.v[i] /= b.v[i];
    return a;
}
// a * b + c, rounded once.
inline f32x16 f_fma(f32x16 a, f32x16 b, f32x16 c) {
    LANES c.v[i] = __builtin_fmaf(a.v[i], b.v[i], c.v[i]);
    return c;
}
// b where either is NaN, as the machines' instructions have it.
inline f32x16 f_max(f32x16 a, f32x16 b) {
    LANES b.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i];
    return b;
}
inline f32x16 f_min(f32x16 a, f32x16 b) {
    LANES b.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i];
    return b;
}

// Sum of the lanes by halves: lane i takes i + 8, then i + 4, i + 2, i + 1.
inline float f_sum(f32x16 a) {
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) a.v[i] += a.v[i + half];
    return a.v[0];
}
// Lane i is f_sum(a[i]).
inline f32x16 f_sum16(const f32x16* a) {
    f32x16 r;
    LANES r.v[i] = f_sum(a[i]);
    return r;
}

// a * 2^n for -150 <= n <= 128, rounded once; n is handed over as the float n + 1.5 * 2^23, whose
// low bits are n. Two factors, because 2^n alone may not be a normal number.
inline f32x16 f_scale2(f32x16 a, f32x16 n_biased) {
    LANES {
        const int32_t n = int32_t(bits_of(n_biased.v[i]) - 0x4b400000u);
        const int32_t half = n >> 1;
        a.v[i] *= from_bits(uint32_t(half + 127) << 23);
        a.v[i] *= from_bits(uint32_t(n - half + 127) << 23);
    }
    return a;
}

// 16 f16 values that lie stride bytes apart.
inline f32x16 f_rows_h(const uint8_t* p, size_t stride) {
    f32x16 r;
    LANES {
        uint16_t h;
        __builtin_memcpy(&h, p + size_t(i) * stride, 2);
        r.v[i] = f32_of_f16(h);
    }
    return r;
}

// 32 consecutive int8 of each of 16 rows, turned so that tile j holds bytes 4j..4j+3 of every row.
inline void t_load(i8tile* tile, const uint8_t* p, size_t stride) {
    for (int j = 0; j < 8; ++j)
        LANES __builtin_memcpy(tile[j].v[i], p + size_t(i) * stride + size_t(j) * 4, 4);
}
// The same of bytes that lie turned already.
inline i8tile t_turned(const uint8_t* p) {
    i8tile r;
    __builtin_memcpy(r.v, p, sizeof r.v);
    return r;
}
// Where the sums of i_dot start, given minus the sum of all activations that will follow. (AVX-512
// reads the weights with 128 added, and starts at 128 times that.)
inline i32x16 i_begin(int32_t) {
    return i32x16{};
}
// Lane i: acc + sum over j of tile[i][j] * a[j], exactly. Requires: -127 <= a[j] <= 127.
inline i32x16 i_dot(i32x16 acc, i8tile tile, const int8_t* a) {
    LANES for (int j = 0; j < 4; ++j) acc.v[i] += int32_t(tile.v[i][j]) * int32_t(a[j]);
    return acc;
}
inline f32x16 f_of_i(i32x16 a) {
    f32x16 r;
    LANES r.v[i] = float(a.v[i]);
    return r;
}

// Lanes as 32-bit words. Shifts take 0 <= N < 32; products keep their low 32 bits.
inline i32x16 i_set(int32_t x) {
    i32x16 r;
    LANES r.v[i] = x;
    return r;
}
// The bits of floats.
inline i32x16 i_bits(f32x16 a) {
    i32x16 r;
    __builtin_memcpy(r.v, a.v, sizeof r.v);
    return r;
}
inline i32x16 i_max(i32x16 a, i32x16 b) {
    LANES b.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i];
    return b;
}
// The low byte of each lane.
inline void i_store_i8(int8_t* p, i32x16 a) {
    LANES p[i] = int8_t(a.v[i]);
}
inline i32x16 i_and(i32x16 a, i32x16 b) {
    LANES a.v[i] &= b.v[i];
    return a;
}
inline i32x16 i_or(i32x16 a, i32x16 b) {
    LANES a.v[i] |= b.v[i];
    return a;
}
inline i32x16 i_mul(i32x16 a, i32x16 b) {
    LANES a.v[i] = int32_t(uint32_t(a.v[i]) * uint32_t(b.v[i]));
    return a;
}
template <int N>
inline i32x16 i_shl(i32x16 a) {
    LANES a.v[i] = int32_t(uint32_t(a.v[i]) << N);
    return a;
}
template <int N>
inline i32x16 i_shr(i32x16 a) {
    LANES a.v[i] = int32_t(uint32_t(a.v[i]) >> N);
    return a;
}
inline i32x16 i_shr(i32x16 a, int n) {
    LANES a.v[i] = int32_t(uint32_t(a.v[i]) >> n);
    return a;
}
template <int N>
inline i32x16 i_sar(i32x16 a) {
    LANES a.v[i] >>= N;
    return a;
}
// The f16 in the low half of each lane.
inline f32x16 f_of_h(i32x16 a) {
    f32x16 r;
    LANES r.v[i] = f32_of_f16(uint16_t(a.v[i]));
    return r;
}
// 16 consecutive words.
inline i32x16 i_load(const uint8_t* p) {
    i32x16 r;
    __builtin_memcpy(r.v, p, sizeof r.v);
    return r;
}
// 16 words that lie stride bytes apart.
inline i32x16 i_rows(const uint8_t* p, size_t stride) {
    i32x16 r;
    LANES __builtin_memcpy(&r.v[i], p + size_t(i) * stride, 4);
    return r;
}
// 16 consecutive bytes of each of 16 rows, turned so that out[j] holds word j of every row.
inline void i_turn4(i32x16* out, const uint8_t* p, size_t stride) {
    for (int j = 0; j < 4; ++j) out[j] = i_rows(p + j * 4, stride);
}
// Lane i: acc + sum over j of byte j of w * a[j], exactly. Requires: bytes of w are 0 to 127.
inline i32x16 u_dot(i32x16 acc, i32x16 w, const int8_t* a) {
    LANES for (int j = 0; j < 4; ++j) acc.v[i] += (w.v[i] >> 8 * j & 0xff) * int32_t(a[j]);
    return acc;
}

// To the compiler another value from here on; elsewhere it is in a register then.
inline void f_renew(f32x16& a) {
    asm volatile("" : "+m"(a));
}
inline void i_renew(i32x16& a) {
    asm volatile("" : "+m"(a));
}

// Weights of quantized tiles: four signed bytes of each row.
struct w8x16 {
    int8_t v[16][4];
};
inline w8x16 w_of(i32x16 q, int offset) {
    w8x16 w;
    LANES for (int j = 0; j < 4; ++j) w.v[i][j] = int8_t((q.v[i] >> 8 * j & 0xff) - offset);
    return w;
}
inline w8x16 w_of(i8tile q, int) {
    w8x16 w;
    LANES for (int j = 0; j < 4; ++j) w.v[i][j] = q.v[i][j];
    return w;
}
// Where sums of N words begin, so that the dots that follow, with kActFlip in the activations, come
// out right.
template <int N>
inline i32x16 w_begin(const w8x16*) {
    return i32x16{};
}
// acc[r][t] += sum over N words j of their four products with bytes at + 4 j.. of a[t], exactly;
// the words of the r-th 16 rows stand w_stride bytes after those before. Together: words whose
// products are added within 16 bits.
template <int R, int T, int N, int Together>
inline void w_dots(i32x16 (*acc)[T], const w8x16* w, size_t w_stride, const uint8_t* const* a,
                   int64_t at) {
    for (int r = 0; r < R; ++r)
        for (int t = 0; t < T; ++t)
            for (int j = 0; j < N; ++j) {
                const w8x16& q = ((const w8x16*)((const uint8_t*)w + size_t(r) * w_stride))[j];
                LANES for (int b = 0; b < 4; ++b) acc[r][t].v[i] +=
                    int32_t(q.v[i][b]) * int32_t(int8_t(a[t][at + 4 * j + b]));
            }
}

#undef LANES

}  // namespace
#endif
