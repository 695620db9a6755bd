#include "support/tiny_model.h"

#include <cmath>
#include <cstring>
#include <stdexcept>

namespace hearth::test {
namespace {

// splitmix64 (Steele, Lea, Flood 2014), seeded by a name (FNV-1a).
class Draw {
  public:
    Draw(std::uint64_t seed, std::string_view name) {
        std::uint64_t h = 0xcbf29ce484222325u;
        for (const char c : name) h = (h ^ std::uint8_t(c)) * 0x100000001b3u;
        state_ = h ^ (seed * 0x9e3779b97f4a7c15u);
    }
    std::uint64_t bits() {
        std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
    }
    double uniform() { return double(bits() >> 11) * 0x1p-53; }  // [0, 1)
    // Mean 0, variance 1: the sum of four uniform numbers of 16 bits.
    double normal() {
        const std::uint64_t r = bits();
        const auto sum = double((r & 0xffff) + (r >> 16 & 0xffff) + (r >> 32 & 0xffff) + (r >> 48));
        return (sum - 131070.0) * (1.7320508075688772 / 65536.0);
    }
    std::string bytes(std::size_t n) {
        std::string out;
        for (std::size_t i = 0; i < n; ++i) out += char(bits() & 0xff);
        return out;
    }
    double around(double x) { return x * (0.85 + 0.3 * uniform()); }

  private:
    std::uint64_t state_ = 0;
};

std::uint16_t to_bf16(float x) {
    std::uint32_t b = 0;
    std::memcpy(&b, &x, 4);
    return std::uint16_t((b + 0x7fff + (b >> 16 & 1)) >> 16);  // nearest even
}

// Standard deviation of a code drawn evenly from n values.
double code_spread(int n) {
    return std::sqrt((double(n) * n - 1) / 12);
}

// The 12 bytes of q4_K and q5_K that pack eight 6-bit scales and eight 6-bit minima.
std::string pack_scales(const int* scale, const int* minimum) {
    std::string out(12, '\0');
    for (int j = 0; j < 4; ++j) {
        out[std::size_t(j)] = char(scale[j] | (scale[j + 4] >> 4) << 6);
        out[std::size_t(j + 4)] = char(minimum[j] | (minimum[j + 4] >> 4) << 6);
        out[std::size_t(j + 8)] = char((scale[j + 4] & 15) | (minimum[j + 4] & 15) << 4);
    }
    return out;
}

std::string draw_k_block(Draw& draw, std::uint32_t type, double spread) {
    const auto f16 = [](double x) { return le(to_f16(x)); };
    if (type == kQ6_K) {
        std::string out = draw.bytes(128 + 64), scales;
        for (int j = 0; j < 16; ++j) {
            const int s = 70 + int(draw.bits() % 50);
            scales += char(draw.bits() & 1 ? s : -s);
        }
        return out + scales + f16(draw.around(spread / code_spread(64) / 95));
    }
    const int n_codes = type == kQ4_K ? 16 : 32;
    int scale[8], minimum[8];
    for (int j = 0; j < 8; ++j) {
        scale[j] = 32 + int(draw.bits() % 32);
        minimum[j] = scale[j] - 3 + int(draw.bits() % 7);  // the mean is near 0, not at it
        minimum[j] = std::min(63, minimum[j]);
    }
    const double d = from_f16(to_f16(draw.around(spread / code_spread(n_codes) / 48)));
    return f16(d) + f16(d * (n_codes - 1) / 2) + pack_scales(scale, minimum) +
           draw.bytes(type == kQ4_K ? 128 : 32 + 128);
}

std::string draw_block(Draw& draw, std::uint32_t type, double spread) {
    const auto f16 = [](double x) { return le(to_f16(x)); };
    switch (type) {
        // Codes are drawn before their scale, in an order that the compiler cannot choose.
        case kQ4_0: {
            const std::string codes = draw.bytes(16);
            return f16(draw.around(spread / code_spread(16))) + codes;
        }
        case kQ4_1: {
            const double d = draw.around(spread / code_spread(16));
            return f16(d) + f16(-7.5 * d) + draw.bytes(16);
        }
        case kQ5_0: {
            const std::string codes = draw.bytes(4 + 16);
            return f16(draw.around(spread / code_spread(32))) + codes;
        }
        case kQ5_1: {
            const double d = draw.around(spread / code_spread(32));
            return f16(d) + f16(-15.5 * d) + draw.bytes(4 + 16);
        }
        case kQ8_0: {
            std::string out = f16(draw.around(spread / code_spread(255)));
            for (int j = 0; j < 32; ++j) out += char(int(draw.bits() % 255) - 127);
            return out;
        }
        default:
            return draw_k_block(draw, type, spread);
    }
}

bool is_plain(std::uint32_t type) {
    return type == kF32 || type == kF16 || type == kBF16;
}

std::string encode_plain(const std::vector<float>& values, std::uint32_t type) {
    if (type != kBF16) return encode_values(values, type);
    std::string out;
    for (const float v : values) out += le(to_bf16(v));
    return out;
}

// What quantizers take where rows are no whole blocks.
std::uint32_t type_for(std::uint32_t type, std::int64_t row) {
    if (row % block_shape(type).n == 0) return type;
    const std::uint32_t narrow = type == kQ4_K ? kQ5_0 : type == kQ5_K ? kQ5_1 : kQ8_0;
    return row % 32 == 0 ? narrow : kF16;
}

class Maker {
  public:
    explicit Maker(const TinyModel& shape) : s_(shape) {}
    std::vector<TinyTensor> all() {
        const std::int64_t D = s_.n_embd;
        embedding();
        for (std::int64_t i = 0; i < s_.n_layer; ++i) layer("blk." + std::to_string(i) + ".");
        vector("output_norm.weight", D, 1, 0.2);
        if (!s_.tied) matrix("output.weight", {kTinyVocab, D}, 1);
        if (s_.rope_freqs) vector("rope_freqs.weight", s_.head_dim / 2, 3, 0.3);
        return std::move(out_);
    }

