// A ChatRequest as the body that an upstream gets: everything the waist holds, and always a stream
// with usage, because the journal needs the counts.
//
// The limit on output goes out as max_completion_tokens: max_tokens is deprecated, and reasoning
// models refuse it.
#include "chat/dialects/openai/openai.h"

namespace hearth::chat::openai {
namespace {

void write_part(JsonWriter& out, const Part& part) {
    out.begin_object();
    if (const auto* text = std::get_if<TextPart>(&part)) {
        out.field("type", "text").field("text", text->text);
    } else if (const auto* image = std::get_if<ImagePart>(&part)) {
        out.field("type", "image_url").key("image_url").begin_object().field("url", image->url);
        if (!image->detail.empty()) out.field("detail", image->detail);
        out.end_object();
    } else if (const auto* audio = std::get_if<AudioPart>(&part)) {
        out.field("type", "input_audio").key("input_audio").begin_object();
        out.field("data", audio->data_base64).field("format", audio->media_format).end_object();
    }
    out.end_object();
}

void write_content(JsonWriter& out, const Message& message) {
    out.key("content");
    const bool one_text =
        message.parts.size() == 1 && std::holds_alternative<TextPart>(message.parts[0]);
    if (one_text) {
        out.value(std::get<TextPart>(message.parts[0]).text);
    } else if (message.parts.empty()) {
        // Only an assistant's turn may lack content on the wire.
        message.role == Role::assistant ? out.null() : out.value("");
    } else {
        out.begin_array();
        for (const Part& part : message.parts) write_part(out, part);
        out.end_array();
    }
}

void write_message(JsonWriter& out, const Message& message) {
    out.begin_object().field("role", name_of(message.role));
    write_content(out, message);
    if (!message.name.empty()) out.field("name", message.name);
    if (message.role == Role::tool) out.field("tool_call_id", message.tool_call_id);
    if (!message.thinking.empty()) out.field("reasoning_content", message.thinking);
    if (!message.tool_calls.empty()) {
        out.key("tool_calls").begin_array();
        for (const ToolCall& call : message.tool_calls) {
            out.begin_object().field("id", call.id).field("type", "function");
            out.key("function").begin_object().field("name", call.name);
            out.field("arguments", call.arguments).end_object().end_object();
        }
        out.end_array();
    }
    out.end_object();
}

void write_tools(JsonWriter& out, const ChatRequest& request) {
    if (request.tools.empty()) return;
    out.key("tools").begin_array();
    for (const Tool& tool : request.tools) {
        out.begin_object().field("type", "function").key("function").begin_object();
        out.field("name", tool.name);
        if (!tool.description.empty()) out.field("description", tool.description);
        out.key("parameters").raw(to_text(tool.parameters));
        if (tool.strict) out.field("strict", true);
        out.end_object().end_object();
    }
    out.end_array();
    switch (request.tool_choice.kind) {
        case ToolChoice::Kind::automatic:
            break;
        case ToolChoice::Kind::none:
            out.field("tool_choice", "none");
            break;
        case ToolChoice::Kind::required:
            out.field("tool_choice", "required");
            break;
        case ToolChoice::Kind::named:
            out.key("tool_choice").begin_object().field("type", "function");
            out.key("function").begin_object().field("name", request.tool_choice.name);
            out.end_object().end_object();
    }
    if (!request.parallel_tool_calls) out.field("parallel_tool_calls", false);
}

void write_response_format(JsonWriter& out, const ResponseFormat& wanted) {
    if (wanted.kind == ResponseFormat::Kind::text) return;
    out.key("response_format").begin_object();
    if (wanted.kind == ResponseFormat::Kind::json_object) {
        out.field("type", "json_object").end_object();
        return;
    }
    out.field("type", "json_schema").key("json_schema").begin_object();
    // The specification requires a name; llama-server's short form has none.
    out.field("name", wanted.name.empty() ? "response" : wanted.name);
    out.key("schema").raw(to_text(wanted.schema));
    if (wanted.strict) out.field("strict", true);
    out.end_object().end_object();
}

template <class T>
void write_optional(JsonWriter& out, const char* name, const std::optional<T>& value) {
    if (value) out.field(name, *value);
}

void write_sampling(JsonWriter& out, const SamplingRequest& sampling) {
    write_optional(out, "temperature", sampling.temperature);
    write_optional(out, "top_p", sampling.top_p);
    write_optional(out, "min_p", sampling.min_p);
    write_optional(out, "top_k", sampling.top_k);
    write_optional(out, "frequency_penalty", sampling.frequency_penalty);
    write_optional(out, "presence_penalty", sampling.presence_penalty);
    write_optional(out, "repeat_penalty", sampling.repeat_penalty);
    write_optional(out, "repeat_last_n", sampling.repeat_last_n);
    // The wire's seed is a signed 64-bit number; the bits are what counts.
    if (sampling.seed) out.field("seed", std::int64_t(*sampling.seed));
    if (!sampling.logit_bias.empty()) {
        out.key("logit_bias").begin_object();
        for (const auto& [id, bias] : sampling.logit_bias) out.field(std::to_string(id), bias);
        out.end_object();
    }
}

}  // namespace

std::string upstream_path(const ChatRequest&) {
    return "/chat/completions";
}

std::string write_request(const ChatRequest& request, std::string_view model) {
    JsonWriter out;
    out.begin_object().field("model", model).key("messages").begin_array();
    for (const Message& message : request.messages) write_message(out, message);
    out.end_array();
    write_tools(out, request);
    write_response_format(out, request.response_format);
    write_sampling(out, request.sampling);
    write_optional(out, "max_completion_tokens", request.max_output_tokens);
    if (!request.stop.empty()) {
        out.key("stop").begin_array();
        for (const std::string& stop : request.stop) out.value(stop);
        out.end_array();
    }
    if (request.n != 1) out.field("n", request.n);
    if (request.logprobs) {
        out.field("logprobs", true);
        if (request.top_logprobs > 0) out.field("top_logprobs", request.top_logprobs);
    }
    if (!request.template_kwargs.empty()) {
        out.key("chat_template_kwargs").begin_object();
        for (const auto& [name, value] : request.template_kwargs) out.key(name).raw(to_text(value));
        out.end_object();
    }
    for (const char* name : {"reasoning_effort", "verbosity"}) {
        const auto at = request.extensions.find(name);
        if (at != request.extensions.end()) out.key(name).raw(to_text(at->second));
    }
    out.field("stream", true).key("stream_options").begin_object();
    out.field("include_usage", true).end_object().end_object();
    return out.take();
}

}  // namespace hearth::chat::openai
