// StepLoop: take → plan → forward → sample → emit → retire, over a network that it is lent.
//
//   take     new requests from the inbox; cancelled ones and late readers leave; pauses are noted
//   plan     which sequences step, with how many rows (scheduler.h)
//   forward  one pass over the rows of all of them
//   sample   one token for each row with logits (or log-probabilities, for score())
//   emit     text to the sink
//   retire   blocks go back, counters are published, then the sink hears its finish
//
// What a sequence gets depends on no other: rows are computed alike whatever stands beside them,
// and draws are numbered by output position.
//
// Answers to one prompt (a group) compute it once. The first of them runs; the others stand aside,
// with their places kept, until its keys of the prompt are there, and then take its whole blocks.
// When it ends while some still wait for a place, the next of them inherits the blocks.
//
// Full blocks are remembered as soon as they are computed, prompts and answers alike: an answer
// comes back in the next turn's prompt. Who is admitted attaches to those that its prompt begins
// with, if its owner or a public prefix may. For the banker each sequence holds all its blocks by
// itself, also those that it shares with another through attaching: then fewer are in use than are
// accounted for, never more. Attaching comes after plan(), which admits only while the whole
// prompts of everyone have blocks; an attached prefix is part of one.
//
// Thread:     submit, score, stop, forget, set_public_prefixes and stats: any. run and step: the
//             engine's, which owns every sequence once it has left the inbox.
// Invariants: (1) every accepted request hears on_finish exactly once, after its blocks are free.
//             (2) on_output is called n_generated times.
//             (3) a decode step allocates nothing but what it hands out.
//             (4) a sequence attaches to blocks of its own owner and to public ones, no others.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/engine.h"
#include "engine/kv_cache.h"
#include "engine/model/arch.h"
#include "engine/model/tokenizer.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"

namespace hearth::engine {

// What a loop steps. Lent; outlives the loop.
struct Machine {
    model::Network& network;
    model::Device& device;
    model::KvStore& kv;
    const model::Tokenizer& tokenizer;
    std::int64_t n_vocab = 0;
    // Asked before each forward: the moment when the device may change how weights lie.
    std::function<void()> renew = [] {};
    // Are the weights still those that were loaded? Asked after each forward. An error ends every
    // running sequence: what it says was computed from something else.
    std::function<Status()> intact = [] { return Status(); };
};

// Rows of a step that may carry logits: what the network is loaded with.
std::int64_t max_logits(const EngineOptions& options);

class StepLoop {
  public:
    // Requires: options as Engine::start settled them: n_ctx, n_parallel, n_batch_tokens, n_blocks.
    StepLoop(const Machine& machine, const EngineOptions& options, const Clock& clock);

    Status submit(std::vector<Request> requests);  // all or, on an error, none
    Result<Engine::Scores> score(std::vector<TokenId> ids, std::int64_t top_n);
    void set_public_prefixes(PublicPrefixes prefixes);
    void forget(std::string owner);
    EngineStats stats() const;
    void stop();

    // Steps until stop(), sleeping while there is nothing to do; then cancels what is left.
    void run();
    // One round; false when nothing could be computed. (Tests call it without a thread.)
    bool step();

  private:
    using SequencePtr = std::unique_ptr<Sequence>;

    Status enqueue(std::vector<SequencePtr> seqs);
    void take();
    void identify(Sequence& seq);
    std::int64_t n_public_of(const Sequence& seq) const;
    void publicise(PublicPrefixes prefixes);
    void forget_now(const std::string& owner);
    void look_at_readers();
    void make_plan();
    void list_candidates();
    void admit();
    const Sequence* sibling_of(const Sequence& seq) const;
    bool bequeath(Sequence& seq);
    void attach(Sequence& seq, std::int64_t& n_rows);
    void forward();
    void fail_running(const Error& error);
    void sample(Sequence& seq, std::int64_t n_rows, std::span<const float> logits);
    void next_token(Sequence& seq, std::span<const float> logits);
    void next_scores(Sequence& seq, std::int64_t n_rows, std::span<const float> logits);
    std::string piece_of(Sequence& seq, TokenId id) const;
    void retire(Sequence& seq, StopReason reason, Error error = {});
    void drop_retired();
    void publish();
    void cancel_all();

    // Constant after construction.
    const Machine machine_;
    const EngineOptions options_;
    const Limits limits_;
    const Clock& clock_;

    // The engine thread's.
    std::deque<SequencePtr> waiting_;
    std::vector<SequencePtr> running_;  // in order of admission
    KvCache cache_;
    std::map<std::string, OwnerId> owners_;  // of what is remembered or runs
    OwnerId next_owner_ = kFirstOwner;       // numbers are never used twice
    PublicPrefixes public_;
    Sampler sampler_;
    Plan plan_;
    std::vector<SeqState> running_states_, waiting_states_;
    std::vector<std::size_t> candidates_;  // places in waiting_ of waiting_states_
    std::vector<TokenId> ids_;             // [T] of the step
    std::vector<model::Slice> slices_;
    std::vector<std::int64_t> logit_rows_;
    EngineStats counts_;  // the totals

    mutable std::mutex mutex_;  // guards what follows; held for moves only
    std::condition_variable wake_;
    std::vector<SequencePtr> inbox_;
    std::vector<std::string> to_forget_;
    std::optional<PublicPrefixes> new_public_;
    EngineStats published_;
    std::int64_t n_inside_ = 0;    // accepted and not retired
    std::int64_t n_accepted_ = 0;  // ever
    bool stopping_ = false;
};

}  // namespace hearth::engine
