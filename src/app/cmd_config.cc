// config show: the effective settings, each with where it came from.
#include <cstdio>

#include "app/commands.h"
#include "base/format.h"

namespace hearth::app {

int config_show_command(Context& context) {
    const ConfigFile& file = context.settings.config();
    if (context.json) {
        JsonWriter out;
        out.begin_object().field("config_file", file.path);
        out.key("folders")
            .begin_object()
            .field("config", context.folders.config)
            .field("data", context.folders.data)
            .field("state", context.folders.state)
            .field("cache", context.folders.cache)
            .end_object();
        out.key("settings").begin_object();
        for (const Setting& s : context.settings.all()) {
            out.key(s.spec->name)
                .begin_object()
                .field("value", s.value)
                .field("source", s.source)
                .field("flag", s.spec->flag)
                .field("environment", s.spec->env())
                .end_object();
        }
        out.end_object().key("upstreams").begin_array();
        for (const backend::UpstreamConfig& u : file.upstreams) {
            out.begin_object()
                .field("name", u.name)
                .field("dialect", u.dialect)
                .field("base_url", u.base_url)
                .field("tier", route::name_of(u.tier))
                .field("key_env", u.key_env)
                .key("models")
                .begin_array();
            for (const route::Target& m : u.models) out.value(m.model);
            out.end_array().end_object();
        }
        out.end_array().key("public_prefixes").begin_array();
        for (const backend::PublicPrefix& p : file.public_prefixes)
            out.begin_object().field("name", p.name).field("text", p.text).end_object();
        std::puts(out.end_array().end_object().text().c_str());
        return kDone;
    }
    std::printf("config file   %s\n", file.path.empty() ? "(none)" : file.path.c_str());
    std::printf("config folder %s\ndata folder   %s\nstate folder  %s\ncache folder  %s\n\n",
                context.folders.config.c_str(), context.folders.data.c_str(),
                context.folders.state.c_str(), context.folders.cache.c_str());
    for (const Setting& s : context.settings.all())
        std::printf("%-20s = %-14s  %s\n", s.spec->name, s.value.empty() ? "\"\"" : s.value.c_str(),
                    s.source.c_str());
    for (const backend::UpstreamConfig& u : file.upstreams) {
        std::printf("\nupstream %s (%s, %s): %s\n", u.name.c_str(), u.dialect.c_str(),
                    route::name_of(u.tier), u.base_url.c_str());
        for (const route::Target& m : u.models) std::printf("  %s\n", m.model.c_str());
    }
    for (const backend::PublicPrefix& p : file.public_prefixes)
        std::printf("\n%s: %zu bytes that every key may share\n", p.name.c_str(), p.text.size());
    return kDone;
}

}  // namespace hearth::app
