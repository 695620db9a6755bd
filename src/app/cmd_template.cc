// template render: the exact prompt text that a chat template makes of a context.
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include "app/open.h"
#include "base/format.h"
#include "chat/jinja/jinja.h"

namespace hearth::app {
namespace {

// "2026-03-14", "2026-03-14T15:09:26", a blank for the T, an optional Z; UTC.
Result<std::int64_t> unix_time(const std::string& text) {
    tm parts = {};
    const char* end = nullptr;
    for (const char* form : {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d"}) {
        parts = {};
        end = strptime(text.c_str(), form, &parts);
        if (end && (*end == '\0' || std::string_view(end) == "Z")) return timegm(&parts);
    }
    return fail(ErrorKind::invalid_request,
                format("--now \"{}\" must look like 2026-03-14T15:09:26", text));
}

Result<std::string> template_source(const Context& context, const std::string& name) {
    if (name.ends_with(".jinja")) return read_file(name, chat::jinja::kSourceBytesMax);
    HEARTH_TRY(const model::ModelSource source, find_model(context, name));
    HEARTH_TRY(const auto model, model::Model::open(source));
    if (model->chat_template().empty())
        return fail(ErrorKind::not_found, format("{} carries no chat template", name));
    return model->chat_template();
}

Result<std::string> render(const Context& context, const TemplateArgs& args) {
    HEARTH_TRY(const std::string source, template_source(context, args.model));
    HEARTH_TRY(const std::string text, read_text(args.input));
    HEARTH_TRY(const Json variables, parse_json(text));
    if (!variables.is_object())
        return fail(ErrorKind::invalid_request, "the input must be a JSON object of variables");
    chat::jinja::RenderOptions options;
    options.now_unix_s = system_clock().wall_ns() / 1'000'000'000;
    if (!args.now.empty()) {
        HEARTH_TRY(options.now_unix_s, unix_time(args.now));
    }
    HEARTH_TRY(const chat::jinja::Template parsed, chat::jinja::parse(source));
    return chat::jinja::render(parsed, variables, options);
}

}  // namespace

int template_command(Context& context, const TemplateArgs& args) {
    const auto text = render(context, args);
    if (!text) {
        const int code = report(text.error(), context.json);
        return code == kNotFound ? kNotFound : kFailed;
    }
    if (context.json) {
        JsonWriter out;
        std::puts(out.begin_object().field("text", *text).end_object().text().c_str());
    } else {
        std::fwrite(text->data(), 1, text->size(), stdout);
    }
    return kDone;
}

}  // namespace hearth::app
