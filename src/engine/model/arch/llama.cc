// llama: the decoder of Llama 1-3, Mistral 7B, TinyLlama, SmolLM and many more.
//
//   x = embed(ids)                                                             [T, D]
//   in each layer:
//     h = rms_norm(x, attn_norm)
//     q, k, v = h Wq^T, h Wk^T, h Wv^T                    [T, H Dh], [T, Hk Dh], [T, Hk Dh]
//     q, k turned by rope, in neighbouring pairs; k, v stored in the cache
//     x += attention(q, cache) Wo^T                       query head h reads KV head h / (H / Hk)
//     h = rms_norm(x, ffn_norm)
//     x += (silu(h Wgate^T) * (h Wup^T)) Wdown^T                                  F wide inside
//   logits = rms_norm(x, output_norm) Woutput^T           [rows wanted, V]; Woutput = embedding if
//   tied
//
// Wq and Wk of GGUF files are in the pair order of the original weights, so pairs are neighbours.
// Scratch is allocated at load for max_rows rows; nothing allocates in a step.
// Source: LLaMA, arXiv:2302.13971; grouped heads, arXiv:2305.13245; rope, arXiv:2104.09864.
#include <algorithm>
#include <array>
#include <cmath>

#include "base/check.h"
#include "base/format.h"
#include "base/utf8.h"
#include "engine/model/arch.h"
#include "engine/model/blocks.h"
#include "engine/model/limits.h"

namespace hearth::model {
namespace {

std::unexpected<Error> unsupported(std::string message) {
    return fail(ErrorKind::invalid_request, std::move(message));
}

Status refuse_variants(const ArchKeys& keys) {
    HEARTH_TRY(const auto n_expert, keys.count("expert_count", INT64_MAX, 0, 0));
    if (n_expert > 0)
        return unsupported(format("key {} is {}: mixtures of experts are not supported yet",
                                  keys.key("expert_count"), n_expert));
    HEARTH_TRY(const auto scaling, keys.text("rope.scaling.type", "none"));
    if (scaling != "none" && scaling != "linear")
        return unsupported(format("key {} is \"{}\", supported are none and linear",
                                  keys.key("rope.scaling.type"), utf8_repaired(scaling)));
    return {};
}

Result<Config> read_config(const Gguf& gguf) {
    const ArchKeys keys(gguf, "llama");
    HEARTH_CHECK_OK(refuse_variants(keys));
    Config c;
    const GgufTensor* embd = gguf.find_tensor("token_embd.weight");
    if (!embd || embd->shape.size() != 2)
        return fail(ErrorKind::not_found,
                    "tensor token_embd.weight is missing or no matrix; the file is a vocabulary "
                    "only, or incomplete");
    c.n_vocab = embd->shape[0];
    if (c.n_vocab > std::int64_t(kVocabMax))
        return unsupported(
            format("token_embd.weight has {} rows, the limit is {}", c.n_vocab, kVocabMax));
    HEARTH_TRY(c.n_embd, keys.count("embedding_length", kEmbdMax));
    HEARTH_TRY(c.n_layer, keys.count("block_count", kLayerMax));
    HEARTH_TRY(c.n_ff, keys.count("feed_forward_length", kFfMax));
    HEARTH_TRY(c.n_head, keys.count("attention.head_count", kHeadMax));
    HEARTH_TRY(c.n_head_kv, keys.count("attention.head_count_kv", kHeadMax, c.n_head));
    HEARTH_TRY(c.n_ctx_train, keys.count("context_length", kCtxMax));
    if (c.n_head % c.n_head_kv != 0)
        return unsupported(
            format("key {} is {}, which is no multiple of {} {}; the file is damaged",
                   keys.key("attention.head_count"), c.n_head, keys.key("attention.head_count_kv"),
                   c.n_head_kv));
    if (!keys.has("attention.key_length") && c.n_embd % c.n_head != 0)
        return unsupported(format("key {} is missing and {} {} is no multiple of {} {}",
                                  keys.key("attention.key_length"), keys.key("embedding_length"),
                                  c.n_embd, keys.key("attention.head_count"), c.n_head));
    HEARTH_TRY(c.head_dim, keys.count("attention.key_length", kHeadDimMax, c.n_embd / c.n_head));
    HEARTH_TRY(const auto value_length,
               keys.count("attention.value_length", kHeadDimMax, c.head_dim));
    if (value_length != c.head_dim)
        return unsupported(format("key {} is {} and {} is {}, expected the same",
                                  keys.key("attention.value_length"), value_length,
                                  keys.key("attention.key_length"), c.head_dim));
    HEARTH_TRY(c.n_rot, keys.count("rope.dimension_count", c.head_dim, c.head_dim));
    if (c.n_rot % 2 != 0)
        return unsupported(format("key {} is {}, expected an even number",
                                  keys.key("rope.dimension_count"), c.n_rot));
    HEARTH_TRY(c.rope_freq_base, keys.positive("rope.freq_base", 10000.0));
    HEARTH_TRY(const auto scaling, keys.text("rope.scaling.type", "none"));
    HEARTH_TRY(const float factor, keys.positive("rope.scaling.factor", 1.0));
    c.rope_freq_scale = scaling == "linear" ? 1.0f / factor : 1.0f;
    HEARTH_TRY(c.rms_eps, keys.positive("attention.layer_norm_rms_epsilon"));
    return c;
}

struct Layer {
    Weight attn_norm;         // [D]
    Weight attn_q;            // [H Dh, D]
    Weight attn_k, attn_v;    // [Hk Dh, D]
    Weight attn_output;       // [D, H Dh]
    Weight ffn_norm;          // [D]
    Weight ffn_gate, ffn_up;  // [F, D]
    Weight ffn_down;          // [D, F]
};

class Llama final : public Network {
  public:
    static Result<std::unique_ptr<Network>> load(const Gguf& gguf, const Config& config,
                                                 Device& device, std::int64_t max_rows,
                                                 std::int64_t max_logits);
    std::span<const float> forward(Device& device, KvStore& kv, const Step& step) override;

