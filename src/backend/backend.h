// Backend: what can answer a request. Local engine, upstream over the door, and (tests) recordings.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "chat/chat.h"
#include "egress/permit.h"

namespace hearth::backend {

// A request as a local model sees it.
struct Prompt {
    std::string text;  // rendered; empty where the caller gave ids
    std::vector<TokenId> ids;
    std::int64_t now_unix_s = 0;  // the time that the template was told; 0: none was rendered
};

struct Job {
    std::shared_ptr<const chat::ChatRequest> request;
    std::string model;  // the backend's own name for the model
    std::shared_ptr<chat::EventSink> sink;
    // Local only: the prompt, where the decision has counted its tokens already.
    std::shared_ptr<const Prompt> prompt;
    // Local only: whose the prompt is, the id of a key or empty. What is computed of it is found
    // again by the same owner only.
    std::string owner = {};
    // Upstreams only; a backend that needs one and has none fails the job as internal.
    std::unique_ptr<egress::EgressPermit> permit;
    // The class that the decision found: a server of the operator's is told, because it decides
    // again. Unless somebody says otherwise it is the class that goes nowhere.
    chat::Sensitivity sensitivity = chat::Sensitivity::restricted;
};

class Backend {
  public:
    virtual ~Backend() = default;
    // Returns at once; events follow on the backend's own threads: Started, deltas, one terminal.
    // A refusal is a Failed event. Cancelling is the flag of the sink.
    virtual void start(Job job) = 0;
};

}  // namespace hearth::backend
