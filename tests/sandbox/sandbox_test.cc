// The sandbox from inside: every by-way that we know is tried in a network namespace of its own,
// first without the sandbox, where it must work, then in it, where it must fail unheard.
#include "egress/sandbox.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <thread>

#include "base/format.h"
#include "egress/door.h"
#include "egress/message.h"
#include "sandbox/byways.h"
#include "sandbox/isolated.h"
#include "sandbox/loopback.h"
#include "sandbox/permits.h"
#include "support/data.h"

namespace hearth::egress {
namespace {

using test::ByWay;
using test::Ended;
using test::run_isolated;
using test::Way;
using test::World;

#define NEEDS_NAMESPACES() \
    if (const std::string why = test::no_namespaces(); !why.empty()) CANNOT_RUN(why)

class SandboxDenies : public testing::TestWithParam<ByWay> {};

TEST_P(SandboxDenies, by_way) {
    NEEDS_NAMESPACES();
    const ByWay& way = GetParam();
    const Ended before = run_isolated([&] {
        World world;
        const Way result = way.attempt(world);
        return result == Way::works ? std::string("works") : errno_text("refused", errno);
    });
    if (before.text != "works" && way.control_may_fail) {
        std::printf("without the sandbox: %s (signal %d), so only the refusal is checked\n",
                    before.text.c_str(), before.signal);
    } else {
        ASSERT_EQ(before.text, "works") << "the control must work, or the refusal shows nothing";
    }
    const Ended after = run_isolated([&] {
        World world;
        if (const Status entered = enter_sandbox(); !entered) return entered.error().message;
        errno = 0;
        const Way result = way.attempt(world);
        const int error = errno;
        std::string out = result == Way::works ? "worked in the sandbox" : "refused";
        if (result == Way::refused && way.error != 0 && error != way.error)
            out += errno_text(" otherwise than expected", error);
        if (world.heard()) out += ", and a listener heard of it";
        return out;
    });
    if (way.kills) {
        EXPECT_NE(after.signal, 0) << after.text;
        EXPECT_EQ(after.text, "");
    } else {
        EXPECT_EQ(after.text, "refused") << "signal " << after.signal;
    }
}

INSTANTIATE_TEST_SUITE_P(ByWays, SandboxDenies,
                         testing::ValuesIn(test::by_ways().begin(), test::by_ways().end()),
                         [](const auto& way) { return std::string(way.param.name); });

// What listeners hear without a sandbox: otherwise their silence above would mean nothing.
TEST(SandboxControl, listeners_hear_what_is_sent_before_the_sandbox) {
    NEEDS_NAMESPACES();
    for (const ByWay& way : test::by_ways()) {
        const std::string name = way.name;
        if (name != "connect_over_tcp" && name != "connect_to_a_unix_socket" &&
            name != "sendto_with_an_address" && name != "sendto_to_a_unix_datagram_socket" &&
            name != "sendmsg_with_an_address_from_a_datagram_pair")
            continue;
        const Ended ended = run_isolated([&] {
            World world;
            way.attempt(world);
            return std::string(world.heard() ? "heard" : "silence");
        });
        EXPECT_EQ(ended.text, "heard") << name;
    }
}

// ---- what must go on working

std::string in_sandbox_world(const std::function<std::string(World&)>& function) {
    const Ended ended = run_isolated([&]() -> std::string {
        World world;
        if (const Status entered = enter_sandbox(); !entered) return entered.error().message;
        return function(world);
    });
    return ended.signal != 0 ? format("signal {}", ended.signal) : ended.text;
}

TEST(Sandbox, threads_start_and_are_confined_too) {
    NEEDS_NAMESPACES();
    EXPECT_EQ(in_sandbox_world([](World& world) {
                  std::string out = "no thread";
                  std::jthread([&] {
                      const sockaddr none{};
                      const long r = ::syscall(SYS_connect, world.client.get(), &none, 16);
                      out = r < 0 && errno == EPERM ? "denied" : "connect was not denied";
                  }).join();
                  return out;
              }),
              "denied");
}

TEST(Sandbox, threads_from_before_are_confined_and_hold_no_capability) {
    NEEDS_NAMESPACES();
#ifdef __SANITIZE_THREAD__
    GTEST_SKIP() << "this runtime holds back the signal that a waiting thread confines itself in";
#endif
    const Ended ended = run_isolated([]() -> std::string {
        int pair[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) return "socketpair";
        std::string out;
        std::jthread early([&] {
            char go = 0;
            if (::read(pair[0], &go, 1) != 1) return;
            const long r = ::syscall(SYS_socket, AF_INET, SOCK_STREAM, 0);
            if (r >= 0 || errno != EPERM) out += "socket was not denied; ";
            if (::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) out += "new privileges; ";
            std::ifstream status("/proc/thread-self/status");
            for (std::string line; std::getline(status, line);)
                if ((line.starts_with("CapPrm") || line.starts_with("CapEff") ||
                     line.starts_with("CapInh") || line.starts_with("CapAmb")) &&
                    line.find_first_not_of("0", line.find('\t') + 1) != std::string::npos)
                    out += line + "; ";
        });
        const Status entered = enter_sandbox();
        if (::write(pair[1], "x", 1) != 1) return "write";
        early.join();
        return entered ? (out.empty() ? "confined" : out) : entered.error().message;
    });
    EXPECT_EQ(ended.text, "confined");
}

TEST(Sandbox, inherited_listeners_still_accept) {
    NEEDS_NAMESPACES();
    // The peer connects before the sandbox; it waits in the backlog.
    const Ended ended = run_isolated([]() -> std::string {
        World world;
        const Fd late(::socket(AF_INET, SOCK_STREAM, 0));
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(std::uint16_t(world.tcp_port));
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (::connect(late.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)) != 0)
            return "connect";
        if (const Status entered = enter_sandbox(); !entered) return entered.error().message;
        const Fd peer(::accept4(world.tcp.get(), nullptr, nullptr, SOCK_CLOEXEC));
        const int on = 1;
        if (::setsockopt(peer.get(), IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof(on)) != 0)
            return "TCP_NODELAY";
        if (!test::write_all(peer.get(), "hello")) return "write";
        return test::read_n(late.get(), 5);
    });
    EXPECT_EQ(ended.text, "hello");
}

TEST(Sandbox, files_maps_and_stream_pairs_work) {
    NEEDS_NAMESPACES();
    EXPECT_EQ(in_sandbox_world([](World&) -> std::string {
                  char name[] = "/tmp/hearth-sandbox-XXXXXX";
                  const Fd file(::mkstemp(name));
                  if (::write(file.get(), "data", 4) != 4) return "write";
                  const std::string moved = std::string(name) + ".moved";
                  if (::rename(name, moved.c_str()) != 0) return "rename";
                  const std::string folder = std::string(name) + ".d";
                  if (::mkdir(folder.c_str(), 0700) != 0) return "mkdir";
                  // Landlock denies this in every domain unless a rule allows it.
                  if (::rename(moved.c_str(), (folder + "/x").c_str()) != 0) return "move";
                  ::unlink((folder + "/x").c_str());
                  ::rmdir(folder.c_str());
                  void* map = ::mmap(nullptr, 4, PROT_READ, MAP_PRIVATE, file.get(), 0);
                  if (map == MAP_FAILED || std::string(static_cast<char*>(map), 4) != "data")
                      return "mmap";
                  int pair[2];
                  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
                      return "socketpair stream";
                  if (::send(pair[0], "x", 1, MSG_NOSIGNAL) != 1) return "send";
                  if (::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair)) return "socketpair packet";
                  if (::system("true") == 0) return "a shell could be started";
                  return "fine";
              }),
              "fine");
}

