// Engine: the narrow door to local generation. Token ids in, tokens and text out.
//
// One engine owns one model, its KV cache and one thread that steps: take → plan → forward → sample
// → emit → retire. Sequences join and leave between steps (continuous batching); a long prompt is
// spread over steps (chunked prefill). What a sequence says depends on the model file, numerics_id,
// ISA, KV type, prompt, sampling and seed, and on nothing else.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "engine/model/model.h"

namespace hearth::engine {

struct TokenBias {
    TokenId id;
    double bias = 0;  // [-100, 100]; -100 bans the token, 100 leaves only tokens with 100
};

// How a token is drawn from a row of logits. In this order:
//   1. logit_bias is added.
//   2. repeat_penalty p: each token among the last repeat_last_n of the sequence, prompt included,
//      has its logit divided by p where positive, else multiplied by p. Once, however often it
//      stands there.
//   3. A token that stands n > 0 times in this answer so far loses n * frequency_penalty +
//      presence_penalty. The prompt does not count.
//   4. The softmax at temperature; 0 takes the best and ends here.
//   5. Filters: top_k, top_p, min_p, each on what the one before it left.
// Reported log-probabilities are those of the raw softmax, before all of it.
struct Sampling {
    double temperature = 0.8;
    std::int64_t top_k = 40;  // 0: off
    double top_p = 0.95;      // 1: off
    double min_p = 0.05;      // 0: off
    std::uint64_t seed = 0;
    std::int64_t n_logprobs = -1;     // -1: none; k >= 0: the token's and the k best
    double repeat_penalty = 1;        // > 0; 1: off
    std::int64_t repeat_last_n = 64;  // 0: off; -1: the whole sequence
    double presence_penalty = 0, frequency_penalty = 0;  // 0: off; below 0 they invite repeats
    std::vector<TokenBias> logit_bias = {};
};

struct TokenScore {
    TokenId id;
    float logprob = 0;
};

enum class StopReason : std::uint8_t { end_token, stop_string, length, cancelled, failed };

// What one step of one sequence brings. text holds whole code points and never part of a stop
// string; it may be empty while bytes are held back.
struct Output {
    TokenId id;
    std::string text;
    std::optional<TokenScore> score;
    std::vector<TokenScore> top;
};

struct Finish {
    StopReason reason = StopReason::length;
    std::string text;  // what was held back and is now known to be text
    Error error;       // failed only
    // The end token is not counted. n_cached: prompt tokens whose keys another sequence computed,
    // before or beside this one.
    std::int64_t n_prompt = 0, n_cached = 0, n_generated = 0;
    // Arrival → admitted → first token known → end; ttft: arrival → first output handed over.
    std::int64_t queue_ns = 0, prefill_ns = 0, decode_ns = 0, ttft_ns = 0;
    bool context_full = false;  // length only: the context ended before max_tokens
};

// Called on the engine thread; must not block.
class OutputSink {
  public:
    virtual ~OutputSink() = default;
    virtual void on_output(Output output) = 0;        // once for each generated token
    virtual void on_finish(Finish finish) = 0;        // exactly once, last
    virtual bool ready() const { return true; }       // false pauses this sequence
    virtual bool cancelled() const { return false; }  // looked at once a step
};

struct Request {
    std::vector<TokenId> prompt = {};
    // Who asks: computed blocks of a prompt are found by later requests of the same owner only.
    std::string owner = {};
    Sampling sampling = {};
    std::int64_t max_tokens = -1;  // -1: to the end of the context
    std::vector<std::string> stop = {};
    bool ignore_end = false;  // benchmarks: end tokens do not end
    std::shared_ptr<OutputSink> sink = {};
};

struct EngineOptions {
    std::int64_t n_ctx = 0;             // 0: what the model was trained for, at most 8192
    std::int64_t n_parallel = 8;        // sequences that step together
    std::int64_t n_batch_tokens = 512;  // rows of a step; raised to n_parallel where it is less
    std::int64_t n_queue = 128;         // requests beyond n_parallel before `overloaded`
    std::string kv_type = "f16";        // f32, f16, bf16 or q8_0
    std::int64_t prefill_chunk = 0;     // tests: a step's prompt tokens of one sequence; 0: no cap
    std::int64_t pause_timeout_ms = 60'000;  // a reader this late is dropped
    // Blocks of the KV cache. 0: n_parallel full contexts or, where memory is short, as many as fit
    // but no less than one full context; sequences then wait for each other's blocks.
    std::int64_t n_blocks = 0;
    std::size_t memory_bytes = 0;  // memory at hand; 0: what the machine says
    // Tokens whose keys and values are remembered after their answers, for later requests that
    // begin alike. 0: none; -1: half of the KV cache. What nobody used for prefix_idle_ms is
    // forgotten: memory that waits for nobody goes back to answers, and no prompt stays for ever.
    std::int64_t n_prefix_tokens = -1;
    std::int64_t prefix_idle_ms = 600'000;
    // Where packed weights are kept, which answer faster with the same bits; empty: none are made.
    std::string packed_folder = {};
};

struct EngineStats {
    std::int64_t n_running = 0, n_waiting = 0, n_paused = 0;  // the paused are among the running
    // Accepted and not finished: at n_parallel + n_queue others are refused.
    std::int64_t n_open = 0;
    std::int64_t n_blocks = 0, n_blocks_used = 0;
    std::int64_t n_blocks_remembered = 0;  // held by nobody, and found again by who begins alike
    // Prompt tokens are computed ones; cached ones were found instead, computed by earlier
    // requests.
    std::int64_t prompt_tokens_total = 0, cached_tokens_total = 0;
    std::int64_t output_tokens_total = 0, steps_total = 0;
    // Time of steps; a step with rows of both kinds counts for each by its share of the rows.
    std::int64_t prefill_ns_total = 0, decode_ns_total = 0;
};

// Sizes in bytes, printed at load and kept.
struct MemoryPlan {
    std::size_t weights_bytes = 0, kv_bytes = 0, compute_bytes = 0;
    std::size_t at_hand_bytes = 0;   // when the engine started; SIZE_MAX: nobody could say
    std::size_t kv_token_bytes = 0;  // keys and values of one token in every layer
    std::int64_t n_kv_tokens = 0;    // what the KV cache holds
    std::string kv_type = {};
    std::size_t total_bytes() const { return weights_bytes + kv_bytes + compute_bytes; }
    // The same for people: a line for each part, the total, and the memory at hand.
    std::string text() const;
};

using PublicPrefixes = std::vector<std::vector<TokenId>>;

class Engine {
  public:
    // Loads the model and starts the thread. Errors: invalid_request for an option out of its
    // bounds, a KV type that the device or the model's heads do not take, or n_blocks below one
    // context; what Model::load says; does_not_fit with the arithmetic when KV and buffers exceed
    // the memory at hand; internal when the thread cannot be started.
    static Result<std::unique_ptr<Engine>> start(const model::ModelSource& source,
                                                 std::unique_ptr<model::Device> device,
                                                 const EngineOptions& options,
                                                 const Clock& clock = system_clock());
    virtual ~Engine() = default;  // cancels what runs and joins

