// The body of POST /v1/chat/completions as a ChatRequest.
//
// Fields that are not named here are ignored, as clients expect. null means absent. Identifiers of
// people (user, metadata, safety_identifier) are among the ignored ones: nothing of ours needs
// them, and so an upstream never sees them.
#include <charconv>
#include <set>

#include "base/format.h"
#include "chat/dialects/openai/openai.h"
#include "chat/fields.h"
#include "chat/limits.h"

namespace hearth::chat::openai {
namespace {

constexpr std::int64_t kInt64Min = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kInt64Max = std::numeric_limits<std::int64_t>::max();

void read_seed(FieldReader& body, std::optional<std::uint64_t>& out) {
    const Json* v = body.find("seed");
    if (!v) return;
    if (v->is_number_unsigned()) {
        out = v->get<std::uint64_t>();
        return;
    }
    std::optional<std::int64_t> seed;
    body.integer("seed", seed, kInt64Min, kInt64Max);
    if (seed) out = std::uint64_t(*seed);  // negative seeds are as good as any: same 64 bits
}

void read_logit_bias(FieldReader& body, std::map<std::int32_t, double>& out) {
    const Json* map = body.object("logit_bias");
    if (!map) return;
    FieldReader fields(*map, "logit_bias");
    for (const auto& [key, value] : map->items()) {
        std::int32_t id = -1;
        const auto [end, ec] = std::from_chars(key.data(), key.data() + key.size(), id);
        if (ec != std::errc() || end != key.data() + key.size() || id < 0) {
            body.refuse("logit_bias",
                        format("has the key {}, expected token ids", json_text(key.substr(0, 40))));
            return;
        }
        std::optional<double> bias;
        fields.number(key, bias, -kLogitBiasMax, kLogitBiasMax);
        if (bias) out[id] = *bias;
    }
    if (!fields.ok()) body.refuse(fields.status().error());
}

void read_sampling(FieldReader& body, SamplingRequest& out) {
    body.number("temperature", out.temperature, 0, kTemperatureMax);
    body.number("top_p", out.top_p, 0, 1);
    // 0 is allowed on the wire and means the best token alone; the waist has (0, 1].
    if (out.top_p == 0.0) out.top_p = 1e-9;
    body.number("min_p", out.min_p, 0, 1);
    body.integer("top_k", out.top_k, -1, std::numeric_limits<std::int32_t>::max());
    if (out.top_k == -1) out.top_k = 0;  // vLLM's way to say off
    body.number("frequency_penalty", out.frequency_penalty, -kPenaltyMax, kPenaltyMax);
    body.number("presence_penalty", out.presence_penalty, -kPenaltyMax, kPenaltyMax);
    body.number("repetition_penalty", out.repeat_penalty, 0.01, kRepeatPenaltyMax);
    body.number("repeat_penalty", out.repeat_penalty, 0.01, kRepeatPenaltyMax);
    // As llama-server and Ollama have it.
    body.integer("repeat_last_n", out.repeat_last_n, -1, std::numeric_limits<std::int32_t>::max());
    read_seed(body, out.seed);
    read_logit_bias(body, out.logit_bias);
}

void read_stop(FieldReader& body, std::vector<std::string>& out) {
    const Json* stop = body.find("stop");
    if (!stop) return;
    const auto add = [&](const Json& item) {
        if (!item.is_string()) {
            body.refuse("stop", "must be a string or an array of strings");
        } else if (const auto& text = item.get_ref<const std::string&>();
                   text.size() > kStopBytesMax) {
            body.refuse("stop", format("holds a string of {} bytes; at most {} are allowed",
                                       text.size(), kStopBytesMax));
        } else if (!text.empty()) {
            out.push_back(text);  // an empty one would stop at once; senders mean none
        }
    };
    if (!stop->is_array()) {
        add(*stop);
    } else if (stop->size() > kStopMax) {
        body.refuse("stop",
                    format("has {} strings; at most {} are allowed", stop->size(), kStopMax));
    } else {
        for (const Json& item : *stop) add(item);
    }
}

void read_lengths(FieldReader& body, ChatRequest& out) {
    // max_completion_tokens is the newer name and wins; -1 is how local tools say "no limit".
    for (const char* name : {"max_completion_tokens", "max_tokens"}) {
        std::optional<std::int64_t> limit;
        body.integer(name, limit, -1, kInt64Max);
        if (limit == 0) body.refuse(name, "is 0, expected at least 1");
        if (limit && *limit > 0 && !out.max_output_tokens)
            out.max_output_tokens = std::min(*limit, kTokensMax);
    }
    std::optional<std::int64_t> n;
    body.integer("n", n, 1, kAnswersMax);
    out.n = n.value_or(1);
}

void read_stream(FieldReader& body, ChatRequest& out) {
    body.boolean("stream", out.stream);
    const Json* options = body.object("stream_options");
    if (!options || !out.stream) return;
    FieldReader fields(*options, "stream_options");
    fields.boolean("include_usage", out.include_usage);
    if (!fields.ok()) body.refuse(fields.status().error());
}

void read_logprobs(FieldReader& body, ChatRequest& out) {
    body.boolean("logprobs", out.logprobs);
    std::optional<std::int64_t> top;
    body.integer("top_logprobs", top, 0, kTopLogprobsMax);
    out.top_logprobs = top.value_or(0);
    if (out.top_logprobs > 0 && !out.logprobs)
        body.refuse("top_logprobs", "needs \"logprobs\": true");
}

void read_schema(FieldReader& at, std::string_view name, ResponseFormat& out) {
    const Json* schema = at.find(name);
    if (!schema) return;
    // JSON Schema also knows true and false, which admit everything and nothing.
    if (!schema->is_object() && !schema->is_boolean()) {
        at.refuse(name, format("is {}, expected a JSON Schema", type_name_of(*schema)));
        return;
    }
    out.kind = ResponseFormat::Kind::json_schema;
    out.schema = *schema;
}

void read_response_format(FieldReader& body, ResponseFormat& out) {
    read_schema(body, "json_schema", out);  // llama-server's own field
    const Json* json = body.object("response_format");
    if (!json) return;
    FieldReader format_(*json, "response_format");
    std::string type;
    format_.text("type", type);
    if (type == "text") {
        out = {};
    } else if (type == "json_object") {
        out = {};
        out.kind = ResponseFormat::Kind::json_object;
        read_schema(format_, "schema", out);
    } else if (type == "json_schema") {
        out = {};
        read_schema(format_, "schema", out);
        if (const Json* inner = format_.object("json_schema")) {
            FieldReader fields(*inner, "response_format.json_schema");
            fields.text("name", out.name);
            fields.boolean("strict", out.strict);
            read_schema(fields, "schema", out);
            if (!fields.ok()) format_.refuse(fields.status().error());
        }
        if (out.kind != ResponseFormat::Kind::json_schema)
            format_.refuse("json_schema.schema", "is missing");
    } else {
        format_.refuse("type", "must be text, json_object or json_schema");
    }
    if (!format_.ok()) body.refuse(format_.status().error());
}

// {"name", "description", "parameters", "strict"}: a tool's function, and an item of old
// `functions`.
Result<Tool> read_tool_function(const Json& function, const std::string& path) {
    FieldReader fields(function, path);
    Tool tool;
    fields.text("name", tool.name);
    fields.text("description", tool.description);
    fields.boolean("strict", tool.strict);
    if (const Json* parameters = fields.object("parameters")) tool.parameters = *parameters;
    if (tool.name.empty()) fields.refuse("name", "is missing");
    if (tool.name.size() > kToolNameBytesMax)
        fields.refuse("name", format("has {} bytes; at most {} are allowed", tool.name.size(),
                                     kToolNameBytesMax));
    HEARTH_CHECK_OK(fields.status());
    return tool;
}

Status read_tools(FieldReader& body, std::vector<Tool>& out) {
    const bool legacy = !body.find("tools") && body.find("functions");
    const char* name = legacy ? "functions" : "tools";
    const Json* tools = body.array(name);
    if (!tools) return body.status();
    if (tools->size() > kToolsMax)
        body.refuse(name,
                    format("has {} entries; at most {} are allowed", tools->size(), kToolsMax));
    HEARTH_CHECK_OK(body.status());
    for (std::size_t i = 0; i < tools->size(); ++i) {
        const std::string path = format("{}[{}]", name, i);
        const Json& json = (*tools)[i];
        if (!json.is_object())
            body.refuse(path, format("is {}, expected an object", type_name_of(json)));
        HEARTH_CHECK_OK(body.status());
        const Json* function = &json;
        if (!legacy) {
            FieldReader fields(json, path);
            std::string type = "function";
            fields.text("type", type);
            if (type != "function")
                fields.refuse("type",
                              "must be \"function\"; other kinds of tools are not supported");
            function = fields.object("function");
            if (!function) fields.refuse("function", "is missing");
            HEARTH_CHECK_OK(fields.status());
        }
        HEARTH_TRY(Tool tool, read_tool_function(*function, legacy ? path : path + ".function"));
        out.push_back(std::move(tool));
    }
    return {};
}

bool has_tool(const ChatRequest& request, const std::string& name) {
    for (const Tool& tool : request.tools) {
        if (tool.name == name) return true;
    }
    return false;
}

void read_choice_word(FieldReader& body, const char* field, const std::string& word,
                      ToolChoice& out) {
    if (word == "none") {
        out.kind = ToolChoice::Kind::none;
    } else if (word == "auto") {
        out.kind = ToolChoice::Kind::automatic;
    } else if (word == "required") {
        out.kind = ToolChoice::Kind::required;
    } else {
        body.refuse(field, "must be none, auto, required or an object that names a function");
    }
}

// {"type":"function","function":{"name"}}, or the older {"name"}.
void read_named_choice(FieldReader& body, const char* field, const Json& object, ChatRequest& out) {
    FieldReader choice(object, field);
    const Json* function = choice.object("function");
    FieldReader fields(function ? *function : object,
                       function ? choice.path_of("function") : field);
    fields.text("name", out.tool_choice.name);
    out.tool_choice.kind = ToolChoice::Kind::named;
    if (fields.ok() && !has_tool(out, out.tool_choice.name))
        fields.refuse("name", format("{} is none of the request's tools",
                                     json_text(out.tool_choice.name.substr(0, 80))));
    if (!choice.ok()) body.refuse(choice.status().error());
    if (!fields.ok()) body.refuse(fields.status().error());
}

// {"type":"allowed_tools","allowed_tools":{"mode","tools":[…]}}: the other tools are as good as
// absent.
void read_allowed_tools(FieldReader& body, const Json& object, ChatRequest& out) {
    FieldReader choice(object, "tool_choice");
    const Json* allowed = choice.object("allowed_tools");
    FieldReader fields(allowed ? *allowed : object, "tool_choice.allowed_tools");
    std::string mode = "auto";
    fields.text("mode", mode);
    const Json* tools = fields.array("tools");
    if (!tools) fields.refuse("tools", "is missing");
    if (tools && tools->size() > kToolsMax) fields.refuse("tools", "has too many entries");
    std::set<std::string> names;
    for (std::size_t i = 0; fields.ok() && i < tools->size(); ++i) {
        const Json& json = (*tools)[i];
        const Json* name = nullptr;
        if (json.is_object()) {
            const auto function = json.find("function");
            const Json& holder = function != json.end() && function->is_object() ? *function : json;
            if (const auto at = holder.find("name"); at != holder.end()) name = &*at;
        }
        if (name && name->is_string() && has_tool(out, name->get_ref<const std::string&>())) {
            names.insert(name->get<std::string>());
        } else {
            fields.refuse(format("tools[{}]", i), "is none of the request's tools");
        }
    }
    if (fields.ok())
        std::erase_if(out.tools, [&](const Tool& t) { return !names.contains(t.name); });
    read_choice_word(body, "tool_choice", mode, out.tool_choice);
    if (!choice.ok()) body.refuse(choice.status().error());
    if (!fields.ok()) body.refuse(fields.status().error());
}

void read_tool_choice(FieldReader& body, ChatRequest& out) {
    const char* field = body.find("tool_choice") ? "tool_choice" : "function_call";
    const Json* choice = body.find(field);
    if (!choice) return;
    if (choice->is_string()) {
        read_choice_word(body, field, choice->get_ref<const std::string&>(), out.tool_choice);
    } else if (choice->is_object()) {
        const auto type = choice->find("type");
        const bool allowed = type != choice->end() && *type == "allowed_tools";
        if (allowed) {
            read_allowed_tools(body, *choice, out);
        } else {
            read_named_choice(body, field, *choice, out);
        }
    } else {
        body.refuse(field, format("is {}, expected a string or an object", type_name_of(*choice)));
    }
    if (out.tool_choice.kind == ToolChoice::Kind::required && out.tools.empty())
        body.refuse(field, "requires a call, but the request has no tools");
}

void read_extras(FieldReader& body, ChatRequest& out) {
    body.boolean("parallel_tool_calls", out.parallel_tool_calls);
    if (const Json* kwargs = body.object("chat_template_kwargs")) {
        if (kwargs->size() > kTemplateKwargsMax) {
            body.refuse("chat_template_kwargs", format("has {} keys; at most {} are allowed",
                                                       kwargs->size(), kTemplateKwargsMax));
            return;
        }
        for (const auto& [key, value] : kwargs->items()) out.template_kwargs[key] = value;
    }
    // These change the answer, so an upstream of this dialect must see them.
    for (const char* name : {"reasoning_effort", "verbosity"}) {
        std::string text;
        body.text(name, text);
        if (!text.empty()) out.extensions[name] = text;
    }
}

}  // namespace

Result<ChatRequest> read_request(std::string_view, std::string_view text) {
    HEARTH_TRY(const Json json, parse_json(text));
    if (!json.is_object())
        return fail(ErrorKind::invalid_request,
                    format("the body is {}, expected a JSON object", type_name_of(json)));
    FieldReader body(json);
    ChatRequest out;
    body.text("model", out.model);
    if (body.ok() && out.model.empty())
        body.refuse("model", "is missing; name a model, or auto, local or cloud");
    if (body.ok() && out.model.size() > kModelNameBytesMax)
        body.refuse("model", format("has {} bytes; at most {} are allowed", out.model.size(),
                                    kModelNameBytesMax));
    const Json* messages = body.array("messages");
    if (!messages || messages->empty())
        body.refuse("messages", "is missing or empty; a chat needs at least one message");
    HEARTH_CHECK_OK(body.status());
    HEARTH_TRY(out.messages, read_messages(*messages));
    HEARTH_CHECK_OK(read_tools(body, out.tools));
    read_tool_choice(body, out);
    read_response_format(body, out.response_format);
    read_sampling(body, out.sampling);
    read_lengths(body, out);
    read_stop(body, out.stop);
    read_stream(body, out);
    read_logprobs(body, out);
    read_extras(body, out);
    HEARTH_CHECK_OK(body.status());
    return out;
}

}  // namespace hearth::chat::openai
