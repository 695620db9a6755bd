// flags: -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mfma -mf16c
// needs: avx2 fma f16c avx512f avx512bw avx512vl avx512dq avx512vnni zmm
// when: x86_64|amd64|AMD64
// rank: 3
//
// The primitives on AVX-512 with VNNI: a vector of 16 lanes is one register. What each one means is
// written in scalar.h.
#ifndef HEARTH_SIMD_H
#define HEARTH_SIMD_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

namespace {

// 4 * 4 accumulators, 4 weights and 4 activations of 32 registers.
constexpr int kTileN = 4, kTileT = 4;
// Widened weights and rows of activations in a float tile; from how many rows on it pays.
constexpr int kFloatN = 8, kFloatT = 3, kFloatRowsMin = 24;
// Attention: of four queries so many of their four sums at a time, and so many sixteens of values.
constexpr int kScoreTogether = 4, kWeighParts = 4;
// Rows of a quantized tile: 2 * 6 sums, as many of their integer parts, words of weights and of
// activations in 32 registers; with scales for sixteens both parts live at a time.
constexpr int kPanelN = 2, kPanelT = 6, kPanelTHalves = 4;
constexpr int kPackedRows = 8, kPackedHalves = 4;
// The dot's first factor is unsigned: activations with 128 added.
constexpr uint8_t kActFlip = 0x80;

struct f32x16 {
    __m512 v;
};
struct i32x16 {
    __m512i v;
};
struct i8tile {  // each weight has 128 added, as an unsigned byte
    __m512i v;
};

inline __mmask16 first_lanes(int64_t n) {
    return __mmask16((1u << n) - 1);
}

inline f32x16 f_set(float x) {
    return {_mm512_set1_ps(x)};
}
inline f32x16 f_zero() {
    return {_mm512_setzero_ps()};
}
inline f32x16 f_load(const float* p) {
    return {_mm512_loadu_ps(p)};
}
inline f32x16 f_load_n(const float* p, int64_t n) {
    return {_mm512_maskz_loadu_ps(first_lanes(n), p)};
}
inline void f_store(float* p, f32x16 a) {
    _mm512_storeu_ps(p, a.v);
}
inline void f_store_n(float* p, f32x16 a, int64_t n) {
    _mm512_mask_storeu_ps(p, first_lanes(n), a.v);
}

inline f32x16 f_load_h(const uint16_t* p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p))};
}
inline f32x16 f_load_h_n(const uint16_t* p, int64_t n) {
    return {_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_lanes(n), p))};
}
inline void f_store_h(uint16_t* p, f32x16 a) {
    _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
inline void f_store_h_n(uint16_t* p, f32x16 a, int64_t n) {
    _mm256_mask_storeu_epi16(p, first_lanes(n), _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}

struct bf16 {
    uint16_t bits;
};
inline f32x16 widen16(__m256i h) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16))};
}
inline f32x16 f_load_b(const bf16* p) {
    return widen16(_mm256_loadu_si256((const __m256i*)p));
}
inline f32x16 f_load_b_n(const bf16* p, int64_t n) {
    return widen16(_mm256_maskz_loadu_epi16(first_lanes(n), p));
}
// The upper halves of the rounded words; NaNs keep theirs and become quiet. (The machine's own
// conversion takes subnormals for zero.)
inline __m256i narrow16(__m512 a) {
    const __m512i u = _mm512_castps_si512(a), upper = _mm512_srli_epi32(u, 16);
    const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_srli_epi32(
        _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd), 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(
        _mm512_mask_or_epi32(rounded, nan, upper, _mm512_set1_epi32(0x40)));
}
inline void f_store_b(bf16* p, f32x16 a) {
    _mm256_storeu_si256((__m256i*)p, narrow16(a.v));
}
inline void f_store_b_n(bf16* p, f32x16 a, int64_t n) {
    _mm256_mask_storeu_epi16(p, first_lanes(n), narrow16(a.v));
}
inline f32x16 f_set_h(uint16_t h) {
    return {_mm512_cvtph_ps(_mm256_set1_epi16(short(h)))};
}
inline f32x16 f_load_i8(const int8_t* p) {
    return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)))};
}