  private:
    static double by(std::int64_t k) { return 1 / std::sqrt(double(k)); }

    void layer(const std::string& at) {
        const std::int64_t D = s_.n_embd, q = s_.n_head * s_.head_dim,
                           kv = s_.n_head_kv * s_.head_dim;
        vector(at + "attn_norm.weight", D, 1, 0.2);
        matrix(at + "attn_q.weight", {q, D}, 1.5);
        matrix(at + "attn_k.weight", {kv, D}, 1.5);
        matrix(at + "attn_v.weight", {kv, D}, 1);
        matrix(at + "attn_output.weight", {D, q}, 1, s_.n_expert);
        if (s_.qkv_bias) {
            vector(at + "attn_q.bias", q, 0, 0.5);
            vector(at + "attn_k.bias", kv, 0, 0.5);
            vector(at + "attn_v.bias", kv, 0, 0.5);
        }
        if (s_.qk_norm) {
            vector(at + "attn_q_norm.weight", s_.head_dim, 1, 0.2);
            vector(at + "attn_k_norm.weight", s_.head_dim, 1, 0.2);
        }
        vector(at + "ffn_norm.weight", D, 1, 0.2, s_.n_expert);
        if (s_.n_expert == 0) {
            matrix(at + "ffn_gate.weight", {s_.n_ff, D}, 1);
            matrix(at + "ffn_up.weight", {s_.n_ff, D}, 1);
            matrix(at + "ffn_down.weight", {D, s_.n_ff}, 1);
            return;
        }
        router(at + "ffn_gate_inp.weight");
        matrix(at + "ffn_gate_exps.weight", {s_.n_expert, s_.n_ff_expert, D}, 1);
        matrix(at + "ffn_up_exps.weight", {s_.n_expert, s_.n_ff_expert, D}, 1);
        matrix(at + "ffn_down_exps.weight", {s_.n_expert, D, s_.n_ff_expert}, 1, s_.n_expert);
    }

    void add_f32(const std::string& name, const std::vector<std::int64_t>& shape,
                 std::vector<float> values) {
        if (s_.edit) s_.edit(name, values);
        out_.push_back({name, shape, kF32, encode_values(values, kF32)});
    }
    // The first n_ones values are 1.
    void vector(const std::string& name, std::int64_t n, double mean, double spread,
                std::int64_t n_ones = 0) {
        Draw draw(s_.seed, name);
        std::vector<float> values;
        for (std::int64_t i = 0; i < n; ++i) {
            const double v = mean + spread * draw.normal();
            values.push_back(i < n_ones ? 1.0f : float(v));
        }
        add_f32(name, {n}, std::move(values));
    }
    // Spread `size` / sqrt(K). The first n_zero rows (of each expert) are zero.
    void matrix(const std::string& name, const std::vector<std::int64_t>& shape, double size,
                std::int64_t n_zero = 0) {
        Draw draw(s_.seed, name);
        const std::int64_t k = shape.back(), n = shape[shape.size() - 2];
        const std::int64_t n_rows = shape.size() == 3 ? shape[0] * n : n;
        TinyTensor t{name, shape, type_for(s_.type, k), {}};
        const BlockShape block = block_shape(t.type);
        for (std::int64_t row = 0; row < n_rows; ++row) {
            if (row % n < n_zero)
                t.bytes.append(std::size_t(k / block.n * block.bytes), '\0');
            else if (is_plain(t.type)) {
                std::vector<float> values;
                for (std::int64_t i = 0; i < k; ++i)
                    values.push_back(float(size * by(k) * draw.normal()));
                t.bytes += encode_plain(values, t.type);
            } else {
                for (std::int64_t i = 0; i < k; i += block.n)
                    t.bytes += draw_block(draw, t.type, size * by(k));
            }
        }
        out_.push_back(std::move(t));
    }
    void embedding() {
        const std::int64_t D = s_.n_embd, E = s_.n_expert;
        const char* name = "token_embd.weight";
        if (E == 0) return matrix(name, {kTinyVocab, D}, 4);  // logits of that spread
        Draw draw(s_.seed, name);
        std::vector<float> values;
        for (std::int64_t id = 0; id < kTinyVocab; ++id)
            for (std::int64_t i = 0; i < D; ++i) {
                const double code = 0.4 * (double((i + id) % E) - double(E - 1) / 2);
                const double other = 0.5 * draw.normal();
                values.push_back(float(i < E ? code : other));
            }
        const std::uint32_t type = s_.type == kF32 ? kF32 : kF16;
        out_.push_back({name, {kTinyVocab, D}, type, encode_plain(values, type)});
    }
    void router(const std::string& name) {
        const std::int64_t D = s_.n_embd, E = s_.n_expert;
        Draw draw(s_.seed, name);
        std::vector<float> values;
        for (std::int64_t e = 0; e < E; ++e)
            for (std::int64_t i = 0; i < D; ++i) {
                const double other = 0.05 * by(D) * draw.normal();
                values.push_back(float(i >= E ? other : i == e ? 1.6 : 0.0));
            }
        add_f32(name, {E, D}, std::move(values));
    }

