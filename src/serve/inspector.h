// Inspector: what the content of a request is, before anything is decided about it.
//
//   inspect   every text that could leave is scanned (route/sensitivity.h) and looked for among
//             the marks of earlier requests (route/taint.h); where policy lets content leave
//             redacted, the request is redacted and scanned again
//   mark      a request that is sensitive leaves marks, and so do the texts after it
//   answer    and so does what was answered
//
// All texts: messages of every role, reasoning handed back, calls and their results, names,
// definitions of tools, schemas, stop words, template arguments; not only the last message. Images
// and sound are not looked into, only marked.
//
// What a text was found to hold is remembered by its keyed hash, so that a history that is sent
// again costs a hash; of the text itself nothing is kept.
//
// Thread: any; inspect() on a prep thread.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/secret.h"
#include "chat/chat.h"
#include "route/decide.h"
#include "route/redact.h"
#include "route/sensitivity.h"
#include "route/taint.h"

namespace hearth::serve {

// What one text holds.
struct TextFindings {
    chat::Sensitivity sensitivity = chat::Sensitivity::internal;
    std::vector<route::EntityCount> entities;
    route::TextMarks marks;
};

// A request whose sensitive values are pseudonyms, and the way back.
struct Redaction {
    std::shared_ptr<const chat::ChatRequest> request;
    route::Pseudonyms pseudonyms;
    std::vector<route::EntityCount> entities;  // how many values of each kind were replaced
};

struct Inspection {
    std::optional<chat::Sensitivity> detected;
    std::vector<route::EntityCount> entities;
    std::optional<route::Taint> taint;
    route::Mark conversation{};
    // The class of each message by what is in it, and with what was marked.
    struct Of {
        chat::Sensitivity found = chat::Sensitivity::internal, with_taint = found;
    };
    std::vector<Of> messages;
    chat::Sensitivity elsewhere = chat::Sensitivity::internal;  // tools, schemas, raw prompts
    // Where the policy asks for it.
    std::optional<chat::Sensitivity> redacted_sensitivity;
    std::shared_ptr<const Redaction> redaction;
};

// The marks of what is answered, made while it passes.
class AnswerMarks {
  public:
    AnswerMarks(const Secret& key, const route::Mark& conversation)
        : key_(key), conversation_(conversation) {}
    void add(const chat::Event& event);
    std::vector<route::Mark> finish();  // once, last

  private:
    route::Marker& marker(std::int64_t answer, std::int64_t channel);
    const Secret& key_;
    const route::Mark conversation_;
    std::map<std::pair<std::int64_t, std::int64_t>, route::Marker> markers_;
};

class Inspector {
  public:
    // taint: null where nothing may be kept; then marks hold as long as nobody asks for them.
    Inspector(route::Detectors detectors, std::unique_ptr<route::TaintStore> taint, Secret key);
    ~Inspector();

    Inspection inspect(const chat::ChatRequest& request, const route::PolicySettings& policy);
    // For a request that was held to `sensitivity`, when it goes to a place that sees it as it is.
    // Returns the id of its marks; empty where it leaves none.
    std::string mark(const chat::ChatRequest& request, const Inspection& inspection,
                     std::optional<chat::Sensitivity> stated, chat::Sensitivity sensitivity);
    void mark_answer(std::vector<route::Mark> marks, const route::Taint& taint);

    const Secret& key() const { return key_; }
    route::TaintStore* taint() { return taint_.get(); }
    const route::Detectors& detectors() const { return detectors_; }

  private:
    using Remembered = std::shared_ptr<const TextFindings>;
    Remembered findings_of(std::string_view text, bool json);
    Remembered look(std::string_view text, bool json) const;
    void redact(const chat::ChatRequest& request, Inspection& inspection);
    void look_for_taint(Inspection& inspection, std::size_t message, const TextFindings& findings);

    const route::Detectors detectors_;
    const std::unique_ptr<route::TaintStore> taint_;
    const Secret key_, cache_key_;

    std::mutex mutex_;  // guards what follows; held for look-ups only
    struct Slot {
        Remembered findings;
        std::list<std::string>::iterator age;
        std::size_t n_bytes;
    };
    std::unordered_map<std::string, Slot> cache_;
    std::list<std::string> ages_;  // the newest first
    std::size_t cache_bytes_ = 0;
};

// A part of a request that is text.
struct TextRef {
    std::ptrdiff_t message = -1;  // index; -1: none
    std::string_view text;
    bool json = false;  // JSON text: what is escaped counts too
};
// Lends views into the request and into `made`, which keeps what had to be put together.
std::vector<TextRef> texts_of(const chat::ChatRequest& request, std::list<std::string>& made);

// The strings and numbers of a JSON text, a line each; empty where it is no JSON.
std::string leaves_of(std::string_view json);

}  // namespace hearth::serve
