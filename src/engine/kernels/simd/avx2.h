// flags: -mavx2 -mfma -mf16c
// needs: avx2 fma f16c ymm
// when: x86_64|amd64|AMD64
// rank: 1
//
// The primitives on AVX2, FMA and F16C: a vector of 16 lanes is two registers. What each one means
// is written in scalar.h. avxvnni.h is the same with another dot of bytes.
#ifndef HEARTH_SIMD_H
#define HEARTH_SIMD_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

namespace {

// 2 * 2 * 2 accumulators, 4 weights and 2 activations of 16 registers.
constexpr int kTileN = 2, kTileT = 2;
// Widened weights and rows of activations in a float tile.
constexpr int kFloatN = 4, kFloatT = 1, kFloatRowsMin = 4;
// Attention: of four queries so many of their four sums at a time, and so many sixteens of values.
constexpr int kScoreTogether = 1, kWeighParts = 1;
// Rows of a quantized tile: 2 * 3 sums and as many integer parts in 16 registers, nearly.
constexpr int kPanelN = 1, kPanelT = 3, kPanelTHalves = 3;
constexpr int kPackedRows = 2, kPackedHalves = 2;
#ifdef __AVXVNNI__
constexpr uint8_t kActFlip = 0x80;
#else
constexpr uint8_t kActFlip = 0;
#endif

struct f32x16 {
    __m256 lo, hi;
};
struct i32x16 {
    __m256i lo, hi;
};
struct i8tile {  // rows 0..7 and 8..15
    __m256i lo, hi;
};

// -1 in the first n of 8 lanes.
inline __m256i first_lanes(int64_t n) {
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(int(n)), index);
}

inline f32x16 f_set(float x) {
    return {_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
inline f32x16 f_zero() {
    return {_mm256_setzero_ps(), _mm256_setzero_ps()};
}
inline f32x16 f_load(const float* p) {
    return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
inline f32x16 f_load_n(const float* p, int64_t n) {
    return {_mm256_maskload_ps(p, first_lanes(n)),
            n > 8 ? _mm256_maskload_ps(p + 8, first_lanes(n - 8)) : _mm256_setzero_ps()};
}
inline void f_store(float* p, f32x16 a) {
    _mm256_storeu_ps(p, a.lo);
    _mm256_storeu_ps(p + 8, a.hi);
}
inline void f_store_n(float* p, f32x16 a, int64_t n) {
    _mm256_maskstore_ps(p, first_lanes(n), a.lo);
    if (n > 8) _mm256_maskstore_ps(p + 8, first_lanes(n - 8), a.hi);
}

inline f32x16 f_load_h(const uint16_t* p) {
    return {_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)),
            _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)(p + 8)))};
}
inline f32x16 f_load_h_n(const uint16_t* p, int64_t n) {
    uint16_t whole[16] = {};
    for (int64_t i = 0; i < n; ++i) whole[i] = p[i];
    return f_load_h(whole);
}
inline void f_store_h(uint16_t* p, f32x16 a) {
    _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i*)(p + 8), _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT));
}
inline void f_store_h_n(uint16_t* p, f32x16 a, int64_t n) {
    uint16_t whole[16];
    f_store_h(whole, a);
    for (int64_t i = 0; i < n; ++i) p[i] = whole[i];
}