inline f32x16 f_add(f32x16 a, f32x16 b) {
    return {_mm512_add_ps(a.v, b.v)};
}
inline f32x16 f_sub(f32x16 a, f32x16 b) {
    return {_mm512_sub_ps(a.v, b.v)};
}
inline f32x16 f_mul(f32x16 a, f32x16 b) {
    return {_mm512_mul_ps(a.v, b.v)};
}
inline f32x16 f_div(f32x16 a, f32x16 b) {
    return {_mm512_div_ps(a.v, b.v)};
}
inline f32x16 f_fma(f32x16 a, f32x16 b, f32x16 c) {
    return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
inline f32x16 f_max(f32x16 a, f32x16 b) {
    return {_mm512_max_ps(a.v, b.v)};
}
inline f32x16 f_min(f32x16 a, f32x16 b) {
    return {_mm512_min_ps(a.v, b.v)};
}

inline float f_sum(f32x16 a) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    x = _mm_add_ss(x, _mm_movehdup_ps(x));
    return _mm_cvtss_f32(x);
}
// The four halvings of f_sum, each on two vectors at once, so that lanes are never idle.
inline __m512 halves8(__m512 a, __m512 b) {  // [a0+a2, a1+a3, b0+b2, b1+b3] of 128-bit parts
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
}
inline __m512 halves4(__m512 a, __m512 b) {  // [a0+a1, a2+a3, b0+b1, b2+b3]
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
}
inline __m512 halves2(__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee));
}
inline __m512 halves1(__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd));
}
inline f32x16 f_sum16(const f32x16* a) {
    // Part p of x[i] holds vector 4p + i folded to four lanes; so lane 4p + i of the end is vector
    // 4p + i.
    __m512 x[4];
    for (int i = 0; i < 4; ++i)
        x[i] = halves4(halves8(a[i].v, a[i + 4].v), halves8(a[i + 8].v, a[i + 12].v));
    return {halves1(halves2(x[0], x[1]), halves2(x[2], x[3]))};
}

inline f32x16 f_scale2(f32x16 a, f32x16 n_biased) {
    return {_mm512_scalef_ps(a.v, _mm512_sub_ps(n_biased.v, _mm512_set1_ps(0x1.8p23f)))};
}

inline uint64_t half_at(const uint8_t* p) {
    uint16_t h;
    __builtin_memcpy(&h, p, 2);
    return h;
}
// Put together in plain registers: the one port that shuffles vectors is the busiest of all.
inline long long rows4_h(const uint8_t* p, size_t stride) {
    const uint64_t low = half_at(p) | half_at(p + stride) << 16;
    const uint64_t high = half_at(p + 2 * stride) | half_at(p + 3 * stride) << 16;
    return (long long)(low | high << 32);
}
inline __m128i rows8_h(const uint8_t* p, size_t stride) {
    return _mm_set_epi64x(rows4_h(p + 4 * stride, stride), rows4_h(p, stride));
}
inline f32x16 f_rows_h(const uint8_t* p, size_t stride) {
    return {_mm512_cvtph_ps(_mm256_set_m128i(rows8_h(p + 8 * stride, stride), rows8_h(p, stride)))};
}