    // Any thread. Errors: invalid_request for an empty prompt, an id beyond the vocabulary,
    // sampling or stop strings without a meaning; context_overflow with exact counts when prompt +
    // 1 > n_ctx; overloaded for a full queue; cancelled while the engine shuts down. After an error
    // the sink is never called.
    virtual Status submit(Request request) = 0;
    // All of them or, on an error, none: the n answers of one request stand or fall together. Equal
    // prompts are computed once where their sequences run side by side: the others take its whole
    // blocks (n_cached) and compute the rest, less than a block, again. Tokens are the same as when
    // each is submitted alone.
    virtual Status submit_all(std::vector<Request> requests) = 0;

    // Log-probability of each token of ids after the first (n - 1 numbers), and the best top_n of
    // each place. Waits; any thread but the engine's. Steps beside the running sequences.
    // Errors: as submit; context_overflow when ids are more than n_ctx; cancelled when the engine
    // shuts down meanwhile; internal when logits are no numbers, or the model file has changed.
    // Everything is computed, and nothing of it remembered.
    struct Scores {
        std::vector<float> logprobs;
        std::vector<std::vector<TokenScore>> top;
    };
    virtual Result<Scores> score(std::vector<TokenId> ids, std::int64_t top_n) = 0;

    // Prefixes that everyone may share the computed blocks of, whoever computed them: a block of a
    // prompt is public when the prompt is one of these up to the block's end. Replaces those of
    // before; what was remembered is forgotten. Any thread; from the next step on.
    virtual void set_public_prefixes(PublicPrefixes prefixes) = 0;
    // Drops what is remembered of an owner's prompts and answers; what was submitted before goes on
    // and leaves nothing. Public blocks stay. Any thread; from the next step on, soon where none is
    // due.
    virtual void forget(std::string owner) = 0;

    // Waits until nothing is prepared beside the answers any more: for who measures.
    virtual void settle() = 0;

    virtual const model::Model& model() const = 0;
    virtual std::int64_t n_ctx() const = 0;
    virtual MemoryPlan memory() const = 0;
    virtual EngineStats stats() const = 0;
    virtual std::string device_name() const = 0;
    virtual std::string_view isa() const = 0;
};

}  // namespace hearth::engine