struct bf16 {
    uint16_t bits;
};
inline __m256 widen8(__m128i h) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
inline f32x16 f_load_b(const bf16* p) {
    return {widen8(_mm_loadu_si128((const __m128i*)p)),
            widen8(_mm_loadu_si128((const __m128i*)(p + 8)))};
}
inline f32x16 f_load_b_n(const bf16* p, int64_t n) {
    bf16 whole[16] = {};
    for (int64_t i = 0; i < n; ++i) whole[i] = p[i];
    return f_load_b(whole);
}
// The upper halves of the rounded words; NaNs keep theirs and become quiet.
inline __m256i narrow8(__m256 a) {
    const __m256i u = _mm256_castps_si256(a), upper = _mm256_srli_epi32(u, 16);
    const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_srli_epi32(
        _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd), 16);
    const __m256i quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
    return _mm256_blendv_epi8(rounded, quiet,
                              _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q)));
}
inline void f_store_b(bf16* p, f32x16 a) {
    const __m256i both = _mm256_packus_epi32(narrow8(a.lo), narrow8(a.hi));
    _mm256_storeu_si256((__m256i*)p, _mm256_permute4x64_epi64(both, 0xd8));
}
inline void f_store_b_n(bf16* p, f32x16 a, int64_t n) {
    bf16 whole[16];
    f_store_b(whole, a);
    for (int64_t i = 0; i < n; ++i) p[i] = whole[i];
}
inline f32x16 f_set_h(uint16_t h) {
    const __m256 x = _mm256_cvtph_ps(_mm_set1_epi16(short(h)));
    return {x, x};
}
inline f32x16 f_load_i8(const int8_t* p) {
    const __m128i b = _mm_loadu_si128((const __m128i*)p);
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(b)),
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(b, 8)))};
}

inline f32x16 f_add(f32x16 a, f32x16 b) {
    return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}
inline f32x16 f_sub(f32x16 a, f32x16 b) {
    return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}
inline f32x16 f_mul(f32x16 a, f32x16 b) {
    return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}
inline f32x16 f_div(f32x16 a, f32x16 b) {
    return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}
inline f32x16 f_fma(f32x16 a, f32x16 b, f32x16 c) {
    return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
inline f32x16 f_max(f32x16 a, f32x16 b) {
    return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}
inline f32x16 f_min(f32x16 a, f32x16 b) {
    return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}

inline float f_sum(f32x16 a) {
    const __m256 eight = _mm256_add_ps(a.lo, a.hi);
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    x = _mm_add_ss(x, _mm_movehdup_ps(x));
    return _mm_cvtss_f32(x);
}
// The four halvings of f_sum, each on two vectors at once, so that lanes are never idle.
inline __m256 halves4(__m256 a, __m256 b) {  // [a0+a1, b0+b1] of 128-bit parts
    return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}
inline __m256 halves2(__m256 a, __m256 b) {
    return _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x44), _mm256_shuffle_ps(a, b, 0xee));
}
inline __m256 halves1(__m256 a, __m256 b) {
    return _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x88), _mm256_shuffle_ps(a, b, 0xdd));
}
inline __m256 sum8(const f32x16* a) {
    __m256 e[8];
    for (int i = 0; i < 8; ++i) e[i] = _mm256_add_ps(a[i].lo, a[i].hi);
    // The pairing puts vector i's sum into lane i: part 0 holds vectors 0..3, part 1 holds 4..7.
    const __m256 x0 = halves2(halves4(e[0], e[4]), halves4(e[1], e[5]));
    const __m256 x1 = halves2(halves4(e[2], e[6]), halves4(e[3], e[7]));
    return halves1(x0, x1);
}
inline f32x16 f_sum16(const f32x16* a) {
    return {sum8(a), sum8(a + 8)};
}

inline __m256 scale2(__m256 a, __m256 n_biased) {
    const __m256i bias = _mm256_set1_epi32(127);
    const __m256i n =
        _mm256_sub_epi32(_mm256_castps_si256(n_biased), _mm256_set1_epi32(0x4b400000));
    const __m256i half = _mm256_srai_epi32(n, 1), rest = _mm256_sub_epi32(n, half);
    a = _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23)));
    return _mm256_mul_ps(a,
                         _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23)));
}
inline f32x16 f_scale2(f32x16 a, f32x16 n_biased) {
    return {scale2(a.lo, n_biased.lo), scale2(a.hi, n_biased.hi)};
}

