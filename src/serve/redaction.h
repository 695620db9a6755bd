// Redaction of a request on its way out, and of its answer on the way back: route/redact.h applied
// to the waist's values.
//
// Replaced: texts of messages, reasoning handed back, arguments of calls (in their JSON strings and
// numbers), descriptions and schemas of tools. Names of tools and participants, ids, stop words and
// the like are not: they must stay what they are. Whoever redacts scans the result again, so that
// a value in one of those keeps the request here.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "serve/inspector.h"

namespace hearth::serve {

// Null where it has more values than kPseudonymsMax.
std::shared_ptr<const Redaction> redact_request(const chat::ChatRequest& request,
                                                const route::Detectors& detectors,
                                                const Secret& key, std::string_view conversation);

// The answer's events with the values back in their places. What could still become a pseudonym is
// held back until it is one or not, at the latest until its answer is done.
class AnswerRestorer {
  public:
    explicit AnswerRestorer(std::shared_ptr<const Redaction> redaction)
        : redaction_(std::move(redaction)) {}
    std::vector<chat::Event> pass(chat::Event event);

    std::int64_t n_restored() const;
    std::int64_t n_altered() const;
    // {"values":{"email":2},"n_restored":3,"n_altered":0}: what the outcome says of it.
    std::string json() const;

  private:
    enum class Channel : std::int64_t { text = -1, thinking = -2 };  // 0, 1, …: a call's arguments
    using Place = std::pair<std::int64_t, std::int64_t>;             // answer, channel
    route::Restorer& at(std::int64_t answer, std::int64_t channel);
    void finish(std::int64_t answer, std::vector<chat::Event>& out);
    void finish_all(std::vector<chat::Event>& out);

    const std::shared_ptr<const Redaction> redaction_;
    std::map<Place, route::Restorer> open_;
    std::int64_t n_restored_ = 0, n_altered_ = 0;  // of those that are finished
};

}  // namespace hearth::serve