  private:
    Status load_layer(TensorTable& tensors, std::int64_t index);
    Status make_scratch(Device& device);
    void attend(Device& device, KvStore& kv, const Layer& w, std::int64_t index, const Step& step);
    void feed_forward(Device& device, const Layer& w, std::int64_t n_rows);

    // Constant after load.
    Config config_;
    std::int64_t max_rows_ = 0, max_logits_ = 0;
    Weight token_embd_;   // [V, D]
    Weight output_norm_;  // [D]
    Weight output_;       // [V, D]; the embedding if tied
    std::vector<Layer> layers_;
    std::vector<float> freq_factors_;  // [n_rot / 2], or empty
    RopeParams rope_;

    // Scratch of a step, engine thread.
    Mat x_, h_;      // [T, D]
    Mat q_, attn_;   // [T, H Dh]
    Mat k_, v_;      // [T, Hk Dh]
    Mat gate_, up_;  // [T, F]
    Mat last_;       // [rows wanted, D]
    Mat logits_;     // [rows wanted, V]
};

Status Llama::load_layer(TensorTable& tensors, std::int64_t index) {
    const Config& c = config_;
    const std::int64_t q = c.n_head * c.head_dim, kv = c.n_head_kv * c.head_dim;
    const auto name = [&](const char* part) { return format("blk.{}.{}.weight", index, part); };
    const char* from_d = "embedding_length";
    const char* from_q = "attention.head_count and embedding_length";
    const char* from_kv = "attention.head_count_kv and embedding_length";
    const char* from_f = "feed_forward_length and embedding_length";
    Layer& w = layers_.emplace_back();
    HEARTH_CHECK_OK(tensors.take(w.attn_norm, name("attn_norm"), {c.n_embd}, from_d));
    HEARTH_CHECK_OK(tensors.take(w.attn_q, name("attn_q"), {q, c.n_embd}, from_q));
    HEARTH_CHECK_OK(tensors.take(w.attn_k, name("attn_k"), {kv, c.n_embd}, from_kv));
    HEARTH_CHECK_OK(tensors.take(w.attn_v, name("attn_v"), {kv, c.n_embd}, from_kv));
    HEARTH_CHECK_OK(tensors.take(w.attn_output, name("attn_output"), {c.n_embd, q}, from_q));
    HEARTH_CHECK_OK(tensors.take(w.ffn_norm, name("ffn_norm"), {c.n_embd}, from_d));
    HEARTH_CHECK_OK(tensors.take(w.ffn_gate, name("ffn_gate"), {c.n_ff, c.n_embd}, from_f));
    HEARTH_CHECK_OK(tensors.take(w.ffn_up, name("ffn_up"), {c.n_ff, c.n_embd}, from_f));
    HEARTH_CHECK_OK(tensors.take(w.ffn_down, name("ffn_down"), {c.n_embd, c.n_ff}, from_f));
    return {};
}

Status Llama::make_scratch(Device& device) {
    const Config& c = config_;
    const std::int64_t q = c.n_head * c.head_dim, kv = c.n_head_kv * c.head_dim;
    const std::int64_t bytes = 4 * (max_rows_ * 2 * (c.n_embd + q + kv + c.n_ff) +
                                    max_logits_ * (c.n_embd + c.n_vocab));
    if (bytes > kScratchBytesMax)
        return fail(ErrorKind::does_not_fit,
                    format("a step of {} rows needs {} bytes of buffers, the limit is {}; lower the "
                           "number of tokens in a batch",
                           max_rows_, bytes, kScratchBytesMax));
    x_ = device.make_mat(max_rows_, c.n_embd);
    h_ = device.make_mat(max_rows_, c.n_embd);
    q_ = device.make_mat(max_rows_, q);
    attn_ = device.make_mat(max_rows_, q);
    k_ = device.make_mat(max_rows_, kv);
    v_ = device.make_mat(max_rows_, kv);
    gate_ = device.make_mat(max_rows_, c.n_ff);
    up_ = device.make_mat(max_rows_, c.n_ff);
    last_ = device.make_mat(max_logits_, c.n_embd);
    logits_ = device.make_mat(max_logits_, c.n_vocab);
    device.reserve(std::max(max_rows_, max_logits_), std::max({c.n_embd, q, c.n_ff}));
    return {};
}

Result<std::unique_ptr<Network>> Llama::load(const Gguf& gguf, const Config& config, Device& device,
                                             std::int64_t max_rows, std::int64_t max_logits) {
    auto out = std::make_unique<Llama>();
    const Config& c = out->config_ = config;
    out->max_rows_ = max_rows;
    out->max_logits_ = max_logits;
    TensorTable tensors(gguf, device);
    const char* from = "the vocabulary and embedding_length";
    HEARTH_CHECK_OK(
        tensors.take(out->token_embd_, "token_embd.weight", {c.n_vocab, c.n_embd}, from));
    HEARTH_CHECK_OK(tensors.take(out->output_norm_, "output_norm.weight", {c.n_embd}, from));
    out->output_ = out->token_embd_;
    if (tensors.has("output.weight"))
        HEARTH_CHECK_OK(tensors.take(out->output_, "output.weight", {c.n_vocab, c.n_embd}, from));
    if (tensors.has("rope_freqs.weight")) {
        HEARTH_TRY(out->freq_factors_, tensors.take_numbers("rope_freqs.weight", c.n_rot / 2,
                                                            "rope.dimension_count / 2"));
        for (const float f : out->freq_factors_)
            if (!std::isfinite(f) || !(f > 0))
                return unsupported(
                    "rope_freqs.weight holds a number that is not above 0; the file "
                    "is damaged");
    }
    out->layers_.reserve(std::size_t(c.n_layer));
    for (std::int64_t i = 0; i < c.n_layer; ++i) HEARTH_CHECK_OK(out->load_layer(tensors, i));
    HEARTH_CHECK_OK(tensors.all_taken("llama"));
    out->rope_ = {.n_rot = c.n_rot,
                  .freq_base = c.rope_freq_base,
                  .freq_scale = c.rope_freq_scale,
                  .freq_factors = out->freq_factors_.empty() ? nullptr : out->freq_factors_.data()};
    HEARTH_CHECK_OK(out->make_scratch(device));
    return out;
}

void Llama::attend(Device& device, KvStore& kv, const Layer& w, std::int64_t index,
                   const Step& step) {
    const auto T = std::int64_t(step.ids.size());
    const Mat x = x_.top(T), h = h_.top(T), q = q_.top(T), k = k_.top(T), v = v_.top(T);
    const Mat attn = attn_.top(T);
    device.rms_norm(h, x, w.attn_norm, config_.rms_eps);
    const std::array outs = {q, k, v};
    const std::array<const Weight*, 3> ws = {&w.attn_q, &w.attn_k, &w.attn_v};
    device.matmul_shared(outs, h, ws);
    device.rope(q, config_.head_dim, step.slices, rope_);
    device.rope(k, config_.head_dim, step.slices, rope_);
    device.store_kv(kv, index, k, v, step.slices);
    const float scale = 1.0f / std::sqrt(float(config_.head_dim));
    device.attention(attn, q, kv, index, step.slices, scale);
    device.matmul(h, attn, w.attn_output);
    device.add(x, h);
}

void Llama::feed_forward(Device& device, const Layer& w, std::int64_t n_rows) {
    const Mat x = x_.top(n_rows), h = h_.top(n_rows);
    const Mat gate = gate_.top(n_rows), up = up_.top(n_rows);
    device.rms_norm(h, x, w.ffn_norm, config_.rms_eps);
    const std::array outs = {gate, up};
    const std::array<const Weight*, 2> ws = {&w.ffn_gate, &w.ffn_up};
    device.matmul_shared(outs, h, ws);
    device.silu_mul(gate, gate, up);
    device.matmul(h, gate, w.ffn_down);
    device.add(x, h);
}

std::span<const float> Llama::forward(Device& device, KvStore& kv, const Step& step) {
    const auto T = std::int64_t(step.ids.size());
    const auto n_out = std::int64_t(step.logit_rows.size());
    CHECK(T >= 1 && T <= max_rows_ && n_out <= max_logits_);
    device.embed(x_.top(T), token_embd_, step.ids);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
        attend(device, kv, layers_[i], std::int64_t(i), step);
        feed_forward(device, layers_[i], T);
    }
    if (n_out == 0) return {};
    const Mat last = last_.top(n_out), logits = logits_.top(n_out);
    device.gather(last, x_.top(T), step.logit_rows);
    device.rms_norm(last, last, output_norm_, config_.rms_eps);
    device.matmul(logits, last, output_);
    return device.read(logits);
}

}  // namespace

extern const Arch arch_llama;
const Arch arch_llama = {"llama", &read_config, &Llama::load};

}  // namespace hearth::model
