#include "engine/step.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <utility>

#include "base/check.h"
#include "base/format.h"
#include "base/log.h"
#include "engine/limits.h"

namespace hearth::engine {

std::int64_t max_logits(const EngineOptions& options) {
    return options.n_parallel + kScoreRows;
}

namespace {

PrefixLimits prefix_limits(const EngineOptions& options) {
    const std::int64_t n = options.n_prefix_tokens;
    return {.n_blocks = n < 0 ? options.n_blocks / 2 : n / model::kBlockTokens,
            .idle_ns = options.prefix_idle_ms * kNsPerMs};
}

}  // namespace

StepLoop::StepLoop(const Machine& machine, const EngineOptions& options, const Clock& clock)
    : machine_(machine),
      options_(options),
      limits_{.n_blocks = options.n_blocks,
              .n_batch_tokens = options.n_batch_tokens,
              .n_parallel = options.n_parallel,
              .max_logits = max_logits(options),
              .prefill_chunk = options.prefill_chunk},
      clock_(clock),
      cache_(options.n_blocks, prefix_limits(options), clock),
      sampler_(machine.n_vocab) {
    CHECK(options.n_blocks >= blocks_for(options.n_ctx));
    const auto n_parallel = std::size_t(options.n_parallel);
    running_.reserve(n_parallel);
    running_states_.reserve(n_parallel);
    waiting_states_.reserve(n_parallel);
    candidates_.reserve(n_parallel);
    plan_.n_rows.reserve(n_parallel);
    plan_.accounts.reserve(n_parallel + 1);
    plan_.order.reserve(n_parallel + 1);
    ids_.reserve(std::size_t(options.n_batch_tokens));
    slices_.reserve(n_parallel);
    logit_rows_.reserve(std::size_t(limits_.max_logits));
    counts_.n_blocks = published_.n_blocks = options.n_blocks;
}

Status StepLoop::enqueue(std::vector<SequencePtr> seqs) {
    const std::int64_t now_ns = clock_.mono_ns();
    const auto n_new = std::int64_t(seqs.size());
    {
        const std::lock_guard lock(mutex_);
        if (stopping_) return fail(ErrorKind::cancelled, "the engine is shutting down");
        if (n_inside_ + n_new > options_.n_parallel + options_.n_queue)
            return fail(
                Error{.kind = ErrorKind::overloaded,
                      .message = format("{} requests run or wait already, and {} more would "
                                        "pass the limit of {}; try again later",
                                        n_inside_, n_new, options_.n_parallel + options_.n_queue),
                      .retry_after_s = 1});
        n_inside_ += n_new;
        for (SequencePtr& seq : seqs) {
            seq->submitted_ns = now_ns;
            if (seq->group >= 0) seq->group += n_accepted_;
            inbox_.push_back(std::move(seq));
        }
        n_accepted_ += n_new;
    }
    wake_.notify_one();
    return {};
}

Status StepLoop::submit(std::vector<Request> requests) {
    std::vector<SequencePtr> seqs;
    for (Request& request : requests) {
        HEARTH_TRY(auto seq, make_sequence(std::move(request), machine_.tokenizer, machine_.n_vocab,
                                           options_.n_ctx));
        // Equal prompts stand side by side. Groups are numbered by place among these until
        // enqueue() knows how many were accepted before.
        if (!seqs.empty() && seq->n_shareable() > 0 && seqs.back()->tokens == seq->tokens &&
            seqs.back()->owner == seq->owner) {
            if (seqs.back()->group < 0) seqs.back()->group = std::int64_t(seqs.size()) - 1;
            seq->group = seqs.back()->group;
        }
        seqs.push_back(std::move(seq));
    }
    return enqueue(std::move(seqs));
}

Result<Engine::Scores> StepLoop::score(std::vector<TokenId> ids, std::int64_t top_n) {
    if (ids.empty()) return fail(ErrorKind::invalid_request, "there are no tokens to score");
    const bool lone = ids.size() == 1;
    if (lone) ids.push_back(ids[0]);  // predicts nothing, but is checked like the rest
    HEARTH_TRY(auto seq,
               make_score_sequence(std::move(ids), top_n, machine_.n_vocab, options_.n_ctx));
    if (lone) return Engine::Scores{};
    std::future<Result<Engine::Scores>> done = seq->score->done.get_future();
    std::vector<SequencePtr> seqs;
    seqs.push_back(std::move(seq));
    HEARTH_CHECK_OK(enqueue(std::move(seqs)));
    return done.get();
}

void StepLoop::set_public_prefixes(PublicPrefixes prefixes) {
    {
        const std::lock_guard lock(mutex_);
        new_public_ = std::move(prefixes);
    }
    wake_.notify_one();
}

void StepLoop::forget(std::string owner) {
    {
        const std::lock_guard lock(mutex_);
        for (const SequencePtr& seq : inbox_)
            if (seq->owner == owner) seq->owner_forgotten = true;
        to_forget_.push_back(std::move(owner));
    }
    wake_.notify_one();
}

EngineStats StepLoop::stats() const {
    const std::lock_guard lock(mutex_);
    EngineStats stats = published_;
    stats.n_waiting += std::int64_t(inbox_.size());
    stats.n_open = n_inside_;
    return stats;
}

void StepLoop::stop() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_all();
}

