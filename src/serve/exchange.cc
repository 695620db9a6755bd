#include "serve/exchange.h"

#include <algorithm>

#include "base/check.h"
#include "base/format.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/log.h"
#include "chat/estimate.h"
#include "route/cost.h"
#include "route/policy.h"
#include "serve/digests.h"

namespace hearth::serve {
namespace {

// Failures that say something about the place, not about the request: another place may do better.
bool may_fall_back(ErrorKind kind) {
    switch (kind) {
        case ErrorKind::upstream_failed:
        case ErrorKind::timeout:
        case ErrorKind::overloaded:
        case ErrorKind::does_not_fit:
        case ErrorKind::internal:
            return true;
        default:
            return false;
    }
}

const char* outcome_of(const Error& error) {
    if (error.kind == ErrorKind::cancelled) return "cancelled";
    if (error.kind == ErrorKind::forbidden_by_policy) return "refused";
    return "failed";
}

// For the journal. What is wrong with a request may be said in its own words (a template's
// raise_exception), so only where it is wrong is kept of that; and an upstream's words may be
// anybody's.
std::string error_text(const Error& error) {
    if (error.kind == ErrorKind::invalid_request)
        return error.param.empty() ? std::string(name_of(error.kind))
                                   : format("{}: {}", name_of(error.kind), error.param);
    const std::size_t n_own = error.message.size() - error.n_foreign;
    return format("{}: {}", name_of(error.kind), std::string_view(error.message).substr(0, n_own));
}

void add(chat::Usage& sum, const chat::Usage& usage) {
    sum.input_tokens += usage.input_tokens;
    sum.cached_tokens += usage.cached_tokens;
    sum.output_tokens += usage.output_tokens;
    sum.reasoning_tokens += usage.reasoning_tokens;
    sum.estimated = sum.estimated || usage.estimated;
}

// What an event takes in memory, about: its text, and the value that holds it.
std::size_t bytes_of(const chat::Event& event) {
    std::size_t n = sizeof event + std::size_t(chat::answer_bytes(event));
    if (const auto* text = std::get_if<chat::TextDelta>(&event)) {
        for (const chat::TokenLogprob& score : text->logprobs) {
            n += sizeof score + score.token.size();
            for (const auto& top : score.top) n += sizeof top + top.token.size();
        }
    } else if (const auto* call = std::get_if<chat::ToolCallStart>(&event)) {
        n += call->id.size();
    } else if (const auto* done = std::get_if<chat::AnswerDone>(&event)) {
        n += done->tokens.size() * sizeof(std::int32_t);
    }
    return n;
}

}  // namespace

int http_status_of(ErrorKind kind) {
    switch (kind) {
        case ErrorKind::invalid_request:
        case ErrorKind::context_overflow:
            return 400;
        case ErrorKind::unauthorized:
            return 401;
        case ErrorKind::forbidden_by_policy:
            return 403;
        case ErrorKind::not_found:
            return 404;
        case ErrorKind::over_quota:
            return 429;
        case ErrorKind::cancelled:
            return 499;  // nobody reads it; the access log does
        case ErrorKind::upstream_failed:
            return 502;
        case ErrorKind::overloaded:
        case ErrorKind::does_not_fit:
            return 503;
        case ErrorKind::timeout:
            return 504;
        case ErrorKind::internal:
            return 500;
    }
    return 500;
}

void Exchange::begin(House& house, std::shared_ptr<chat::ChatRequest> request, Origin origin,
                     std::shared_ptr<ExchangeClient> client) {
    const std::shared_ptr<Exchange> exchange(
        new Exchange(house, std::move(request), std::move(origin), std::move(client)));
    exchange->run();
}

Exchange::Exchange(House& house, std::shared_ptr<chat::ChatRequest> request, Origin origin,
                   std::shared_ptr<ExchangeClient> client)
    : house_(house),
      request_(std::move(request)),
      origin_(std::move(origin)),
      client_(std::move(client)),
      caller_(origin_.caller) {}

void Exchange::run() {
    // A seed of our own makes every answer repeatable: the journal keeps it.
    if (!request_->sampling.seed) request_->sampling.seed = random_u64() >> 1;
    if (Status ok = check_addresses(*request_); !ok)
        return refuse_before_deciding(std::move(ok.error()), "remote-address");
    Ticket* const ticket = origin_.ticket.get();
    if (Status ok = ticket ? ticket->reserve(*request_, caller_, origin_.n_body_bytes) : Status();
        !ok)
        return refuse_before_deciding(std::move(ok.error()), "quota");
    why_ =
        explain(house_.places, house_.policy, *request_, house_.offline, house_.inspector, caller_);
    target_ = decision().target;
    reason_ = decision().reason;
    // The decision stays on record as it was made; what is answered is the key's bound.
    if (auto error = ticket
                         ? ticket->decided(decision(), why_.facts, why_.targets, origin_.request_id)
                         : std::nullopt) {
        why_.decision.refused = true;
        why_.decision.error = std::move(*error);
        reason_ = "quota";
    }
    journal_decision(reason_);
}

void Exchange::refuse_before_deciding(Error error, const char* reason) {
    why_.decision.refused = true;
    why_.decision.error = std::move(error);
    why_.decision.sensitivity = request_->stated_sensitivity.value_or(house_.policy.unstated);
    reason_ = reason;
    journal_decision(reason_);
}

void Exchange::journal_decision(const std::string& reason) {
    journal::DecisionRecord record;
    record.request_id = origin_.request_id;
    record.endpoint = origin_.endpoint;
    record.peer = origin_.peer;
    record.model_asked = request_->model;
    record.reason = reason;
    record.sensitivity = chat::name_of(decision().sensitivity);
    record.decision_json = why_.json;
    record.key_id = caller_.key_id;
    if (house_.inspector)
        record.prompt_digest = prompt_digest(house_.inspector->key(), *request_, why_.prompt.get());
    record.n_prompt_tokens = why_.facts.n_prompt_tokens;
    if (n_fallbacks_ == 0) record.body = prompt_record();  // once
    if (decision().refused) {
        record.route = "refused";
        record.http_status = http_status_of(decision().error.kind);
    } else {
        record.route = route::name_of(target().tier);
        record.model = target().model;
        record.upstream = target().upstream;
        record.sync_first = route::leaves_machine(target()) &&
                            decision().sensitivity >= chat::Sensitivity::confidential;
    }
    house_.journal.append(std::move(record), [self = shared_from_this()](Status status) {
        self->on_written(std::move(status));
    });
}

void Exchange::on_written(Status status) {
    if (!status)
        log_error("journal_failed",
                  {{"request", origin_.request_id}, {"error", status.error().message}});
    if (decision().refused) return refuse();
    // Local answers go on: nothing leaves. Everything else is closed until it can be written.
    if (!status && route::leaves_machine(target())) {
        const bool full = status.error().kind == ErrorKind::overloaded;
        return on_event(chat::Failed{
            {.kind = full ? ErrorKind::overloaded : ErrorKind::internal,
             .message = "the decision could not be written down, so nothing was sent: " +
                        status.error().message,
             .retry_after_s = status.error().retry_after_s}});
    }
    if (!house_.prep.post([self = shared_from_this()] { self->start(); }))
        on_event(chat::Failed{{.kind = ErrorKind::overloaded,
                               .message = "too many requests are being prepared; try again",
                               .retry_after_s = kRetryAfterS}});
}

bool Exchange::leaves() const {
    return !decision().refused && route::leaves_machine(target());
}

void Exchange::refuse() {
    client_->on_placed({origin_.request_id, "refused", "", reason_, why_.json, true});
    finish(chat::Failed{decision().error});
}

void Exchange::place() {
    client_->on_placed({origin_.request_id, route::name_of(target().tier),
                        route::label_of(target()), reason_, why_.json,
                        n_fallbacks_ >= decision().fallbacks.size()});
}

void Exchange::start() {
    place();
    auto backend = house_.places.backend(target_);
    if (!backend) return on_event(chat::Failed{backend.error()});
    if (!find_prompt()) return;
    backend::Job job;
    job.request = request_;
    job.model = target().model;
    job.sink = shared_from_this();
    job.sensitivity = decision().sensitivity;
    job.prompt = prompt_;
    job.owner = caller_.key_id;
    restorer_.reset();
    if (house_.content.answers && !*why_not_kept()) answer_body_ = std::make_unique<AnswerBody>();
    if (leaves() && decision().redacted) {
        const auto& redaction = why_.inspection.redaction;
        CHECK(redaction != nullptr);  // the decision has it from there
        job.request = redaction->request;
        restorer_ = std::make_unique<AnswerRestorer>(redaction);
    } else {
        mark_request();
    }
    if (auto permit = route::PermitMint::mint(decision(), why_.targets, target_, origin_.request_id,
                                              caller_.key_id))
        job.permit = std::make_unique<egress::EgressPermit>(std::move(*permit));
    left_machine_ = left_machine_ || leaves();
    if (house_.ledger && !leaves()) computing_ = house_.ledger->meter().begin();
    (*backend)->start(std::move(job));
    // Its key may have ended since it was let in, and been forgotten before the engine had this
    // request. From here on the server's tick sees it.
    const std::string& key = caller_.key_id;
    if (house_.keys && !key.empty() && house_.keys->has_ended(key)) house_.places.forget(key);
}

// The prompt of a local place: the counted one is that of the candidate, and another model has
// another vocabulary. False where the exchange has ended over it.
bool Exchange::find_prompt() {
    prompt_.reset();
    token_digests_.clear();
    if (!house_.places.is_local(target_)) return true;
    if (house_.places.local_candidate(request_->model) == target_) prompt_ = why_.prompt;
    if (prompt_) return true;
    auto made = house_.places.loaded(target_)->prepare(*request_);
    if (!made) return on_event(chat::Failed{std::move(made.error())}), false;
    prompt_ = std::make_shared<const backend::Prompt>(std::move(*made));
    return true;
}

// Before the place sees it: whoever hears half an answer has heard it from a marked request.
void Exchange::mark_request() {
    Inspector* const inspector = house_.inspector;
    if (!inspector || !taint_.empty()) return;
    taint_ = inspector->mark(*request_, why_.inspection, request_->stated_sensitivity,
                             decision().sensitivity);
    if (!taint_.empty())
        marks_ = std::make_unique<AnswerMarks>(inspector->key(), why_.inspection.conversation);
}

void Exchange::on_event(chat::Event event) {
    if (ended_) return;
    if (const auto* failed = std::get_if<chat::Failed>(&event)) {
        if (try_fallback(*failed)) return;
    }
    if (auto* done = std::get_if<chat::AnswerDone>(&event)) note_tokens(*done);
    if (!restorer_) return deliver(std::move(event));
    for (chat::Event& restored : restorer_->pass(std::move(event))) deliver(std::move(restored));
}

void Exchange::deliver(chat::Event event) {
    if (ended_) return;
    if (chat::is_terminal(event)) return finish(event);
    if (passes_limit(event)) return;
    if (chat::is_delta(event) && !delta_seen_) {
        delta_seen_ = true;
        first_delta_ns_ = house_.clock.mono_ns();
        house_.metrics.time_to_first_token.observe(double(first_delta_ns_ - origin_.received_ns) /
                                                   double(kNsPerS));
    }
    if (marks_) marks_->add(event);
    if (answer_body_ && !std::holds_alternative<chat::AnswerDone>(event)) answer_body_->add(event);
    if (computing_.open) house_.ledger->meter().touch();  // long answers outlast its counters
    client_->on_event(std::move(event));
}

void Exchange::note_tokens(chat::AnswerDone& done) {
    if (house_.inspector && !leaves())
        token_digests_[done.index] = tokens_digest(house_.inspector->key(), done.tokens);
    if (answer_body_) answer_body_->add(done);
    if (!request_->return_tokens) done.tokens.clear();
}

void Exchange::stop_meter() {
    if (!house_.ledger) return;
    const route::EnergyReading reading = house_.ledger->meter().end(computing_);
    energy_.busy_ns += reading.busy_ns;
    energy_.energy_uj += reading.energy_uj;
    if (energy_.source != route::EnergySource::estimate &&
        reading.source != route::EnergySource::none)
        energy_.source = reading.source;
}

std::int64_t Exchange::cost_of(const chat::Usage& usage) const {
    const auto price = route::price_of(target().input_usd_per_mtok, target().output_usd_per_mtok);
    return route::cost_microusd(price.value_or(route::Price{}), usage.input_tokens,
                                usage.output_tokens);
}

// Ends the exchange where the answer has become too long to keep; the backend then finds itself
// cancelled.
bool Exchange::passes_limit(const chat::Event& event) {
    if (!client_->keeps_answer()) return false;
    n_kept_bytes_ += bytes_of(event);
    n_text_bytes_ += chat::answer_bytes(event);
    if (n_kept_bytes_ <= house_.answer_bytes_max) return false;
    too_long_ = true;
    const bool here = house_.places.is_local(target_);
    finish(chat::Failed{
        {.kind = here ? ErrorKind::invalid_request : ErrorKind::upstream_failed,
         .message =
             format("{}: the answer passes {} bytes, which is more than is kept before it is "
                    "whole; ask for it streamed, or for less of it",
                    route::label_of(target()), house_.answer_bytes_max)},
        {.input_tokens = why_.facts.n_prompt_tokens,
         .output_tokens = chat::estimated_tokens(n_text_bytes_),
         .estimated = true}});
    return true;
}

bool Exchange::try_fallback(const chat::Failed& failed) {
    const Error& error = failed.error;
    if (delta_seen_ || decision().refused || !may_fall_back(error.kind)) return false;
    if (n_fallbacks_ >= decision().fallbacks.size() || client_->cancelled()) return false;
    log_warn("failover", {{"request", origin_.request_id},
                          {"from", route::label_of(target())},
                          {"error", name_of(error.kind)}});
    stop_meter();
    add(usage_failed_, failed.usage);
    cost_failed_microusd_ += cost_of(failed.usage);
    target_ = decision().fallbacks[n_fallbacks_++];
    reason_ = "failover";
    house_.metrics.fallbacks.fetch_add(1);
    journal_decision(reason_);
    return true;
}

void Exchange::finish(const chat::Event& terminal) {
    if (ended_) return;
    ended_ = true;
    stop_meter();
    if (marks_) house_.inspector->mark_answer(marks_->finish(), {taint_, decision().sensitivity});
    journal::OutcomeRecord record;
    record.request_id = origin_.request_id;
    record.key_id = caller_.key_id;
    record.task = request_->task;
    record.n_fallbacks = std::int64_t(n_fallbacks_);
    record.total_ns = house_.clock.mono_ns() - origin_.received_ns;
    record.route = decision().refused ? "refused" : route::name_of(target().tier);
    if (!decision().refused) {
        record.model = target().model;
        record.upstream = target().upstream;
    }
    if (const auto* done = std::get_if<chat::Finished>(&terminal)) {
        record.outcome = "finished";
        record.usage = done->usage;
        record.timings = done->timings;
        if (house_.places.is_local(target_)) {
            if (const auto* local = house_.places.loaded(target_))
                record.repro_json = repro_json(*local);
        }
    } else {
        const auto& [error, usage] = std::get<chat::Failed>(terminal);
        record.usage = usage;
        record.outcome = outcome_of(error);
        record.error = error_text(error);
    }
    if (restorer_) record.redaction_json = restorer_->json();
    record.body = answer_record();
    record.timings.ttft_ns = first_delta_ns_ ? first_delta_ns_ - origin_.received_ns : 0;
    record.usage_failed = usage_failed_;
    enter_ledger(record);
    chat::Usage used = usage_failed_;
    add(used, record.usage);
    record.usage_estimated = used.estimated;
    if (origin_.ticket)
        origin_.ticket->settle({.n_tokens = used.input_tokens + used.output_tokens,
                                .cost_microusd = record.cost_microusd,
                                .left_machine = left_machine_});
    Metrics& m = house_.metrics;
    m.input_tokens += used.input_tokens;
    m.cached_tokens += used.cached_tokens;
    m.output_tokens += used.output_tokens;
    m.request_duration.observe(double(record.total_ns) / double(kNsPerS));
    if (record.outcome == "finished" && house_.places.is_local(target_))
        m.queue_time.observe(double(record.timings.queue_ns) / double(kNsPerS));
    m.count_request(record.route, reason_, record.outcome);
    house_.journal.append(std::move(record));
    m.served += 1;  // after append(): what is counted must be on its way to the journal
    client_->on_event(terminal);
}

// The class is that of what was found, also where a statement lowered it.
const char* Exchange::why_not_kept() const {
    if (!house_.inspector || why_.json.empty()) return "unclassified";
    const Inspection& found = why_.inspection;
    auto sensitivity =
        std::max(decision().sensitivity, found.detected.value_or(chat::Sensitivity::public_));
    if (found.taint) sensitivity = std::max(sensitivity, found.taint->sensitivity);
    return sensitivity > house_.content.class_max ? "class" : "";
}

journal::BodyRecord Exchange::prompt_record() const {
    if (!house_.content.prompts) return {};
    if (const char* why = why_not_kept(); *why) return {.text = {}, .not_kept = why};
    return {.text = prompt_body(*request_, why_.prompt.get()), .not_kept = {}};
}

journal::BodyRecord Exchange::answer_record() const {
    if (!house_.content.answers || decision().refused) return {};
    if (const char* why = why_not_kept(); *why) return {.text = {}, .not_kept = why};
    if (!answer_body_) return {};
    if (answer_body_->too_long()) return {.text = {}, .not_kept = "too long"};
    return {.text = answer_body_->json(), .not_kept = {}};
}

void Exchange::enter_ledger(journal::OutcomeRecord& record) {
    const route::Target* place = decision().refused ? nullptr : &target();
    if (house_.ledger) return house_.ledger->enter(record, place, cost_failed_microusd_, energy_);
    record.cost_microusd = cost_failed_microusd_ + (place ? cost_of(record.usage) : 0);
}

std::string Exchange::repro_json(const backend::LocalBackend& local) const {
    return local.repro_json(*request_, [&](JsonWriter& out) {
        if (!house_.inspector || !prompt_) return;
        const Secret& key = house_.inspector->key();
        out.field("prompt_digest", prompt_digest(key, *request_, prompt_.get()));
        out.field("prompt_unix_s", prompt_->now_unix_s);
        if (!request_->stop.empty()) out.field("stop_digest", stop_digest(key, request_->stop));
        out.field("answer_digest", answer_digest(key, token_digests_));
    });
}

}  // namespace hearth::serve
