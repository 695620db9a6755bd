#include "egress/sandbox.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <dirent.h>
#include <cerrno>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <vector>

#include "base/file.h"
#include "base/format.h"
#include "base/sanitized.h"
#include "egress/confine.h"
#include "egress/message.h"

namespace hearth::egress {
namespace {

std::atomic<bool> entered{false};

// True for a socket that can send to addresses of the sender's choice. Streams and sequenced
// packets cannot: their connect is denied, and a send ignores or refuses an address.
bool sends_anywhere(int fd) {
    int type = 0;
    socklen_t size = sizeof(type);
    if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0) return false;  // no socket
    return type != SOCK_STREAM && type != SOCK_SEQPACKET;
}

// Whoever started us may have left datagram sockets open. Those are replaced by /dev/null, so that
// their numbers stay taken; as stdin, stdout or stderr they are refused, because we would go mute.
Status neutralise_inherited_sockets() {
    std::vector<int> found;
    {
        const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir("/proc/self/fd"), ::closedir);
        if (!dir) return fail(ErrorKind::internal, errno_text("/proc/self/fd", errno));
        while (const dirent* entry = ::readdir(dir.get())) {
            const int fd = entry->d_name[0] == '.' ? -1 : std::atoi(entry->d_name);
            if (fd >= 0 && sends_anywhere(fd)) found.push_back(fd);
        }
    }
    for (const int fd : found) {
        if (fd <= 2)
            return fail(ErrorKind::internal,
                        format("descriptor {} is a datagram socket, which could send anywhere; "
                               "start the program with a pipe, a file or a terminal there",
                               fd));
        const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
        if (!null || ::dup3(null.get(), fd, O_CLOEXEC) < 0)
            return fail(ErrorKind::internal, errno_text("/dev/null", errno));
    }
    return {};
}

}  // namespace

Protections protections() {
    const std::uint32_t action = SECCOMP_RET_ERRNO;
    Protections have;
    have.seccomp = ::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
    const long abi =
        ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
    have.landlock_abi = abi > 0 ? int(abi) : 0;
    return have;
}

std::string what_is_missing(const Protections& have) {
    std::string out;
    if (!have.seccomp)
        out =
            "this kernel has no seccomp filter, so nothing but the program's own care keeps it "
            "from connecting; use Linux 4.14 or newer with CONFIG_SECCOMP_FILTER, and no "
            "container that takes seccomp(2) away";
    if (have.landlock_abi < 2) {
        if (!out.empty()) out += "; ";
        out += format(
            "this kernel has {}, so files and other programs' memory are not closed; use Linux "
            "5.19 or newer with landlock in CONFIG_LSM or lsm=",
            have.landlock_abi == 0 ? "no Landlock" : "Landlock ABI 1");
    }
    return out;
}

Status enter_sandbox(const FileRules& files) {
    if (entered) return {};
    HEARTH_CHECK_OK(neutralise_inherited_sockets());
    HEARTH_CHECK_OK(confine_threads(true, files));
    HEARTH_CHECK_OK(hide_memory());
    if (protections().seccomp) HEARTH_CHECK_OK(load_main_filter());
    entered = true;
    return {};
}

bool in_sandbox() {
    return entered;
}

}  // namespace hearth::egress

#if HEARTH_SANITIZED
// The leak sanitizer stops the other threads with ptrace, which is denied from here on. It asks
// this function before it looks; outside the sandbox leaks are still reported. The name is theirs.
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" int __lsan_is_turned_off();
extern "C" __attribute__((visibility("default"))) int __lsan_is_turned_off() {
    return hearth::egress::in_sandbox() ? 1 : 0;
}
// NOLINTEND(bugprone-reserved-identifier)
#endif