void StepLoop::run() {
    for (;;) {
        const bool stepped = step();
        std::unique_lock lock(mutex_);
        const auto has_news = [&] {
            return stopping_ || !inbox_.empty() || !to_forget_.empty() || new_public_;
        };
        if (!stepped && !(running_.empty() && waiting_.empty()))
            // Readers are late, and do not say when they are back.
            wake_.wait_for(lock, std::chrono::milliseconds(kPausePollMs), has_news);
        else if (const auto idle_ns = cache_.idle_in_ns(); !stepped && idle_ns)
            wake_.wait_for(lock, std::chrono::nanoseconds(*idle_ns), has_news);
        else if (!stepped)
            wake_.wait(lock, has_news);
        if (stopping_) break;
    }
    cancel_all();
}

bool StepLoop::step() {
    take();
    look_at_readers();
    make_plan();
    if (plan_.n_rows_total == 0) {
        publish();
        return false;
    }
    admit();
    forward();
    drop_retired();
    publish();
    return true;
}

void StepLoop::take() {
    const std::size_t n_before = waiting_.size();
    std::vector<std::string> to_forget;
    std::optional<PublicPrefixes> new_public;
    {
        const std::lock_guard lock(mutex_);
        for (SequencePtr& seq : inbox_) waiting_.push_back(std::move(seq));
        inbox_.clear();
        to_forget.swap(to_forget_);
        new_public.swap(new_public_);
    }
    if (new_public) publicise(std::move(*new_public));
    for (const std::string& owner : to_forget) forget_now(owner);
    for (std::size_t i = n_before; i < waiting_.size(); ++i) identify(*waiting_[i]);
    cache_.forget_idle();
    // Nothing refers to the owners' numbers then, and their names must not pile up.
    if (running_.empty() && waiting_.empty() && cache_.n_remembered() == 0) owners_.clear();
}

void StepLoop::identify(Sequence& seq) {
    if (seq.score || seq.owner_forgotten) return;
    const auto [it, is_new] = owners_.try_emplace(seq.owner, next_owner_);
    if (is_new) ++next_owner_;
    seq.prefix = {.id = it->second, .n_public = n_public_of(seq)};
}

// Blocks of the prompt that are public.
std::int64_t StepLoop::n_public_of(const Sequence& seq) const {
    const std::span prompt(seq.tokens.data(), std::size_t(seq.n_prompt));
    std::int64_t n = 0;
    for (const std::vector<TokenId>& prefix : public_)
        n = std::max(n, std::ranges::mismatch(prompt, prefix).in1 - prompt.begin());
    return n / model::kBlockTokens;
}