inline int half_at(const uint8_t* p) {
    uint16_t h;
    __builtin_memcpy(&h, p, 2);
    return h;
}
inline __m256 rows8_h(const uint8_t* p, size_t stride) {
    __m128i h = _mm_cvtsi32_si128(half_at(p));
    h = _mm_insert_epi16(h, half_at(p + stride), 1);
    h = _mm_insert_epi16(h, half_at(p + 2 * stride), 2);
    h = _mm_insert_epi16(h, half_at(p + 3 * stride), 3);
    h = _mm_insert_epi16(h, half_at(p + 4 * stride), 4);
    h = _mm_insert_epi16(h, half_at(p + 5 * stride), 5);
    h = _mm_insert_epi16(h, half_at(p + 6 * stride), 6);
    h = _mm_insert_epi16(h, half_at(p + 7 * stride), 7);
    return _mm256_cvtph_ps(h);
}
inline f32x16 f_rows_h(const uint8_t* p, size_t stride) {
    return {rows8_h(p, stride), rows8_h(p + 8 * stride, stride)};
}

// Turns 8 rows of 8 dwords: result j holds dword j of every row.
inline void turn8(__m256i* out, const uint8_t* p, size_t stride) {
    __m256i r[8], x[8];
    for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_si256((const __m256i*)(p + size_t(i) * stride));
    for (int i = 0; i < 8; i += 4) {
        const __m256i a = _mm256_unpacklo_epi32(r[i], r[i + 1]);
        const __m256i b = _mm256_unpackhi_epi32(r[i], r[i + 1]);
        const __m256i c = _mm256_unpacklo_epi32(r[i + 2], r[i + 3]);
        const __m256i d = _mm256_unpackhi_epi32(r[i + 2], r[i + 3]);
        x[i] = _mm256_unpacklo_epi64(a, c);
        x[i + 1] = _mm256_unpackhi_epi64(a, c);
        x[i + 2] = _mm256_unpacklo_epi64(b, d);
        x[i + 3] = _mm256_unpackhi_epi64(b, d);
    }
    for (int j = 0; j < 4; ++j) {
        out[j] = _mm256_permute2x128_si256(x[j], x[j + 4], 0x20);
        out[j + 4] = _mm256_permute2x128_si256(x[j], x[j + 4], 0x31);
    }
}
inline void t_load(i8tile* tile, const uint8_t* p, size_t stride) {
    __m256i lo[8], hi[8];
    turn8(lo, p, stride);
    turn8(hi, p + 8 * stride, stride);
    for (int j = 0; j < 8; ++j) tile[j] = {lo[j], hi[j]};
}
inline i8tile t_turned(const uint8_t* p) {
    return {_mm256_loadu_si256((const __m256i*)p), _mm256_loadu_si256((const __m256i*)(p + 32))};
}
inline i32x16 i_begin(int32_t) {
    return {_mm256_setzero_si256(), _mm256_setzero_si256()};
}
// maddubs wants one unsigned factor: |w| * (a with w's sign). |-128| is 128 when read unsigned, and
// a pair's sum is at most 2 * 128 * 127 = 32512, so its 16-bit saturation is never reached.
inline __m256i dot4(__m256i acc, __m256i w, __m256i a) {
#ifdef __AVXVNNI__  // avxvnni.h: four products and their sum in one step, exact in 32 bits
    return _mm256_dpbusd_avx_epi32(acc, _mm256_abs_epi8(w), _mm256_sign_epi8(a, w));
#else
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
}
inline i32x16 i_dot(i32x16 acc, i8tile tile, const int8_t* a) {
    int32_t four;
    __builtin_memcpy(&four, a, 4);
    const __m256i x = _mm256_set1_epi32(four);
    return {dot4(acc.lo, tile.lo, x), dot4(acc.hi, tile.hi, x)};
}
inline f32x16 f_of_i(i32x16 a) {
    return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)};
}

inline i32x16 i_set(int32_t x) {
    return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}
