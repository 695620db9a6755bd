// format_jinja: renders the model's own chat template, with the variables that Hugging Face
// transformers gives it, and parses tagged answers (tagged_parser.h).
//
// Variables: messages, tools (none without any), documents (none), add_generation_prompt,
// bos_token, eos_token, the request's template_kwargs, and reasoning_effort where the request
// states it. A message has role, content, and where there are such: name, tool_calls, tool_call_id,
// reasoning_content. Arguments of calls are objects where their text parses, because most templates
// write them with tojson.
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "chat/format.h"
#include "chat/jinja/jinja.h"
#include "chat/tagged_parser.h"

namespace hearth::chat {
namespace {

Json part_json(const Part& part) {
    if (const auto* text = std::get_if<TextPart>(&part))
        return {{"type", "text"}, {"text", text->text}};
    return {{"type", std::holds_alternative<ImagePart>(part) ? "image" : "audio"}};
}

// Text as one string, unless the template wants parts or there are other parts to place.
Json content_json(const Message& message, bool wants_parts) {
    bool only_text = true;
    for (const Part& part : message.parts)
        only_text = only_text && std::holds_alternative<TextPart>(part);
    if (only_text && (!wants_parts || message.parts.empty())) return text_of(message);
    Json parts = Json::array();
    for (const Part& part : message.parts) parts.push_back(part_json(part));
    return parts;
}

Json call_json(const ToolCall& call) {
    Json arguments = call.arguments;
    if (auto parsed = parse_json(call.arguments); parsed && parsed->is_object())
        arguments = std::move(*parsed);
    Json out = Json::object();
    if (!call.id.empty()) out["id"] = call.id;
    out["type"] = "function";
    out["function"] = {{"name", call.name}, {"arguments", std::move(arguments)}};
    return out;
}

// Call ids to names of functions: templates ask a result for its function, the wire has only the
// id.
using CallNames = std::unordered_map<std::string_view, std::string_view>;

CallNames call_names(const ChatRequest& request) {
    CallNames out;
    for (const Message& message : request.messages) {
        for (const ToolCall& call : message.tool_calls) out.try_emplace(call.id, call.name);
    }
    return out;
}

Json message_json(const CallNames& names, const Message& message, bool wants_parts) {
    Json out = {{"role", name_of(message.role)}, {"content", content_json(message, wants_parts)}};
    std::string_view name = message.name;
    if (message.role == Role::tool && name.empty()) {
        if (const auto at = names.find(message.tool_call_id); at != names.end()) name = at->second;
    }
    if (!name.empty()) out["name"] = name;
    if (!message.tool_call_id.empty()) out["tool_call_id"] = message.tool_call_id;
    if (!message.thinking.empty()) out["reasoning_content"] = message.thinking;
    if (!message.tool_calls.empty()) {
        Json calls = Json::array();
        for (const ToolCall& call : message.tool_calls) calls.push_back(call_json(call));
        out["tool_calls"] = std::move(calls);
    }
    return out;
}

Json tools_json(const ChatRequest& request) {
    if (request.tools.empty() || request.tool_choice.kind == ToolChoice::Kind::none) return nullptr;
    Json out = Json::array();
    for (const Tool& tool : request.tools) {
        Json function = {{"name", tool.name}};
        if (!tool.description.empty()) function["description"] = tool.description;
        function["parameters"] = tool.parameters;
        out.push_back({{"type", "function"}, {"function", std::move(function)}});
    }
    return out;
}

Json context_json(const FormatModel& model, const ChatRequest& request, bool wants_parts) {
    Json out = Json::object();
    if (const auto at = request.extensions.find("reasoning_effort"); at != request.extensions.end())
        out["reasoning_effort"] = at->second;
    for (const auto& [name, value] : request.template_kwargs) out[name] = value;
    // These last: a request's variables cannot replace them.
    Json messages = Json::array();
    const CallNames names = call_names(request);
    for (const Message& message : request.messages)
        messages.push_back(message_json(names, message, wants_parts));
    out["messages"] = std::move(messages);
    out["tools"] = tools_json(request);
    out["documents"] = nullptr;
    out["add_generation_prompt"] = true;
    out["bos_token"] = model.bos_token;
    out["eos_token"] = model.eos_token;
    return out;
}

// Some templates take content only as a list of parts: those that lose a plain string but not a
// part.
bool find_wants_parts(const jinja::Template& parsed, const FormatModel& model) {
    constexpr const char* kNeedle = "hearth-needle";
    ChatRequest request;
    request.messages.emplace_back().parts.push_back(TextPart{kNeedle});
    const auto shows = [&](bool parts) {
        const auto text = jinja::render(parsed, context_json(model, request, parts), {});
        return text && text->find(kNeedle) != text->npos;
    };
    return !shows(false) && shows(true);
}

bool matches(const FormatModel& model) {
    return !model.chat_template.empty();
}

Result<std::string> render(const FormatModel& model, const ChatRequest& request) {
    FormatModel own;
    const FormatModel* prepared = &model;
    if (!model.parsed) {
        own = model;
        HEARTH_CHECK_OK(prepare(own));
        prepared = &own;
    }
    const Json context = context_json(*prepared, request, prepared->wants_parts);
    auto text = jinja::render(*prepared->parsed, context, {.now_unix_s = model.now_unix_s});
    if (text) return text;
    return fail(Error{.kind = text.error().kind,
                      .message = "chat template " + text.error().message,
                      .param = "messages"});
}

bool may_call(const ChatRequest& request) {
    return !request.tools.empty() && request.tool_choice.kind != ToolChoice::Kind::none;
}

std::unique_ptr<AnswerParser> new_parser(const FormatModel& model, const ChatRequest& request,
                                         std::string_view prompt, std::int64_t answer_index) {
    const std::size_t end = prompt.find_last_not_of(" \t\r\n");
    return make_tagged_parser(request, answer_index,
                              {.calls = may_call(request),
                               .thinking = model.chat_template.find("<think>") != std::string::npos,
                               .starts_thinking = prompt.substr(0, end + 1).ends_with("<think>")});
}

}  // namespace

Status prepare(FormatModel& model) {
    HEARTH_TRY(jinja::Template parsed, jinja::parse(model.chat_template));
    model.wants_parts = find_wants_parts(parsed, model);
    model.parsed = std::make_shared<const jinja::Template>(std::move(parsed));
    return {};
}

extern const Format format_jinja;
const Format format_jinja = {
    .name = "jinja",
    .matches = matches,
    .render = render,
    .new_parser = new_parser,
};

}  // namespace hearth::chat
