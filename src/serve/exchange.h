// Exchange: one request's life as one state machine, whoever asked (HTTP, terminal).
//
//   begin      quota → inspect → facts → decide → journal        (prep thread)
//   written    refused: one Failed                               (journal thread)
//              else the chosen place starts                      (prep thread)
//   events     Started (delta)* (Finished | Failed) to the client (the backend's thread)
//              a failure before the first delta tries the next fallback; its decision is written
//              first
//   end        marks of what is sensitive, outcome to the journal, figures to the metrics
//
// Invariants: (1) no backend starts before its decision is written; if it cannot be written nothing
//                 leaves the machine.
//             (2) the client sees at most one place's deltas, and exactly one terminal event.
//             (3) a permit exists only for the target at hand, and only if the decision names it.
//             (4) where the decision says redacted, a place beyond this machine gets the redacted
//                 request and nothing else.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "base/clock.h"
#include "chat/chat.h"
#include "journal/journal.h"
#include "journal/ledger.h"
#include "route/decide.h"
#include "serve/body.h"
#include "serve/caller.h"
#include "serve/inspector.h"
#include "serve/keys.h"
#include "serve/limits.h"
#include "serve/metrics.h"
#include "serve/places.h"
#include "serve/prep_pool.h"
#include "serve/quota.h"
#include "serve/redaction.h"

namespace hearth::serve {

// What every exchange shares.
struct House {
    Places& places;
    journal::Journal& journal;
    Metrics& metrics;
    PrepPool& prep;
    route::PolicySettings policy;
    bool offline = false;
    const Clock& clock = system_clock();
    std::size_t answer_bytes_max = kAnswerBytesMax;
    // What looks into content; null: nobody does, and only what is stated counts.
    Inspector* inspector = nullptr;
    journal::Ledger* ledger = nullptr;  // null: only what others are paid is recorded
    KeptContent content = {};           // what is kept of prompts and answers; nothing
    KeyStore* keys = nullptr;           // null: no key ends while its request is under way
};

// What was decided and from what: everything needed to explain or replay it.
struct Explanation {
    route::Facts facts;
    std::vector<route::Target> targets;
    route::Decision decision;
    std::string json;
    // The prompt, where a local model has counted its tokens.
    std::shared_ptr<const backend::Prompt> prompt;
    Inspection inspection;
};
// The decision for a request, without running it. Loads the local model that would be asked first,
// because only it can count the prompt. explain.cc
Explanation explain(Places& places, const route::PolicySettings& policy,
                    const chat::ChatRequest& request, bool offline, Inspector* inspector = nullptr,
                    const Caller& caller = local_operator());
// Errors: invalid_request for an address that somebody would have to fetch: that is egress too, and
// none that a decision allows.
Status check_addresses(const chat::ChatRequest& request);

// Where an answer comes from, as the response headers say it.
struct Placement {
    std::string request_id;
    std::string route;   // local | fleet | cloud | refused
    std::string model;   // "demo", "acme/big-1"; empty when refused
    std::string reason;  // reason code
    std::string decision_json;
    bool final = true;  // no fallback is left: headers may go out
};

// Requires: whoever implements it holds an OpenRequest of the house's metrics for as long as it
// lives.
class ExchangeClient {
  public:
    virtual ~ExchangeClient() = default;
    // Before the first event of a place; again if another place takes over.
    virtual void on_placed(const Placement& placement) = 0;
    virtual void on_event(chat::Event event) = 0;
    virtual bool ready() const { return true; }
    virtual bool cancelled() const { return false; }
    // Whether the answer stays in memory until it is whole. ready() cannot hold such a one back, so
    // it has a bound: House::answer_bytes_max. Asked before the first event.
    virtual bool keeps_answer() const { return false; }
};

struct Origin {
    std::string request_id;        // "req-…"
    std::string endpoint;          // "/v1/chat/completions", "cli run"
    std::string peer;              // "127.0.0.1:51234", "unix", "terminal"
    std::int64_t received_ns = 0;  // when the request was fully read; starts TTFT
    std::size_t n_body_bytes = 0;  // of the request as it came
    Caller caller = local_operator();
    std::shared_ptr<Ticket> ticket = nullptr;  // of the key's quota; none without a key
};

class Exchange final : public chat::EventSink, public std::enable_shared_from_this<Exchange> {
  public:
    // Returns at once or after loading the model that is asked for; the client hears the rest.
    // Requires: called on a prep thread (or one that may wait); the house outlives the exchange.
    static void begin(House& house, std::shared_ptr<chat::ChatRequest> request, Origin origin,
                      std::shared_ptr<ExchangeClient> client);

    void on_event(chat::Event event) override;
    bool ready() const override { return client_->ready(); }
    bool cancelled() const override { return too_long_ || client_->cancelled(); }

  private:
    Exchange(House& house, std::shared_ptr<chat::ChatRequest> request, Origin origin,
             std::shared_ptr<ExchangeClient> client);

    void run();
    void refuse_before_deciding(Error error, const char* reason);
    void journal_decision(const std::string& reason);
    void on_written(Status status);
    void refuse();
    void start();
    bool leaves() const;  // the target at hand is beyond this machine
    bool find_prompt();
    void mark_request();
    void deliver(chat::Event event);
    void note_tokens(chat::AnswerDone& done);
    bool try_fallback(const chat::Failed& failed);
    std::int64_t cost_of(const chat::Usage& usage) const;  // at the target at hand
    bool passes_limit(const chat::Event& event);
    // Why nothing of this request is kept: "" where it is.
    const char* why_not_kept() const;
    journal::BodyRecord prompt_record() const;
    journal::BodyRecord answer_record() const;
    void enter_ledger(journal::OutcomeRecord& record);
    void stop_meter();
    std::string repro_json(const backend::LocalBackend& local) const;
    void finish(const chat::Event& terminal);
    void place();
    const route::Decision& decision() const { return why_.decision; }
    const route::Target& target() const { return why_.targets[target_]; }

    House& house_;
    const std::shared_ptr<chat::ChatRequest> request_;
    const Origin origin_;
    const std::shared_ptr<ExchangeClient> client_;
    Caller caller_;  // with what the quota leaves of its scopes

    // Handed from thread to thread with the exchange: each step ends before the next begins.
    Explanation why_;
    std::size_t target_ = 0;
    std::size_t n_fallbacks_ = 0;
    std::string reason_;
    bool delta_seen_ = false, ended_ = false, left_machine_ = false;
    std::int64_t first_delta_ns_ = 0;
    std::size_t n_kept_bytes_ = 0;        // of a whole answer: what its events take in memory
    std::int64_t n_text_bytes_ = 0;       // and the text in them
    std::atomic<bool> too_long_ = false;  // backends look from several threads
    // Of the place at hand.
    std::shared_ptr<const backend::Prompt> prompt_;      // local places
    std::map<std::int64_t, std::string> token_digests_;  // by answer
    std::unique_ptr<AnswerRestorer> restorer_;
    // Of what is sensitive and seen here as it is.
    std::string taint_;
    std::unique_ptr<AnswerMarks> marks_;
    std::unique_ptr<AnswerBody> answer_body_;  // where answers are kept
    journal::EnergyMeter::Ticket computing_;
    route::EnergyReading energy_;
    // Of places that failed and were replaced.
    chat::Usage usage_failed_;
    std::int64_t cost_failed_microusd_ = 0;
};

// The one mapping of error kinds to HTTP.
int http_status_of(ErrorKind kind);

}  // namespace hearth::serve
