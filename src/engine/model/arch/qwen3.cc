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

struct Qwen3 {
    static constexpr const char* kName = "qwen3";
    static constexpr RopeStyle kRope = RopeStyle::halves;
    static constexpr bool kFreqFactors = false;

    struct Layer {
        Attention attn;
        HeadNorms head_norms;
        FeedForward ffn;
    };

    static Status take(TensorTable& tensors, const Config& config, std::int64_t index, Layer& w) {
        HEARTH_CHECK_OK(take_attention(tensors, config, index, w.attn));
        HEARTH_CHECK_OK(take_head_norms(tensors, config, index, w.head_norms));
        return take_feed_forward(tensors, config, index, w.ffn);
    }

    static void before_rope(Device& device, const Rows& r, const Layer& w, const Config& config) {
        norm_heads(device, r, w.head_norms, config);
    }

    static void feed(Device& device, const Rows& r, const Layer& w, const Config& config) {
        feed_forward(device, r, w.ffn, config);
    }
};

Result<Config> read_config(const Gguf& gguf) {
    return read_decoder_config(gguf, ArchKeys(gguf, Qwen3::kName));
}

}  // namespace

extern const Arch arch_qwen3;
const Arch arch_qwen3 = {Qwen3::kName, &read_config, &Decoder<Qwen3>::load};

}  // namespace hearth::model