void StepLoop::publicise(PublicPrefixes prefixes) {
    public_ = std::move(prefixes);
    cache_.forget_all();
    for (const SequencePtr& seq : running_) seq->prefix.n_public = n_public_of(*seq);
    for (const SequencePtr& seq : waiting_) seq->prefix.n_public = n_public_of(*seq);
}

void StepLoop::forget_now(const std::string& owner) {
    const auto it = owners_.find(owner);
    if (it == owners_.end()) return;
    cache_.forget(it->second);
    for (const SequencePtr& seq : running_)
        if (seq->prefix.id == it->second) seq->prefix.id = kNobody;
    for (const SequencePtr& seq : waiting_)
        if (seq->prefix.id == it->second) seq->prefix.id = kNobody;
    owners_.erase(it);
}

void StepLoop::look_at_readers() {
    const std::int64_t now_ns = clock_.mono_ns();
    for (const SequencePtr& seq : running_) {
        if (!seq->sink) continue;  // score() waits without a sink
        if (seq->sink->cancelled()) {
            retire(*seq, StopReason::cancelled);
            continue;
        }
        const bool was_paused = std::exchange(seq->paused, !seq->sink->ready());
        if (seq->paused && !was_paused) seq->paused_ns = now_ns;
        if (seq->paused && now_ns - seq->paused_ns >= options_.pause_timeout_ms * kNsPerMs)
            retire(*seq, StopReason::failed,
                   {.kind = ErrorKind::timeout,
                    .message =
                        format("the reader took nothing for {} ms", options_.pause_timeout_ms)});
    }
    for (const SequencePtr& seq : waiting_)
        if (seq->sink && seq->sink->cancelled()) retire(*seq, StopReason::cancelled);
    drop_retired();
}

void StepLoop::make_plan() {
    running_states_.clear();
    for (const SequencePtr& seq : running_) {
        SeqState state = seq->state();
        if (sibling_of(*seq) != nullptr) state.n_shared = seq->n_shareable();
        running_states_.push_back(state);
    }
    list_candidates();
    plan(running_states_, waiting_states_, limits_, plan_);
}

// Who of the waiting may be admitted, in order: as many as there are places. One that stands aside
// for its sibling keeps its place, but lets others be admitted before it.
void StepLoop::list_candidates() {
    waiting_states_.clear();
    candidates_.clear();
    std::size_t n_places = std::size_t(options_.n_parallel) - running_.size();
    for (std::size_t i = 0; i < waiting_.size() && n_places > 0; ++i, --n_places) {
        const Sequence& seq = *waiting_[i];
        SeqState state = seq.state();
        if (const Sequence* sibling = sibling_of(seq)) {
            const std::int64_t n_shared = seq.n_shareable() * model::kBlockTokens;
            if (sibling->table.n_tokens() < n_shared) continue;
            state.n_shared = seq.n_shareable();
            state.n_todo -= n_shared - state.n_tokens;
            state.n_tokens = n_shared;
        } else if (seq.group >= 0 &&
                   std::any_of(waiting_states_.begin(), waiting_states_.end(),
                               [&](const SeqState& other) { return other.group == seq.group; })) {
            continue;
        }
        waiting_states_.push_back(state);
        candidates_.push_back(i);
    }
}

// A running sequence of the same group, or null.
const Sequence* StepLoop::sibling_of(const Sequence& seq) const {
    if (seq.group < 0) return nullptr;
    for (const SequencePtr& other : running_)
        if (other->group == seq.group && other.get() != &seq && !other->retired) return other.get();
    return nullptr;
}

