// qwen2: the decoder of Qwen2, Qwen2.5, Qwen2.5-Coder and DeepSeek's distillates of them.
//
//   as llama, but: q, k, v = h Wq^T + bq, h Wk^T + bk, h Wv^T + bv
//                  rope turns x[i] with x[i + n_rot / 2] (weights are in the order of the original)
//
// Source: Qwen2, arXiv:2407.10671, section 2.2; Qwen2.5, arXiv:2412.15115.
#include "engine/model/decoder.h"

namespace hearth::model {
namespace {

Result<Config> read_config(const Gguf& gguf) {
    return read_decoder_config(gguf, ArchKeys(gguf, "qwen2"));
}

struct Layer {
    Attention attn;
    Weight bias_q;          // [H Dh]
    Weight bias_k, bias_v;  // [Hk Dh]
    FeedForward ffn;
};

class Qwen2 final : public Network {
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

Status Qwen2::load_layer(TensorTable& tensors, std::int64_t index) {
    const std::int64_t q = config_.n_head * config_.head_dim;
    const std::int64_t kv = config_.n_head_kv * config_.head_dim;
    const auto name = [&](const char* part) { return layer_tensor(index, part); };
    const char* from = "attention.head_count, head_count_kv and key_length";
    Layer& w = layers_.emplace_back();
    HEARTH_CHECK_OK(take_attention(tensors, config_, index, w.attn));
    HEARTH_CHECK_OK(tensors.take(w.bias_q, name("attn_q.bias"), {q}, from));
    HEARTH_CHECK_OK(tensors.take(w.bias_k, name("attn_k.bias"), {kv}, from));
    HEARTH_CHECK_OK(tensors.take(w.bias_v, name("attn_v.bias"), {kv}, from));
    return take_feed_forward(tensors, config_, index, w.ffn);
}

Result<std::unique_ptr<Network>> Qwen2::load(const Gguf& gguf, const Config& config, Device& device,
                                             std::int64_t max_rows, std::int64_t max_logits) {
    auto out = std::make_unique<Qwen2>();
    out->config_ = config;
    TensorTable tensors(gguf, device);
    HEARTH_CHECK_OK(take_ends(tensors, config, out->ends_));
    out->layers_.reserve(std::size_t(config.n_layer));
    for (std::int64_t i = 0; i < config.n_layer; ++i) HEARTH_CHECK_OK(out->load_layer(tensors, i));
    HEARTH_CHECK_OK(tensors.all_taken("qwen2"));
    out->rope_ = {.n_rot = config.n_rot,
                  .freq_base = config.rope_freq_base,
                  .freq_scale = config.rope_freq_scale,
                  .style = RopeStyle::halves};
    HEARTH_TRY(out->scratch_, Scratch::make(device, config, max_rows, max_logits));
    return out;
}

void Qwen2::attention(Device& device, KvStore& kv, std::int64_t index, const Rows& r,
                      const Step& step) const {
    const Layer& w = layers_[std::size_t(index)];
    project(device, r, w.attn, config_);
    device.add_bias(r.q, w.bias_q);
    device.add_bias(r.k, w.bias_k);
    device.add_bias(r.v, w.bias_v);
    device.rope(r.q, config_.head_dim, step.slices, rope_);
    device.rope(r.k, config_.head_dim, step.slices, rope_);
    attend(device, kv, index, r, w.attn.output, config_, step);
}

std::span<const float> Qwen2::forward(Device& device, KvStore& kv, const Step& step) {
    const Rows r = scratch_.rows(std::int64_t(step.ids.size()));
    embed(device, r, ends_, step);
    for (std::int64_t i = 0; i < config_.n_layer; ++i) {
        attention(device, kv, i, r, step);
        feed_forward(device, r, layers_[std::size_t(i)].ffn, config_);
    }
    return logits_of(device, scratch_, r, ends_, config_, step);
}

}  // namespace

extern const Arch arch_qwen2;
const Arch arch_qwen2 = {"qwen2", &read_config, &Qwen2::load};

}  // namespace hearth::model
