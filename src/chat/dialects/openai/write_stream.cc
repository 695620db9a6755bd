// Events as chat.completion.chunk objects, one `data:` line each.
//
// The role chunk of an answer goes out with its first delta, not with Started: until then a failure
// can still become an HTTP status. A failure after it is a data object with `error`, and no [DONE]
// follows, so that a cut answer is never taken for a whole one.
#include "chat/dialects/openai/openai.h"

namespace hearth::chat::openai {
namespace {

struct Answer {
    bool opened = false;  // its role chunk is out
    bool made_calls = false;
};

struct State final : WriteState {
    ResponseHead head;
    bool logprobs = false;
    bool ended = false;
    std::vector<Answer> answers;
};

void begin_chunk(JsonWriter& out, const State& state) {
    out.begin_object().field("id", state.head.id).field("object", "chat.completion.chunk");
    out.field("created", state.head.created_s).field("model", state.head.model);
    if (!state.head.system_fingerprint.empty())
        out.field("system_fingerprint", state.head.system_fingerprint);
}

// Writes one whole chunk with one choice; `delta` fills its delta, `logprobs` may be nullptr.
template <class WriteDelta>
void add_chunk(std::string& to, const State& state, std::int64_t index, WriteDelta&& delta,
               const char* finish_reason, const std::vector<TokenLogprob>* logprobs = nullptr) {
    JsonWriter out;
    begin_chunk(out, state);
    out.key("choices").begin_array().begin_object().field("index", index);
    out.key("delta").begin_object();
    delta(out);
    out.end_object();
    if (logprobs) {
        out.key("logprobs");
        write_logprobs(out, *logprobs);
    }
    out.key("finish_reason");
    finish_reason ? out.value(finish_reason) : out.null();
    out.end_object().end_array();
    if (state.head.include_usage) out.key("usage").null();
    out.end_object();
    to.append("data: ").append(out.text()).append("\n\n");
}

struct Writer {
    State& state;
    std::string out;

    Answer* open(std::int64_t index) {
        if (index < 0 || std::size_t(index) >= state.answers.size()) return nullptr;
        Answer& answer = state.answers[std::size_t(index)];
        if (!answer.opened) {
            answer.opened = true;
            const auto role = [](JsonWriter& w) {
                w.field("role", "assistant").field("content", "");
            };
            add_chunk(out, state, index, role, nullptr);
        }
        return &answer;
    }

    void operator()(const Started&) {}
    void operator()(const TextDelta& e) {
        if (!open(e.index)) return;
        if (e.text.empty() && e.logprobs.empty()) return;
        const auto delta = [&](JsonWriter& w) { w.field("content", e.text); };
        const bool with = state.logprobs && !e.logprobs.empty();
        add_chunk(out, state, e.index, delta, nullptr, with ? &e.logprobs : nullptr);
    }
    void operator()(const ThinkingDelta& e) {
        if (!open(e.index) || e.text.empty()) return;
        const auto delta = [&](JsonWriter& w) { w.field("reasoning_content", e.text); };
        add_chunk(out, state, e.index, delta, nullptr);
    }
    void operator()(const ToolCallStart& e) {
        Answer* answer = open(e.index);
        if (!answer) return;
        answer->made_calls = true;
        const auto delta = [&](JsonWriter& w) {
            w.key("tool_calls").begin_array().begin_object().field("index", e.call);
            w.field("id", e.id).field("type", "function").key("function").begin_object();
            w.field("name", e.name).field("arguments", "").end_object().end_object().end_array();
        };
        add_chunk(out, state, e.index, delta, nullptr);
    }
    void operator()(const ToolCallDelta& e) {
        if (!open(e.index) || e.arguments.empty()) return;
        const auto delta = [&](JsonWriter& w) {
            w.key("tool_calls").begin_array().begin_object().field("index", e.call);
            w.key("function").begin_object().field("arguments", e.arguments).end_object();
            w.end_object().end_array();
        };
        add_chunk(out, state, e.index, delta, nullptr);
    }
    void operator()(const AnswerDone& e) {
        const Answer* answer = open(e.index);
        if (!answer) return;
        const char* reason = finish_reason_of(e.reason, answer->made_calls);
        add_chunk(out, state, e.index, [](JsonWriter&) {}, reason);
    }
    void operator()(const Finished& e) {
        if (state.head.include_usage) {
            JsonWriter w;
            begin_chunk(w, state);
            w.key("choices").begin_array().end_array().key("usage");
            write_usage(w, e.usage);
            w.end_object();
            out.append("data: ").append(w.text()).append("\n\n");
        }
        out += "data: [DONE]\n\n";
    }
    void operator()(const Failed& e) {
        out.append("data: ").append(write_error(e.error, 0)).append("\n\n");
    }
};

}  // namespace

std::unique_ptr<WriteState> new_write_state(const ChatRequest& request, const ResponseHead& head) {
    auto state = std::make_unique<State>();
    state->head = head;
    state->logprobs = request.logprobs;
    state->answers.resize(std::size_t(std::max<std::int64_t>(1, request.n)));
    return state;
}

std::string write_event(WriteState& opaque, const Event& event) {
    State& state = static_cast<State&>(opaque);
    if (state.ended) return "";
    state.ended = is_terminal(event);
    Writer writer{state, {}};
    std::visit(writer, event);
    return std::move(writer.out);
}

}  // namespace hearth::chat::openai
