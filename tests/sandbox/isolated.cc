#include "sandbox/isolated.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/check.h"
#include "sandbox/loopback.h"

namespace hearth::test {
namespace {

bool enter_namespaces() {
    if (::unshare(::geteuid() == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET) != 0)
        return false;
    const Fd any(::socket(AF_INET, SOCK_DGRAM, 0));
    ifreq lo{};
    std::strcpy(lo.ifr_name, "lo");
    lo.ifr_flags = IFF_UP;
    return ::ioctl(any.get(), SIOCSIFFLAGS, &lo) == 0;
}

Fd unix_socket(int type, const std::string& name) {
    Fd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path + 1, name.data(), name.size());
    const auto size = socklen_t(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    CHECK(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
    if (type != SOCK_DGRAM) CHECK(::listen(fd.get(), 8) == 0);
    return fd;
}

Fd udp_socket(int& port) {
    Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    CHECK(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
    CHECK(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port = ntohs(address.sin_port);
    return fd;
}

volatile long shared_word = 42;

}  // namespace

std::string no_namespaces() {
    const Ended ended = run_isolated([] { return std::string("works"); });
    if (ended.text == "works") return "";
    return "no network namespace can be made here (neither root nor user namespaces)";
}

Ended run_isolated(const std::function<std::string()>& function) {
    int pipe[2];
    CHECK(::pipe2(pipe, O_CLOEXEC) == 0);
    Fd read_end(pipe[0]);
    Fd write_end(pipe[1]);
    std::fflush(nullptr);
    const pid_t pid = ::fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        if (!enter_namespaces()) ::_exit(99);
        const std::string text = function();
        [[maybe_unused]] const ssize_t n = ::write(write_end.get(), text.data(), text.size());
        ::_exit(0);
    }
    write_end.reset();
    Ended ended;
    char piece[1024];
    for (ssize_t n = 0; (n = ::read(read_end.get(), piece, sizeof(piece))) > 0;)
        ended.text.append(piece, std::size_t(n));
    int status = 0;
    CHECK(::waitpid(pid, &status, 0) == pid);
    if (WIFEXITED(status)) ended.exit_code = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) ended.signal = WTERMSIG(status);
    return ended;
}

World::World() : unix_name("hearth-test-stream"), datagram_name("hearth-test-datagram") {
    Listener listener;
    // A fast-open listener (option 23), so that a fast open would be heard.
    const int queue = 8;
    ::setsockopt(listener.fd.get(), IPPROTO_TCP, 23, &queue, sizeof(queue));
    tcp_port = listener.port;
    tcp = std::move(listener.fd);
    udp = udp_socket(udp_port);
    unix_stream = unix_socket(SOCK_STREAM, unix_name);
    unix_datagram = unix_socket(SOCK_DGRAM, datagram_name);

    client = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(std::uint16_t(tcp_port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(::connect(client.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0);
    accepted = Fd(::accept4(tcp.get(), nullptr, nullptr, SOCK_CLOEXEC));
    CHECK(bool(accepted));

    word = &shared_word;
    int pair[2];
    CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    ask_ = Fd(pair[0]);
    Fd theirs(pair[1]);
    victim = ::fork();
    CHECK(victim >= 0);
    if (victim == 0) {
        ask_.reset();
        answer_questions(theirs.get());
    }
    victim_handle = Fd(int(::syscall(SYS_pidfd_open, victim, 0)));
}

World::~World() {
    ::kill(victim, SIGKILL);
    ::waitpid(victim, nullptr, 0);
}

// In the victim, which stays outside the sandbox: entering it replaces datagram sockets, so the
// sandboxed process could not listen itself. Ends when its parent does.
void World::answer_questions(int channel) const {
    char question = 0;
    while (::read(channel, &question, 1) == 1) {
        pollfd polls[] = {{tcp.get(), POLLIN, 0},
                          {udp.get(), POLLIN, 0},
                          {unix_stream.get(), POLLIN, 0},
                          {unix_datagram.get(), POLLIN, 0}};
        // Loopback delivers within the sending system call; the wait is for a slow machine.
        const char answer = ::poll(polls, 4, 30) > 0 ? 'y' : 'n';
        if (::write(channel, &answer, 1) != 1) break;
    }
    ::_exit(0);
}

bool World::heard() {
    char answer = 0;
    CHECK(::write(ask_.get(), "?", 1) == 1 && ::read(ask_.get(), &answer, 1) == 1);
    return answer == 'y';
}

}  // namespace hearth::test