void StepLoop::admit() {
    const std::int64_t now_ns = clock_.mono_ns();
    for (std::int64_t i = 0; i < plan_.n_admit; ++i) {
        SequencePtr& seq = waiting_[candidates_[std::size_t(i)]];
        if (const std::int64_t n_shared = waiting_states_[std::size_t(i)].n_shared; n_shared > 0) {
            const Sequence* sibling = sibling_of(*seq);
            CHECK(sibling != nullptr);
            cache_.fork_into(seq->table, sibling->table, n_shared * model::kBlockTokens);
            seq->n_cached = seq->table.n_tokens();
        } else {
            attach(*seq, plan_.n_rows[running_.size()]);
        }
        seq->admitted_ns = now_ns;
        running_.push_back(std::move(seq));
    }
    if (plan_.n_admit > 0) std::erase(waiting_, nullptr);
}

// A sequence that is admitted: it takes what is remembered of its prompt, and computes fewer rows
// where less than planned is left. One is: the last token's.
void StepLoop::attach(Sequence& seq, std::int64_t& n_rows) {
    cache_.attach(seq.table, seq.tokens, seq.prefix, seq.n_shareable());
    seq.n_cached = seq.table.n_tokens();
    counts_.cached_tokens_total += seq.n_cached;
    const std::int64_t n_over = std::max<std::int64_t>(0, n_rows - (seq.n_known() - seq.n_cached));
    n_rows -= n_over;
    plan_.n_rows_total -= n_over;
}

void StepLoop::forward() {
    ids_.clear();
    slices_.clear();
    logit_rows_.clear();
    std::int64_t n_prefill = 0;
    for (std::size_t i = 0; i < running_.size(); ++i) {
        const std::int64_t n_rows = plan_.n_rows[i];
        if (n_rows == 0) continue;
        Sequence& seq = *running_[i];
        const std::int64_t row = std::int64_t(ids_.size()), pos = seq.table.n_tokens();
        const auto first = seq.tokens.begin() + pos;
        ids_.insert(ids_.end(), first, first + n_rows);
        CHECK(cache_.extend(seq.table, n_rows));  // plan() grants only blocks that are free
        slices_.push_back(
            {.row = row, .n_rows = n_rows, .pos = pos, .blocks = seq.table.blocks().data()});
        if (seq.score)
            for (std::int64_t r = 0; r < n_rows; ++r) logit_rows_.push_back(row + r);
        else if (seq.table.n_tokens() == seq.n_known())
            logit_rows_.push_back(row + n_rows - 1);
        if (!seq.decodes()) n_prefill += n_rows;
    }
    const auto n_total = std::int64_t(ids_.size());
    machine_.renew();
    const std::int64_t start_ns = clock_.mono_ns();
    const std::span<const float> logits =
        machine_.network.forward(machine_.device, machine_.kv, {ids_, slices_, logit_rows_});
    CHECK(logits.size() >= logit_rows_.size() * std::size_t(machine_.n_vocab));
    const std::int64_t step_ns = clock_.mono_ns() - start_ns;
    ++counts_.steps_total;
    counts_.prompt_tokens_total += n_prefill;
    const auto prefill_ns = std::int64_t(double(step_ns) * double(n_prefill) / double(n_total));
    counts_.prefill_ns_total += prefill_ns;
    counts_.decode_ns_total += step_ns - prefill_ns;
    if (const Status intact = machine_.intact(); !intact) return fail_running(intact.error());

    for (const SequencePtr& seq : running_) cache_.remember(seq->table, seq->tokens, seq->prefix);

    std::size_t n_used = 0;  // rows of logits
    for (std::size_t i = 0; i < running_.size(); ++i) {
        Sequence& seq = *running_[i];
        const bool prompt_goes_on = !seq.score && seq.table.n_tokens() < seq.n_known();
        if (plan_.n_rows[i] == 0 || prompt_goes_on) continue;
        const std::int64_t n = seq.score ? plan_.n_rows[i] : 1;
        const auto n_vocab = std::size_t(machine_.n_vocab);
        sample(seq, n, logits.subspan(n_used * n_vocab, std::size_t(n) * n_vocab));
        n_used += std::size_t(n);
    }
    CHECK(n_used == logit_rows_.size());
}

