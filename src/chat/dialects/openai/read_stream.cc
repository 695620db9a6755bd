// An upstream's chat.completion.chunk objects as events.
//
// Servers differ, so this reads what they mean: the role may be missing, reasoning comes as
// reasoning_content or reasoning, usage in a last chunk or in each, [DONE] may be missing after a
// finish reason. A tool call starts once its name and id are known; both may come split, late or
// repeated, and some servers send every parallel call under index 0 with an id of its own.
#include <map>

#include "base/format.h"
#include "chat/dialects/openai/openai.h"
#include "chat/fields.h"
#include "chat/limits.h"

namespace hearth::chat::openai {
namespace {

struct Call {
    std::string id, name;
    std::string pending;       // arguments that came before the name
    std::int64_t number = -1;  // as our events count; -1: not started
};

struct Answer {
    bool seen = false;
    bool done = false;
    std::vector<Call> calls;
    std::map<std::int64_t, std::size_t> latest;  // the wire's index -> its newest call
    std::int64_t n_started = 0;
};

struct State final : ReadState {
    bool started = false;
    bool ended = false;
    std::string id;
    std::vector<Answer> answers{std::size_t(kAnswersMax)};
};

using Events = std::vector<Event>;

std::unexpected<Error> refuse(std::string_view what) {
    return fail(ErrorKind::upstream_failed, format("the upstream's stream {}", what));
}

const Json* member(const Json& object, const char* name) {
    if (!object.is_object()) return nullptr;
    const auto at = object.find(name);
    return at == object.end() || at->is_null() ? nullptr : &*at;
}

// The text of `content`: a string, or parts (some servers stream those).
std::string content_text(const Json* content) {
    if (!content) return "";
    if (content->is_string()) return content->get<std::string>();
    std::string out;
    if (!content->is_array()) return out;
    for (const Json& part : *content) {
        const Json* text = member(part, "text");
        if (text && text->is_string()) out += text->get_ref<const std::string&>();
    }
    return out;
}

std::string string_at(const Json& object, const char* name) {
    const Json* v = member(object, name);
    return v && v->is_string() ? v->get<std::string>() : std::string();
}

// A token's bytes: the `bytes` array where there is one, because `token` cannot cut a code point.
std::string token_bytes(const Json& json) {
    const Json* bytes = member(json, "bytes");
    if (!bytes || !bytes->is_array()) return string_at(json, "token");
    std::string out;
    for (const Json& b : *bytes) out += char(whole_number(b).value_or('?') & 0xff);
    return out;
}

double logprob_of(const Json& json) {
    const Json* v = member(json, "logprob");
    return v && v->is_number() ? v->get<double>() : 0.0;
}

std::vector<TokenLogprob> read_logprobs(const Json& choice) {
    std::vector<TokenLogprob> out;
    const Json* logprobs = member(choice, "logprobs");
    const Json* content = logprobs ? member(*logprobs, "content") : nullptr;
    if (!content || !content->is_array()) return out;
    for (const Json& json : *content) {
        TokenLogprob one{token_bytes(json), logprob_of(json), {}};
        if (const Json* tops = member(json, "top_logprobs"); tops && tops->is_array()) {
            for (const Json& top : *tops) one.top.push_back({token_bytes(top), logprob_of(top)});
        }
        out.push_back(std::move(one));
    }
    return out;
}

std::int64_t count_at(const Json& object, const char* name) {
    const Json* v = member(object, name);
    if (!v) return 0;
    return std::clamp<std::int64_t>(whole_number(*v).value_or(0), 0, kTokensMax);
}

void read_usage(const Json& chunk, std::optional<Usage>& to) {
    const Json* usage = member(chunk, "usage");
    if (!usage || !usage->is_object()) return;
    Usage& out = to.emplace();
    out.input_tokens = count_at(*usage, "prompt_tokens");
    out.output_tokens = count_at(*usage, "completion_tokens");
    if (const Json* details = member(*usage, "prompt_tokens_details"))
        out.cached_tokens = count_at(*details, "cached_tokens");
    if (const Json* details = member(*usage, "completion_tokens_details"))
        out.reasoning_tokens = count_at(*details, "reasoning_tokens");
}

FinishReason finish_reason_from(const std::string& word, const Answer& answer) {
    if (word == "length" || word == "max_tokens") return FinishReason::length;
    if (word == "content_filter") return FinishReason::content_filter;
    if (word == "tool_calls" || word == "function_call" || answer.n_started > 0)
        return FinishReason::tool_calls;
    return FinishReason::stop;
}

// Reads one choice of one chunk into events.
struct ChoiceReader {
    State& state;
    Answer& answer;
    std::int64_t index;
    Events& out;