inline i32x16 i_bits(f32x16 a) {
    return {_mm256_castps_si256(a.lo), _mm256_castps_si256(a.hi)};
}
inline i32x16 i_max(i32x16 a, i32x16 b) {
    return {_mm256_max_epi32(a.lo, b.lo), _mm256_max_epi32(a.hi, b.hi)};
}
inline void i_store_i8(int8_t* p, i32x16 a) {
    const __m256i low = _mm256_set1_epi32(0xff);
    const __m256i both =
        _mm256_packus_epi32(_mm256_and_si256(a.lo, low), _mm256_and_si256(a.hi, low));
    const __m256i words = _mm256_permute4x64_epi64(both, 0xd8);
    _mm_storeu_si128(
        (__m128i*)p,
        _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}
inline i32x16 i_and(i32x16 a, i32x16 b) {
    return {_mm256_and_si256(a.lo, b.lo), _mm256_and_si256(a.hi, b.hi)};
}
inline i32x16 i_or(i32x16 a, i32x16 b) {
    return {_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)};
}
inline i32x16 i_mul(i32x16 a, i32x16 b) {
    return {_mm256_mullo_epi32(a.lo, b.lo), _mm256_mullo_epi32(a.hi, b.hi)};
}
template <int N>
inline i32x16 i_shl(i32x16 a) {
    return {_mm256_slli_epi32(a.lo, N), _mm256_slli_epi32(a.hi, N)};
}
template <int N>
inline i32x16 i_shr(i32x16 a) {
    return {_mm256_srli_epi32(a.lo, N), _mm256_srli_epi32(a.hi, N)};
}
inline i32x16 i_shr(i32x16 a, int n) {
    const __m128i count = _mm_cvtsi32_si128(n);
    return {_mm256_srl_epi32(a.lo, count), _mm256_srl_epi32(a.hi, count)};
}
template <int N>
inline i32x16 i_sar(i32x16 a) {
    return {_mm256_srai_epi32(a.lo, N), _mm256_srai_epi32(a.hi, N)};
}
inline f32x16 f_of_h(i32x16 a) {
    const __m256i low = _mm256_set1_epi32(0xffff);
    const __m256i both =
        _mm256_packus_epi32(_mm256_and_si256(a.lo, low), _mm256_and_si256(a.hi, low));
    const __m256i h = _mm256_permute4x64_epi64(both, 0xd8);
    return {_mm256_cvtph_ps(_mm256_castsi256_si128(h)),
            _mm256_cvtph_ps(_mm256_extracti128_si256(h, 1))};
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
    return {_mm256_loadu_si256((const __m256i*)p), _mm256_loadu_si256((const __m256i*)(p + 32))};
}
inline i32x16 i_rows(const uint8_t* p, size_t stride) {
    return {rows8_w(p, stride), rows8_w(p + 8 * stride, stride)};
}
// Rows i and i + 4 share a register; turning 4 x 4 words inside the parts leaves them in order.
inline void turn4(__m256i* out, const uint8_t* p, size_t stride) {
    __m256i r[4];
    for (int i = 0; i < 4; ++i) {
        const uint8_t* row = p + size_t(i) * stride;
        r[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i*)row)),
                                       _mm_loadu_si128((const __m128i*)(row + 4 * stride)), 1);
    }
    const __m256i a = _mm256_unpacklo_epi32(r[0], r[1]), b = _mm256_unpackhi_epi32(r[0], r[1]);
    const __m256i c = _mm256_unpacklo_epi32(r[2], r[3]), d = _mm256_unpackhi_epi32(r[2], r[3]);
    out[0] = _mm256_unpacklo_epi64(a, c);
    out[1] = _mm256_unpackhi_epi64(a, c);
    out[2] = _mm256_unpacklo_epi64(b, d);
    out[3] = _mm256_unpackhi_epi64(b, d);
}
inline void i_turn4(i32x16* out, const uint8_t* p, size_t stride) {
    __m256i lo[4], hi[4];
    turn4(lo, p, stride);
    turn4(hi, p + 8 * stride, stride);
    for (int j = 0; j < 4; ++j) out[j] = {lo[j], hi[j]};
}
// A pair's sum is at most 2 * 127 * 127 = 32258: no saturation.
inline __m256i dot4_u(__m256i acc, __m256i w, __m256i a) {
#ifdef __AVXVNNI__
    return _mm256_dpbusd_avx_epi32(acc, w, a);
#else
    const __m256i pairs = _mm256_maddubs_epi16(w, a);
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
}
inline i32x16 u_dot(i32x16 acc, i32x16 w, const int8_t* a) {
    int32_t four;
    __builtin_memcpy(&four, a, 4);
    const __m256i x = _mm256_set1_epi32(four);
    return {dot4_u(acc.lo, w.lo, x), dot4_u(acc.hi, w.hi, x)};
}