void StepLoop::fail_running(const Error& error) {
    log_error("model_changed", {{"error", error.message}});
    cache_.forget_all();
    for (const SequencePtr& seq : running_)
        retire(*seq, StopReason::failed, {.kind = ErrorKind::internal, .message = error.message});
}

void StepLoop::sample(Sequence& seq, std::int64_t n_rows, std::span<const float> logits) {
    if (seq.score) return next_scores(seq, n_rows, logits);
    if (seq.n_new_max == 0) return retire(seq, StopReason::length);
    next_token(seq, logits);
}

void StepLoop::next_token(Sequence& seq, std::span<const float> logits) {
    auto drawn = sampler_.draw(logits, seq.sampling, std::uint64_t(seq.n_generated),
                               {seq.tokens, std::size_t(seq.n_prompt)});
    if (seq.first_token_ns < 0) seq.first_token_ns = clock_.mono_ns();
    if (!drawn) return retire(seq, StopReason::failed, std::move(drawn.error()));
    if (!seq.ignore_end && machine_.tokenizer.ends_generation(*drawn))
        return retire(seq, StopReason::end_token);

    Output output{.id = *drawn, .text = {}, .score = {}, .top = {}};
    if (seq.sampling.n_logprobs >= 0) {
        const auto log_sum = sampler_.log_sum(logits);
        CHECK(log_sum.has_value());  // draw() has refused what has none
        output.score = TokenScore{*drawn, Sampler::logprob(logits, *drawn, *log_sum)};
        sampler_.best(logits, seq.sampling.n_logprobs, *log_sum, output.top);
    }
    seq.tokens.push_back(*drawn);
    ++seq.n_generated;
    ++counts_.output_tokens_total;
    const bool stopped = seq.text.push(piece_of(seq, *drawn), output.text);
    seq.sink->on_output(std::move(output));
    if (seq.first_output_ns < 0) seq.first_output_ns = clock_.mono_ns();
    if (stopped)
        retire(seq, StopReason::stop_string);
    else if (seq.n_generated == seq.n_new_max)
        retire(seq, StopReason::length);
}

std::string StepLoop::piece_of(Sequence& seq, TokenId id) const {
    std::string piece = machine_.tokenizer.piece(id, seq.at_text_start);
    seq.at_text_start = seq.at_text_start && !begins_text(machine_.tokenizer, id);
    return piece;
}

void StepLoop::next_scores(Sequence& seq, std::int64_t n_rows, std::span<const float> logits) {
    Engine::Scores& scores = seq.score->scores;
    const auto n_vocab = std::size_t(machine_.n_vocab);
    for (std::int64_t r = 0; r < n_rows; ++r) {
        const auto row = logits.subspan(std::size_t(r) * n_vocab, n_vocab);
        auto log_sum = sampler_.log_sum(row);
        if (!log_sum) return retire(seq, StopReason::failed, std::move(log_sum.error()));
        const TokenId next = seq.tokens[scores.logprobs.size() + 1];
        scores.logprobs.push_back(Sampler::logprob(row, next, *log_sum));
        if (seq.score->top_n > 0)
            sampler_.best(row, seq.score->top_n, *log_sum, scores.top.emplace_back());
    }
    if (seq.table.n_tokens() == seq.n_known()) retire(seq, StopReason::end_token);
}

