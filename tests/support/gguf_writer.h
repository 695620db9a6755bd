// GgufWriter: GGUF files of our own for tests: generated models, and damaged files.
//
// Written from the specification alone, without the parser's code, so that each checks the other.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hearth::test {

// Tensor type numbers of the specification.
inline constexpr std::uint32_t kF32 = 0, kF16 = 1, kQ8_0 = 8;

// IEEE 754 binary16, nearest even, done by searching the definition; and its exact value.
std::uint16_t to_f16(double x);
double from_f16(std::uint16_t bits);

// Values in a tensor type's bytes. Requires: q8_0 rows are whole blocks of 32.
std::string encode_values(const std::vector<float>& values, std::uint32_t type);

class GgufWriter {
  public:
    GgufWriter& u32(std::string_view key, std::uint32_t v);
    GgufWriter& f32(std::string_view key, float v);
    GgufWriter& boolean(std::string_view key, bool v);
    GgufWriter& text(std::string_view key, std::string_view v);
    GgufWriter& texts(std::string_view key, const std::vector<std::string>& v);
    GgufWriter& i32s(std::string_view key, const std::vector<std::int32_t>& v);
    GgufWriter& f32s(std::string_view key, const std::vector<float>& v);
    // Any type and payload, right or wrong.
    GgufWriter& raw(std::string_view key, std::uint32_t type, std::string_view payload);
    // shape: outermost first; the file gets it innermost first.
    GgufWriter& tensor(std::string_view name, const std::vector<std::int64_t>& shape,
                       std::uint32_t type, std::string bytes);
    std::string bytes(std::uint32_t version = 3) const;

  private:
    struct Tensor {
        std::string name;
        std::vector<std::int64_t> shape;
        std::uint32_t type = 0;
        std::string bytes;
    };
    std::uint64_t n_keys_ = 0;
    std::string keys_;
    std::vector<Tensor> tensors_;
};

// The bytes of a number, little endian.
template <class T>
std::string le(T v) {
    return std::string(reinterpret_cast<const char*>(&v), sizeof v);
}
std::string length_and(std::string_view text);  // a string as GGUF has it

// A llama of any small shape with random weights and a byte-level vocabulary of 256 + n_special.
struct TinyLlama {
    std::int64_t n_embd = 64, n_layer = 2, n_head = 4, n_head_kv = 2, head_dim = 16;
    std::int64_t n_rot = 16, n_ff = 96, n_ctx = 256;
    float rope_freq_base = 10000.0f, rms_eps = 1e-5f;
    std::uint32_t type = kF32;  // of the matrices
    bool tied = true;           // no output.weight
    bool rope_freqs = false;    // with rope_freqs.weight
    std::uint64_t seed = 1;
};
inline constexpr std::int64_t kTinyVocab = 256 + 4;  // <s> <e> <u> and one unused row's text
// Those tokens, as byte-level BPE without merges.
void write_tiny_vocabulary(GgufWriter& out);
GgufWriter tiny_llama(const TinyLlama& shape);

}  // namespace hearth::test
