#include "support/gguf_writer.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace hearth::test {
namespace {

void append_utf8(std::string& out, unsigned c) {  // below U+0800 only
    if (c < 0x80) {
        out += char(c);
    } else {
        out += char(0xc0 | (c >> 6));
        out += char(0x80 | (c & 0x3f));
    }
}

// The text that spells one byte in byte-level BPE.
std::string spelled(int byte) {
    const auto printable = [](int b) {
        return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    };
    unsigned c = unsigned(byte);
    if (!printable(byte)) {
        c = 0x100;
        for (int b = 0; b < byte; ++b) c += printable(b) ? 0 : 1;
    }
    std::string out;
    append_utf8(out, c);
    return out;
}

std::string q8_0_block(const float* x) {
    float largest = 0;
    for (int j = 0; j < 32; ++j) largest = std::max(largest, std::fabs(x[j]));
    const float d = largest / 127.0f;
    std::string out = le(to_f16(d));
    for (int j = 0; j < 32; ++j) out += char(d > 0 ? int(std::round(x[j] / d)) : 0);
    return out;
}

}  // namespace

double from_f16(std::uint16_t bits) {
    const int sign = bits >> 15, exponent = (bits >> 10) & 31, fraction = bits & 1023;
    double v = 0;
    if (exponent == 31)
        v = fraction ? NAN : INFINITY;
    else if (exponent == 0)
        v = std::ldexp(fraction, -24);
    else
        v = std::ldexp(1024 + fraction, exponent - 25);
    return sign ? -v : v;
}

std::uint16_t to_f16(double x) {
    const auto sign = std::uint16_t(std::signbit(x) ? 0x8000 : 0);
    const double size = std::fabs(x);
    std::uint16_t low = 0, high = 0x7bff;  // largest finite
    if (size >= from_f16(high)) return sign | high;
    while (high - low > 1) {  // positive f16 are ordered as their bits
        const auto middle = std::uint16_t((low + high) / 2);
        (from_f16(middle) <= size ? low : high) = middle;
    }
    const double below = size - from_f16(low), above = from_f16(high) - size;
    const bool up = above < below || (above == below && (low & 1));
    return sign | (up ? high : low);
}

std::string encode_values(const std::vector<float>& values, std::uint32_t type) {
    std::string out;
    if (type == kF32)
        out.assign(reinterpret_cast<const char*>(values.data()), values.size() * 4);
    else if (type == kF16)
        for (const float v : values) out += le(to_f16(v));
    else
        for (std::size_t i = 0; i < values.size(); i += 32) out += q8_0_block(&values[i]);
    return out;
}

std::string length_and(std::string_view text) {
    return le(std::uint64_t(text.size())) + std::string(text);
}

GgufWriter& GgufWriter::raw(std::string_view key, std::uint32_t type, std::string_view payload) {
    keys_ += length_and(key) + le(type);
    keys_ += payload;
    ++n_keys_;
    return *this;
}
GgufWriter& GgufWriter::u32(std::string_view key, std::uint32_t v) {
    return raw(key, 4, le(v));
}
GgufWriter& GgufWriter::f32(std::string_view key, float v) {
    return raw(key, 6, le(v));
}
GgufWriter& GgufWriter::boolean(std::string_view key, bool v) {
    return raw(key, 7, std::string(1, char(v)));
}
GgufWriter& GgufWriter::text(std::string_view key, std::string_view v) {
    return raw(key, 8, length_and(v));
}
GgufWriter& GgufWriter::texts(std::string_view key, const std::vector<std::string>& v) {
    std::string payload = le(std::uint32_t(8)) + le(std::uint64_t(v.size()));
    for (const auto& s : v) payload += length_and(s);
    return raw(key, 9, payload);
}
GgufWriter& GgufWriter::i32s(std::string_view key, const std::vector<std::int32_t>& v) {
    std::string payload = le(std::uint32_t(5)) + le(std::uint64_t(v.size()));
    for (const auto x : v) payload += le(x);
    return raw(key, 9, payload);
}
GgufWriter& GgufWriter::f32s(std::string_view key, const std::vector<float>& v) {
    std::string payload = le(std::uint32_t(6)) + le(std::uint64_t(v.size()));
    for (const auto x : v) payload += le(x);
    return raw(key, 9, payload);
}

GgufWriter& GgufWriter::tensor(std::string_view name, const std::vector<std::int64_t>& shape,
                               std::uint32_t type, std::string bytes) {
    tensors_.push_back({std::string(name), shape, type, std::move(bytes)});
    return *this;
}

