#include "engine/model/decoder.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/check.h"
#include "base/format.h"
#include "base/utf8.h"
#include "engine/model/limits.h"

namespace hearth::model {
namespace {

std::unexpected<Error> unsupported(std::string message) {
    return fail(ErrorKind::invalid_request, std::move(message));
}

// Keys that would change what is computed, in files that name one of our families but are not.
Status refuse_variants(const Gguf& gguf, const ArchKeys& keys) {
    for (const char* name : {"attention.scale", "logit_scale", "residual_scale", "embedding_scale",
                             "attn_logit_softcapping", "final_logit_softcapping"})
        if (keys.has(name))
            return unsupported(
                format("key {} is not part of this architecture as this program computes it; "
                       "answers would be wrong without it",
                       keys.key(name)));
    HEARTH_TRY(const bool causal, gguf.boolean(keys.key("attention.causal"), true));
    if (!causal)
        return unsupported(format("key {} is false: the file is an encoder, which cannot generate",
                                  keys.key("attention.causal")));
    HEARTH_TRY(const auto scaling, keys.text("rope.scaling.type", "none"));
    if (scaling != "none" && scaling != "linear")
        return unsupported(format("key {} is \"{}\", supported are none and linear",
                                  keys.key("rope.scaling.type"), utf8_repaired(scaling)));
    return {};
}

Status read_heads(const ArchKeys& keys, Config& c) {
    HEARTH_TRY(c.n_head, keys.count("attention.head_count", kHeadMax));
    HEARTH_TRY(c.n_head_kv, keys.count("attention.head_count_kv", kHeadMax, c.n_head));
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
    if (c.head_dim > kHeadDimMax)
        return unsupported(format("key {} is missing and {} {} / {} {} is {}, the limit is {}",
                                  keys.key("attention.key_length"), keys.key("embedding_length"),
                                  c.n_embd, keys.key("attention.head_count"), c.n_head, c.head_dim,
                                  kHeadDimMax));
    HEARTH_TRY(const auto value_length,
               keys.count("attention.value_length", kHeadDimMax, c.head_dim));
    if (value_length != c.head_dim)
        return unsupported(format("key {} is {} and {} is {}, expected the same",
                                  keys.key("attention.value_length"), value_length,
                                  keys.key("attention.key_length"), c.head_dim));
    return {};
}

Status read_rope(const ArchKeys& keys, Config& c) {
    HEARTH_TRY(c.n_rot, keys.count("rope.dimension_count", c.head_dim, c.head_dim));
    if (c.n_rot % 2 != 0)
        return unsupported(format("key {} is {}, expected an even number",
                                  keys.key("rope.dimension_count"), c.n_rot));
    HEARTH_TRY(c.rope_freq_base, keys.positive("rope.freq_base", 10000.0));
    HEARTH_TRY(const auto scaling, keys.text("rope.scaling.type", "none"));
    HEARTH_TRY(const float factor, keys.positive("rope.scaling.factor", 1.0));
    c.rope_freq_scale = scaling == "linear" ? 1.0f / factor : 1.0f;
    if (!std::isfinite(c.rope_freq_scale))
        return unsupported(format("key {} is {}, too small to divide by; the file is damaged",
                                  keys.key("rope.scaling.factor"), factor));
    return {};
}

// What a step's buffers take, its prepared activations included. Every number is bounded
// (limits.h), but not every product of four, so these are taken in f64.
double step_bytes(const Config& c, const LoadOptions& options) {
    const auto rows = double(options.max_rows), logits = double(options.max_logits);
    const auto D = double(c.n_embd), V = double(c.n_vocab), E = double(c.n_expert);
    const auto q = double(c.n_head * c.head_dim), kv = double(c.n_head_kv * c.head_dim);
    const bool mixed = c.n_expert > 0;
    const double slots = rows * (mixed ? double(c.n_expert_used) : 1.0);
    const auto F = double(mixed ? c.n_ff_expert : c.n_ff);
    double values = rows * 2 * (D + q + kv) + slots * 2 * F + logits * (D + V);
    if (mixed) values += slots * D + rows * E;
    const double prepared =
        std::max(std::max(rows, logits) * std::max(D, q), slots * (mixed ? std::max(F, D) : F));
    return (values + prepared) * sizeof(float);
}

}  // namespace

Result<Config> read_decoder_config(const Gguf& gguf, const ArchKeys& keys) {
    HEARTH_CHECK_OK(refuse_variants(gguf, keys));
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
    HEARTH_TRY(c.n_ctx_train, keys.count("context_length", kCtxMax));
    HEARTH_CHECK_OK(read_heads(keys, c));
    HEARTH_CHECK_OK(read_rope(keys, c));
    HEARTH_TRY(c.rms_eps, keys.positive("attention.layer_norm_rms_epsilon"));
    return c;
}

Status read_expert_config(const ArchKeys& keys, Config& c) {
    HEARTH_TRY(c.n_expert, keys.count("expert_count", kExpertMax, 0, 0));
    if (c.n_expert == 0) return {};
    HEARTH_TRY(c.n_expert_used, keys.count("expert_used_count", c.n_expert));
    HEARTH_TRY(c.n_ff_expert, keys.count("expert_feed_forward_length", kFfMax, c.n_ff));
    return {};
}

std::string layer_tensor(std::int64_t layer, std::string_view part) {
    return format("blk.{}.{}", layer, part);
}

Status take_ends(TensorTable& tensors, const Config& c, Ends& out) {
    const char* from = "the vocabulary and embedding_length";
    HEARTH_CHECK_OK(tensors.take(out.token_embd, "token_embd.weight", {c.n_vocab, c.n_embd}, from));
    HEARTH_CHECK_OK(tensors.take(out.output_norm, "output_norm.weight", {c.n_embd}, from));
    out.output = out.token_embd;
    if (!tensors.has("output.weight")) return {};
    return tensors.take(out.output, "output.weight", {c.n_vocab, c.n_embd}, from);
}

Status take_attention(TensorTable& tensors, const Config& c, std::int64_t layer, Attention& out) {
    const std::int64_t q = c.n_head * c.head_dim, kv = c.n_head_kv * c.head_dim;
    const auto name = [&](const char* part) { return layer_tensor(layer, part); };
    const char* from_q = "attention.head_count and embedding_length";
    const char* from_kv = "attention.head_count_kv and embedding_length";
    HEARTH_CHECK_OK(
        tensors.take(out.norm, name("attn_norm.weight"), {c.n_embd}, "embedding_length"));
    HEARTH_CHECK_OK(tensors.take(out.q, name("attn_q.weight"), {q, c.n_embd}, from_q));
    HEARTH_CHECK_OK(tensors.take(out.k, name("attn_k.weight"), {kv, c.n_embd}, from_kv));
    HEARTH_CHECK_OK(tensors.take(out.v, name("attn_v.weight"), {kv, c.n_embd}, from_kv));
    return tensors.take(out.output, name("attn_output.weight"), {c.n_embd, q}, from_q);
}

Status take_feed_forward(TensorTable& tensors, const Config& c, std::int64_t layer,
                         FeedForward& out) {
    const auto name = [&](const char* part) { return layer_tensor(layer, part); };
    const char* from = "feed_forward_length and embedding_length";
    HEARTH_CHECK_OK(tensors.take(out.norm, name("ffn_norm.weight"), {c.n_embd}, from));
    HEARTH_CHECK_OK(tensors.take(out.gate, name("ffn_gate.weight"), {c.n_ff, c.n_embd}, from));
    HEARTH_CHECK_OK(tensors.take(out.up, name("ffn_up.weight"), {c.n_ff, c.n_embd}, from));
    return tensors.take(out.down, name("ffn_down.weight"), {c.n_embd, c.n_ff}, from);
}

Status take_experts(TensorTable& tensors, const Config& c, std::int64_t layer, Experts& out) {
    const auto name = [&](const char* part) { return layer_tensor(layer, part); };
    // Until April 2024 converters wrote a tensor for each expert; ours are read as one.
    if (tensors.has(name("ffn_gate.0.weight")))
        return unsupported(
            format("tensor {} is one expert alone, a layout of files before April 2024; "
                   "convert or fetch the model again",
                   name("ffn_gate.0.weight")));
    const char* from = "expert_count, expert_feed_forward_length and embedding_length";
    const std::int64_t E = c.n_expert, Fe = c.n_ff_expert, D = c.n_embd;
    HEARTH_CHECK_OK(tensors.take(out.norm, name("ffn_norm.weight"), {D}, from));
    HEARTH_CHECK_OK(tensors.take(out.router, name("ffn_gate_inp.weight"), {E, D}, from));
    HEARTH_CHECK_OK(tensors.take(out.gate, name("ffn_gate_exps.weight"), {E, Fe, D}, from));
    HEARTH_CHECK_OK(tensors.take(out.up, name("ffn_up_exps.weight"), {E, Fe, D}, from));
    return tensors.take(out.down, name("ffn_down_exps.weight"), {E, D, Fe}, from);
}

Status take_head_norms(TensorTable& tensors, const Config& c, std::int64_t layer, HeadNorms& out) {
    const auto name = [&](const char* part) { return layer_tensor(layer, part); };
    const char* from = "attention.key_length";
    HEARTH_CHECK_OK(tensors.take(out.q, name("attn_q_norm.weight"), {c.head_dim}, from));
    return tensors.take(out.k, name("attn_k_norm.weight"), {c.head_dim}, from);
}

void norm_heads(Device& device, const Rows& r, const HeadNorms& w, const Config& config) {
    device.rms_norm_heads(r.q, r.q, w.q, config.rms_eps);
    device.rms_norm_heads(r.k, r.k, w.k, config.rms_eps);
}

Result<std::vector<float>> take_freq_factors(TensorTable& tensors, const Config& c) {
    if (!tensors.has("rope_freqs.weight")) return std::vector<float>();
    HEARTH_TRY(auto factors,
               tensors.take_numbers("rope_freqs.weight", c.n_rot / 2, "rope.dimension_count / 2"));
    for (const float f : factors)
        if (!std::isfinite(f) || !(f > 0))
            return unsupported(
                "rope_freqs.weight holds a number that is not above 0; the file is damaged");
    return factors;
}

Result<Scratch> Scratch::make(Device& device, const Config& c, const LoadOptions& options) {
    const double bytes = step_bytes(c, options);
    const auto most = double(std::min(kScratchBytesMax, options.scratch_bytes_max));
    if (bytes > most)
        return fail(
            ErrorKind::does_not_fit,
            format("a step of {} rows needs {:.0f} bytes of buffers, {} {:.0f} bytes; lower "
                   "the number of tokens in a batch",
                   options.max_rows, bytes,
                   options.scratch_bytes_max < kScratchBytesMax ? "the memory at hand is"
                                                                : "the limit is",
                   most));
    const std::int64_t max_rows = options.max_rows, max_logits = options.max_logits;
    Scratch s;
    s.max_rows_ = max_rows;
    s.max_logits_ = max_logits;
    const bool mixed = c.n_expert > 0;
    const std::int64_t q = c.n_head * c.head_dim, kv = c.n_head_kv * c.head_dim;
    s.n_slot_ = mixed ? c.n_expert_used : 1;
    const std::int64_t n_ff = mixed ? c.n_ff_expert : c.n_ff, n_slots = max_rows * s.n_slot_;
    Rows& r = s.all_;
    r.x = device.make_mat(max_rows, c.n_embd);
    r.h = device.make_mat(max_rows, c.n_embd);
    r.q = device.make_mat(max_rows, q);
    r.attn = device.make_mat(max_rows, q);
    r.k = device.make_mat(max_rows, kv);
    r.v = device.make_mat(max_rows, kv);
    r.gate = device.make_mat(n_slots, n_ff);
    r.up = device.make_mat(n_slots, n_ff);
    if (mixed) {
        r.router = device.make_mat(max_rows, c.n_expert);
        r.expert_out = device.make_mat(n_slots, c.n_embd);
        s.routing_ = device.make_routing(max_rows, c.n_expert, c.n_expert_used);
        r.routing = s.routing_.get();
    }
    s.last_ = device.make_mat(max_logits, c.n_embd);
    s.logits_ = device.make_mat(max_logits, c.n_vocab);
    device.reserve(std::max(max_rows, max_logits), std::max(c.n_embd, q));
    // The device keeps what goes into an expert for every slot.
    device.reserve(n_slots, mixed ? std::max(n_ff, c.n_embd) : n_ff);
    device.reserve_rope(c.n_rot);
    device.reserve_attention(c.head_dim);
    return s;
}

Rows Scratch::rows(std::int64_t n) const {
    CHECK(n >= 1 && n <= max_rows_);
    Rows r = all_;
    for (Mat* m : {&r.x, &r.h, &r.q, &r.attn, &r.k, &r.v, &r.router}) *m = m->top(n);
    for (Mat* m : {&r.gate, &r.up, &r.expert_out}) *m = m->top(n * n_slot_);
    return r;
}

void embed(Device& device, const Rows& r, const Ends& w, const Step& step) {
    device.embed(r.x, w.token_embd, step.ids);
}

void project(Device& device, const Rows& r, const Attention& w, const Config& config) {
    device.rms_norm(r.h, r.x, w.norm, config.rms_eps);
    const std::array outs = {r.q, r.k, r.v};
    const std::array<const Weight*, 3> ws = {&w.q, &w.k, &w.v};
    device.matmul_shared(outs, r.h, ws);
}

void attend(Device& device, KvStore& kv, std::int64_t layer, const Rows& r, const Weight& w_output,
            const Config& config, const Step& step) {
    device.store_kv(kv, layer, r.k, r.v, step.slices);
    const float scale = 1.0f / std::sqrt(float(config.head_dim));
    device.attention(r.attn, r.q, kv, layer, step.slices, scale);
    device.matmul(r.h, r.attn, w_output);
    device.add(r.x, r.h);
}

void feed_forward(Device& device, const Rows& r, const FeedForward& w, const Config& config) {
    device.rms_norm(r.h, r.x, w.norm, config.rms_eps);
    const std::array outs = {r.gate, r.up};
    const std::array<const Weight*, 2> ws = {&w.gate, &w.up};
    device.matmul_shared(outs, r.h, ws);
    device.silu_mul(r.gate, r.gate, r.up);
    device.matmul(r.h, r.gate, w.down);
    device.add(r.x, r.h);
}

void mix_experts(Device& device, const Rows& r, const Experts& w, const Config& config,
                 const RouteParams& params) {
    device.rms_norm(r.h, r.x, w.norm, config.rms_eps);
    device.matmul(r.router, r.h, w.router);
    device.route(*r.routing, r.router, params);
    const std::array outs = {r.gate, r.up};
    const std::array<const Weight*, 2> ws = {&w.gate, &w.up};
    device.matmul_experts(outs, r.h, ws, *r.routing);
    device.silu_mul(r.gate, r.gate, r.up);
    device.matmul_slots(r.expert_out, r.gate, w.down, *r.routing);
    device.combine_experts(r.h, r.expert_out, *r.routing);
    device.add(r.x, r.h);
}

std::span<const float> logits_of(Device& device, const Scratch& scratch, const Rows& r,
                                 const Ends& w, const Config& config, const Step& step) {
    const auto n_out = std::int64_t(step.logit_rows.size());
    CHECK(n_out <= scratch.max_logits());
    if (n_out == 0) {
        device.read(r.x);  // what is queued uses this step's routing
        return {};
    }
    const Mat last = scratch.last(n_out), logits = scratch.logits(n_out);
    device.gather(last, r.x, step.logit_rows);
    device.rms_norm(last, last, w.output_norm, config.rms_eps);
    device.matmul(logits, last, w.output);
    return device.read(logits);
}

}  // namespace hearth::model
