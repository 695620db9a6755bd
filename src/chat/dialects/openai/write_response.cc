// A complete answer as one chat.completion object, and the pieces that the stream shares with it.
#include "chat/dialects/openai/openai.h"

namespace hearth::chat::openai {
namespace {

struct Answer {
    std::string text, thinking;
    std::vector<ToolCall> calls;
    std::vector<TokenLogprob> logprobs;
    FinishReason reason = FinishReason::stop;
};

struct Collector {
    std::vector<Answer>& answers;
    Usage usage = {};

    Answer* at(std::int64_t index) {
        const bool known = index >= 0 && std::size_t(index) < answers.size();
        return known ? &answers[std::size_t(index)] : nullptr;
    }
    void operator()(const Started&) {}
    void operator()(const TextDelta& e) {
        Answer* a = at(e.index);
        if (!a) return;
        a->text += e.text;
        a->logprobs.insert(a->logprobs.end(), e.logprobs.begin(), e.logprobs.end());
    }
    void operator()(const ThinkingDelta& e) {
        if (Answer* a = at(e.index)) a->thinking += e.text;
    }
    void operator()(const ToolCallStart& e) {
        if (Answer* a = at(e.index)) a->calls.push_back({e.id, e.name, ""});
    }
    void operator()(const ToolCallDelta& e) {
        Answer* a = at(e.index);
        if (a && e.call >= 0 && std::size_t(e.call) < a->calls.size())
            a->calls[std::size_t(e.call)].arguments += e.arguments;
    }
    void operator()(const AnswerDone& e) {
        if (Answer* a = at(e.index)) a->reason = e.reason;
    }
    void operator()(const Finished& e) { usage = e.usage; }
    void operator()(const Failed&) {}
};

void write_message(JsonWriter& out, const Answer& answer) {
    out.begin_object().field("role", "assistant");
    // Empty rather than null on a turn of calls alone: clients join it with strings.
    out.field("content", answer.text).key("refusal").null();
    if (!answer.thinking.empty()) out.field("reasoning_content", answer.thinking);
    if (!answer.calls.empty()) {
        out.key("tool_calls").begin_array();
        for (const ToolCall& call : answer.calls) {
            out.begin_object().field("id", call.id).field("type", "function");
            out.key("function").begin_object().field("name", call.name);
            out.field("arguments", call.arguments).end_object().end_object();
        }
        out.end_array();
    }
    out.end_object();
}

// A token's own bytes may cut a code point: `token` is repaired, `bytes` are exact.
void write_token(JsonWriter& out, std::string_view token, double logprob) {
    out.field("token", token).field("logprob", logprob).key("bytes").begin_array();
    for (const char c : token) out.value(int(static_cast<unsigned char>(c)));
    out.end_array();
}

}  // namespace

const char* finish_reason_of(FinishReason reason, bool made_calls) {
    if (made_calls && reason == FinishReason::stop) return name_of(FinishReason::tool_calls);
    return name_of(reason);
}

void write_usage(JsonWriter& out, const Usage& usage) {
    out.begin_object().field("prompt_tokens", usage.input_tokens);
    out.field("completion_tokens", usage.output_tokens);
    out.field("total_tokens", usage.input_tokens + usage.output_tokens);
    out.key("prompt_tokens_details").begin_object();
    out.field("cached_tokens", usage.cached_tokens).field("audio_tokens", 0).end_object();
    out.key("completion_tokens_details").begin_object();
    out.field("reasoning_tokens", usage.reasoning_tokens).field("audio_tokens", 0);
    out.field("accepted_prediction_tokens", 0).field("rejected_prediction_tokens", 0);
    out.end_object().end_object();
}

void write_logprobs(JsonWriter& out, std::span<const TokenLogprob> logprobs) {
    out.begin_object().key("content").begin_array();
    for (const TokenLogprob& one : logprobs) {
        out.begin_object();
        write_token(out, one.token, one.logprob);
        out.key("top_logprobs").begin_array();
        for (const TokenLogprob::Top& top : one.top) {
            out.begin_object();
            write_token(out, top.token, top.logprob);
            out.end_object();
        }
        out.end_array().end_object();
    }
    out.end_array().key("refusal").null().end_object();
}

std::string write_response(const ChatRequest& request, const ResponseHead& head,
                           std::span<const Event> events) {
    std::vector<Answer> answers(std::size_t(std::max<std::int64_t>(1, request.n)));
    Collector collector{answers};
    for (const Event& event : events) std::visit(collector, event);

    JsonWriter out;
    out.begin_object().field("id", head.id).field("object", "chat.completion");
    out.field("created", head.created_s).field("model", head.model);
    if (!head.system_fingerprint.empty()) out.field("system_fingerprint", head.system_fingerprint);
    out.key("choices").begin_array();
    for (std::size_t i = 0; i < answers.size(); ++i) {
        const Answer& answer = answers[i];
        out.begin_object().field("index", std::int64_t(i)).key("message");
        write_message(out, answer);
        out.key("logprobs");
        if (request.logprobs) {
            write_logprobs(out, answer.logprobs);
        } else {
            out.null();
        }
        out.field("finish_reason", finish_reason_of(answer.reason, !answer.calls.empty()));
        out.end_object();
    }
    out.end_array().key("usage");
    write_usage(out, collector.usage);
    out.end_object();
    return out.take();
}

}  // namespace hearth::chat::openai