std::string GgufWriter::bytes(std::uint32_t version) const {
    constexpr std::size_t kAlignment = 32;
    std::string out = "GGUF" + le(version) + le(std::uint64_t(tensors_.size())) + le(n_keys_);
    out += keys_;
    std::string data;
    for (const Tensor& t : tensors_) {
        data.resize((data.size() + kAlignment - 1) / kAlignment * kAlignment);
        out += length_and(t.name) + le(std::uint32_t(t.shape.size()));
        for (std::size_t i = t.shape.size(); i-- > 0;) out += le(std::uint64_t(t.shape[i]));
        out += le(t.type) + le(std::uint64_t(data.size()));
        data += t.bytes;
    }
    out.resize((out.size() + kAlignment - 1) / kAlignment * kAlignment);
    return out + data;
}

void write_tiny_vocabulary(GgufWriter& out) {
    std::vector<std::string> tokens = {"<s>", "<e>", "<u>", "[none]"};
    for (int b = 0; b < 256; ++b) tokens.push_back(spelled(b));
    std::vector<std::int32_t> types(tokens.size(), 1);
    types[0] = types[1] = 3;
    types[2] = 4;
    types[3] = 5;
    out.text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", "qwen2");
    out.texts("tokenizer.ggml.tokens", tokens).i32s("tokenizer.ggml.token_type", types);
    out.texts("tokenizer.ggml.merges", {});
    out.u32("tokenizer.ggml.eos_token_id", 1);
}

GgufWriter tiny_llama(const TinyLlama& s) {
    std::mt19937_64 random(s.seed);
    std::normal_distribution<float> normal;
    GgufWriter out;
    out.text("general.architecture", "llama").text("general.name", "tiny");
    out.u32("llama.embedding_length", std::uint32_t(s.n_embd));
    out.u32("llama.block_count", std::uint32_t(s.n_layer));
    out.u32("llama.feed_forward_length", std::uint32_t(s.n_ff));
    out.u32("llama.attention.head_count", std::uint32_t(s.n_head));
    out.u32("llama.attention.head_count_kv", std::uint32_t(s.n_head_kv));
    out.u32("llama.attention.key_length", std::uint32_t(s.head_dim));
    out.u32("llama.attention.value_length", std::uint32_t(s.head_dim));
    out.u32("llama.rope.dimension_count", std::uint32_t(s.n_rot));
    out.u32("llama.context_length", std::uint32_t(s.n_ctx));
    out.f32("llama.rope.freq_base", s.rope_freq_base);
    out.f32("llama.attention.layer_norm_rms_epsilon", s.rms_eps);
    write_tiny_vocabulary(out);

    const auto add = [&](const std::string& name, std::vector<std::int64_t> shape,
                         std::uint32_t type, float mean, float spread) {
        std::int64_t n = 1;
        for (const std::int64_t d : shape) n *= d;
        std::vector<float> values(static_cast<std::size_t>(n));
        for (float& v : values) v = mean + spread * normal(random);
        out.tensor(name, shape, type, encode_values(values, type));
    };
    // Spreads as in trained models: activations keep their size from layer to layer, and logits
    // spread over several units.
    const auto by = [](std::int64_t k) { return 1.0f / std::sqrt(float(k)); };
    const std::int64_t q = s.n_head * s.head_dim, kv = s.n_head_kv * s.head_dim;
    add("token_embd.weight", {kTinyVocab, s.n_embd}, s.type, 0, 0.5f);
    for (std::int64_t i = 0; i < s.n_layer; ++i) {
        const std::string at = "blk." + std::to_string(i) + ".";
        add(at + "attn_norm.weight", {s.n_embd}, kF32, 1, 0.2f);
        add(at + "attn_q.weight", {q, s.n_embd}, s.type, 0, 1.5f * by(s.n_embd));
        add(at + "attn_k.weight", {kv, s.n_embd}, s.type, 0, 1.5f * by(s.n_embd));
        add(at + "attn_v.weight", {kv, s.n_embd}, s.type, 0, by(s.n_embd));
        add(at + "attn_output.weight", {s.n_embd, q}, s.type, 0, by(q));
        add(at + "ffn_norm.weight", {s.n_embd}, kF32, 1, 0.2f);
        add(at + "ffn_gate.weight", {s.n_ff, s.n_embd}, s.type, 0, by(s.n_embd));
        add(at + "ffn_up.weight", {s.n_ff, s.n_embd}, s.type, 0, by(s.n_embd));
        add(at + "ffn_down.weight", {s.n_embd, s.n_ff}, s.type, 0, by(s.n_ff));
    }
    add("output_norm.weight", {s.n_embd}, kF32, 1, 0.2f);
    if (!s.tied) add("output.weight", {kTinyVocab, s.n_embd}, s.type, 0, by(s.n_embd));
    if (s.rope_freqs) add("rope_freqs.weight", {s.n_rot / 2}, kF32, 3, 0.3f);
    return out;
}

}  // namespace hearth::test
