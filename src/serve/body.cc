#include "serve/body.h"

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "chat/dialect.h"
#include "chat/estimate.h"
#include "journal/limits.h"

namespace hearth::serve {
namespace {

const chat::Dialect& openai() {
    static const chat::Dialect* const dialect = chat::find_dialect("openai");
    return *dialect;
}

template <class Ids>
void write_ids(JsonWriter& out, const char* name, const Ids& ids) {
    out.key(name).begin_array();
    for (const std::int32_t id : ids) out.value(std::int64_t(id));
    out.end_array();
}

}  // namespace

std::string prompt_body(const chat::ChatRequest& request, const backend::Prompt* prompt) {
    JsonWriter out;
    out.begin_object().key("request").raw(openai().write_request(request, request.model));
    if (request.raw) {
        out.key("raw").begin_object().field("text", request.raw->text);
        write_ids(out, "ids", request.raw->ids);
        out.end_object();
    }
    if (prompt) {
        out.key("prompt_ids").begin_array();
        for (const TokenId id : prompt->ids) out.value(std::int64_t(id.value));
        out.end_array();
    }
    out.end_object();
    return out.take();
}

Result<chat::ChatRequest> request_from_body(const std::string& body) {
    const auto wrong = [] {
        return fail(ErrorKind::invalid_request, "the prompt that was kept is of another form");
    };
    HEARTH_TRY(const Json object, parse_json(body));
    if (!object.is_object()) return wrong();
    if (const auto raw = object.find("raw"); raw != object.end()) {
        if (!raw->is_object() || !raw->contains("text") || !raw->at("text").is_string() ||
            !raw->contains("ids") || !raw->at("ids").is_array())
            return wrong();
        chat::ChatRequest request;
        request.raw.emplace().text = raw->at("text").get<std::string>();
        for (const Json& id : raw->at("ids")) {
            if (!id.is_number_integer()) return wrong();
            request.raw->ids.push_back(id.get<std::int32_t>());
        }
        return request;
    }
    const auto request = object.find("request");
    if (request == object.end() || !request->is_object()) return wrong();
    return openai().read_request("/v1/chat/completions", to_text(*request));
}

void AnswerBody::add(const chat::Event& event) {
    if (too_long_) return;
    n_bytes_ += std::size_t(chat::answer_bytes(event));
    if (const auto* done = std::get_if<chat::AnswerDone>(&event))
        n_bytes_ += done->tokens.size() * sizeof(std::int32_t);
    // Escapes lengthen the JSON; the journal counts that.
    if (n_bytes_ > journal::kBodyBytes) {
        too_long_ = true;
        answers_.clear();
        return;
    }
    if (const auto* text = std::get_if<chat::TextDelta>(&event)) {
        answers_[text->index].text += text->text;
    } else if (const auto* thinking = std::get_if<chat::ThinkingDelta>(&event)) {
        answers_[thinking->index].thinking += thinking->text;
    } else if (const auto* start = std::get_if<chat::ToolCallStart>(&event)) {
        Call& call = answers_[start->index].calls[start->call];
        call.id = start->id;
        call.name = start->name;
    } else if (const auto* piece = std::get_if<chat::ToolCallDelta>(&event)) {
        answers_[piece->index].calls[piece->call].arguments += piece->arguments;
    } else if (const auto* done = std::get_if<chat::AnswerDone>(&event)) {
        Answer& answer = answers_[done->index];
        answer.finish_reason = chat::name_of(done->reason);
        if (!done->tokens.empty()) answer.tokens = done->tokens;
    }
}

std::string AnswerBody::json() const {
    if (answers_.empty()) return {};
    JsonWriter out;
    out.begin_object().key("answers").begin_array();
    for (const auto& [index, answer] : answers_) {
        out.begin_object().field("index", index).field("text", answer.text);
        if (!answer.thinking.empty()) out.field("thinking", answer.thinking);
        if (!answer.calls.empty()) {
            out.key("tool_calls").begin_array();
            for (const auto& [number, call] : answer.calls)
                out.begin_object()
                    .field("id", call.id)
                    .field("name", call.name)
                    .field("arguments", call.arguments)
                    .end_object();
            out.end_array();
        }
        if (!answer.finish_reason.empty()) out.field("finish_reason", answer.finish_reason);
        if (!answer.tokens.empty()) write_ids(out, "tokens", answer.tokens);
        out.end_object();
    }
    out.end_array().end_object();
    return out.take();
}

}  // namespace hearth::serve
