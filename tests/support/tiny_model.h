// TinyModel: a GGUF file of any family and tensor type with random weights, for tests.
//
// Nothing here is a quantizer: blocks are drawn directly, codes from all there are, scales so that
// weights have mean 0 and the wanted spread. So every bit of a format is exercised, and the bytes
// do not change when somebody's quantizer does. Each tensor has a generator of its own, seeded by
// its name: an edit of one leaves the others.
//
// With experts the choice must not hang on a rounding, or a comparison would be of two different
// sums. The first n_expert values of every embedding are a code of the token's class, no layer adds
// to them (those rows of attn_output and ffn_down_exps are zero), and the router reads them more
// strongly than the rest. Then the order of all experts is clear by construction, for every token
// in another order; tests check the margin.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "support/gguf_writer.h"

namespace hearth::test {

inline constexpr std::uint32_t kQ4_0 = 2, kQ4_1 = 3, kQ5_0 = 6, kQ5_1 = 7, kQ4_K = 12, kQ5_K = 13,
                               kQ6_K = 14, kBF16 = 30;

struct TinyModel {
    std::string arch = "llama";
    std::uint32_t type = kF32;  // of the matrices, where their rows are whole blocks of it
    std::int64_t n_embd = 64, n_layer = 2, n_head = 4, n_head_kv = 2, head_dim = 16, n_ff = 96;
    std::int64_t n_expert = 0, n_expert_used = 0, n_ff_expert = 64;
    bool tied = true;         // no output.weight
    bool rope_freqs = false;  // with rope_freqs.weight
    bool qkv_bias = false, qk_norm = false;
    float rope_freq_base = 10000.0f;
    float rms_eps = 1e-3f;  // larger than in real files: a wrong one must show beside roundings
    std::uint64_t seed = 1;
    // May change a tensor's values before they are encoded; called for f32 tensors (norms, biases,
    // routers, factors).
    std::function<void(std::string_view name, std::vector<float>& values)> edit;
};

// The families that we test, each with what is typical for it.
inline constexpr const char* kFamilies[] = {"llama", "mixtral", "qwen2", "qwen3", "qwen3moe"};
// A small model of the family whose row lengths suit the type. "mixtral" is llama with experts.
TinyModel tiny_of(std::string_view family, std::uint32_t type);
GgufWriter tiny_model(const TinyModel& shape);
// Metadata and tensors; a part of a model in several files gets some of the tensors.
struct TinyTensor {
    std::string name;
    std::vector<std::int64_t> shape;
    std::uint32_t type = kF32;
    std::string bytes;
};
void write_metadata(GgufWriter& out, const TinyModel& shape);
std::vector<TinyTensor> tiny_tensors(const TinyModel& shape);

// Weights in a block and its bytes. Throws for a type that the writer does not know.
struct BlockShape {
    std::int64_t n = 0, bytes = 0;
};
BlockShape block_shape(std::uint32_t type);

}  // namespace hearth::test
