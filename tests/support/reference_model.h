// Reference: a decoder computed in float64, straight from the equations, to hold the engine
// against.
//
// It shares nothing with the engine but the GGUF parser: its own decoding of every format
// (reference_formats.cc), its own loops, no kernels, no cache. Families: llama (with and without
// experts), qwen2, qwen3, qwen3moe. Two uses:
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
//   matmul, f32 f16 bf16  16 lanes of m = K / 16 fused multiply-adds, then 4 levels of additions.
//   With
//                         P = sum (w x)^2 the partial sums of a lane grow as a random walk, so
//                         their squares add up to P m / 2, and to P for each level; a part r (the
//                         result) grows steadily and adds r^2 (m / 48 + 1.9).
//   matmul, quantized     activations in blocks (Act): each value errs uniformly within d / 2, d =
//   the
//                         block's largest / 127. Then one sum over m = K / 32 blocks with two
//                         roundings each: P (m / 2 + 1) + r^2 m / 3.
//   activations in f16    half a unit in the last place, uniform; in bf16 as well
//   rms_norm              one factor per row (or head) and two products per value
//   bias, add             one rounding
//   rope                  sine, cosine, two products, one sum; the angle itself is f64
//   attention             scores of four sums of m = head_dim / 4, then 2 levels; exp within 3 u, and within u times
//   its
//                         argument; S fused multiply-adds for a sum over S keys; the division
//   KV cache              f16 and bf16: half a unit in the last place, uniform. q8_0: as
//   activations,
//                         and half a unit of f16 for the scale
//   silu                  exp 3 u and three roundings
//   experts               the router's matmul; exp, sum and division for each weight; product and
//   sum
//                         for each rank
#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model/gguf.h"

namespace hearth::test {

// What activations become before they meet a matrix of some tensor type.
enum class Act { f32, f16, bf16, q8_blocks_of_32, q8_blocks_of_256 };

struct Rounding {
    std::uint64_t seed = 0;
    std::string kv = "f32";
    std::map<std::uint32_t, Act> acts;  // by tensor type; f32 where there is none
    Act act_of(std::uint32_t type) const {
        const auto at = acts.find(type);
        return at == acts.end() ? Act::f32 : at->second;
    }
};

class Random;

class Reference {
  public:
    // Requires: a sound file of a known family and known tensor types; throws otherwise. The file's
    // bytes are not kept.
    explicit Reference(const model::Gguf& gguf);

    std::int64_t n_vocab() const { return n_vocab_; }
    // Logits [T, V] of all positions of one sequence. Without a Rounding: exact. margin, if given:
    // the smallest difference between the logits of two experts, one chosen and one not.
    std::vector<double> logits(std::span<const std::int32_t> ids,
                               const Rounding* rounding = nullptr, double* margin = nullptr) const;

  private:
    struct Matrix {
        std::int64_t n = 0, k = 0;
        std::uint32_t type = 0;
        std::vector<double> w;      // [N, K]
        std::vector<double> power;  // [N, blocks of 32]: sums of squares
    };
    struct FeedForward {
        Matrix gate, up, down;
    };
    struct Layer {
        std::vector<double> attn_norm, ffn_norm;
        std::vector<double> q_bias, k_bias, v_bias;  // empty: none
        std::vector<double> q_norm, k_norm;          // empty: none
        Matrix q, k, v, output;
        FeedForward ffn;  // without experts
        Matrix router;
        std::vector<FeedForward> experts;
    };
    // A pass's own state.
    struct Pass {
        const Rounding* rounding = nullptr;
        Random* random = nullptr;
        double margin = HUGE_VAL;
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
    static Matrix matrix_of(const model::GgufTensor& tensor, std::int64_t expert = 0);
    void read_config(const model::Gguf& gguf);
    Layer read_layer(const model::Gguf& gguf, const std::string& at) const;

    // What a matrix of that type is given.
    Values input(const Matrix& m, const Values& x, const Pass& pass) const;
    Values multiply(const Matrix& m, const Values& x, const Pass& pass) const;
    Values normed(const Values& x, const std::vector<double>& weight, const Pass& pass) const;
    void norm_heads(Values& x, const std::vector<double>& weight, const Pass& pass) const;
    void add_bias(Values& x, const std::vector<double>& bias, const Pass& pass) const;
    void add(Values& x, const Values& y, const Pass& pass) const;
    void rotate(Values& x, const Pass& pass) const;
    void round_cache(Values& x, const Pass& pass) const;
    Values attend(const Values& q, const Values& k, const Values& v, const Pass& pass) const;
    void attend_head(Values& out, const Values& q, const Values& k, const Values& v,
                     std::int64_t head, const Pass& pass) const;
    // Requires: x is what the matrices of gate and up are given.
    Values feed_forward(const FeedForward& w, const Values& x, const Pass& pass) const;
    Values mix_experts(const Layer& w, const Values& h, Pass& pass) const;
    void layer(Values& x, const Layer& w, Pass& pass) const;

    std::string arch_;
    bool halves_ = false;  // rope turns x[i] with x[i + n_rot / 2], not with its neighbour
    std::int64_t n_vocab_ = 0, n_embd_ = 0, n_head_ = 0, n_head_kv_ = 0, head_dim_ = 0, n_rot_ = 0;
    std::int64_t n_expert_ = 0, n_expert_used_ = 0;
    double freq_base_ = 0, freq_scale_ = 1, rms_eps_ = 0;
    std::vector<double> freq_factors_;
    Matrix embedding_, output_;
    std::vector<double> output_norm_;
    std::vector<Layer> layers_;
};

}  // namespace hearth::test
