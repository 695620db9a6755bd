// qwen2: the decoder of Qwen2, Qwen2.5, Qwen2.5-Coder and DeepSeek's distillates of them.
//
//   as llama, but: q, k, v = h Wq^T + bq, h Wk^T + bk, h Wv^T + bv
//                  rope turns x[i] with x[i + n_rot / 2] (weights are in the order of the original)
//
// Source: Qwen2, arXiv:2407.10671, section 2.2; Qwen2.5, arXiv:2412.15115.
#include "engine/model/decoder.h"

namespace hearth::model {
namespace {

struct Qwen2 {
    static constexpr const char* kName = "qwen2";
    static constexpr RopeStyle kRope = RopeStyle::halves;
    static constexpr bool kFreqFactors = false;

    struct Layer {
        Attention attn;
        Weight bias_q;          // [H Dh]
        Weight bias_k, bias_v;  // [Hk Dh]
        FeedForward ffn;
    };

    static Status take(TensorTable& tensors, const Config& config, std::int64_t index, Layer& w) {
        HEARTH_CHECK_OK(take_attention(tensors, config, index, w.attn));
        const std::int64_t q = config.n_head * config.head_dim;
        const std::int64_t kv = config.n_head_kv * config.head_dim;
        const auto name = [&](const char* part) { return layer_tensor(index, part); };
        const char* from = "attention.head_count, head_count_kv and key_length";
        HEARTH_CHECK_OK(tensors.take(w.bias_q, name("attn_q.bias"), {q}, from));
        HEARTH_CHECK_OK(tensors.take(w.bias_k, name("attn_k.bias"), {kv}, from));
        HEARTH_CHECK_OK(tensors.take(w.bias_v, name("attn_v.bias"), {kv}, from));
        return take_feed_forward(tensors, config, index, w.ffn);
    }

    static void before_rope(Device& device, const Rows& r, const Layer& w, const Config&) {
        device.add_bias(r.q, w.bias_q);
        device.add_bias(r.k, w.bias_k);
        device.add_bias(r.v, w.bias_v);
    }

    static void feed(Device& device, const Rows& r, const Layer& w, const Config& config) {
        feed_forward(device, r, w.ffn, config);
    }
};

Result<Config> read_config(const Gguf& gguf) {
    return read_decoder_config(gguf, ArchKeys(gguf, Qwen2::kName));
}

}  // namespace

extern const Arch arch_qwen2;
const Arch arch_qwen2 = {Qwen2::kName, &read_config, &Decoder<Qwen2>::load};

}  // namespace hearth::model
