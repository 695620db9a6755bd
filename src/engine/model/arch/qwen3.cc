// qwen3: the decoder of the dense Qwen3 models.
//
//   as llama, but: each head of q and of k is normalized by itself, q = rms_norm(h Wq^T, q_norm),
//                  before rope, which turns x[i] with x[i + n_rot / 2]; no biases
//
// head_dim is attention.key_length and not D / H: heads together may be wider than x.
// Source: Qwen3, arXiv:2505.09388, section 2.
#include "engine/model/decoder.h"

namespace hearth::model {
namespace {

Result<Config> read_config(const Gguf& gguf) {
    return read_decoder_config(gguf, ArchKeys(gguf, "qwen3"));
}

struct Layer {
    Attention attn;
    Weight q_norm, k_norm;  // [Dh]
    FeedForward ffn;
};

class Qwen3 final : public Network {
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
    RopeParams rope_;

    Scratch scratch_;  // engine thread
};

Status Qwen3::load_layer(TensorTable& tensors, std::int64_t index) {
    const std::int64_t Dh = config_.head_dim;
    const auto name = [&](const char* part) { return layer_tensor(index, part); };
    const char* from = "attention.key_length";
    Layer& w = layers_.emplace_back();
    HEARTH_CHECK_OK(take_attention(tensors, config_, index, w.attn));
    HEARTH_CHECK_OK(tensors.take(w.q_norm, name("attn_q_norm.weight"), {Dh}, from));
    HEARTH_CHECK_OK(tensors.take(w.k_norm, name("attn_k_norm.weight"), {Dh}, from));
    return take_feed_forward(tensors, config_, index, w.ffn);
}

Result<std::unique_ptr<Network>> Qwen3::load(const Gguf& gguf, const Config& config, Device& device,
                                             std::int64_t max_rows, std::int64_t max_logits) {
    auto out = std::make_unique<Qwen3>();
    out->config_ = config;
    TensorTable tensors(gguf, device);
    HEARTH_CHECK_OK(take_ends(tensors, config, out->ends_));
    out->layers_.reserve(std::size_t(config.n_layer));
    for (std::int64_t i = 0; i < config.n_layer; ++i) HEARTH_CHECK_OK(out->load_layer(tensors, i));
    HEARTH_CHECK_OK(tensors.all_taken("qwen3"));
    out->rope_ = {.n_rot = config.n_rot,
                  .freq_base = config.rope_freq_base,
                  .freq_scale = config.rope_freq_scale,
                  .style = RopeStyle::halves};
    HEARTH_TRY(out->scratch_, Scratch::make(device, config, max_rows, max_logits));
    return out;
}

void Qwen3::attention(Device& device, KvStore& kv, std::int64_t index, const Rows& r,
                      const Step& step) const {
    const Layer& w = layers_[std::size_t(index)];
    project(device, r, w.attn, config_);
    device.rms_norm_heads(r.q, r.q, w.q_norm, config_.rms_eps);
    device.rms_norm_heads(r.k, r.k, w.k_norm, config_.rms_eps);
    device.rope(r.q, config_.head_dim, step.slices, rope_);
    device.rope(r.k, config_.head_dim, step.slices, rope_);
    attend(device, kv, index, r, w.attn.output, config_, step);
}

std::span<const float> Qwen3::forward(Device& device, KvStore& kv, const Step& step) {
    const Rows r = scratch_.rows(std::int64_t(step.ids.size()));
    embed(device, r, ends_, step);
    for (std::int64_t i = 0; i < config_.n_layer; ++i) {
        attention(device, kv, i, r, step);
        feed_forward(device, r, layers_[std::size_t(i)].ffn, config_);
    }
    return logits_of(device, scratch_, r, ends_, config_, step);
}

}  // namespace

extern const Arch arch_qwen3;
const Arch arch_qwen3 = {"qwen3", &read_config, &Qwen3::load};

}  // namespace hearth::model
