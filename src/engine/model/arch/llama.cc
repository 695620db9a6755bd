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

struct Llama {
    static constexpr const char* kName = "llama";
    static constexpr RopeStyle kRope = RopeStyle::pairs;
    static constexpr bool kFreqFactors = true;

    struct Layer {
        Attention attn;
        FeedForward ffn;  // in dense models
        Experts experts;  // in the others
    };

    static Status take(TensorTable& tensors, const Config& config, std::int64_t index, Layer& w) {
        HEARTH_CHECK_OK(take_attention(tensors, config, index, w.attn));
        return config.n_expert > 0 ? take_experts(tensors, config, index, w.experts)
                                   : take_feed_forward(tensors, config, index, w.ffn);
    }

    static void before_rope(Device&, const Rows&, const Layer&, const Config&) {}

    static void feed(Device& device, const Rows& r, const Layer& w, const Config& config) {
        if (config.n_expert > 0)
            mix_experts(device, r, w.experts, config, {.normalize = true});
        else
            feed_forward(device, r, w.ffn, config);
    }
};

Result<Config> read_config(const Gguf& gguf) {
    const ArchKeys keys(gguf, Llama::kName);
    HEARTH_TRY(Config config, read_decoder_config(gguf, keys));
    HEARTH_CHECK_OK(read_expert_config(keys, config));
    return config;
}

}  // namespace

extern const Arch arch_llama;
const Arch arch_llama = {Llama::kName, &read_config, &Decoder<Llama>::load};

}  // namespace hearth::model
