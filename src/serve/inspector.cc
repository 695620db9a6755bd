#include "serve/inspector.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/crypto.h"
#include "base/json.h"
#include "base/log.h"
#include "serve/limits.h"
#include "serve/redaction.h"

namespace hearth::serve {
namespace {

using chat::Sensitivity;

void count(std::vector<route::EntityCount>& counts, const std::string& entity, std::int64_t n) {
    const auto it = std::ranges::find(counts, entity, &route::EntityCount::entity);
    if (it == counts.end())
        counts.push_back({entity, n});
    else
        it->n += n;
}

void add_leaves(const Json& value, std::string& out) {
    if (value.is_string()) {
        out += value.get_ref<const std::string&>() + "\n";
    } else if (value.is_object()) {
        for (const auto& [name, member] : value.items()) {
            out += name + ": ";  // context for what follows
            add_leaves(member, out);
        }
    } else if (value.is_array()) {
        for (const Json& item : value) add_leaves(item, out);
    } else {
        out += to_text(value) + "\n";
    }
}

// Of what is kept of a text, about.
std::size_t bytes_of(const TextFindings& findings) {
    return 256 + findings.marks.anywhere.size() * sizeof(route::Mark) +
           findings.entities.size() * sizeof(route::EntityCount);
}

void add_message(const chat::Message& message, std::ptrdiff_t index, std::vector<TextRef>& out,
                 std::list<std::string>& made) {
    std::int64_t n_texts = 0;
    for (const chat::Part& part : message.parts) {
        if (const auto* text = std::get_if<chat::TextPart>(&part)) {
            out.push_back({index, text->text});
            ++n_texts;
        } else if (const auto* image = std::get_if<chat::ImagePart>(&part)) {
            // Of data only the mark is of use, but an address is a text that leaves.
            if (!image->url.starts_with("data:")) out.push_back({index, image->url});
        }
    }
    // What is cut between two parts is whole for a model.
    if (n_texts > 1) out.push_back({index, made.emplace_back(chat::text_of(message))});
    for (const chat::ToolCall& call : message.tool_calls) {
        out.push_back({index, call.name});
        out.push_back({index, call.arguments, true});
    }
    out.push_back({index, message.name});
    out.push_back({index, message.thinking});
}

}  // namespace

std::string leaves_of(std::string_view json) {
    std::string out;
    if (const auto value = parse_json(json)) add_leaves(*value, out);
    return out;
}

std::vector<TextRef> texts_of(const chat::ChatRequest& request, std::list<std::string>& made) {
    std::vector<TextRef> out;
    const auto add_json = [&](const Json& value) {
        if (value.is_null() || (value.is_object() && value.empty())) return;
        out.push_back({-1, made.emplace_back(to_text(value)), true});
    };
    for (std::size_t i = 0; i < request.messages.size(); ++i)
        add_message(request.messages[i], std::ptrdiff_t(i), out, made);
    for (const chat::Tool& tool : request.tools) {
        out.push_back({-1, tool.name});
        out.push_back({-1, tool.description});
        add_json(tool.parameters);
    }
    out.push_back({-1, request.response_format.name});
    add_json(request.response_format.schema);
    for (const std::string& stop : request.stop) out.push_back({-1, stop});
    for (const auto& [name, value] : request.template_kwargs) {
        out.push_back({-1, name});
        add_json(value);
    }
    for (const auto& [name, value] : request.extensions) add_json(value);
    if (request.raw) out.push_back({-1, request.raw->text});
    std::erase_if(out, [](const TextRef& ref) { return ref.text.empty(); });
    return out;
}

// ---- marks of answers

route::Marker& AnswerMarks::marker(std::int64_t answer, std::int64_t channel) {
    return markers_.try_emplace({answer, channel}, key_).first->second;
}

void AnswerMarks::add(const chat::Event& event) {
    if (const auto* text = std::get_if<chat::TextDelta>(&event))
        marker(text->index, -1).add(text->text);
    else if (const auto* thinking = std::get_if<chat::ThinkingDelta>(&event))
        marker(thinking->index, -2).add(thinking->text);
    else if (const auto* call = std::get_if<chat::ToolCallDelta>(&event))
        marker(call->index, call->call).add(call->arguments);
}

std::vector<route::Mark> AnswerMarks::finish() {
    std::vector<route::Mark> all;
    for (auto& [place, marker] : markers_) {
        const route::TextMarks marks = marker.finish();
        if (marks.empty) continue;
        all.insert(all.end(), marks.anywhere.begin(), marks.anywhere.end());
        all.push_back(route::bound_mark(key_, conversation_, marks.whole));
    }
    return all;
}

// ---- the inspector

Inspector::Inspector(route::Detectors detectors, std::unique_ptr<route::TaintStore> taint,
                     Secret key)
    : detectors_(std::move(detectors)),
      taint_(std::move(taint)),
      key_(std::move(key)),
      cache_key_(random_bytes(kDigestBytes)) {}

Inspector::~Inspector() = default;

Inspector::Remembered Inspector::look(std::string_view text, bool json) const {
    auto out = std::make_shared<TextFindings>();
    const auto scan = [&](std::string_view looked_at) {
        const auto findings = detectors_.scan(looked_at);
        const Sensitivity found = route::Detectors::class_of(looked_at, findings);
        std::vector<route::EntityCount> counts;
        for (const route::Finding& finding : findings) count(counts, finding.entity, 1);
        // Of the two readings of a JSON text the one that holds more.
        if (found < out->sensitivity || (found == out->sensitivity && !out->entities.empty()))
            return;
        out->sensitivity = found;
        out->entities = std::move(counts);
    };
    scan(text);
    if (json && text.find('\\') != text.npos) scan(leaves_of(text));
    out->marks = route::marks_of(key_, text);
    return out;
}

Inspector::Remembered Inspector::findings_of(std::string_view text, bool json) {
    std::string name = hmac_sha256(cache_key_.reveal(), text).substr(0, 16) + (json ? "j" : "t");
    {
        const std::lock_guard lock(mutex_);
        if (const auto it = cache_.find(name); it != cache_.end()) {
            ages_.splice(ages_.begin(), ages_, it->second.age);
            return it->second.findings;
        }
    }
    Remembered findings = look(text, json);
    const std::size_t n_bytes = bytes_of(*findings);
    const std::lock_guard lock(mutex_);
    if (cache_.contains(name)) return findings;  // another thread was as fast
    ages_.push_front(name);
    cache_.emplace(std::move(name), Slot{findings, ages_.begin(), n_bytes});
    cache_bytes_ += n_bytes;
    while (cache_bytes_ > kScanCacheBytes) {
        const auto oldest = cache_.find(ages_.back());
        cache_bytes_ -= oldest->second.n_bytes;
        cache_.erase(oldest);
        ages_.pop_back();
    }
    return findings;
}

void Inspector::look_for_taint(Inspection& inspection, std::size_t message,
                               const TextFindings& findings) {
    if (findings.marks.empty) return;
    std::vector<route::Mark> marks = findings.marks.anywhere;
    marks.push_back(route::bound_mark(key_, inspection.conversation, findings.marks.whole));
    const auto taint = taint_->find(marks);
    if (!taint) return;
    Sensitivity& with_taint = inspection.messages[message].with_taint;
    with_taint = std::max(with_taint, taint->sensitivity);
    if (!inspection.taint || taint->sensitivity > inspection.taint->sensitivity)
        inspection.taint = taint;
}

Inspection Inspector::inspect(const chat::ChatRequest& request,
                              const route::PolicySettings& policy) {
    Inspection out;
    out.messages.resize(request.messages.size());
    Sensitivity detected = Sensitivity::internal;
    std::list<std::string> made;
    std::vector<std::pair<std::ptrdiff_t, Remembered>> all;
    for (const TextRef& ref : texts_of(request, made)) {
        Remembered findings = findings_of(ref.text, ref.json);
        detected = std::max(detected, findings->sensitivity);
        // A text that only repeats others, joined, counts where it holds more than they do.
        Sensitivity& place =
            ref.message >= 0 ? out.messages[std::size_t(ref.message)].found : out.elsewhere;
        const bool repeats =
            std::ranges::any_of(made, [&](const auto& m) { return m.data() == ref.text.data(); }) &&
            !ref.json;
        if (!repeats || findings->sensitivity > place)
            for (const route::EntityCount& found : findings->entities)
                count(out.entities, found.entity, found.n);
        place = std::max(place, findings->sensitivity);
        const bool first = out.conversation == route::Mark{} && ref.message >= 0 &&
                           request.messages[std::size_t(ref.message)].role != chat::Role::system;
        if (first) out.conversation = findings->marks.whole;
        all.emplace_back(ref.message, std::move(findings));
    }
    std::ranges::sort(out.entities, {}, &route::EntityCount::entity);
    out.detected = detected;
    for (Inspection::Of& of : out.messages) of.with_taint = of.found;
    if (taint_ && !taint_->empty())
        for (const auto& [message, findings] : all)
            if (message >= 0) look_for_taint(out, std::size_t(message), *findings);
    const Sensitivity held = std::max(detected, out.taint ? out.taint->sensitivity : detected);
    if (policy.redact_to && held >= std::min(policy.keep_from, Sensitivity::confidential) &&
        held <= *policy.redact_to)
        redact(request, out);
    return out;
}

void Inspector::redact(const chat::ChatRequest& request, Inspection& inspection) {
    auto redaction =
        redact_request(request, detectors_, key_,
                       {inspection.conversation.data(), inspection.conversation.size()});
    if (!redaction) return;
    // What is left is looked at as if it had come like this.
    Sensitivity left = Sensitivity::internal;
    std::list<std::string> made;
    for (const TextRef& ref : texts_of(*redaction->request, made))
        left = std::max(left, look(ref.text, ref.json)->sensitivity);
    // A message that is marked for more than what is found in it holds what nobody finds.
    for (const Inspection::Of& of : inspection.messages)
        if (of.with_taint > of.found) left = std::max(left, of.with_taint);
    inspection.redacted_sensitivity = left;
    inspection.redaction = std::move(redaction);
}

std::string Inspector::mark(const chat::ChatRequest& request, const Inspection& inspection,
                            std::optional<chat::Sensitivity> stated, Sensitivity sensitivity) {
    if (!taint_ || sensitivity < Sensitivity::confidential) return {};
    route::Taint taint{inspection.taint ? inspection.taint->id : route::new_taint_id(),
                       sensitivity};
    // Whoever states a class means all of the request; else it begins where something was found.
    const bool by_statement = stated && *stated >= Sensitivity::confidential;
    std::size_t first = 0;
    if (!by_statement && inspection.elsewhere < Sensitivity::confidential) {
        while (first < inspection.messages.size() &&
               inspection.messages[first].with_taint < Sensitivity::confidential)
            ++first;
    }
    std::vector<route::Mark> marks;
    std::list<std::string> made;
    for (const TextRef& ref : texts_of(request, made)) {
        if (ref.message < std::ptrdiff_t(first) || ref.message < 0) continue;
        const std::size_t i = std::size_t(ref.message);
        const chat::Role role = request.messages[i].role;
        const bool sensitive = inspection.messages[i].with_taint >= Sensitivity::confidential;
        // An instruction that others begin with too is not the conversation's.
        if (role == chat::Role::system && !sensitive) continue;
        const auto findings = findings_of(ref.text, ref.json);
        if (findings->marks.empty) continue;
        marks.push_back(route::bound_mark(key_, inspection.conversation, findings->marks.whole));
        // What a person types after it is often said elsewhere too ("shorter, please").
        const bool own = sensitive || by_statement || role != chat::Role::user;
        if (own)
            marks.insert(marks.end(), findings->marks.anywhere.begin(),
                         findings->marks.anywhere.end());
    }
    if (const Status kept = taint_->add(marks, taint); !kept)
        log_error("taint_not_kept", {{"error", kept.error().message}});
    return taint.id;
}

void Inspector::mark_answer(std::vector<route::Mark> marks, const route::Taint& taint) {
    if (!taint_ || marks.empty()) return;
    if (const Status kept = taint_->add(marks, taint); !kept)
        log_error("taint_not_kept", {{"error", kept.error().message}});
}

}  // namespace hearth::serve
