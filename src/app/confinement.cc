#include "app/confinement.h"

#include <sys/stat.h>

#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "engine/model/shards.h"

extern "C" char** environ;

namespace hearth::app {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSystemRead[] = {"/usr",           "/lib",          "/lib32",
                                       "/lib64",         "/nix/store",    "/gnu/store",
                                       "/proc",          "/sys",          "/dev/zero",
                                       "/dev/random",    "/dev/urandom",  "/etc/ld.so.cache",
                                       "/etc/localtime", "/etc/timezone", "/etc/ssl/openssl.cnf"};
constexpr const char* kSystemWrite[] = {"/dev/null", "/dev/tty"};
// More names than any command line has; a value longer than a path is none.
constexpr std::size_t kNamedMax = 4096;

bool is_openable(const std::string& path) {
    struct stat info{};
    return !path.empty() && path.size() < 4096 && ::stat(path.c_str(), &info) == 0 &&
           !S_ISDIR(info.st_mode) && !S_ISSOCK(info.st_mode);
}

// A named file and, where it is one part of a model, the others.
void add_file(std::vector<std::string>& out, const std::string& path) {
    if (out.size() >= kNamedMax || !is_openable(path)) return;
    out.push_back(path);
    const auto part = model::read_shard_name(path);
    if (!part) return;
    for (std::int64_t n = 1; n <= part->count && out.size() < kNamedMax; ++n)
        if (const std::string other = part->path_of(n); is_openable(other)) out.push_back(other);
}

// A named folder is opened with all below it, unless the broker's folder would be among that.
void add_folder(std::vector<std::string>& out, const std::string& path, const Context& context) {
    std::error_code error, ignored;
    if (path.empty() || path.size() >= 4096 || !fs::is_directory(path, ignored)) return;
    const std::string folder = fs::canonical(path, error).string();
    const std::string broker = fs::weakly_canonical(context.folders.broker, ignored).string();
    const std::string prefix = folder == "/" ? folder : folder + "/";
    if (!error && !(broker + "/").starts_with(prefix)) out.push_back(folder);
}

// "--file=prompt.txt" names prompt.txt.
void add_text(std::vector<std::string>& out, const std::string& text) {
    add_file(out, text);
    if (const auto equals = text.find('='); equals != std::string::npos)
        add_file(out, text.substr(equals + 1));
}

// What stands in quotes in config.toml: paths of dictionaries, price tables and the like. Only
// files that are there count, so that a wrong guess opens nothing.
void add_quoted(std::vector<std::string>& out, const std::string& config_path) {
    const auto text = read_file(config_path, 1u << 20);
    if (!text) return;
    const std::string folder = fs::path(config_path).parent_path().string();
    for (const char quote : {'"', '\''}) {
        std::size_t at = 0;
        while ((at = text->find(quote, at)) != std::string::npos) {
            const std::size_t end = text->find(quote, at + 1);
            if (end == std::string::npos) break;
            const std::string value = text->substr(at + 1, end - at - 1);
            if (value.size() < 4096 && value.find('\n') == std::string::npos) {
                add_file(out, value);
                if (!value.empty() && value[0] != '/') add_file(out, folder + "/" + value);
            }
            at = end + 1;
        }
    }
}

}  // namespace

Confinement confinement(const Context& context, const std::vector<std::string>& named,
                        const std::vector<std::string>& outputs) {
    egress::FileRules rules{.restrict_reads = true, .restrict_writes = true};
    for (const char* path : kSystemRead) rules.read.emplace_back(path);
    for (const char* path : kSystemWrite) rules.write.emplace_back(path);
    const store::Folders& folders = context.folders;
    // A folder that is made later could not be opened: both are made now, where that is possible.
    for (const std::string& folder : {folders.state, folders.cache}) {
        (void)make_folders(folder);
        rules.write.push_back(folder);
    }
    rules.list.push_back(folders.models());
    std::vector<std::string> files;
    const std::string& config = context.settings.config().path;
    add_file(files, config);
    if (!config.empty()) add_quoted(files, config);
    for (const std::string& text : named) {
        add_text(files, text);
        add_folder(rules.read, text, context);
    }
    for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry)
        if (std::strncmp(*entry, "HEARTH_", 7) == 0) add_text(files, *entry);
    for (const std::string& file : files)
        if (!file.ends_with(".gguf")) rules.read.push_back(file);
    for (const std::string& output : outputs) {
        const fs::path parent = fs::path(output).parent_path();
        if (!output.empty() && output != "-")
            rules.write_only.push_back(parent.empty() ? "." : parent.string());
    }
    // A model may be called by any path, hence all of them.
    return {.files = std::move(rules), .models = {folders.models(), std::move(files)}};
}

}  // namespace hearth::app
