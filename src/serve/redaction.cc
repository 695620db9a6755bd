#include "serve/redaction.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "route/limits.h"

namespace hearth::serve {
namespace {

using chat::Sensitivity;

class Redactor {
  public:
    Redactor(const route::Detectors& detectors, route::Pseudonyms& pseudonyms)
        : detectors_(detectors), pseudonyms_(pseudonyms) {}

    void text(std::string& text) {
        std::vector<route::Finding> findings = detectors_.scan(text);
        std::vector<route::Span> spans;
        for (const route::Finding& f : findings)
            if (f.sensitivity >= Sensitivity::confidential)
                spans.push_back({f.start, f.end, f.entity});
        if (!spans.empty()) text = pseudonyms_.replace(text, std::move(spans));
    }
    // Strings and numbers; names of members stay, because they are part of a contract.
    void json(Json& value) {
        if (value.is_string()) {
            text(value.get_ref<std::string&>());
        } else if (value.is_number()) {
            std::string number = to_text(value);
            const std::string before = number;
            text(number);
            if (number != before) value = number;
        } else if (value.is_structured()) {
            for (Json& item : value) json(item);
        }
    }
    void json_text(std::string& text_of_json) {
        auto value = parse_json(text_of_json);
        if (!value) return text(text_of_json);
        const std::string before = to_text(*value);
        json(*value);
        std::string after = to_text(*value);
        if (after != before) text_of_json = std::move(after);  // else as the client wrote it
    }

  private:
    const route::Detectors& detectors_;
    route::Pseudonyms& pseudonyms_;
};

chat::Event event_of(std::int64_t answer, std::int64_t channel, std::string text) {
    if (channel == -1) return chat::TextDelta{answer, std::move(text), {}};
    if (channel == -2) return chat::ThinkingDelta{answer, std::move(text)};
    return chat::ToolCallDelta{answer, channel, std::move(text)};
}

}  // namespace

std::shared_ptr<const Redaction> redact_request(const chat::ChatRequest& request,
                                                const route::Detectors& detectors,
                                                const Secret& key, std::string_view conversation) {
    if (request.raw) return nullptr;  // goes to local models only
    route::Pseudonyms pseudonyms(key, conversation);
    std::list<std::string> made;
    for (const TextRef& ref : texts_of(request, made)) {
        pseudonyms.avoid(ref.text);
        if (ref.json) pseudonyms.avoid(leaves_of(ref.text));
    }
    auto redacted = std::make_shared<chat::ChatRequest>(request);
    Redactor redactor(detectors, pseudonyms);
    for (chat::Message& message : redacted->messages) {
        for (chat::Part& part : message.parts)
            if (auto* text = std::get_if<chat::TextPart>(&part)) redactor.text(text->text);
        redactor.text(message.thinking);
        for (chat::ToolCall& call : message.tool_calls) redactor.json_text(call.arguments);
    }
    for (chat::Tool& tool : redacted->tools) {
        redactor.text(tool.description);
        redactor.json(tool.parameters);
    }
    if (pseudonyms.all().size() > route::kPseudonymsMax) return nullptr;
    std::map<std::string, std::int64_t> counts;
    for (const auto& [pseudonym, entry] : pseudonyms.all()) ++counts[entry.entity];
    std::vector<route::EntityCount> entities;
    for (const auto& [entity, n] : counts) entities.push_back({entity, n});
    return std::make_shared<const Redaction>(
        Redaction{std::move(redacted), std::move(pseudonyms), std::move(entities)});
}

route::Restorer& AnswerRestorer::at(std::int64_t answer, std::int64_t channel) {
    return open_.try_emplace(Place(answer, channel), redaction_->pseudonyms, channel >= 0)
        .first->second;
}

void AnswerRestorer::finish(std::int64_t answer, std::vector<chat::Event>& out) {
    for (auto it = open_.lower_bound(Place(answer, -2));
         it != open_.end() && it->first.first == answer;) {
        if (std::string rest = it->second.finish(); !rest.empty())
            out.push_back(event_of(answer, it->first.second, std::move(rest)));
        n_restored_ += it->second.n_restored();
        n_altered_ += it->second.n_altered();
        it = open_.erase(it);
    }
}

void AnswerRestorer::finish_all(std::vector<chat::Event>& out) {
    while (!open_.empty()) finish(open_.begin()->first.first, out);
}

std::vector<chat::Event> AnswerRestorer::pass(chat::Event event) {
    std::vector<chat::Event> out;
    bool empty = false;
    if (auto* text = std::get_if<chat::TextDelta>(&event)) {
        text->text = at(text->index, -1).feed(text->text);
        empty = text->text.empty() && text->logprobs.empty();
    } else if (auto* thinking = std::get_if<chat::ThinkingDelta>(&event)) {
        thinking->text = at(thinking->index, -2).feed(thinking->text);
        empty = thinking->text.empty();
    } else if (auto* call = std::get_if<chat::ToolCallDelta>(&event)) {
        call->arguments = at(call->index, call->call).feed(call->arguments);
        empty = call->arguments.empty();
    } else if (const auto* done = std::get_if<chat::AnswerDone>(&event)) {
        finish(done->index, out);
    } else if (chat::is_terminal(event)) {
        finish_all(out);
    }
    if (!empty) out.push_back(std::move(event));
    return out;
}

std::int64_t AnswerRestorer::n_restored() const {
    std::int64_t n = n_restored_;
    for (const auto& [place, restorer] : open_) n += restorer.n_restored();
    return n;
}

std::int64_t AnswerRestorer::n_altered() const {
    std::int64_t n = n_altered_;
    for (const auto& [place, restorer] : open_) n += restorer.n_altered();
    return n;
}

std::string AnswerRestorer::json() const {
    JsonWriter out;
    out.begin_object().key("values").begin_object();
    for (const route::EntityCount& found : redaction_->entities) out.field(found.entity, found.n);
    out.end_object().field("n_restored", n_restored()).field("n_altered", n_altered());
    return out.end_object().take();
}

}  // namespace hearth::serve