// Frees what the sequence held, publishes that, and only then tells: who hears of the end finds
// room.
void StepLoop::retire(Sequence& seq, StopReason reason, Error error) {
    const std::int64_t now_ns = clock_.mono_ns();
    Finish finish{.reason = reason,
                  .text = {},
                  .error = std::move(error),
                  .n_prompt = seq.n_prompt,
                  .n_cached = seq.n_cached,
                  .n_generated = seq.n_generated};
    const bool ended = reason == StopReason::end_token || reason == StopReason::length;
    if (seq.text.finish(finish.text) && ended) finish.reason = StopReason::stop_string;
    const bool admitted = seq.admitted_ns >= 0, began = seq.first_token_ns >= 0;
    finish.queue_ns = (admitted ? seq.admitted_ns : now_ns) - seq.submitted_ns;
    if (admitted) finish.prefill_ns = (began ? seq.first_token_ns : now_ns) - seq.admitted_ns;
    if (began) finish.decode_ns = now_ns - seq.first_token_ns;
    if (seq.first_output_ns >= 0) finish.ttft_ns = seq.first_output_ns - seq.submitted_ns;
    finish.context_full = finish.reason == StopReason::length && seq.context_full;

    seq.retired = true;
    if (!bequeath(seq)) cache_.release(seq.table);
    {
        const std::lock_guard lock(mutex_);
        --n_inside_;
    }
    publish();
    if (seq.sink) {
        seq.sink->on_finish(std::move(finish));
        seq.sink.reset();
    } else if (reason == StopReason::end_token) {
        seq.score->done.set_value(std::move(seq.score->scores));
    } else {
        seq.score->done.set_value(std::unexpected(
            reason == StopReason::cancelled
                ? Error{.kind = ErrorKind::cancelled, .message = "the engine is shutting down"}
                : std::move(finish.error)));
    }
}

// The last of a group that runs leaves the prompt's blocks to the first that waits. The heir must
// not claim more than the one whose place it takes, or the banker's order might end with it.
bool StepLoop::bequeath(Sequence& seq) {
    if (seq.group < 0 || sibling_of(seq) != nullptr) return false;
    const std::int64_t n_tokens =
        std::min(seq.table.n_tokens(), seq.n_shareable() * model::kBlockTokens);
    if (n_tokens < model::kBlockTokens) return false;
    for (const SequencePtr& heir : waiting_) {
        if (heir->group != seq.group || heir->retired || heir->n_claim > seq.n_claim) continue;
        cache_.truncate(seq.table, n_tokens);
        heir->table = std::exchange(seq.table, KvTable());
        heir->n_cached = heir->table.n_tokens();
        return true;
    }
    return false;
}

void StepLoop::drop_retired() {
    const auto is_retired = [](const SequencePtr& seq) { return seq->retired; };
    std::erase_if(running_, is_retired);
    std::erase_if(waiting_, is_retired);
    // Who has inherited blocks has inherited the place as well.
    bool moved = false;
    for (SequencePtr& seq : waiting_) {
        if (seq->table.n_tokens() == 0) continue;
        seq->admitted_ns = clock_.mono_ns();
        running_.push_back(std::move(seq));
        moved = true;
    }
    if (moved) std::erase(waiting_, nullptr);
}

void StepLoop::publish() {
    const auto is_live = [](const SequencePtr& seq) { return !seq->retired; };
    counts_.n_running = std::count_if(running_.begin(), running_.end(), is_live);
    counts_.n_waiting = std::count_if(waiting_.begin(), waiting_.end(), is_live);
    counts_.n_paused = std::count_if(running_.begin(), running_.end(),
                                     [&](const SequencePtr& s) { return is_live(s) && s->paused; });
    counts_.n_blocks_used = cache_.n_used();
    counts_.n_blocks_remembered = cache_.n_remembered();
    const std::lock_guard lock(mutex_);
    published_ = counts_;
}

void StepLoop::cancel_all() {
    take();  // stop() lets nothing in after this
    for (const SequencePtr& seq : running_) retire(*seq, StopReason::cancelled);
    for (const SequencePtr& seq : waiting_) retire(*seq, StopReason::cancelled);
    drop_retired();
}

}  // namespace hearth::engine
