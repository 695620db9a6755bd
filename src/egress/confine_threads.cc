// What belongs to threads: capabilities, no_new_privs, the Landlock domain. Each thread must do it
// itself, so those that run already are sent a signal one by one and do it in its handler.
//
// Thread:     the caller of confine_threads(), once, early in main().
// Invariants: on success every thread of the process is confined: the list is read again until it
//             holds nobody new, and a new thread inherits from a confined one.
#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <set>
#include <vector>

#include "base/file.h"
#include "base/format.h"
#include "egress/confine.h"
#include "egress/landlock_abi.h"
#include "egress/message.h"

namespace hearth::egress {
namespace {

// The thread sanitizer's runtime holds a signal back until the thread calls something that it
// watches, which a waiting thread, and one of its own, may never do. Such builds look for races and
// protect nobody.
#ifdef __SANITIZE_THREAD__
constexpr bool kSignalsAreHeldBack = true;
#else
constexpr bool kSignalsAreHeldBack = false;
#endif
// How long a thread may take to answer: ten seconds on a machine that swaps.
constexpr long kWaitNs = 10'000'000;
constexpr int kWaits = kSignalsAreHeldBack ? 50 : 1000;

// Constant while threads are visited.
int ruleset_fd = -1;  // -1: the kernel has no Landlock of a version we use
std::atomic<int> handler_error{0};
sem_t visited;  // posted by each thread that ran the handler

// Only system calls: it runs in signal handlers. 0 or an errno.
int confine_own() {
    ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    const __user_cap_data_struct none[2] = {};
    if (::syscall(SYS_capset, &header, none) != 0) return errno;
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno;
    if (ruleset_fd >= 0 && ::syscall(SYS_landlock_restrict_self, ruleset_fd, 0) != 0) return errno;
    return 0;
}

void on_visit(int) {
    const int saved_errno = errno;
    if (const int error = confine_own(); error != 0) handler_error = error;
    ::sem_post(&visited);
    errno = saved_errno;
}

std::vector<pid_t> threads() {
    std::vector<pid_t> out;
    const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir("/proc/self/task"), ::closedir);
    if (!dir) return out;
    while (const dirent* entry = ::readdir(dir.get()))
        if (const pid_t tid = std::atoi(entry->d_name); tid > 0) out.push_back(tid);
    return out;
}

bool has_ended(pid_t tid) {
    return ::syscall(SYS_tgkill, ::getpid(), tid, 0) != 0 && errno == ESRCH;
}

Status visit(pid_t tid, int signal) {
    if (::syscall(SYS_tgkill, ::getpid(), tid, signal) != 0) {
        if (errno == ESRCH) return {};
        return fail(ErrorKind::internal, errno_text("sandbox: tgkill", errno));
    }
    // In short waits, because a thread may end between the list and the signal.
    for (int i = 0; i < kWaits; ++i) {
        timespec until{};
        ::clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += kWaitNs;
        if (until.tv_nsec >= 1'000'000'000) ++until.tv_sec, until.tv_nsec -= 1'000'000'000;
        if (::sem_timedwait(&visited, &until) == 0 || has_ended(tid)) return {};
    }
    if (kSignalsAreHeldBack) return {};
    return fail(ErrorKind::internal,
                format("sandbox: thread {} does not answer signal {}; start threads that block "
                       "signals only after the sandbox is entered",
                       tid, signal));
}

constexpr std::uint64_t kReads = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr std::uint64_t kMakes = LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR |
                                 LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_MAKE_SOCK |
                                 LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                                 LANDLOCK_ACCESS_FS_REMOVE_DIR;
constexpr std::uint64_t kWrites = LANDLOCK_ACCESS_FS_WRITE_FILE | kLandlockFsTruncate | kMakes;
// What a rule about something that is no folder may name.
constexpr std::uint64_t kOfFiles =
    LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | kLandlockFsTruncate;

// Allows it below the path. What is not there, or is on no file system (a pipe), has no rule.
Status allow(const Fd& ruleset, const std::string& path, std::uint64_t access) {
    const Fd at(::open(path.c_str(), O_PATH | O_CLOEXEC));
    struct stat info{};
    if (!at || ::fstat(at.get(), &info) != 0) return {};
    landlock_path_beneath_attr rule{};
    rule.allowed_access = S_ISDIR(info.st_mode) ? access : access & kOfFiles;
    rule.parent_fd = at.get();
    if (rule.allowed_access == 0 ||
        ::syscall(SYS_landlock_add_rule, ruleset.get(), LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0)
        return {};
    if (errno == EBADFD) return {};
    return fail(ErrorKind::internal, errno_text("sandbox: a rule for " + path, errno));
}

// Without file rules it is a domain that forbids almost nothing by itself: making device nodes,
// which nobody here does. Being in a domain is the point. Moving files between folders is denied in
// every domain unless a rule allows it (LANDLOCK_ACCESS_FS_REFER), hence the rule for the whole
// tree; the ends of a move need their own rights besides.
Result<Fd> make_ruleset(bool deny_network, const FileRules& files) {
    const int abi = protections().landlock_abi;
    if (abi < 2) return Fd();
    LandlockRuleset rules;
    rules.handled_access_fs =
        LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_REFER;
    if (files.restrict_reads) rules.handled_access_fs |= kReads;
    if (files.restrict_writes) rules.handled_access_fs |= kWrites;
    if (abi < 3) rules.handled_access_fs &= ~kLandlockFsTruncate;
    std::size_t size = sizeof(rules.handled_access_fs);
    if (abi >= 4 && deny_network) {
        rules.handled_access_net = kLandlockNetBindTcp | kLandlockNetConnectTcp;
        size += sizeof(rules.handled_access_net);
    }
    if (abi >= 6 && deny_network) {
        rules.scoped = kLandlockScopeAbstractUnix;
        size += sizeof(rules.scoped);
    }
    Fd ruleset(int(::syscall(SYS_landlock_create_ruleset, &rules, size, 0)));
    if (!ruleset) return fail(ErrorKind::internal, errno_text("sandbox: Landlock", errno));
    const std::uint64_t handled = rules.handled_access_fs;
    HEARTH_CHECK_OK(allow(ruleset, "/", LANDLOCK_ACCESS_FS_REFER));
    for (const std::string& path : files.list)
        HEARTH_CHECK_OK(allow(ruleset, path, LANDLOCK_ACCESS_FS_READ_DIR & handled));
    for (const std::string& path : files.read)
        HEARTH_CHECK_OK(allow(ruleset, path, kReads & handled));
    for (const std::string& path : files.write)
        HEARTH_CHECK_OK(allow(ruleset, path, (kReads | kWrites) & handled));
    for (const std::string& path : files.write_only)
        HEARTH_CHECK_OK(allow(ruleset, path, kWrites & handled));
    return ruleset;
}

Status visit_all(int signal) {
    std::set<pid_t> done{pid_t(::syscall(SYS_gettid))};
    for (bool news = true; news;) {
        news = false;
        const std::vector<pid_t> now = threads();
        if (now.empty())
            return fail(ErrorKind::internal, "sandbox: /proc/self/task is not readable");
        for (const pid_t tid : now) {
            if (!done.insert(tid).second) continue;
            HEARTH_CHECK_OK(visit(tid, signal));
            news = true;
        }
    }
    return {};
}

}  // namespace

Status confine_threads(bool deny_network, const FileRules& files) {
    HEARTH_TRY(const Fd ruleset, make_ruleset(deny_network, files));
    ruleset_fd = ruleset.get();
    handler_error = confine_own();
    Status status;
    if (handler_error == 0) {
        const int signal = SIGRTMAX - 1;
        struct sigaction ours{}, before{};
        ours.sa_handler = on_visit;
        ours.sa_flags = SA_RESTART;
        if (::sem_init(&visited, 0, 0) != 0 || ::sigaction(signal, &ours, &before) != 0)
            return fail(ErrorKind::internal, errno_text("sandbox: sigaction", errno));
        status = visit_all(signal);
        ::sigaction(signal, &before, nullptr);
    }
    ruleset_fd = -1;
    if (const int error = handler_error; error != 0 && status)
        return fail(ErrorKind::internal,
                    errno_text("sandbox: dropping the rights of a thread", error));
    return status;
}

}  // namespace hearth::egress
