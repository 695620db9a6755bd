#include "chat/estimate.h"

namespace hearth::chat {
namespace {

// What a place's template writes around a message, a tool or a call: role, separators, brackets.
// Common templates take 3 to 8 tokens.
constexpr std::int64_t kFrameTokens = 4;
constexpr std::int64_t kFrameTokensMax = 32;
// What it may write once: a preamble about tools, a form to answer in, a default system message.
constexpr std::int64_t kOnceTokensMax = 512;

struct Counter {
    std::int64_t n_text_bytes = 0, n_sound_bytes = 0, n_ids = 0, n_frames = 0;

    void text(const std::string& text) { n_text_bytes += std::int64_t(text.size()); }
    void message(const Message& message) {
        ++n_frames;
        for (const Part& part : message.parts) {
            if (const auto* p = std::get_if<TextPart>(&part)) text(p->text);
            if (const auto* p = std::get_if<AudioPart>(&part))
                n_sound_bytes += std::int64_t(p->data_base64.size());
        }
        for (const ToolCall& call : message.tool_calls) {
            ++n_frames;
            text(call.id), text(call.name), text(call.arguments);
        }
        text(message.tool_call_id), text(message.name), text(message.thinking);
    }
    void tool(const Tool& tool) {
        ++n_frames;
        text(tool.name), text(tool.description), text(to_text(tool.parameters));
    }
};

struct AnswerBytes {
    std::int64_t operator()(const TextDelta& e) const { return std::int64_t(e.text.size()); }
    std::int64_t operator()(const ThinkingDelta& e) const { return std::int64_t(e.text.size()); }
    std::int64_t operator()(const ToolCallStart& e) const { return std::int64_t(e.name.size()); }
    std::int64_t operator()(const ToolCallDelta& e) const {
        return std::int64_t(e.arguments.size());
    }
    template <class Other>
    std::int64_t operator()(const Other&) const {
        return 0;
    }
};

}  // namespace

std::int64_t estimated_tokens(std::int64_t n_bytes) {
    return n_bytes / 4 + (n_bytes % 4 > 0 ? 1 : 0);
}

PromptSize size_of_prompt(const ChatRequest& request) {
    Counter counter;
    for (const Message& message : request.messages) counter.message(message);
    for (const Tool& tool : request.tools) counter.tool(tool);
    counter.text(request.tool_choice.name);
    if (request.response_format.kind == ResponseFormat::Kind::json_schema) {
        counter.text(request.response_format.name);
        counter.text(to_text(request.response_format.schema));
    }
    for (const auto& [name, value] : request.template_kwargs)
        counter.text(name), counter.text(to_text(value));
    if (request.raw) {
        counter.n_ids = std::int64_t(request.raw->ids.size());
        if (counter.n_ids == 0) counter.text(request.raw->text);
    }
    const std::int64_t n_bytes = counter.n_text_bytes;
    return {.n_tokens = estimated_tokens(n_bytes) + counter.n_ids + counter.n_frames * kFrameTokens,
            .n_tokens_max = n_bytes + counter.n_sound_bytes + counter.n_ids +
                            counter.n_frames * kFrameTokensMax + kOnceTokensMax};
}

std::int64_t answer_bytes(const Event& event) {
    return std::visit(AnswerBytes{}, event);
}

}  // namespace hearth::chat
