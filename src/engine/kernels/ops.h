/* The verbs of a transformer that need no weights' format, over the primitives.
 *
 * Plain loops stand where each element stands alone: the compiler vectorizes them, and since no
 * product is fused with an addition (-ffp-contract=off) all ISAs give the same bits.
 */
#ifndef HEARTH_OPS_H
#define HEARTH_OPS_H

namespace {

/* exp, as 2^n * e^r with n = round(x / ln 2) and |r| <= 0.3466.
 *
 * ln 2 is subtracted in two parts: the first has 9 significant bits, so that n times it is exact
 * for |n| < 2^15, and x minus that product is exact too (Sterbenz; for |x| < 0.35, n is 0). The
 * rest of ln 2 and its product contribute at most 151 * 2^-12.2 * 2^-24 + u|r| absolutely. e^r is
 * its Taylor polynomial of degree 7: the remainder is below r^8/8! * e^|r| <= 7.4e-9 = 0.13 u.
 * Horner with fma: the last step rounds once (u of the result), the one before contributes u |r| of
 * it and so on: u (1 + 0.35 + 0.06 + …) < 1.5 u. Together below 3 u (u = 2^-24) relative, for
 * results in the normal range; below it one more rounding to the subnormal grid of 2^-149. x <=
 * -104 gives 0, x >= 89 infinity, NaN gives NaN (it is the second operand of max and min).
 */
inline f32x16 f_exp(f32x16 x) {
    const f32x16 magic = f_set(0x1.8p23f);
    x = f_min(f_set(89.0f), f_max(f_set(-104.0f), x));
    const f32x16 n_biased = f_fma(x, f_set(0x1.715476p0f), magic); /* 1 / ln 2 */
    const f32x16 minus_n = f_sub(magic, n_biased);
    f32x16 r = f_fma(minus_n, f_set(0x1.63p-1f), x); /* ln 2, first 9 bits */
    r = f_fma(minus_n, f_set(-0x1.bd0106p-13f), r);  /* ln 2 - 0x1.63p-1 */
    f32x16 p = f_set(1.0f / 5040.0f);
    p = f_fma(p, r, f_set(1.0f / 720.0f));
    p = f_fma(p, r, f_set(1.0f / 120.0f));
    p = f_fma(p, r, f_set(1.0f / 24.0f));
    p = f_fma(p, r, f_set(1.0f / 6.0f));
    p = f_fma(p, r, f_set(0.5f));
    p = f_fma(p, r, f_set(1.0f));
    p = f_fma(p, r, f_set(1.0f));
    return f_scale2(p, n_biased);
}

/* Squares of f32 are exact in f64, so each of the 16 lanes rounds once per term. */
void rms_norm(float* out, const float* x, const float* w, int64_t n, float eps) {
    double lane[16] = {};
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; ++j) lane[j] += double(x[i + j]) * double(x[i + j]);
    for (int j = 0; i + j < n; ++j) lane[j] += double(x[i + j]) * double(x[i + j]);
    for (int half = 8; half > 0; half /= 2)
        for (int j = 0; j < half; ++j) lane[j] += lane[j + half];
    const float by = float(1.0 / __builtin_sqrt(lane[0] / double(n) + double(eps)));
    for (i = 0; i < n; ++i) out[i] = x[i] * by * w[i];
}

void rope_pairs(float* x, const float* cos, const float* sin, int64_t n_rot) {
    for (int64_t i = 0; i < n_rot / 2; ++i) {
        const float a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = a * cos[i] - b * sin[i];
        x[2 * i + 1] = a * sin[i] + b * cos[i];
    }
}

/* The halves do not overlap, and the compiler may know it. */
void rope_halves(float* x, const float* cos, const float* sin, int64_t n_rot) {
    float* __restrict low = x;
    float* __restrict high = x + n_rot / 2;
    for (int64_t i = 0; i < n_rot / 2; ++i) {
        const float a = low[i], b = high[i];
        low[i] = a * cos[i] - b * sin[i];
        high[i] = a * sin[i] + b * cos[i];
    }
}

inline f32x16 f_silu_mul(f32x16 gate, f32x16 up) {
    const f32x16 e = f_exp(f_sub(f_zero(), gate));
    return f_mul(f_div(gate, f_add(f_set(1.0f), e)), up);
}
void silu_mul(float* out, const float* gate, const float* up, int64_t n) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) f_store(out + i, f_silu_mul(f_load(gate + i), f_load(up + i)));
    if (i < n) {
        const int64_t m = n - i;
        f_store_n(out + i, f_silu_mul(f_load_n(gate + i, m), f_load_n(up + i, m)), m);
    }
}

void add(float* x, const float* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) x[i] += y[i];
}
void add_scaled(float* x, const float* y, float by, int64_t n) {
    for (int64_t i = 0; i < n; ++i) x[i] += by * y[i];
}
void scale(float* x, float by, int64_t n) {
    for (int64_t i = 0; i < n; ++i) x[i] *= by;
}

/* NaNs are passed over unless x[0] is one. */
float max(const float* x, int64_t n) {
    float lane[16];
    f32x16 m = f_set(x[0]);
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) m = f_max(f_load(x + i), m);
    f_store(lane, m);
    for (int j = 0; i + j < n; ++j) lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    for (int j = 1; j < 16; ++j) lane[0] = lane[j] > lane[0] ? lane[j] : lane[0];
    return lane[0];
}

/* Lane j sums elements j, j + 16, …; then f_sum. */
float exp_sum(float* x, float max, int64_t n) {
    const f32x16 m = f_set(max);
    f32x16 sum = f_zero();
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const f32x16 e = f_exp(f_sub(f_load(x + i), m));
        f_store(x + i, e);
        sum = f_add(sum, e);
    }
    if (i < n) {
        f_store_n(x + i, f_exp(f_sub(f_load_n(x + i, n - i), m)), n - i);
        sum = f_add(sum, f_load_n(x + i, n - i)); /* lanes beyond n are 0 again */
    }
    return f_sum(sum);
}

}  // namespace
#endif
