#include "audit/files.h"

#include <dirent.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <functional>
#include <tuple>

#include "base/format.h"

namespace hearth::audit {
namespace {

constexpr std::string_view kPrefix = "journal-", kSuffix = ".db";

// Digits without leading zeros.
std::optional<int> number_of(std::string_view digits) {
    int number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error != std::errc() || end != digits.data() + digits.size() || number < 0 ||
        std::to_string(number) != digits)
        return std::nullopt;
    return number;
}

Status each_name(const std::string& folder, const std::function<void(std::string_view)>& take) {
    DIR* const dir = ::opendir(folder.c_str());
    if (!dir) {
        if (errno == ENOENT) return {};
        return fail(ErrorKind::invalid_request,
                    format("cannot read {}: {}", folder, std::strerror(errno)));
    }
    while (const dirent* entry = ::readdir(dir)) take(entry->d_name);
    ::closedir(dir);
    return {};
}

}  // namespace

std::string slot_name(int slot) {
    return format("{}{}", kPrefix, slot);
}

std::string part_name(int slot, int number) {
    return number == 1 ? slot_name(slot) + ".db" : format("{}.{}.db", slot_name(slot), number);
}

std::optional<Part> parse_part_name(std::string_view name) {
    if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix) ||
        name.size() <= kPrefix.size() + kSuffix.size())
        return std::nullopt;
    name.remove_prefix(kPrefix.size());
    name.remove_suffix(kSuffix.size());
    const std::size_t dot = name.find('.');
    const auto slot = number_of(name.substr(0, dot));
    const auto number = dot == name.npos ? std::optional(1) : number_of(name.substr(dot + 1));
    if (!slot || *slot >= kSlotsMax || !number || *number > kPartsMax ||
        (dot != name.npos && *number < 2))
        return std::nullopt;
    return Part{.slot = *slot, .number = *number, .path = {}};
}

Result<std::vector<Part>> list_parts(const std::string& folder) {
    std::vector<Part> parts;
    HEARTH_CHECK_OK(each_name(folder, [&](std::string_view name) {
        if (auto part = parse_part_name(name)) {
            part->path = format("{}/{}", folder, name);
            parts.push_back(std::move(*part));
        }
    }));
    std::ranges::sort(parts, {},
                      [](const Part& part) { return std::tuple(part.slot, part.number); });
    return parts;
}

Result<std::vector<std::string>> list_damaged(const std::string& folder) {
    std::vector<std::string> names;
    HEARTH_CHECK_OK(each_name(folder, [&](std::string_view name) {
        if (name.starts_with(kPrefix) && name.ends_with(kSuffix) &&
            name.find(".damaged-") != name.npos)
            names.emplace_back(name);
    }));
    std::ranges::sort(names);
    return names;
}

}  // namespace hearth::audit
