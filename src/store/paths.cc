#include "store/paths.h"

#include <cstdlib>

namespace hearth::store {
namespace {

// Set and not empty: an empty variable counts as unset (XDG says so, shells make them).
std::optional<std::string> value_of(const Environment& environment, const char* name) {
    auto value = environment(name);
    if (!value || value->empty()) return std::nullopt;
    return value;
}

std::string without_trailing_slash(std::string path) {
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    return path;
}

Result<std::string> xdg_folder(const Environment& environment, const char* variable,
                               const char* below_home) {
    const auto xdg = value_of(environment, variable);
    if (xdg && xdg->front() == '/') return without_trailing_slash(*xdg) + "/hearth";
    const auto home = value_of(environment, "HOME");
    if (home && home->front() == '/') return without_trailing_slash(*home) + below_home + "/hearth";
    return fail(ErrorKind::invalid_request,
                std::string("no place for files: set HOME to an absolute path, or ") + variable +
                    ", or HEARTH_HOME for everything");
}

}  // namespace

Environment process_environment() {
    return [](const std::string& name) -> std::optional<std::string> {
        const char* const value = std::getenv(name.c_str());
        if (!value) return std::nullopt;
        return std::string(value);
    };
}

Result<Folders> resolve_folders(const Environment& environment, const std::string& working_folder) {
    if (const auto home = value_of(environment, "HEARTH_HOME")) {
        const std::string root = without_trailing_slash(
            home->front() == '/' ? *home : without_trailing_slash(working_folder) + "/" + *home);
        return Folders{.config = root,
                       .data = root,
                       .state = root + "/state",
                       .cache = root + "/cache",
                       .broker = root + "/broker"};
    }
    Folders folders;
    HEARTH_TRY(folders.config, xdg_folder(environment, "XDG_CONFIG_HOME", "/.config"));
    HEARTH_TRY(folders.data, xdg_folder(environment, "XDG_DATA_HOME", "/.local/share"));
    HEARTH_TRY(folders.state, xdg_folder(environment, "XDG_STATE_HOME", "/.local/state"));
    HEARTH_TRY(folders.cache, xdg_folder(environment, "XDG_CACHE_HOME", "/.cache"));
    folders.broker = folders.state + "-broker";
    return folders;
}

}  // namespace hearth::store