inline __m512i row_pair(const uint8_t* lo, const uint8_t* hi) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i*)lo)),
                              _mm256_loadu_si256((const __m256i*)hi), 1);
}
// Turning 16 rows of 8 dwords: pairs of rows four apart share a register, 4 x 4 dwords are turned
// inside each 128-bit part, and the last step gathers the parts of one dword in the order of the
// rows.
inline void t_load(i8tile* tile, const uint8_t* p, size_t stride) {
    __m512i x[8];
    for (int i = 0; i < 8; i += 4) {
        __m512i r[4];
        for (int j = 0; j < 4; ++j) {
            const uint8_t* row = p + size_t(2 * i + j) * stride;  // rows 0..3 and 8..11
            r[j] = row_pair(row, row + 4 * stride);
        }
        const __m512i a = _mm512_unpacklo_epi32(r[0], r[1]), b = _mm512_unpackhi_epi32(r[0], r[1]);
        const __m512i c = _mm512_unpacklo_epi32(r[2], r[3]), d = _mm512_unpackhi_epi32(r[2], r[3]);
        x[i] = _mm512_unpacklo_epi64(a, c);
        x[i + 1] = _mm512_unpackhi_epi64(a, c);
        x[i + 2] = _mm512_unpacklo_epi64(b, d);
        x[i + 3] = _mm512_unpackhi_epi64(b, d);
    }
    const __m512i flip = _mm512_set1_epi8(char(0x80));
    for (int j = 0; j < 4; ++j) {
        tile[j].v = _mm512_xor_si512(_mm512_shuffle_i32x4(x[j], x[j + 4], 0x88), flip);
        tile[j + 4].v = _mm512_xor_si512(_mm512_shuffle_i32x4(x[j], x[j + 4], 0xdd), flip);
    }
}
inline i8tile t_turned(const uint8_t* p) {
    return {_mm512_xor_si512(_mm512_loadu_si512(p), _mm512_set1_epi8(char(0x80)))};
}
// sum w a = sum (w + 128) a - 128 sum a.
inline i32x16 i_begin(int32_t minus_sum) {
    return {_mm512_slli_epi32(_mm512_set1_epi32(minus_sum), 7)};
}
inline i32x16 i_dot(i32x16 acc, i8tile tile, const int8_t* a) {
    int32_t four;
    __builtin_memcpy(&four, a, 4);
    return {_mm512_dpbusd_epi32(acc.v, tile.v, _mm512_set1_epi32(four))};
}
inline f32x16 f_of_i(i32x16 a) {
    return {_mm512_cvtepi32_ps(a.v)};
}

inline i32x16 i_set(int32_t x) {
    return {_mm512_set1_epi32(x)};
}
inline i32x16 i_bits(f32x16 a) {
    return {_mm512_castps_si512(a.v)};
}
inline i32x16 i_max(i32x16 a, i32x16 b) {
    return {_mm512_max_epi32(a.v, b.v)};
}
inline void i_store_i8(int8_t* p, i32x16 a) {
    _mm_storeu_si128((__m128i*)p, _mm512_cvtepi32_epi8(a.v));
}
inline i32x16 i_and(i32x16 a, i32x16 b) {
    return {_mm512_and_si512(a.v, b.v)};
}
inline i32x16 i_or(i32x16 a, i32x16 b) {
    return {_mm512_or_si512(a.v, b.v)};
}
inline i32x16 i_mul(i32x16 a, i32x16 b) {
    return {_mm512_mullo_epi32(a.v, b.v)};
}
template <int N>
inline i32x16 i_shl(i32x16 a) {
    return {_mm512_slli_epi32(a.v, N)};
}
template <int N>
inline i32x16 i_shr(i32x16 a) {
    return {_mm512_srli_epi32(a.v, N)};
}
inline i32x16 i_shr(i32x16 a, int n) {
    return {_mm512_srl_epi32(a.v, _mm_cvtsi32_si128(n))};
}
template <int N>
inline i32x16 i_sar(i32x16 a) {
    return {_mm512_srai_epi32(a.v, N)};
}
inline f32x16 f_of_h(i32x16 a) {
    return {_mm512_cvtph_ps(_mm512_cvtepi32_epi16(a.v))};
}
inline int word_at(const uint8_t* p) {
    int w;
    __builtin_memcpy(&w, p, 4);
    return w;
}
inline __m256i rows8_w(const uint8_t* p, size_t stride) {
    return _mm256_setr_epi32(word_at(p), word_at(p + stride), word_at(p + 2 * stride),
                             word_at(p + 3 * stride), word_at(p + 4 * stride),
                             word_at(p + 5 * stride), word_at(p + 6 * stride),
                             word_at(p + 7 * stride));
}
inline i32x16 i_load(const uint8_t* p) {
    return {_mm512_loadu_si512(p)};
}
inline i32x16 i_rows(const uint8_t* p, size_t stride) {
    return {_mm512_inserti64x4(_mm512_castsi256_si512(rows8_w(p, stride)),
                               rows8_w(p + 8 * stride, stride), 1)};
}
inline __m128i part_at(const uint8_t* p) {
    return _mm_loadu_si128((const __m128i*)p);
}
// Rows i, i + 4, i + 8, i + 12 share a register; turning 4 x 4 words inside the parts leaves the
// rows in order.
inline void i_turn4(i32x16* out, const uint8_t* p, size_t stride) {
    __m512i r[4];
    for (int i = 0; i < 4; ++i) {
        const uint8_t* row = p + size_t(i) * stride;
        r[i] = _mm512_castsi128_si512(part_at(row));
        r[i] = _mm512_inserti32x4(r[i], part_at(row + 4 * stride), 1);
        r[i] = _mm512_inserti32x4(r[i], part_at(row + 8 * stride), 2);
        r[i] = _mm512_inserti32x4(r[i], part_at(row + 12 * stride), 3);
    }
    const __m512i a = _mm512_unpacklo_epi32(r[0], r[1]), b = _mm512_unpackhi_epi32(r[0], r[1]);
    const __m512i c = _mm512_unpacklo_epi32(r[2], r[3]), d = _mm512_unpackhi_epi32(r[2], r[3]);
    out[0].v = _mm512_unpacklo_epi64(a, c);
    out[1].v = _mm512_unpackhi_epi64(a, c);
    out[2].v = _mm512_unpacklo_epi64(b, d);
    out[3].v = _mm512_unpackhi_epi64(b, d);
}
inline i32x16 u_dot(i32x16 acc, i32x16 w, const int8_t* a) {
    int32_t four;
    __builtin_memcpy(&four, a, 4);
    return {_mm512_dpbusd_epi32(acc.v, w.v, _mm512_set1_epi32(four))};
}

