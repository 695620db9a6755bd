// llama: the decoder of Llama 1-3, Mistral, TinyLlama, SmolLM and many more; with experts, Mixtral.
//
//   x = embed(ids)                                                             [T, D]
//   in each layer:
//     h = rms_norm(x, attn_norm)
//     q, k, v = h Wq^T, h Wk^T, h Wv^T                    [T, H Dh], [T, Hk Dh], [T, Hk Dh]
//     q, k turned by rope, in neighbouring pairs; k, v stored in the cache
//     x += attention(q, cache) Wo^T                       query head h reads KV head h / (H / Hk)
//     h = rms_norm(x, ffn_norm)
//     x += (silu(h Wgate^T) * (h Wup^T)) Wdown^T                                  F wide inside
//       or, with experts, the sum of that over the U experts which h Wrouter^T ranks highest,
//       weighted by the softmax over those U
//   logits = rms_norm(x, output_norm) Woutput^T           [rows wanted, V]
//
// Wq and Wk of these files are in the pair order of the original weights, so pairs are neighbours.
// Llama 3.1 and later stretch the slow rotations: each frequency is divided by its entry of
// rope_freqs.weight, which the converter computed.
// Source: LLaMA, arXiv:2302.13971; grouped heads, arXiv:2305.13245; rope, arXiv:2104.09864;
// Llama 3, arXiv:2407.21783; Mixtral, arXiv:2401.04088, section 2.1.
#include "engine/model/decoder.h"

namespace hearth::model {
namespace {

Result<Config> read_config(const Gguf& gguf) {
    const ArchKeys keys(gguf, "llama");
    HEARTH_TRY(Config config, read_decoder_config(gguf, keys));
    HEARTH_CHECK_OK(read_expert_config(keys, config));
    return config;
}

struct Layer {
    Attention attn;
    FeedForward ffn;  // in dense models
    Experts experts;  // in the others
};

class Llama final : public Network {
  public:
    static Result<std::unique_ptr<Network>> load(const Gguf& gguf, const Config& config,
                                                 Device& device, std::int64_t max_rows,
                                                 std::int64_t max_logits);
    std::span<const float> forward(Device& device, KvStore& kv, const Step& step) override;

  private:
    Status load_layer(TensorTable& tensors, std::int64_t index);
    void attention(Device& device, KvStore& kv, std::int64_t index, const Rows& r,
                   const Step& step) const;

    // Constant after load.
    Config config_;
    Ends ends_;
    std::vector<Layer> layers_;
    std::vector<float> freq_factors_;  // [n_rot / 2], or empty
    RopeParams rope_;

    Scratch scratch_;  // engine thread
};

Status Llama::load_layer(TensorTable& tensors, std::int64_t index) {
    Layer& w = layers_.emplace_back();
    HEARTH_CHECK_OK(take_attention(tensors, config_, index, w.attn));
    return config_.n_expert > 0 ? take_experts(tensors, config_, index, w.experts)
                                : take_feed_forward(tensors, config_, index, w.ffn);
}

Result<std::unique_ptr<Network>> Llama::load(const Gguf& gguf, const Config& config, Device& device,
                                             std::int64_t max_rows, std::int64_t max_logits) {
    auto out = std::make_unique<Llama>();
    out->config_ = config;
    TensorTable tensors(gguf, device);
    HEARTH_CHECK_OK(take_ends(tensors, config, out->ends_));
    HEARTH_TRY(out->freq_factors_, take_freq_factors(tensors, config));
    out->layers_.reserve(std::size_t(config.n_layer));
    for (std::int64_t i = 0; i < config.n_layer; ++i) HEARTH_CHECK_OK(out->load_layer(tensors, i));
    HEARTH_CHECK_OK(tensors.all_taken("llama"));
    out->rope_ = {.n_rot = config.n_rot,
                  .freq_base = config.rope_freq_base,
                  .freq_scale = config.rope_freq_scale,
                  .freq_factors = out->freq_factors_.empty() ? nullptr : out->freq_factors_.data(),
                  .style = RopeStyle::pairs};
    HEARTH_TRY(out->scratch_, Scratch::make(device, config, max_rows, max_logits));
    return out;
}

void Llama::attention(Device& device, KvStore& kv, std::int64_t index, const Rows& r,
                      const Step& step) const {
    const Layer& w = layers_[std::size_t(index)];
    project(device, r, w.attn, config_);
    device.rope(r.q, config_.head_dim, step.slices, rope_);
    device.rope(r.k, config_.head_dim, step.slices, rope_);
    attend(device, kv, index, r, w.attn.output, config_, step);
}

std::span<const float> Llama::forward(Device& device, KvStore& kv, const Step& step) {
    const Rows r = scratch_.rows(std::int64_t(step.ids.size()));
    embed(device, r, ends_, step);
    for (std::int64_t i = 0; i < config_.n_layer; ++i) {
        const Layer& w = layers_[std::size_t(i)];
        attention(device, kv, i, r, step);
        if (config_.n_expert > 0)
            mix_experts(device, r, w.experts, config_, {.normalize = true});
        else
            feed_forward(device, r, w.ffn, config_);
    }
    return logits_of(device, scratch_, r, ends_, config_, step);
}

}  // namespace

extern const Arch arch_llama;
const Arch arch_llama = {"llama", &read_config, &Llama::load};

}  // namespace hearth::model
