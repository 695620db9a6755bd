/* How bf16 weights meet activations on ISAs with a dot of bf16 pairs: activations are rounded to
 * bf16, and 32 values at a time go as they lie through the tiles of float_dot.h.
 *
 * out[t, n] = sum_k w[n, k] * bf16(x[t, k]). Lane l of 16 adds, for k = 32 i + 2 l, first the
 * product at k + 1, then the one at k, each rounded once (products of bf16 are exact in f32); then
 * f_sum. The order is the same in every tile. Subnormal weights, activations and sums count as
 * zero.
 *
 * Error: an activation is off by 2^-8 of itself, lane l rounds 2 ceil(K / 32) times, the tree 4:
 * |out - exact| <= (2^-8 + gamma(2 ceil(K / 32) + 4)) * sum_k |w x|, and 2^-125 for every value
 * that counts as zero.
 */
#ifndef HEARTH_BF16_PAIRS_H
#define HEARTH_BF16_PAIRS_H

#include "engine/kernels/float_dot.h"

namespace {

struct bf16_pairs {
    using weight = bf16;
    using act = bf16;
    using vec = b16x32;
    static constexpr int kValues = 32;
    /* One after the other they are a single stream, which a machine fetches best: 31 GB/s of 32
     * where four together get 25. Other forms would wait for their chain of sums. */
    static constexpr int kAlone = 1;
    /* An odd number of lines, so that rows do not all want the same places of a cache. */
    static int64_t act_stride(int64_t K) { return ((K + 31) / 32 | 1) * 32; }
    static vec weights(const bf16* p) { return b_load(p); }
    static vec weights_n(const bf16* p, int64_t n) { return b_load_n(p, n); }
    static vec acts(const bf16* p) { return b_load(p); }
    static vec acts_n(const bf16* p, int64_t n) { return b_load_n(p, n); }
    static vec zeros() { return b_zero(); }
    static f32x16 dot(f32x16 acc, vec a, vec b) { return f_dot2(acc, a, b); }
};

inline size_t pair_act_bytes(int64_t k) {
    return size_t(bf16_pairs::act_stride(k)) * sizeof(bf16);
}

}  // namespace
#endif