inline void f_renew(f32x16& a) {
    asm volatile("" : "+v"(a.v));
}
inline void i_renew(i32x16& a) {
    asm volatile("" : "+v"(a.v));
}

// Weights of quantized tiles: four signed bytes of each row.
struct w8x16 {
    __m512i v;
};
inline w8x16 w_of(i32x16 q, int offset) {
    return {_mm512_sub_epi8(q.v, _mm512_set1_epi8(char(offset)))};
}
inline w8x16 w_of(i8tile q, int) {
    return {_mm512_xor_si512(q.v, _mm512_set1_epi8(char(0x80)))};
}
template <int N>
inline i32x16 w_begin(const w8x16* w) {
    __m512i sum = _mm512_setzero_si512();
    for (int j = 0; j < N; ++j)
        sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(char(0x80)), w[j].v);
    return {_mm512_sub_epi32(_mm512_setzero_si512(), sum)};
}
template <int R, int T, int N, int>
inline void w_dots(i32x16 (*acc)[T], const w8x16* w, size_t w_stride, const uint8_t* const* a,
                   int64_t at) {
#pragma GCC unroll 8
    for (int j = 0; j < N; ++j) {
        __m512i q[R];
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r)
            q[r] = ((const w8x16*)((const uint8_t*)w + size_t(r) * w_stride))[j].v;
#pragma GCC unroll 32
        for (int t = 0; t < T; ++t) {
            int32_t four;
            __builtin_memcpy(&four, a[t] + at + 4 * j, 4);
            const __m512i x = _mm512_set1_epi32(four);
#pragma GCC unroll 4
            for (int r = 0; r < R; ++r) acc[r][t].v = _mm512_dpbusd_epi32(acc[r][t].v, x, q[r]);
        }
    }
}

#ifdef __AVX512BF16__  // avx512bf16.h
// 32 neighbouring bf16 values.
struct b16x32 {
    __m512i v;
};
inline b16x32 b_load(const bf16* p) {
    return {_mm512_loadu_si512(p)};
}
inline b16x32 b_load_n(const bf16* p, int64_t n) {  // zeros beyond
    return {_mm512_maskz_loadu_epi16(__mmask32((uint64_t(1) << n) - 1), p)};
}
inline b16x32 b_zero() {
    return {_mm512_setzero_si512()};
}
inline void f_renew(b16x32& a) {
    asm volatile("" : "+v"(a.v));
}
// Lane i: acc + a[2i + 1] b[2i + 1], rounded, + a[2i] b[2i], rounded; subnormals count as zero.
inline f32x16 f_dot2(f32x16 acc, b16x32 a, b16x32 b) {
    return {_mm512_dpbf16_ps(acc.v, (__m512bh)a.v, (__m512bh)b.v)};
}
#endif

}  // namespace
#endif