    const TinyModel& s_;
    std::vector<TinyTensor> out_;
};

}  // namespace

BlockShape block_shape(std::uint32_t type) {
    switch (type) {
        case kF32:
            return {1, 4};
        case kF16:
        case kBF16:
            return {1, 2};
        case kQ4_0:
            return {32, 18};
        case kQ4_1:
            return {32, 20};
        case kQ5_0:
            return {32, 22};
        case kQ5_1:
            return {32, 24};
        case kQ8_0:
            return {32, 34};
        case kQ4_K:
            return {256, 144};
        case kQ5_K:
            return {256, 176};
        case kQ6_K:
            return {256, 210};
        default:
            throw std::runtime_error("tensor type " + std::to_string(type) +
                                     " is not known to the tests: add it to tiny_model.cc and "
                                     "reference_formats.cc");
    }
}

TinyModel tiny_of(std::string_view family, std::uint32_t type) {
    TinyModel s;
    s.type = type;
    s.arch = family == "mixtral" ? "llama" : std::string(family);
    if (block_shape(type).n == 256) s.n_embd = s.n_ff = s.n_ff_expert = 256;
    if (family == "llama") s.rope_freqs = true, s.rope_freq_base = 500000.0f;
    if (family == "mixtral") s.n_expert = 6, s.n_expert_used = 2, s.tied = false;
    if (family != "llama" && family != "mixtral") s.rope_freq_base = 1000000.0f;
    // Other engines take it for granted that heads of qwen2 are as wide as x together.
    if (family == "qwen2") s.qkv_bias = true, s.head_dim = s.n_embd / s.n_head;
    if (family == "qwen3" || family == "qwen3moe")
        s.qk_norm = true, s.head_dim = 32, s.tied = family != "qwen3";
    if (family == "qwen3moe") s.n_expert = 8, s.n_expert_used = 3, s.tied = false;
    // Mixtral's experts are as wide as feed_forward_length says; it has no key of its own.
    if (family == "mixtral") s.n_ff = s.n_ff_expert;
    return s;
}

void write_metadata(GgufWriter& out, const TinyModel& s) {
    const auto u32 = [&](const char* key, std::int64_t v) {
        out.u32(s.arch + "." + key, std::uint32_t(v));
    };
    out.text("general.architecture", s.arch).text("general.name", "tiny " + s.arch);
    u32("embedding_length", s.n_embd);
    u32("block_count", s.n_layer);
    u32("feed_forward_length", s.n_ff);
    u32("attention.head_count", s.n_head);
    u32("attention.head_count_kv", s.n_head_kv);
    u32("attention.key_length", s.head_dim);
    u32("attention.value_length", s.head_dim);
    u32("rope.dimension_count", s.head_dim);
    u32("context_length", 512);
    if (s.n_expert > 0) {
        u32("expert_count", s.n_expert);
        u32("expert_used_count", s.n_expert_used);
        if (s.arch != "llama") u32("expert_feed_forward_length", s.n_ff_expert);
    }
    out.f32(s.arch + ".rope.freq_base", s.rope_freq_base);
    out.f32(s.arch + ".attention.layer_norm_rms_epsilon", s.rms_eps);
    write_tiny_vocabulary(out);
}

std::vector<TinyTensor> tiny_tensors(const TinyModel& shape) {
    return Maker(shape).all();
}

GgufWriter tiny_model(const TinyModel& shape) {
    GgufWriter out;
    write_metadata(out, shape);
    for (TinyTensor& t : tiny_tensors(shape)) out.tensor(t.name, t.shape, t.type, t.bytes);
    return out;
}

}  // namespace hearth::test
