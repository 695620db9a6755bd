// quantize: a model file in another format.
#include <unistd.h>

#include <cstdio>

#include "app/open.h"
#include "base/format.h"
#include "engine/model/quantize.h"

namespace hearth::app {

int quantize_command(Context& context, const QuantizeArgs& args) {
    const model::QuantizeType* type = model::find_quantize_type(args.type);
    if (!type)
        return report({.kind = ErrorKind::invalid_request,
                       .message = format("no format is called \"{}\"; there are {}", args.type,
                                         model::quantize_type_names())},
                      context.json),
               kUsage;
    if (access(args.to.c_str(), F_OK) == 0 && !args.overwrite)
        return report({.kind = ErrorKind::invalid_request,
                       .message = format("{} exists; --overwrite replaces it", args.to)},
                      context.json);
    auto source = find_model(context, args.from);
    if (!source) return report(source.error(), context.json);
    auto model = model::Model::open(*source);
    if (!model) return report(model.error(), context.json);

    ThreadPool pool(int(context.settings.integer("engine.threads")));
    const bool shows = !context.quiet && isatty(STDERR_FILENO);
    auto done = model::quantize(
        (*model)->gguf(), args.to, *type, pool, [&](std::int64_t n, std::int64_t all) {
            if (shows) std::fprintf(stderr, "\rtensor %lld of %lld ", (long long)n, (long long)all);
        });
    if (shows) std::fputs("\r\033[K", stderr);
    if (!done) return report(done.error(), context.json);
    if (context.json) {
        JsonWriter out;
        out.begin_object()
            .field("type", type->name)
            .field("n_tensors", done->n_tensors)
            .field("n_quantized", done->n_quantized)
            .field("bytes_in", std::uint64_t(done->bytes_in))
            .field("bytes_out", std::uint64_t(done->bytes_out))
            .key("fallbacks")
            .begin_array();
        for (const std::string& line : done->fallbacks) out.value(line);
        std::puts(out.end_array().end_object().text().c_str());
        return kDone;
    }
    for (const std::string& line : done->fallbacks)
        std::fprintf(stderr, "note: %s\n", line.c_str());
    std::printf("%s: %lld tensors, %lld of them %s, %.1f MB from %.1f MB\n", args.to.c_str(),
                (long long)done->n_tensors, (long long)done->n_quantized, type->name,
                double(done->bytes_out) / 1e6, double(done->bytes_in) / 1e6);
    return kDone;
}

}  // namespace hearth::app
