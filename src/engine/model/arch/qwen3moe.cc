// qwen3moe: Qwen3 with experts in place of the feed-forward network of every layer.
//
//   attention as in qwen3: heads of q and k normalized by themselves, rope over halves, no biases
//   h = rms_norm(x, ffn_norm)
//   p = softmax(h Wrouter^T) over all E experts                                        [T, E]
//   x += sum over the U greatest p_e of p_e / (their sum) * (silu(h Wgate_e^T) * (h Wup_e^T))
//   Wdown_e^T
//
// Dividing by the sum over the chosen makes the weights the softmax over the chosen logits alone,
// which is what the device computes. Experts are added in the order of their rank.
// Source: Qwen3, arXiv:2505.09388, section 2; the configuration norm_topk_prob of the published
// models.
#include "base/format.h"
#include "engine/model/decoder.h"

namespace hearth::model {
namespace {

struct Qwen3Moe {
    static constexpr const char* kName = "qwen3moe";
    static constexpr RopeStyle kRope = RopeStyle::halves;
    static constexpr bool kFreqFactors = false;

    struct Layer {
        Attention attn;
        HeadNorms head_norms;
        Experts experts;
    };

    static Status take(TensorTable& tensors, const Config& config, std::int64_t index, Layer& w) {
        HEARTH_CHECK_OK(take_attention(tensors, config, index, w.attn));
        HEARTH_CHECK_OK(take_head_norms(tensors, config, index, w.head_norms));
        return take_experts(tensors, config, index, w.experts);
    }

    static void before_rope(Device& device, const Rows& r, const Layer& w, const Config& config) {
        norm_heads(device, r, w.head_norms, config);
    }

    static void feed(Device& device, const Rows& r, const Layer& w, const Config& config) {
        mix_experts(device, r, w.experts, config, {.normalize = true});
    }
};

Result<Config> read_config(const Gguf& gguf) {
    const ArchKeys keys(gguf, Qwen3Moe::kName);
    HEARTH_TRY(Config config, read_decoder_config(gguf, keys));
    HEARTH_CHECK_OK(read_expert_config(keys, config));
    if (config.n_expert == 0)
        return fail(
            ErrorKind::invalid_request,
            format("key {} is missing or 0; the file is damaged", keys.key("expert_count")));
    return config;
}

}  // namespace

extern const Arch arch_qwen3moe;
const Arch arch_qwen3moe = {Qwen3Moe::kName, &read_config, &Decoder<Qwen3Moe>::load};

}  // namespace hearth::model
