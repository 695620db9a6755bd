// The sandbox's file rules from inside: each way to a file outside the named folders is tried
// without the sandbox, where it must work, and in it, where it must fail.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <thread>

#include "base/format.h"
#include "egress/broker_state.h"
#include "egress/door.h"
#include "egress/message.h"
#include "egress/sandbox.h"
#include "sandbox/isolated.h"
#include "support/data.h"

namespace hearth::egress {
namespace {

using test::Ended;
using test::run_isolated;

#define NEEDS_NAMESPACES() \
    if (const std::string why = test::no_namespaces(); !why.empty()) CANNOT_RUN(why)
#define NEEDS_LANDLOCK(abi)                 \
    if (protections().landlock_abi < (abi)) \
    CANNOT_RUN(                             \
        format("this kernel has Landlock ABI {}, {} is needed", protections().landlock_abi, abi))

// A home with a shell's start file, a folder that the rules name, and the broker's folder.
struct Tree {
    std::string home = test::temp_folder();
    std::string inside = home + "/state", outside = home + "/.config/autostart";
    std::string bashrc = home + "/.bashrc", key = home + "/broker/key", mine = inside + "/mine";
    Tree() {
        for (const std::string& folder : {inside, outside, home + "/broker"})
            (void)make_folders(folder);
        for (const std::string& file : {bashrc, key, mine}) (void)write_file(file, "text");
        (void)::symlink(key.c_str(), (inside + "/link").c_str());
    }
    FileRules rules() const {
        return {.restrict_reads = true,
                .restrict_writes = true,
                .read = {"/usr", "/lib", "/proc", "/etc/ld.so.cache"},
                .write = {inside, "/dev/null"}};
    }
};

bool opens(const std::string& path, int flags) {
    return bool(Fd(::open(path.c_str(), flags | O_CLOEXEC, 0600)));
}

struct FileWay {
    const char* name;
    bool (*works)(const Tree& t);
    int abi = 2;  // of Landlock, that closes it
};

bool link_temporary(const std::string& folder, const std::string& to) {
    const Fd file(::open(folder.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600));
    return file && ::linkat(AT_FDCWD, format("/proc/self/fd/{}", file.get()).c_str(), AT_FDCWD,
                            to.c_str(), AT_SYMLINK_FOLLOW) == 0;
}
bool open_with_openat2(const std::string& path) {
    open_how how{};
    how.flags = O_RDONLY | O_CLOEXEC;
    return bool(Fd(int(::syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof(how)))));
}

constexpr FileWay kFileWays[] = {
    {"append_to_a_shells_start_file",
     [](const Tree& t) { return opens(t.bashrc, O_WRONLY | O_APPEND); }},
    {"open_for_both", [](const Tree& t) { return opens(t.bashrc, O_RDWR); }},
    {"create_an_autostart_entry",
     [](const Tree& t) { return opens(t.outside + "/x.desktop", O_WRONLY | O_CREAT); }},
    {"truncate", [](const Tree& t) { return ::truncate(t.bashrc.c_str(), 0) == 0; }, 3},
    {"open_truncating", [](const Tree& t) { return opens(t.bashrc, O_WRONLY | O_TRUNC); }},
    {"unlink", [](const Tree& t) { return ::unlink(t.bashrc.c_str()) == 0; }},
    {"mkdir", [](const Tree& t) { return ::mkdir((t.outside + "/d").c_str(), 0700) == 0; }},
    {"rmdir", [](const Tree& t) { return ::rmdir(t.outside.c_str()) == 0; }},
    {"symlink",
     [](const Tree& t) { return ::symlink("/x", (t.outside + "/x.desktop").c_str()) == 0; }},
    {"mkfifo", [](const Tree& t) { return ::mkfifo((t.outside + "/fifo").c_str(), 0600) == 0; }},
    {"hard_link_to_outside",
     [](const Tree& t) { return ::link(t.mine.c_str(), (t.outside + "/x.desktop").c_str()) == 0; }},
    {"hard_link_from_outside",
     [](const Tree& t) { return ::link(t.key.c_str(), (t.inside + "/key").c_str()) == 0; }},
    {"rename_to_outside",
     [](const Tree& t) {
         return ::rename(t.mine.c_str(), (t.outside + "/x.desktop").c_str()) == 0;
     }},
    {"rename_over_a_shells_start_file",
     [](const Tree& t) { return ::rename(t.mine.c_str(), t.bashrc.c_str()) == 0; }},
    {"rename_from_outside",
     [](const Tree& t) { return ::rename(t.key.c_str(), (t.inside + "/key").c_str()) == 0; }},
    {"temporary_file_outside",
     [](const Tree& t) { return link_temporary(t.outside, t.outside + "/x.desktop"); }},
    {"temporary_file_linked_to_outside",
     [](const Tree& t) { return link_temporary(t.inside, t.outside + "/x.desktop"); }},
    {"read_the_key", [](const Tree& t) { return opens(t.key, O_RDONLY); }},
    {"read_the_key_with_openat2", [](const Tree& t) { return open_with_openat2(t.key); }},
    {"read_the_key_through_a_link",
     [](const Tree& t) { return opens(t.inside + "/link", O_RDONLY); }},
    {"read_the_key_through_proc",
     [](const Tree& t) { return opens("/proc/self/root" + t.key, O_RDONLY); }},
    {"read_the_key_through_its_folder",
     [](const Tree& t) {
         const Fd folder(::open((t.home + "/broker").c_str(), O_PATH | O_CLOEXEC));
         return bool(Fd(::openat(folder.get(), "key", O_RDONLY | O_CLOEXEC)));
     }},
    {"reopen_a_path_descriptor",
     [](const Tree& t) {
         const Fd path(::open(t.key.c_str(), O_PATH | O_CLOEXEC));
         return opens(format("/proc/self/fd/{}", path.get()), O_RDONLY);
     }},
    {"list_the_brokers_folder",
     [](const Tree& t) {
         DIR* const folder = ::opendir((t.home + "/broker").c_str());
         if (folder != nullptr) ::closedir(folder);
         return folder != nullptr;
     }},
    {"read_the_home", [](const Tree& t) { return opens(t.home, O_RDONLY | O_DIRECTORY); }},
};

class SandboxFiles : public testing::TestWithParam<FileWay> {};

TEST_P(SandboxFiles, way_to_a_file_outside) {
    NEEDS_NAMESPACES();
    NEEDS_LANDLOCK(GetParam().abi);
    const FileWay& way = GetParam();
    {
        const Tree tree;
        EXPECT_TRUE(way.works(tree)) << errno_text("the control must work", errno);
    }
    const Tree tree;
    const Ended ended = run_isolated([&]() -> std::string {
        if (const Status entered = enter_sandbox(tree.rules()); !entered)
            return entered.error().message;
        errno = 0;
        if (way.works(tree)) return "worked in the sandbox";
        const bool denied = errno == EACCES || errno == EXDEV || errno == EPERM;
        return denied ? "denied" : errno_text("failed otherwise", errno);
    });
    EXPECT_EQ(ended.text, "denied");
    EXPECT_EQ(*read_file(tree.bashrc, 99), "text");
    EXPECT_EQ(*read_file(tree.key, 99), "text");
}

INSTANTIATE_TEST_SUITE_P(Ways, SandboxFiles, testing::ValuesIn(kFileWays),
                         [](const auto& way) { return std::string(way.param.name); });

TEST(SandboxFileRules, what_they_name_stays_open_and_read_only_means_it) {
    NEEDS_NAMESPACES();
    NEEDS_LANDLOCK(2);
    const Tree tree;
    const Ended ended = run_isolated([&]() -> std::string {
        FileRules rules = tree.rules();
        rules.read.push_back(tree.bashrc);
        rules.read.push_back(tree.home + "/is-not-there");
        rules.write_only.push_back(tree.outside);
        if (const Status entered = enter_sandbox(rules); !entered) return entered.error().message;
        if (!opens(tree.mine, O_RDWR)) return "mine";
        if (!write_file(tree.inside + "/new", "x")) return "write, sync and rename";
        if (!make_folders(tree.inside + "/a/b")) return "mkdir";
        if (::rename((tree.inside + "/new").c_str(), (tree.inside + "/a/b/new").c_str()) != 0)
            return "move within";
        if (!opens(tree.bashrc, O_RDONLY)) return "a named file";
        if (opens(tree.bashrc, O_WRONLY)) return "a file named for reading could be written";
        if (!opens("/dev/null", O_WRONLY)) return "/dev/null";
        if (!write_file(tree.outside + "/out", "x")) return "an output";
        if (opens(tree.outside + "/out", O_RDONLY)) return "an output could be read";
        bool thread_denied = false;
        std::jthread([&] { thread_denied = !opens(tree.key, O_RDONLY); }).join();
        return thread_denied ? "fine" : "a thread could read the key";
    });
    EXPECT_EQ(ended.text, "fine");
}

// ---- with a broker that runs

TEST(BrokerKey, the_process_that_writes_the_journal_cannot_get_at_it) {
    NEEDS_NAMESPACES();
    NEEDS_LANDLOCK(2);
    const Tree tree;
    const std::string folder = tree.home + "/hearth-broker";
    const Ended ended = run_isolated([&]() -> std::string {
        auto door = Door::open({}, [](Receipt) {}, folder);
        if (!door) return door.error().message;
        const int pid = (*door)->broker_pid();
        const std::string key = folder + "/key";
        if (!opens(key, O_RDONLY)) return "the control: the key is there before the sandbox";
        if (const Status entered = enter_sandbox(tree.rules()); !entered)
            return entered.error().message;
        if (opens(key, O_RDONLY)) return "open";
        if (opens(key, O_WRONLY)) return "open for writing";
        if (open_with_openat2(key)) return "openat2";
        if (opens(folder + "/counters.json", O_RDONLY)) return "the counters could be read";
        if (opens(folder + "/counters.json", O_WRONLY | O_CREAT)) return "the counters";
        if (::unlink(key.c_str()) == 0) return "unlink";
        if (::rename(tree.mine.c_str(), key.c_str()) == 0) return "rename over the key";
        if (opens(format("/proc/{}/root{}", pid, key), O_RDONLY)) return "/proc/<broker>/root";
        for (const char* file : {"mem", "fd/3", "fd", "environ", "maps", "cwd/key"}) {
            const Fd opened(::open(format("/proc/{}/{}", pid, file).c_str(), O_RDONLY | O_CLOEXEC));
            char byte = 0;
            if (opened && ::read(opened.get(), &byte, 1) > 0)
                return format("/proc/<broker>/{} could be read", file);
        }
        if (opens(format("/proc/{}/mem", pid), O_RDWR)) return "memory for writing";
        if (::syscall(SYS_ptrace, 0x4206 /* PTRACE_SEIZE */, pid, 0, 0) == 0) return "ptrace";
        long word = 0;
        const iovec here{&word, sizeof(word)}, there{&word, sizeof(word)};
        if (::process_vm_readv(pid, &here, 1, &there, 1, 0) >= 0) return "process_vm_readv";
        if (::syscall(SYS_pidfd_open, pid, 0) >= 0) return "pidfd_open";
        if (::syscall(SYS_pidfd_getfd, 0, 3, 0) >= 0) return "pidfd_getfd";
        // And yet it signs.
        audit::CheckpointRequest request;
        request.slot = "journal-0";
        request.chain = std::string(32, 'a');
        request.seq = request.n_entries = 5;
        const auto signed_one = (*door)->sign(request);
        if (!signed_one) return signed_one.error().message;
        if (!audit::verify_signature(*signed_one)) return "the signature is wrong";
        if (signed_one->key != (*door)->public_key()) return "another key";
        if ((*door)->sign(request)) return "it signed the same entry twice";
        return "closed";
    });
    EXPECT_EQ(ended.text, "closed");
    const auto counters = read_counters(folder);
    ASSERT_TRUE(counters) << counters.error().message;
    EXPECT_EQ(counters->n_signed, 1);
}

}  // namespace
}  // namespace hearth::egress
