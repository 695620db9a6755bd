#include "egress/child.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <ctime>
#include <string_view>

#include "base/clock.h"
#include "egress/limits.h"
#include "egress/message.h"

extern "C" char** environ;

namespace hearth::egress {
namespace {

std::vector<std::string> child_environment() {
    static constexpr std::string_view kKept[] = {
        "SSL_CERT_FILE=", "SSL_CERT_DIR=", "RES_OPTIONS=",   "LOCALDOMAIN=",  "HOSTALIASES=",
        "LANG=",          "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "TSAN_OPTIONS=", "LSAN_OPTIONS="};
    std::vector<std::string> out;
    for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry)
        for (const std::string_view prefix : kKept)
            if (std::string_view(*entry).starts_with(prefix)) out.emplace_back(*entry);
    return out;
}

// What execve wants: pointers that end with a null one, into texts that outlive it.
std::vector<char*> pointers(std::vector<std::string>& texts) {
    std::vector<char*> out;
    for (std::string& text : texts) out.push_back(text.data());
    out.push_back(nullptr);
    return out;
}

Result<pid_t> spawn(int channel, std::vector<std::string> arguments) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
    ::posix_spawn_file_actions_adddup2(&actions, channel, kChildChannel);
    ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    sigset_t none, all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &all);
    ::posix_spawnattr_setflags(&attributes,
                               POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    auto kept = child_environment();
    pid_t pid = -1;
    const int error = ::posix_spawn(&pid, "/proc/self/exe", &actions, &attributes,
                                    pointers(arguments).data(), pointers(kept).data());
    ::posix_spawnattr_destroy(&attributes);
    ::posix_spawn_file_actions_destroy(&actions);
    if (error != 0)
        return fail(ErrorKind::internal, errno_text("cannot start this program again", error));
    return pid;
}

bool is_channel(int fd) {
    int domain = 0, type = 0;
    socklen_t size = sizeof(int);
    return ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX &&
           ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

}  // namespace

Result<Child> start_child(const std::string& task, const std::vector<std::string>& arguments) {
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return fail(ErrorKind::internal, errno_text("socketpair", errno));
    Child child{.pid = -1, .channel = Fd(pair[0])};
    const Fd theirs(pair[1]);
    std::vector<std::string> all{"hearth", task, std::to_string(kChildChannel)};
    all.insert(all.end(), arguments.begin(), arguments.end());
    HEARTH_TRY(child.pid, spawn(theirs.get(), std::move(all)));
    return child;
}

void end_child(Child& child) {
    child.channel.reset();
    if (child.pid <= 0) return;
    const pid_t pid = std::exchange(child.pid, -1);
    const std::int64_t deadline = system_clock().mono_ns() + kChildEndMs * 1'000'000;
    for (;;) {
        const pid_t got = ::waitpid(pid, nullptr, WNOHANG);
        if (got == pid || (got < 0 && errno != EINTR)) return;
        if (system_clock().mono_ns() > deadline) break;
        const timespec pause{0, 500'000};
        ::nanosleep(&pause, nullptr);
    }
    ::kill(pid, SIGKILL);
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
}

bool take_channel(int channel) {
    if (channel < 3 || !is_channel(channel)) return false;
    if (channel > 3) ::close_range(3, unsigned(channel) - 1, 0);
    ::close_range(unsigned(channel) + 1, UINT_MAX, 0);
    // It ends with the channel: a signal to the whole group must not end it before its parent.
    for (const int signal : {SIGPIPE, SIGINT, SIGTERM, SIGHUP}) ::signal(signal, SIG_IGN);
    return true;
}

}  // namespace hearth::egress