    void start(Call& call) {
        if (call.number >= 0) return;
        call.number = answer.n_started++;
        // Made from the answer's id, so that ids of two turns of one conversation differ.
        if (call.id.empty()) call.id = format("call_{}_{}_{}", state.id, index, call.number);
        out.push_back(ToolCallStart{index, call.number, call.id, call.name});
        if (!call.pending.empty())
            out.push_back(ToolCallDelta{index, call.number, std::move(call.pending)});
        call.pending.clear();
    }

    Result<Call*> find_call(std::int64_t wire_index, const std::string& id) {
        const auto at = answer.latest.find(wire_index);
        if (at != answer.latest.end()) {
            Call& call = answer.calls[at->second];
            if (id.empty() || call.id.empty() || call.id == id) return &call;
        }
        if (answer.calls.size() >= kUpstreamCallsMax)
            return refuse(format("makes more than {} tool calls in one answer", kUpstreamCallsMax));
        // A call without arguments starts here at the latest, so that calls keep their order.
        for (Call& earlier : answer.calls) {
            if (!earlier.name.empty()) start(earlier);
        }
        answer.latest[wire_index] = answer.calls.size();
        answer.calls.emplace_back();
        return &answer.calls.back();
    }

    Status call_delta(const Json& json, std::int64_t position) {
        const Json* function = member(json, "function");
        const Json* wire_index = member(json, "index");
        const std::string id = string_at(json, "id");
        const auto at = wire_index ? whole_number(*wire_index) : std::optional(position);
        if (!at) return refuse("has a tool call whose index is no number");
        HEARTH_TRY(Call * call, find_call(*at, id));
        if (call->id.empty()) call->id = id;
        return function ? function_delta(*call, *function) : Status();
    }

    Status function_delta(Call& call, const Json& function) {
        const std::string name = string_at(function, "name");
        // Before the start, pieces of a name add up; a repeated whole name does not.
        if (call.number < 0 && name != call.name) call.name += name;
        if (call.name.size() > kToolNameBytesMax) return refuse("has an over-long tool name");
        const Json* arguments = member(function, "arguments");
        std::string piece;
        if (arguments)
            piece = arguments->is_string() ? arguments->get<std::string>() : to_text(*arguments);
        if (piece.empty()) return {};
        if (call.number < 0) {
            if (call.pending.size() + piece.size() > kUpstreamPendingBytesMax)
                return refuse("sends a tool call's arguments without its name");
            call.pending += piece;
            if (!call.name.empty()) start(call);
            return {};
        }
        out.push_back(ToolCallDelta{index, call.number, std::move(piece)});
        return {};
    }

    Status tool_calls(const Json& delta) {
        if (const Json* calls = member(delta, "tool_calls"); calls && calls->is_array()) {
            for (std::size_t i = 0; i < calls->size(); ++i)
                HEARTH_CHECK_OK(call_delta((*calls)[i], std::int64_t(i)));
        }
        if (const Json* legacy = member(delta, "function_call")) {
            HEARTH_TRY(Call * call, find_call(0, ""));
            HEARTH_CHECK_OK(function_delta(*call, *legacy));
        }
        return {};
    }

    // Calls without arguments start here at the latest.
    Status finish(const std::string& reason) {
        for (Call& call : answer.calls) {
            if (call.name.empty()) return refuse("has a tool call without a name");
            start(call);
        }
        answer.done = true;
        out.push_back(AnswerDone{index, finish_reason_from(reason, answer)});
        return {};
    }

