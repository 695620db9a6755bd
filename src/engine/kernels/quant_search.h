/* Scales and minima of K-quant sub-blocks, found by trying: the starting grid spans the range of
 * the weights; each trial rounds to a slightly finer or coarser grid, fits scale and minimum to the
 * rounded weights by least squares, and is kept if the sum of squared errors falls. The result so
 * is never worse than the starting grid, which bounds its error (tests/unit/kernels).
 *
 * Sums are in f64 in the order of the weights, so that every ISA gives the same blocks.
 */
#ifndef HEARTH_QUANT_SEARCH_H
#define HEARTH_QUANT_SEARCH_H

#include "engine/kernels/quant_encode.h"

namespace {

/* x ~ scale * q - min with q in 0..most and min >= 0. */
inline double min_error(const float* x, const uint8_t* q, int n, double scale, double min) {
    double error = 0;
    for (int j = 0; j < n; ++j) {
        const double e = scale * q[j] - min - double(x[j]);
        error += e * e;
    }
    return error;
}
/* Least squares for given q; false where q does not determine a rising line. */
inline bool min_refit(const float* x, const uint8_t* q, int n, double* scale, double* min) {
    double sq = 0, sqq = 0, sx = 0, sqx = 0;
    for (int j = 0; j < n; ++j) {
        sq += q[j];
        sqq += double(q[j]) * q[j];
        sx += double(x[j]);
        sqx += double(x[j]) * q[j];
    }
    const double det = n * sqq - sq * sq;
    if (!(det > 0)) return false;
    *scale = (n * sqx - sq * sx) / det;
    *min = (sq * sqx - sqq * sx) / det;
    if (*min < 0) { /* a minimum above 0 cannot be stored */
        *min = 0;
        *scale = sqx / sqq;
    }
    return *scale > 0;
}
inline void search_min(float* scale, float* min, const float* x, int n, int most) {
    float low, high;
    range_of(&low, &high, x, n);
    if (low > 0.0f) low = 0.0f;
    *scale = (high - low) / float(most);
    *min = -low;
    if (inverse_of(*scale) == 0.0f) {
        *scale = 0.0f;
        return;
    }
    uint8_t q[32];
    double best = -1;
    for (int trial = 0; trial <= 16; ++trial) {
        /* 0: the starting grid; then steps of 0.1 around the full range. */
        const float steps = float(most) + (trial == 0 ? 0.0f : 0.1f * float(trial - 7));
        const float inverse = steps / (high - low);
        for (int j = 0; j < n; ++j) q[j] = uint8_t(nearest_in((x[j] - low) * inverse, 0, most));
        double s = double(*scale), m = double(*min);
        if (trial == 0) best = min_error(x, q, n, s, m);
        if (!min_refit(x, q, n, &s, &m)) continue;
        const double error = min_error(x, q, n, s, m);
        if (error < best) {
            best = error;
            *scale = float(s);
            *min = float(m);
        }
    }
}

/* x ~ scale * q with q in -most..most - 1; scale may be negative. */
inline double scale_error(const float* x, const int8_t* q, int n, double scale) {
    double error = 0;
    for (int j = 0; j < n; ++j) {
        const double e = scale * q[j] - double(x[j]);
        error += e * e;
    }
    return error;
}
inline float search_scale(const float* x, int n, int most) {
    const float largest = largest_of(x, n);
    float scale = largest / -float(most);
    if (inverse_of(scale) == 0.0f) return 0.0f;
    int8_t q[16];
    double best = -1;
    for (int trial = 0; trial <= 18; ++trial) {
        const float steps = float(most) + (trial == 0 ? 0.0f : 0.1f * float(trial - 10));
        const float inverse = -steps / largest;
        double sqq = 0, sqx = 0;
        for (int j = 0; j < n; ++j) {
            q[j] = int8_t(nearest_in(x[j] * inverse, -most, most - 1));
            sqq += double(q[j]) * q[j];
            sqx += double(x[j]) * q[j];
        }
        if (trial == 0) best = scale_error(x, q, n, double(scale));
        if (!(sqq > 0)) continue;
        const double error = scale_error(x, q, n, sqx / sqq);
        if (error < best) {
            best = error;
            scale = float(sqx / sqq);
        }
    }
    return scale;
}

}  // namespace
#endif
