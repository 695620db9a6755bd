// The `messages` array of a chat request, in every form that clients send.
//
// developer is system under a newer name; function is the older form of tool. Their calls had no
// ids, so both sides get the same one, made from the function's name.
#include "base/format.h"
#include "chat/dialects/openai/openai.h"
#include "chat/fields.h"

namespace hearth::chat::openai {
namespace {

std::string legacy_call_id(const std::string& name) {
    return "call_" + name;
}

Result<Part> read_image(FieldReader& part) {
    const Json* image = part.find("image_url");
    if (image && image->is_string()) return ImagePart{image->get<std::string>(), ""};
    image = part.object("image_url");
    HEARTH_CHECK_OK(part.status());
    if (!image) {
        part.refuse("image_url", "is missing; an image part needs {\"url\": …}");
        return std::unexpected(part.status().error());
    }
    FieldReader fields(*image, part.path_of("image_url"));
    ImagePart out;
    fields.text("url", out.url);
    fields.text("detail", out.detail);
    if (fields.ok() && out.url.empty()) fields.refuse("url", "is missing");
    HEARTH_CHECK_OK(fields.status());
    return out;
}

Result<Part> read_audio(FieldReader& part) {
    const Json* audio = part.object("input_audio");
    if (!audio)
        part.refuse("input_audio", "is missing; an audio part needs {\"data\", \"format\"}");
    HEARTH_CHECK_OK(part.status());
    FieldReader fields(*audio, part.path_of("input_audio"));
    AudioPart out;
    fields.text("data", out.data_base64);
    fields.text("format", out.media_format);
    if (fields.ok() && out.data_base64.empty()) fields.refuse("data", "is missing");
    HEARTH_CHECK_OK(fields.status());
    return out;
}

Result<Part> read_part(const Json& json, const std::string& path) {
    // Some clients write plain strings among the parts.
    if (json.is_string()) return TextPart{json.get<std::string>()};
    if (!json.is_object())
        return fail(Error{.kind = ErrorKind::invalid_request,
                          .message = format("{} is {}, expected a content part (an object with a "
                                            "\"type\")",
                                            path, type_name_of(json)),
                          .param = path});
    FieldReader part(json, path);
    std::string type;
    part.text("type", type);
    HEARTH_CHECK_OK(part.status());
    if (type == "image_url") return read_image(part);
    if (type == "input_audio") return read_audio(part);
    if (type == "text" || type == "refusal") {
        TextPart out;
        if (!part.find(type)) part.refuse(type, "is missing; it holds the part's text");
        part.text(type, out.text);
        HEARTH_CHECK_OK(part.status());
        return out;
    }
    part.refuse("type", type.empty()
                            ? "is missing; known types are text, image_url and input_audio"
                            : format("\"{}\" is not supported; known types are text, image_url "
                                     "and input_audio",
                                     type.substr(0, 40)));
    return std::unexpected(part.status().error());
}

Status read_content(FieldReader& fields, Message& out) {
    const Json* content = fields.find("content");
    if (!content) return {};
    if (content->is_string()) {
        out.parts.push_back(TextPart{content->get<std::string>()});
        return {};
    }
    if (!content->is_array()) {
        fields.refuse("content", format("is {}, expected a string or an array of parts",
                                        type_name_of(*content)));
        return fields.status();
    }
    out.parts.reserve(content->size());
    for (std::size_t i = 0; i < content->size(); ++i) {
        HEARTH_TRY(Part part,
                   read_part((*content)[i], format("{}[{}]", fields.path_of("content"), i)));
        out.parts.push_back(std::move(part));
    }
    return {};
}

// The `function` object of a call: {"name", "arguments"}.
Status read_function(const Json& function, const std::string& path, ToolCall& out) {
    FieldReader fields(function, path);
    fields.text("name", out.name);
    if (const Json* arguments = fields.find("arguments")) {
        // The specification has JSON text; objects are sent by clients that parsed it.
        if (arguments->is_object()) {
            out.arguments = to_text(*arguments);
        } else {
            fields.text("arguments", out.arguments);
        }
    }
    if (fields.ok() && out.name.empty()) fields.refuse("name", "is missing");
    return fields.status();
}

Status read_tool_calls(FieldReader& message, Message& out) {
    if (const Json* calls = message.array("tool_calls")) {
        out.tool_calls.reserve(calls->size());
        for (std::size_t i = 0; i < calls->size(); ++i) {
            const std::string path = format("{}[{}]", message.path_of("tool_calls"), i);
            const Json& json = (*calls)[i];
            if (!json.is_object()) {
                message.refuse(format("tool_calls[{}]", i),
                               format("is {}, expected an object", type_name_of(json)));
                break;
            }
            FieldReader fields(json, path);
            ToolCall call;
            fields.text("id", call.id);
            const Json* function = fields.object("function");
            if (!function)
                fields.refuse("function", "is missing; only calls of functions are supported");
            HEARTH_CHECK_OK(fields.status());
            HEARTH_CHECK_OK(read_function(*function, path + ".function", call));
            out.tool_calls.push_back(std::move(call));
        }
    } else if (const Json* legacy = message.object("function_call")) {
        ToolCall call;
        HEARTH_CHECK_OK(read_function(*legacy, message.path_of("function_call"), call));
        call.id = legacy_call_id(call.name);
        out.tool_calls.push_back(std::move(call));
    }
    return message.status();
}

Status read_assistant(FieldReader& fields, Message& out) {
    HEARTH_CHECK_OK(read_tool_calls(fields, out));
    fields.text("reasoning_content", out.thinking);
    if (out.thinking.empty()) {
        // `reasoning` is also the name of objects that other APIs use; only text is past thinking.
        const Json* reasoning = fields.find("reasoning");
        if (reasoning && reasoning->is_string()) out.thinking = reasoning->get<std::string>();
    }
    if (out.parts.empty()) {
        std::string refusal;
        fields.text("refusal", refusal);
        if (!refusal.empty()) out.parts.push_back(TextPart{std::move(refusal)});
    }
    return fields.status();
}

Result<Message> read_message(const Json& json, const std::string& path) {
    if (!json.is_object())
        return fail(Error{.kind = ErrorKind::invalid_request,
                          .message = format("{} is {}, expected a message (an object with \"role\" "
                                            "and \"content\")",
                                            path, type_name_of(json)),
                          .param = path});
    FieldReader fields(json, path);
    Message out;
    std::string role;
    fields.text("role", role);
    fields.text("name", out.name);
    HEARTH_CHECK_OK(fields.status());
    HEARTH_CHECK_OK(read_content(fields, out));
    if (role == "assistant") {
        out.role = Role::assistant;
        HEARTH_CHECK_OK(read_assistant(fields, out));
        return out;
    }
    if (role == "system" || role == "developer") {
        out.role = Role::system;
    } else if (role == "user") {
        out.role = Role::user;
    } else if (role == "tool") {
        out.role = Role::tool;
        fields.text("tool_call_id", out.tool_call_id);
    } else if (role == "function") {
        out.role = Role::tool;
        out.tool_call_id = legacy_call_id(out.name);
    } else {
        fields.refuse("role", role.empty()
                                  ? "is missing; use system, developer, user, assistant or tool"
                                  : format("\"{}\" is unknown; use system, developer, user, "
                                           "assistant or tool",
                                           role.substr(0, 40)));
    }
    // A tool that returned nothing is sent as null; the other roles are there for their content.
    if (fields.ok() && out.role != Role::tool && !fields.find("content"))
        fields.refuse("content", "is missing; expected a string or an array of parts");
    HEARTH_CHECK_OK(fields.status());
    return out;
}

}  // namespace

Result<std::vector<Message>> read_messages(const Json& messages) {
    std::vector<Message> out;
    out.reserve(messages.size());
    for (std::size_t i = 0; i < messages.size(); ++i) {
        HEARTH_TRY(Message message, read_message(messages[i], format("messages[{}]", i)));
        out.push_back(std::move(message));
    }
    return out;
}

}  // namespace hearth::chat::openai
