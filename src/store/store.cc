#include "store/store.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>

#include "base/format.h"
#include "base/suggest.h"

namespace hearth::store {
namespace {

constexpr std::size_t kNameBytesMax =
    128;  // a file name may have 255; leaves room for .gguf and tags
constexpr std::size_t kPathBytesMax = 4096;      // PATH_MAX
constexpr std::size_t kListedFilesMax = 10'000;  // a folder larger than this is no model folder
constexpr std::string_view kSuffix = ".gguf";

bool is_letter_or_digit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}
bool is_name_char(char c) {
    return is_letter_or_digit(c) || c == '.' || c == '_' || c == ':' || c == '-';
}
bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

// "x-00002-of-00003": a shard that is not the first, which is no model of its own.
bool is_later_shard(std::string_view stem) {
    constexpr std::string_view kForm = "-00000-of-00000";
    if (stem.size() <= kForm.size()) return false;
    const std::string_view end = stem.substr(stem.size() - kForm.size());
    for (std::size_t i = 0; i < kForm.size(); ++i)
        if (kForm[i] == '0' ? !is_digit(end[i]) : end[i] != kForm[i]) return false;
    return end.substr(1, 5) != "00001";
}

struct Info {
    bool regular = false;
    std::int64_t size_bytes = 0;
};
std::optional<Info> info_of(const std::string& path) {
    struct stat info{};
    if (::stat(path.c_str(), &info) != 0) return std::nullopt;
    return Info{.regular = S_ISREG(info.st_mode), .size_bytes = std::int64_t(info.st_size)};
}

// The .gguf files of a folder, by name, without their ending.
Result<std::vector<std::string>> stems_in(const std::string& folder) {
    const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(folder.c_str()), ::closedir);
    std::vector<std::string> stems;
    if (!dir) {
        if (errno == ENOENT) return stems;
        return fail(ErrorKind::invalid_request,
                    format("cannot read the folder {}: {}", folder, std::strerror(errno)));
    }
    while (const dirent* entry = ::readdir(dir.get())) {
        const std::string_view name = entry->d_name;
        if (!name.ends_with(kSuffix) || stems.size() == kListedFilesMax) continue;
        const std::string_view stem = name.substr(0, name.size() - kSuffix.size());
        if (!is_later_shard(stem)) stems.emplace_back(stem);
    }
    std::ranges::sort(stems);
    return stems;
}

bool is_path(std::string_view model) {
    return model.find('/') != model.npos || model.ends_with(kSuffix);
}

}  // namespace

bool is_model_name(std::string_view name) {
    return !name.empty() && name.size() <= kNameBytesMax && is_letter_or_digit(name.front()) &&
           std::ranges::all_of(name, is_name_char);
}

std::string name_of_file(std::string_view path) {
    std::string_view file = path.substr(path.rfind('/') + 1);  // npos + 1 is 0
    if (file.ends_with(kSuffix)) file.remove_suffix(kSuffix.size());
    std::string name(file.substr(0, kNameBytesMax));
    for (char& c : name)
        if (!is_name_char(c)) c = '_';
    if (name.empty() || !is_letter_or_digit(name.front())) name.insert(0, "m");
    if (name == "auto" || name == "local" || name == "cloud") name += "-model";
    return name;
}

Result<model::ModelSource> Store::resolve(const std::string& model) const {
    if (model.empty())
        return fail(ErrorKind::invalid_request, "no model is named; `demo` is always there");
    if (model.size() > kPathBytesMax || model.find('\0') != model.npos)
        return fail(ErrorKind::invalid_request,
                    format("\"{}\" is no model and no path: too long, or with a zero byte",
                           shown_name(model)));
    for (const BuiltinModel& builtin : builtins_)
        if (model == builtin.name)
            return model::ModelSource{.name = builtin.name, .path = "", .bytes = builtin.bytes};
    if (is_path(model)) return resolve_path(model);
    if (!is_model_name(model))
        return fail(ErrorKind::invalid_request,
                    format("\"{}\" cannot be a model's name: letters, digits and . _ : - only, a "
                           "letter or digit first; a path needs a '/' or ends in .gguf",
                           shown_name(model)));
    const std::string path = format("{}/{}{}", folder_, model, kSuffix);
    const auto info = info_of(path);
    if (!info) return not_found(model);
    if (!info->regular)
        return fail(ErrorKind::invalid_request, format("{} is no regular file", path));
    return model::ModelSource{.name = model, .path = path, .bytes = {}, .open_file = open_file_};
}

Result<model::ModelSource> Store::resolve_path(const std::string& path) const {
    const auto info = info_of(path);
    if (info && info->regular)
        return model::ModelSource{
            .name = name_of_file(path), .path = path, .bytes = {}, .open_file = open_file_};
    if (info)
        return fail(ErrorKind::invalid_request,
                    format("{} is no regular file; a model is a .gguf file", shown_name(path)));
    // "x.gguf" that is not here may be meant as the store's x.
    if (path.find('/') == path.npos) {
        const std::string stem = path.substr(0, path.size() - kSuffix.size());
        return is_model_name(stem) ? resolve(stem) : not_found(path);
    }
    const std::size_t slash = path.rfind('/');
    const auto stems = stems_in(slash == 0 ? "/" : path.substr(0, slash));
    std::vector<std::string> close;
    if (stems) close = closest_names(name_of_file(path), *stems);
    std::string message = format("there is no file {}", shown_name(path));
    for (std::size_t i = 0; i < close.size(); ++i)
        message += format("{}{}{}", i == 0 ? "; close: " : ", ", shown_name(close[i]), kSuffix);
    return fail(ErrorKind::not_found, std::move(message));
}

Result<model::ModelSource> Store::not_found(const std::string& model) const {
    std::vector<std::string> names;
    if (const auto entries = list())
        for (const ModelEntry& entry : *entries) names.push_back(entry.name);
    return fail(ErrorKind::not_found, format("{} Models are .gguf files in {}; a path works too.",
                                             not_found_text("model", model, names), folder_));
}

Result<std::vector<ModelEntry>> Store::list() const {
    std::vector<ModelEntry> entries;
    for (const BuiltinModel& builtin : builtins_)
        entries.push_back(
            {.name = builtin.name, .path = "", .size_bytes = std::int64_t(builtin.bytes.size())});
    HEARTH_TRY(const std::vector<std::string> stems, stems_in(folder_));
    for (const std::string& stem : stems) {
        // A file whose name a built-in model has, or that no name can mean, is reached by path
        // only.
        const auto same = [&](const BuiltinModel& builtin) { return builtin.name == stem; };
        if (!is_model_name(stem) || std::ranges::any_of(builtins_, same)) continue;
        const std::string path = format("{}/{}{}", folder_, stem, kSuffix);
        const auto info = info_of(path);
        if (info && info->regular)
            entries.push_back({.name = stem, .path = path, .size_bytes = info->size_bytes});
    }
    return entries;
}

}  // namespace hearth::store
