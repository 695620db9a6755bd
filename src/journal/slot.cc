// A file that exists is never opened here: closing a descriptor of it would drop the POSIX locks
// that SQLite holds on it for another connection of this process.
#include "journal/slot.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
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

}  // namespace

Status make_file(const std::string& path) {
    const Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd && errno != EEXIST) return io_error("create", path);
    return make_private(path, 0600);
}

Result<Slot> take_slot(const std::string& folder) {
    HEARTH_CHECK_OK(make_folders(folder));
    HEARTH_CHECK_OK(make_private(folder, 0700));
    static_assert(kSlotsMax == audit::kSlotsMax);
    for (int k = 0; k < kSlotsMax; ++k) {
        const std::string lock_path = format("{}/{}.lock", folder, audit::slot_name(k));
        Fd lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
        if (!lock) return io_error("open", lock_path);
        if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
            if (errno == EWOULDBLOCK) continue;
            return io_error("lock", lock_path);
        }
        Slot slot{.lock = std::move(lock), .path = {}, .folder = folder, .number = k};
        HEARTH_TRY(const std::vector<audit::Part> parts, audit::list_parts(folder));
        for (const audit::Part& part : parts)
            if (part.slot == k) slot.part = part.number;  // in order: the greatest
        slot.path = format("{}/{}", folder, audit::part_name(k, slot.part));
        HEARTH_CHECK_OK(make_file(slot.path));
        return slot;
    }
    return fail(ErrorKind::overloaded,
                format("{} processes write journals in {} already", kSlotsMax, folder));
}

Result<std::vector<std::string>> slot_files(const std::string& folder) {
    HEARTH_TRY(const std::vector<audit::Part> parts, audit::list_parts(folder));
    std::vector<std::string> paths;
    for (const audit::Part& part : parts) paths.push_back(part.path);
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