// ---- with the door

TEST(Sandbox, the_door_works_from_inside_and_is_the_only_way) {
    NEEDS_NAMESPACES();
    const Ended ended = run_isolated([]() -> std::string {
        const test::Listener server;
        const Destination destination{"127.0.0.1", server.port, false};
        auto door = Door::open({{.destination = destination, .name = "test"}}, [](Receipt) {});
        if (!door) return door.error().message;
        if (const Status entered = enter_sandbox(); !entered) return entered.error().message;
        if (::syscall(SYS_socket, AF_INET, SOCK_STREAM, 0) >= 0) return "a socket was made";
        auto connection = (*door)->connect(route::PermitMint::make(destination), 30'000);
        if (!connection) return connection.error().message;
        const Fd peer = server.accept();
        if (!test::write_all(connection->fd.get(), "ping")) return "write";
        if (test::read_n(peer.get(), 4) != "ping") return "the server did not hear it";
        if (!test::write_all(peer.get(), "pong")) return "write back";
        if (test::read_n(connection->fd.get(), 4) != "pong") return "no answer";
        const Destination other{"127.0.0.1", server.port == 9 ? 10 : 9, false};
        const auto refused = (*door)->connect(route::PermitMint::make(other), 30'000);
        if (refused || refused.error().kind != ErrorKind::forbidden_by_policy)
            return "a destination off the list was not refused";
        return "fine";
    });
    EXPECT_EQ(ended.text, "fine");
}

TEST(Sandbox, the_brokers_memory_and_descriptors_are_closed) {
    NEEDS_NAMESPACES();
    const Ended ended = run_isolated([]() -> std::string {
        auto door = Door::open({}, [](Receipt) {});
        if (!door) return door.error().message;
        const int pid = (*door)->broker_pid();
        if (const Status entered = enter_sandbox(); !entered) return entered.error().message;
        for (const char* file : {"mem", "environ", "maps", "auxv"}) {
            const Fd opened(::open(format("/proc/{}/{}", pid, file).c_str(), O_RDONLY | O_CLOEXEC));
            char byte = 0;
            if (opened && ::read(opened.get(), &byte, 1) > 0)
                return format("/proc/<broker>/{} could be read", file);
        }
        if (::open(format("/proc/{}/mem", pid).c_str(), O_RDWR | O_CLOEXEC) >= 0)
            return "the broker's memory could be opened for writing";
        if (::open(format("/proc/{}/fd/3", pid).c_str(), O_RDWR | O_CLOEXEC) >= 0)
            return "the broker's descriptors could be opened";
        long copy = 0;
        const iovec here{&copy, sizeof(copy)}, there{&copy, sizeof(copy)};
        if (::process_vm_readv(pid, &here, 1, &there, 1, 0) >= 0) return "process_vm_readv";
        return "closed";
    });
    EXPECT_EQ(ended.text, "closed");
}

TEST(Sandbox, the_broker_itself_may_start_nothing_and_holds_no_capability) {
    auto door = Door::open({}, [](Receipt) {});
    ASSERT_TRUE(door) << door.error().message;
    std::ifstream status(format("/proc/{}/status", (*door)->broker_pid()));
    std::map<std::string, std::string> fields;
    for (std::string line; std::getline(status, line);)
        if (const auto tab = line.find(":\t"); tab != std::string::npos)
            fields[line.substr(0, tab)] = line.substr(tab + 2);
    EXPECT_EQ(fields["NoNewPrivs"], "1");
    EXPECT_EQ(fields["Seccomp"], "2");  // a filter
    EXPECT_EQ(fields["CapEff"], "0000000000000000");
    EXPECT_EQ(fields["CapPrm"], "0000000000000000");
}

TEST(Sandbox, entering_twice_is_once) {
    NEEDS_NAMESPACES();
    EXPECT_EQ(in_sandbox_world([](World&) {
                  const Status again = enter_sandbox();
                  return again && in_sandbox() ? std::string("fine") : again.error().message;
              }),
              "fine");
}

}  // namespace
}  // namespace hearth::egress