    Status read(const Json& choice) {
        const Json* delta = member(choice, "delta");
        if (!delta) delta = member(choice, "message");  // a server that answers whole
        auto logprobs = read_logprobs(choice);
        if (delta) {
            std::string thinking = content_text(member(*delta, "reasoning_content"));
            if (thinking.empty()) thinking = content_text(member(*delta, "reasoning"));
            if (!thinking.empty()) out.push_back(ThinkingDelta{index, std::move(thinking)});
            std::string text = content_text(member(*delta, "content"));
            text += content_text(member(*delta, "refusal"));
            if (!text.empty() || !logprobs.empty())
                out.push_back(TextDelta{index, std::move(text), std::move(logprobs)});
            HEARTH_CHECK_OK(tool_calls(*delta));
        }
        const std::string reason = string_at(choice, "finish_reason");
        return reason.empty() ? Status() : finish(reason);
    }
};

Status read_choices(State& state, const Json& chunk, Events& out) {
    const Json* choices = member(chunk, "choices");
    if (!choices) return {};
    if (!choices->is_array()) return refuse("has choices that are no array");
    for (const Json& choice : *choices) {
        const Json* at = member(choice, "index");
        const auto index = at ? whole_number(*at) : std::optional<std::int64_t>(0);
        if (!index || *index < 0 || *index >= std::int64_t(state.answers.size()))
            return refuse("has a choice with an index out of range");
        Answer& answer = state.answers[std::size_t(*index)];
        answer.seen = true;
        if (answer.done) continue;  // nothing of an answer counts after its end
        ChoiceReader reader{state, answer, *index, out};
        HEARTH_CHECK_OK(reader.read(choice));
    }
    return {};
}

Result<Events> finish_all(State& state) {
    Events out;
    bool seen = false;
    for (std::size_t i = 0; i < state.answers.size(); ++i) {
        Answer& answer = state.answers[i];
        seen = seen || answer.seen;
        if (!answer.seen || answer.done) continue;
        ChoiceReader reader{state, answer, std::int64_t(i), out};
        HEARTH_CHECK_OK(reader.finish("stop"));
    }
    if (!seen) return refuse("ended before its first answer");
    state.ended = true;
    out.push_back(Finished{state.usage.value_or(Usage{}), {}});
    return out;
}

bool is_truthy(const Json& v) {
    return !v.is_null() && v != false && v != "" && v != 0;
}

}  // namespace

std::unique_ptr<ReadState> new_read_state() {
    return std::make_unique<State>();
}

Result<Events> read_event(ReadState& opaque, std::string_view event, std::string_view data) {
    State& state = static_cast<State&>(opaque);
    if (state.ended || data.empty()) return Events();
    if (data.starts_with("[DONE]")) {
        return finish_all(state);
    }
    const auto chunk = parse_json(data);
    // Without the parser's words: data that is no JSON may be the answer's own text.
    if (!chunk) return refuse("holds data that is not valid JSON");
    if (!chunk->is_object())
        return refuse(format("holds {}, expected a chunk", type_name_of(*chunk)));
    const Json* error = member(*chunk, "error");
    if ((error && is_truthy(*error)) || event == "error") {
        state.ended = true;
        read_usage(*chunk, state.usage);
        return Events{Failed{error_from(error ? *error : *chunk, 0)}};
    }
    Events out;
    if (!state.started) {
        state.started = true;
        state.id = string_at(*chunk, "id");
        out.push_back(Started{string_at(*chunk, "model")});
    }
    HEARTH_CHECK_OK(read_choices(state, *chunk, out));
    read_usage(*chunk, state.usage);
    return out;
}

Result<Events> read_end(ReadState& opaque) {
    State& state = static_cast<State&>(opaque);
    if (state.ended) return Events();
    for (const Answer& answer : state.answers) {
        if (answer.seen && !answer.done) return refuse("was cut before its answer was complete");
    }
    return finish_all(state);
}

}  // namespace hearth::chat::openai
