// ReferenceLlama: a llama computed in float64, straight from the equations, to hold the engine
// against.
//
// It shares nothing with the engine but the GGUF parser: its own decoding of f32, f16 and q8_0, its
// own loops, no kernels, no cache. Two uses:
//
// 1. Exact. What the model of a file says, to about 1e-12. tests/real checks it against golden
// values
//    that were computed elsewhere.
// 2. With a Rounding: the same pass, but at each place where the engine rounds, a random error of
// that
//    rounding's size is added. The spread of the logits over many such passes is how far the engine
//    may be from exact: Monte Carlo arithmetic (Parker, "Monte Carlo Arithmetic: exploiting
//    randomness in floating-point arithmetic", 1997). A bound from it has no tuning knob: the sizes
//    come from the formats alone, and no engine output goes into it.
//
// Sizes, u = 2^-24 (f32). An operation that rounds once errs uniformly within u of its result,
// which is a variance of u^2 / 3.
//   matmul, f32 and f16   16 lanes of m = K / 16 fused multiply-adds, then 4 levels of additions.
//   With
//                         P = sum (w x)^2 the partial sums of a lane grow as a random walk, so
//                         their squares add up to P m / 2, and to P for each level; a part r (the
//                         result) grows steadily and adds r^2 (m / 48 + 1.9).
//   matmul, q8_0          activations in blocks of 32: each value errs uniformly within d / 2, d =
//   largest
//                         of the block / 127. Then one sum over m = K / 32 blocks with two
//                         roundings each: P (m / 2 + 1) + r^2 m / 3.
//   rms_norm              one factor per row and two products per value
//   rope                  sine, cosine, two products, one sum; the angle itself is f64
//   attention             scores as a matmul with K = head_dim; exp within 3 u, and within u times
//   its
//                         argument; S fused multiply-adds for a sum over S keys; the division
//   KV cache, f16         half a unit in the last place of f16, uniform
//   silu, add             exp 3 u and three roundings; one rounding
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model/gguf.h"

namespace hearth::test {

struct Rounding {
    std::uint64_t seed = 0;
    bool kv_f16 = false;
};

class Random;

class ReferenceLlama {
  public:
    // Requires: a llama file of f32, f16 and q8_0 tensors, known to be sound; throws otherwise. The
    // file's bytes are not kept.
    explicit ReferenceLlama(const model::Gguf& gguf);

    std::int64_t n_vocab() const { return n_vocab_; }
    // Logits [T, V] of all positions of one sequence. Without a Rounding: exact.
    std::vector<double> logits(std::span<const std::int32_t> ids,
                               const Rounding* rounding = nullptr) const;

  private:
    struct Matrix {
        std::int64_t n = 0, k = 0;
        bool is_q8 = false;
        std::vector<double> w;      // [N, K]
        std::vector<double> power;  // [N, blocks of 32]: sums of squares
    };
    struct Layer {
        std::vector<double> attn_norm, ffn_norm;
        Matrix q, k, v, output, gate, up, down;
    };
    // Values of T tokens, [rows, ld] with a token in each column: sums over rows then run over
    // contiguous tokens.
    struct Values {
        std::int64_t rows = 0, n_tokens = 0, ld = 0;
        std::vector<double> v;
        Values(std::int64_t r, std::int64_t t);
        double* row(std::int64_t r) { return v.data() + r * ld; }
        const double* row(std::int64_t r) const { return v.data() + r * ld; }
    };
    static std::vector<double> values_of(const model::Gguf& gguf, const std::string& name);
    static Matrix matrix_of(const model::Gguf& gguf, const std::string& name);

    Values multiply(const Matrix& m, const Values& x, Random* random) const;
    Values normed(const Values& x, const std::vector<double>& weight, Random* random) const;
    void rotate(Values& x, Random* random) const;
    Values attend(const Values& q, const Values& k, const Values& v, Random* random) const;
    void attend_head(Values& out, const Values& q, const Values& k, const Values& v,
                     std::int64_t head, Random* random) const;
    void layer(Values& x, const Layer& w, const Rounding* rounding, Random* random) const;

    std::int64_t n_vocab_ = 0, n_embd_ = 0, n_head_ = 0, n_head_kv_ = 0, head_dim_ = 0, n_rot_ = 0;
    double freq_base_ = 0, rms_eps_ = 0;
    std::vector<double> freq_factors_;
    Matrix embedding_, output_;
    std::vector<double> output_norm_;
    std::vector<Layer> layers_;
};

}  // namespace hearth::test
