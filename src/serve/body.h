// Bodies: what is kept of a request and its answer where the installation asks for it
// (journal.content), as JSON.
//
//   prompt   {"request": the request in the OpenAI dialect, "raw"?: {"text", "ids"},
//             "prompt_ids"?: [...]}     prompt_ids: what a local model was given
//   answer   {"answers": [{"index", "text", "thinking"?, "tool_calls"?: [{"id", "name",
//             "arguments"}], "finish_reason"?, "tokens"?}]}     no finish_reason: cut off
//
// What is kept is what the caller sent and got: where a request left redacted, the values and not
// their pseudonyms.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "chat/chat.h"

namespace hearth::serve {

struct KeptContent {
    bool prompts = false, answers = false;
    chat::Sensitivity class_max = chat::Sensitivity::internal;  // above it nothing is kept
};

std::string prompt_body(const chat::ChatRequest& request, const backend::Prompt* prompt);
// The request that prompt_body() was made of, as far as an answer depends on it.
// Errors: invalid_request for text that prompt_body() does not make.
Result<chat::ChatRequest> request_from_body(const std::string& body);

// An answer, gathered while it passes.
class AnswerBody {
  public:
    // AnswerDone with its tokens, before they are taken from it.
    void add(const chat::Event& event);
    bool too_long() const { return too_long_; }
    // Empty where nothing was answered.
    std::string json() const;

  private:
    struct Call {
        std::string id, name, arguments;
    };
    struct Answer {
        std::string text, thinking;
        std::map<std::int64_t, Call> calls;
        std::string finish_reason;
        std::vector<std::int32_t> tokens;
    };
    std::map<std::int64_t, Answer> answers_;
    std::size_t n_bytes_ = 0;
    bool too_long_ = false;
};

}  // namespace hearth::serve
