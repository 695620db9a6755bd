// What families of decoders share: a row of x for each token, each layer adding to it what
// attention and a feed-forward network say about its normalized form, and logits from the last x.
//
// An architecture file says which tensors and keys it has and in which order these steps and the
// device's verbs go; nothing here asks which family it is.
//
// Letters: T tokens in the step, D n_embd, H heads, Hk KV heads, Dh head_dim, F n_ff, V n_vocab,
// E n_expert, U n_expert_used, Fe n_ff_expert.
#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "engine/model/arch.h"
#include "engine/model/device.h"
#include "engine/model/tensor_table.h"

namespace hearth::model {

// Keys. Errors: not_found or invalid_request, naming the key.
Result<Config> read_decoder_config(const Gguf& gguf, const ArchKeys& keys);
// n_expert, n_expert_used and n_ff_expert; n_expert stays 0 where the file has no experts.
Status read_expert_config(const ArchKeys& keys, Config& config);

// Tensors at both ends of the network.
struct Ends {
    Weight token_embd;   // [V, D]
    Weight output_norm;  // [D]
    Weight output;       // [V, D]; the embedding where the file has none (tied)
};
struct Attention {
    Weight norm;    // [D]
    Weight q;       // [H Dh, D]
    Weight k, v;    // [Hk Dh, D]
    Weight output;  // [D, H Dh]
};
struct FeedForward {
    Weight norm;      // [D]
    Weight gate, up;  // [F, D]
    Weight down;      // [D, F]
};
struct Experts {
    Weight norm;      // [D]
    Weight router;    // [E, D]
    Weight gate, up;  // [E, Fe, D]
    Weight down;      // [E, D, Fe]
};
std::string layer_tensor(std::int64_t layer, std::string_view part);  // "blk.3." + part
// Errors: as TensorTable::take.
Status take_ends(TensorTable& tensors, const Config& config, Ends& out);
Status take_attention(TensorTable& tensors, const Config& config, std::int64_t layer,
                      Attention& out);
Status take_feed_forward(TensorTable& tensors, const Config& config, std::int64_t layer,
                         FeedForward& out);
Status take_experts(TensorTable& tensors, const Config& config, std::int64_t layer, Experts& out);
// The divisors of rope_freqs.weight, or none. Errors: invalid_request for one that is not above 0.
Result<std::vector<float>> take_freq_factors(TensorTable& tensors, const Config& config);

// Buffers of a step, allocated at load. In a step, rows(T) are views of its first T rows.
struct Rows {
    Mat x, h;                    // [T, D]: the residual stream; what a layer works on
    Mat q, attn;                 // [T, H Dh]
    Mat k, v;                    // [T, Hk Dh]
    Mat gate, up;                // [T, F], or [T U, Fe]
    Mat router;                  // [T, E]
    Mat expert_out;              // [T U, D]
    Routing* routing = nullptr;  // with experts only
};
class Scratch {
  public:
    // Errors: does_not_fit, before anything is allocated, for shapes whose buffers exceed
    // options.scratch_bytes_max or kScratchBytesMax.
    static Result<Scratch> make(Device& device, const Config& config, const LoadOptions& options);
    // Requires: 1 <= n <= max_rows.
    Rows rows(std::int64_t n) const;
    // [n, D] and [n, V]. Requires: n <= max_logits.
    Mat last(std::int64_t n) const { return last_.top(n); }
    Mat logits(std::int64_t n) const { return logits_.top(n); }
    std::int64_t max_rows() const { return max_rows_; }
    std::int64_t max_logits() const { return max_logits_; }

