// Format: the waist ↔ a model's text. Renders a request as the prompt text that the model was
// trained on, and parses what it writes back into deltas (thinking, tool calls, text). Pure.
//
// `format_jinja` renders the model's own chat template; formats with parsers of their own
// (tool-call syntaxes) are further files of chat/formats.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "chat/chat.h"

namespace hearth::chat {

namespace jinja {
class Template;
}

// What a format may know of the model, taken from its file.
struct FormatModel {
    std::string chat_template;  // Jinja source; may be empty
    std::string bos_token, eos_token;
    std::int64_t now_unix_s = 0;  // for strftime_now; a parameter, so that rendering is repeatable

    // Filled by prepare(): the parsed template. Without it every render parses the template again.
    std::shared_ptr<const jinja::Template> parsed = {};
    bool wants_parts = false;  // the template takes content only as a list of parts
};
// Once per model. Errors: invalid_request with the place in the template that is wrong.
Status prepare(FormatModel& model);

// Parses one answer's text as it arrives: text, thinking and tool calls come out in order, and what
// turns out not to be a well-formed call comes out as text. Nothing is lost but the call's own
// markup.
class AnswerParser {
  public:
    virtual ~AnswerParser() = default;
    virtual std::vector<Event> feed(std::string_view text) = 0;
    // No more text comes. May turn `stop` into `tool_calls`.
    virtual std::vector<Event> finish(FinishReason& reason) = 0;
};

struct Format {
    const char* name;  // the file's stem
    // Whether this format is the one for a model with this template; the first that says yes in
    // table order is taken, `jinja` says yes to every non-empty template.
    bool (*matches)(const FormatModel&);
    // Errors: invalid_request when the template refuses the messages (its words in the message).
    Result<std::string> (*render)(const FormatModel&, const ChatRequest&);
    // prompt: what render() gave. Thinking is parsed where the template mentions it, and may have
    // been opened by the prompt.
    std::unique_ptr<AnswerParser> (*new_parser)(const FormatModel&, const ChatRequest&,
                                                std::string_view prompt, std::int64_t answer_index);
};

extern const Format* const format_table[];
extern const std::size_t format_table_size;
// Errors: invalid_request when the model has no template and no format knows it.
Result<const Format*> find_format(const FormatModel& model);

}  // namespace hearth::chat
