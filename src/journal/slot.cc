// A file that exists is never opened here: closing a descriptor of it would drop the POSIX locks
// that SQLite holds on it for another connection of this process.
#include "journal/slot.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "base/format.h"
#include "base/log.h"
#include "journal/limits.h"

namespace hearth::journal {
namespace {

std::unexpected<Error> io_error(const char* verb, const std::string& path) {
    return fail(ErrorKind::internal,
                format("cannot {} {} for the journal: {}", verb, path, std::strerror(errno)));
}

// Private, also where an older umask or a copy left it open.
Status make_private(const std::string& path, mode_t mode) {
    struct stat info{};
    if (::stat(path.c_str(), &info) != 0) return io_error("look at", path);
    if ((info.st_mode & 0777) == mode) return {};
    if (::chmod(path.c_str(), mode) != 0) return io_error("close to others", path);
    return {};
}

// k of "journal-<k>.db", else -1.
int slot_of(std::string_view name) {
    constexpr std::string_view kPrefix = "journal-", kSuffix = ".db";
    if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return -1;
    if (name.size() <= kPrefix.size() + kSuffix.size()) return -1;
    const std::string_view digits =
        name.substr(kPrefix.size(), name.size() - kPrefix.size() - kSuffix.size());
    int k = -1;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), k);
    if (error != std::errc() || end != digits.data() + digits.size()) return -1;
    return k >= 0 && k < kSlotsMax && std::to_string(k) == digits ? k : -1;
}

}  // namespace

Status make_file(const std::string& path) {
    const Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd && errno != EEXIST) return io_error("create", path);
    return make_private(path, 0600);
}

Result<Slot> take_slot(const std::string& folder) {
    HEARTH_CHECK_OK(make_folders(folder));
    HEARTH_CHECK_OK(make_private(folder, 0700));
    for (int k = 0; k < kSlotsMax; ++k) {
        const std::string stem = format("{}/journal-{}", folder, k);
        const std::string lock_path = stem + ".lock";
        Fd lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
        if (!lock) return io_error("open", lock_path);
        if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
            if (errno == EWOULDBLOCK) continue;
            return io_error("lock", lock_path);
        }
        HEARTH_CHECK_OK(make_file(stem + ".db"));
        return Slot{.lock = std::move(lock), .path = stem + ".db"};
    }
    return fail(ErrorKind::overloaded,
                format("{} processes write journals in {} already", kSlotsMax, folder));
}

Result<std::vector<std::string>> slot_files(const std::string& folder) {
    DIR* const dir = ::opendir(folder.c_str());
    if (!dir) {
        if (errno == ENOENT) return std::vector<std::string>();
        return io_error("read", folder);
    }
    std::vector<int> slots;
    while (const dirent* entry = ::readdir(dir))
        if (const int k = slot_of(entry->d_name); k >= 0) slots.push_back(k);
    ::closedir(dir);
    std::ranges::sort(slots);
    std::vector<std::string> paths;
    for (const int k : slots) paths.push_back(format("{}/journal-{}.db", folder, k));
    return paths;
}

Result<std::string> set_aside(const std::string& path, const Clock& clock) {
    const std::string stem = path.substr(0, path.size() - std::strlen(".db"));
    std::string aside = format("{}.damaged-{}.db", stem, clock.wall_ns());
    for (const char* part : {"", "-wal", "-shm"}) {
        if (::rename((path + part).c_str(), (aside + part).c_str()) != 0 && errno != ENOENT)
            return io_error("set aside", path + part);
    }
    return aside;
}

}  // namespace hearth::journal