inline void f_renew(f32x16& a) {
    asm volatile("" : "+x"(a.lo), "+x"(a.hi));
}
inline void i_renew(i32x16& a) {
    asm volatile("" : "+x"(a.lo), "+x"(a.hi));
}

// Weights of quantized tiles: four signed bytes of each row.
struct w8x16 {
    __m256i lo, hi;
};
inline w8x16 w_of(i32x16 q, int offset) {
    const __m256i by = _mm256_set1_epi8(char(offset));
    return {_mm256_sub_epi8(q.lo, by), _mm256_sub_epi8(q.hi, by)};
}
inline w8x16 w_of(i8tile q, int) {
    return {q.lo, q.hi};
}
#ifdef __AVXVNNI__
template <int N>
inline i32x16 w_begin(const w8x16* w) {
    const __m256i zero = _mm256_setzero_si256(), by = _mm256_set1_epi8(char(0x80));
    __m256i lo = zero, hi = zero;
    for (int j = 0; j < N; ++j) {
        lo = _mm256_dpbusd_avx_epi32(lo, by, w[j].lo);
        hi = _mm256_dpbusd_avx_epi32(hi, by, w[j].hi);
    }
    return {_mm256_sub_epi32(zero, lo), _mm256_sub_epi32(zero, hi)};
}
#else
template <int N>
inline i32x16 w_begin(const w8x16*) {
    return i_set(0);
}
#endif
template <int R, int T, int N, int Together>
inline void w_dots(i32x16 (*acc)[T], const w8x16* w, size_t, const uint8_t* const* a, int64_t at) {
    static_assert(R == 1);
#ifdef __AVXVNNI__
    for (int j = 0; j < N; ++j)
        for (int t = 0; t < T; ++t) {
            int32_t four;
            __builtin_memcpy(&four, a[t] + at + 4 * j, 4);
            const __m256i x = _mm256_set1_epi32(four);
            acc[0][t].lo = _mm256_dpbusd_avx_epi32(acc[0][t].lo, x, w[j].lo);
            acc[0][t].hi = _mm256_dpbusd_avx_epi32(acc[0][t].hi, x, w[j].hi);
        }
#else
    // Products of Together words are added in 16 bits: the format says that they fit.
    constexpr int kWords = Together < N ? Together : N;
    for (int j0 = 0; j0 < N; j0 += kWords) {
        __m256i lo[T], hi[T];
        for (int j = j0; j < j0 + kWords; ++j) {
            const __m256i abs_lo = _mm256_abs_epi8(w[j].lo), abs_hi = _mm256_abs_epi8(w[j].hi);
            for (int t = 0; t < T; ++t) {
                int32_t four;
                __builtin_memcpy(&four, a[t] + at + 4 * j, 4);
                const __m256i x = _mm256_set1_epi32(four);
                const __m256i p = _mm256_maddubs_epi16(abs_lo, _mm256_sign_epi8(x, w[j].lo));
                const __m256i q = _mm256_maddubs_epi16(abs_hi, _mm256_sign_epi8(x, w[j].hi));
                lo[t] = j == j0 ? p : _mm256_add_epi16(lo[t], p);
                hi[t] = j == j0 ? q : _mm256_add_epi16(hi[t], q);
            }
        }
        const __m256i one = _mm256_set1_epi16(1);
        for (int t = 0; t < T; ++t) {
            acc[0][t].lo = _mm256_add_epi32(acc[0][t].lo, _mm256_madd_epi16(lo[t], one));
            acc[0][t].hi = _mm256_add_epi32(acc[0][t].hi, _mm256_madd_epi16(hi[t], one));
        }
    }
#endif
}

}  // namespace
#endif