  private:
    std::int64_t max_rows_ = 0, max_logits_ = 0, n_slot_ = 1;
    Rows all_;
    std::unique_ptr<Routing> routing_;
    Mat last_, logits_;
};

// Steps. Each reads r.x and adds to it, unless it says otherwise.

// r.x = rows of the embedding. Requires: ids within the vocabulary.
void embed(Device& device, const Rows& r, const Ends& w, const Step& step);
// r.q, r.k, r.v = h q^T, h k^T, h v^T with h = rms_norm(r.x); r.x stays.
void project(Device& device, const Rows& r, const Attention& w, const Config& config);
// Keys r.k and values r.v go to the cache; then r.x += attention(r.q, cache) w_output^T.
void attend(Device& device, KvStore& kv, std::int64_t layer, const Rows& r, const Weight& w_output,
            const Config& config, const Step& step);
// r.x += (silu(h gate^T) * (h up^T)) down^T with h = rms_norm(r.x)
void feed_forward(Device& device, const Rows& r, const FeedForward& w, const Config& config);
// r.x += sum over the U chosen experts, in the order of rank, of weight * (the same with that
// expert's matrices); the choice and the weights come from softmax(h router^T).
void mix_experts(Device& device, const Rows& r, const Experts& w, const Config& config,
                 const RouteParams& params);
// Logits of the wanted rows, valid until the next step.
std::span<const float> logits_of(Device& device, const Scratch& scratch, const Rows& r,
                                 const Ends& w, const Config& config, const Step& step);

// The network of a family: layers between the ends. A Family is a struct that says what is its own,
//
//   Layer                                   weights of a layer, with an Attention `attn` among them
//   kName, kRope, kFreqFactors              general.architecture; how pairs lie; may the file bring
//                                           rope_freqs.weight
//   take(tensors, config, index, layer)     reads layer `index`
//   before_rope(device, rows, layer, config)    what happens to r.q, r.k, r.v after the projections
//   feed(device, rows, layer, config)           what a layer adds to r.x after attention
template <class Family>
class Decoder final : public Network {
  public:
    // Errors: as TensorTable::take and Scratch::make.
    static Result<std::unique_ptr<Network>> load(const Gguf& gguf, const Config& config,
                                                 Device& device, const LoadOptions& options) {
        auto out = std::make_unique<Decoder>();
        out->config_ = config;
        TensorTable tensors(gguf, device);
        HEARTH_CHECK_OK(take_ends(tensors, config, out->ends_));
        if (Family::kFreqFactors) {
            HEARTH_TRY(out->freq_factors_, take_freq_factors(tensors, config));
        }
        out->layers_.resize(std::size_t(config.n_layer));
        for (std::int64_t i = 0; i < config.n_layer; ++i)
            HEARTH_CHECK_OK(Family::take(tensors, config, i, out->layers_[std::size_t(i)]));
        HEARTH_CHECK_OK(tensors.all_taken(Family::kName));
        out->rope_ = {
            .n_rot = config.n_rot,
            .freq_base = config.rope_freq_base,
            .freq_scale = config.rope_freq_scale,
            .freq_factors = out->freq_factors_.empty() ? nullptr : out->freq_factors_.data(),
            .style = Family::kRope};
        HEARTH_TRY(out->scratch_, Scratch::make(device, config, options));
        return out;
    }

    std::span<const float> forward(Device& device, KvStore& kv, const Step& step) override {
        const Rows r = scratch_.rows(std::int64_t(step.ids.size()));
        embed(device, r, ends_, step);
        for (std::int64_t i = 0; i < config_.n_layer; ++i) {
            const auto& w = layers_[std::size_t(i)];
            project(device, r, w.attn, config_);
            Family::before_rope(device, r, w, config_);
            device.rope(r.q, config_.head_dim, step.slices, rope_);
            device.rope(r.k, config_.head_dim, step.slices, rope_);
            attend(device, kv, i, r, w.attn.output, config_, step);
            Family::feed(device, r, w, config_);
        }
        return logits_of(device, scratch_, r, ends_, config_, step);
    }

  private:
    // Constant after load.
    Config config_;
    Ends ends_;
    std::vector<typename Family::Layer> layers_;
    std::vector<float> freq_factors_;  // [n_rot / 2], or empty
    RopeParams rope_;

    Scratch scratch_;  // engine thread
};

// What qwen3 and qwen3moe share: each head of q and of k is normalized by itself.
struct HeadNorms {
    Weight q, k;  // [Dh]
};
Status take_head_norms(TensorTable& tensors, const Config& config, std::int64_t layer,
                       HeadNorms& out);
void norm_heads(Device& device, const Rows& r, const HeadNorms& w, const Config& config);

}  // namespace hearth::model
