#include "engine/memory_at_hand.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

#include "base/file.h"

namespace hearth::engine {
namespace {

// Files of /proc and /sys are short; meminfo and memory.stat have about 60 lines.
constexpr std::size_t kFileBytesMax = 1 << 16;
constexpr std::size_t kNoLimit = SIZE_MAX;

std::string text_of(const std::string& path) {
    auto text = read_file(path, kFileBytesMax);
    return text ? *std::move(text) : "";
}

std::optional<std::size_t> number_at(std::string_view text) {
    while (!text.empty() && (text[0] == ' ' || text[0] == '\t')) text.remove_prefix(1);
    std::size_t value = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (code != std::errc{}) return std::nullopt;
    return value;
}

// The number after `key` at the start of a line.
std::optional<std::size_t> field(std::string_view text, std::string_view key) {
    while (!text.empty()) {
        if (text.substr(0, key.size()) == key) return number_at(text.substr(key.size()));
        const std::size_t end = text.find('\n');
        text.remove_prefix(end == text.npos ? text.size() : end + 1);
    }
    return std::nullopt;
}

struct Names {
    const char *limit, *used, *droppable;
};
constexpr Names kVersion1{"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "};
constexpr Names kVersion2{"memory.max", "memory.current", "inactive_file "};

// What one cgroup leaves. "max", and version 1's huge number for it, are no limit.
std::size_t room_in(const std::string& folder, const Names& names) {
    const auto limit = number_at(text_of(folder + "/" + names.limit));
    const auto used = number_at(text_of(folder + "/" + names.used));
    if (!limit || !used) return kNoLimit;
    const std::size_t droppable =
        field(text_of(folder + "/memory.stat"), names.droppable).value_or(0);
    const std::size_t held = *used - std::min(*used, droppable);
    return *limit - std::min(*limit, held);
}

// The least room among a cgroup and its parents.
std::size_t room_along(const std::string& mount, std::string path, const Names& names) {
    std::size_t room = kNoLimit;
    for (;;) {
        room = std::min(room, room_in(mount + path, names));
        if (path.empty()) return room;
        path.resize(path.rfind('/') == path.npos ? 0 : path.rfind('/'));
    }
}

// /proc/self/cgroup has lines "id:controllers:/path"; version 2's is "0::/path".
std::size_t cgroup_room(const std::string& root) {
    const std::string text = text_of(root + "/proc/self/cgroup");
    std::size_t room = kNoLimit;
    for (std::string_view rest = text; !rest.empty();) {
        const std::string_view line = rest.substr(0, rest.find('\n'));
        rest.remove_prefix(std::min(rest.size(), line.size() + 1));
        const std::size_t first = line.find(':');
        const std::size_t second = first == line.npos ? first : line.find(':', first + 1);
        if (second == line.npos) continue;
        const std::string_view controllers = line.substr(first + 1, second - first - 1);
        std::string path(line.substr(second + 1));
        if (path == "/") path.clear();
        const std::string base = root + "/sys/fs/cgroup";
        if (controllers.empty()) {
            room = std::min({room, room_along(base, path, kVersion2),
                             room_along(base + "/unified", path, kVersion2)});
        } else if (("," + std::string(controllers) + ",").find(",memory,") != std::string::npos) {
            // A container often sees its own cgroup as the mount's root.
            room = std::min(room, room_along(base + "/memory", path, kVersion1));
        }
    }
    return room;
}

}  // namespace

std::size_t memory_at_hand(const std::string& root) {
    const auto available_kib = field(text_of(root + "/proc/meminfo"), "MemAvailable:");
    const std::size_t available = available_kib ? *available_kib * 1024 : kNoLimit;
    return std::min(available, cgroup_room(root));
}

}  // namespace hearth::engine
