#include "sandbox/byways.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "base/format.h"

namespace hearth::test {
namespace {

Way from(long result) {
    return result >= 0 ? Way::works : Way::refused;
}

sockaddr_in loopback(int port) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(std::uint16_t(port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return to;
}
const sockaddr* raw(const sockaddr_in& address) {
    return reinterpret_cast<const sockaddr*>(&address);
}
socklen_t abstract_name(const std::string& name, sockaddr_un& to) {
    to.sun_family = AF_UNIX;
    std::memcpy(to.sun_path + 1, name.data(), name.size());
    return socklen_t(offsetof(sockaddr_un, sun_path) + 1 + name.size());
}

// ---- sockets. The descriptors come from before the sandbox (World's, dup'ed) wherever one can.

Way new_socket(int family, int type) {
    const Fd fd(::socket(family, type, 0));
    return from(fd.get());
}

Way connect_tcp(World& w) {
    const Fd fd(::socket(AF_INET, SOCK_STREAM, 0));
    const sockaddr_in to = loopback(w.tcp_port);
    // Without a new socket an old one will do: the accepted one, dissolved first.
    const int use = fd ? fd.get() : w.accepted.get();
    if (!fd) {
        sockaddr none{};
        none.sa_family = AF_UNSPEC;
        ::connect(use, &none, sizeof(none));
    }
    return from(::connect(use, raw(to), sizeof(to)));
}
Way reconnect_accepted(World& w) {
    sockaddr none{};
    none.sa_family = AF_UNSPEC;
    if (::connect(w.accepted.get(), &none, sizeof(none)) != 0) return Way::refused;
    const sockaddr_in to = loopback(w.tcp_port);
    return from(::connect(w.accepted.get(), raw(to), sizeof(to)));
}
Way connect_udp(World& w) {
    const sockaddr_in to = loopback(w.udp_port);
    if (::connect(w.udp.get(), raw(to), sizeof(to)) != 0) return Way::refused;
    return from(::send(w.udp.get(), "x", 1, 0));
}
Way connect_unix(World& w) {
    const Fd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un to{};
    const socklen_t size = abstract_name(w.unix_name, to);
    return from(::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), size));
}
Way sendto_udp(World& w) {
    const sockaddr_in to = loopback(w.udp_port);
    return from(::sendto(w.udp.get(), "x", 1, 0, raw(to), sizeof(to)));
}
Way sendto_unix(World& w) {
    sockaddr_un to{};
    const socklen_t size = abstract_name(w.datagram_name, to);
    return from(::sendto(w.unix_datagram.get(), "x", 1, 0, reinterpret_cast<sockaddr*>(&to), size));
}
// A datagram socketpair is connected, and yet sends to any address that sendmsg names.
Way sendmsg_from_datagram_pair(World& w) {
    int pair[2] = {-1, -1};
    if (::socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) != 0) return Way::refused;
    const Fd a(pair[0]), b(pair[1]);
    sockaddr_un to{};
    char byte = 'x';
    iovec part{&byte, 1};
    msghdr header{};
    header.msg_name = &to;
    header.msg_namelen = abstract_name(w.datagram_name, to);
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    return from(::sendmsg(a.get(), &header, 0));
}
Way raw_pair(World&) {
    int pair[2] = {-1, -1};
    if (::socketpair(AF_UNIX, SOCK_RAW, 0, pair) != 0) return Way::refused;
    ::close(pair[0]);
    ::close(pair[1]);
    return Way::works;
}
// sendmsg's address on an old, unconnected UDP socket: enter_sandbox() has replaced the socket.
Way sendmsg_udp(World& w) {
    sockaddr_in to = loopback(w.udp_port);
    char byte = 'x';
    iovec part{&byte, 1};
    msghdr header{};
    header.msg_name = &to;
    header.msg_namelen = sizeof(to);
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    return from(::sendmsg(w.udp.get(), &header, 0));
}
// Fast open needs a TCP socket that is not connected: a dissolved connection is one.
Way fast_open_sendto(World& w) {
    const Fd fd(::socket(AF_INET, SOCK_STREAM, 0));
    const sockaddr_in to = loopback(w.tcp_port);
    return from(::sendto(fd ? fd.get() : w.tcp.get(), "x", 1, MSG_FASTOPEN, raw(to), sizeof(to)));
}
Way fast_open_sendmsg(World& w) {
    const Fd fd(::socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in to = loopback(w.tcp_port);
    char byte = 'x';
    iovec part{&byte, 1};
    mmsghdr many{};
    many.msg_hdr.msg_name = &to;
    many.msg_hdr.msg_namelen = sizeof(to);
    many.msg_hdr.msg_iov = &part;
    many.msg_hdr.msg_iovlen = 1;
    const int use = fd ? fd.get() : w.client.get();
    const long one = ::sendmsg(use, &many.msg_hdr, MSG_FASTOPEN);
    if (one >= 0) return Way::works;
    return from(::sendmmsg(use, &many, 1, MSG_FASTOPEN));
}
Way fast_open_option(World& w) {
    const int on = 1;
    return from(::setsockopt(w.tcp.get(), IPPROTO_TCP, 23 /* TCP_FASTOPEN */, &on, sizeof(on)));
}
Way upper_layer_option(World& w) {
    // The control is another option of the same kind: whether TCP_ULP works depends on the kernel.
    const int on = 1;
    return from(::setsockopt(w.client.get(), IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof(on)));
}
Way socket_inet6(World&) {
    return new_socket(AF_INET6, SOCK_STREAM);
}
Way socket_udp(World&) {
    return new_socket(AF_INET, SOCK_DGRAM);
}
Way socket_unix(World&) {
    return new_socket(AF_UNIX, SOCK_DGRAM);
}
Way socket_netlink(World&) {
    return new_socket(AF_NETLINK, SOCK_RAW);
}
Way socket_raw(World&) {
    return from(Fd(::socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)).get());
}
Way socket_packet(World&) {
    return new_socket(AF_PACKET, SOCK_RAW);
}
Way socket_vsock(World&) {
    return new_socket(AF_VSOCK, SOCK_STREAM);
}
Way socket_alg(World&) {
    return new_socket(AF_ALG, SOCK_SEQPACKET);
}
Way listen_again(World& w) {
    return from(::listen(w.tcp.get(), 4));
}
Way bind_unix(World&) {
    const Fd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un at{};
    const socklen_t size = abstract_name("hearth-test-late", at);
    return from(::bind(fd.get(), reinterpret_cast<sockaddr*>(&at), size));
}

// ---- the kernel doing it for us

Way io_uring(World&) {
    io_uring_params params{};
    return from(Fd(int(::syscall(SYS_io_uring_setup, 4, &params))).get());
}
Way newer_call(World&) {
    // cachestat of Linux 6.5: EBADF where it exists and is reached.
    return ::syscall(451, -1, nullptr, nullptr, 0) < 0 && errno == ENOSYS ? Way::refused
                                                                          : Way::works;
}

// ---- other processes doing it for us

Way ptrace_victim(World& w) {
    const long result = ::ptrace(PTRACE_SEIZE, w.victim, nullptr, nullptr);
    if (result == 0) {
        ::ptrace(PTRACE_INTERRUPT, w.victim, nullptr, nullptr);
        ::waitpid(w.victim, nullptr, 0);
        ::ptrace(PTRACE_DETACH, w.victim, nullptr, nullptr);
    }
    return from(result);
}
Way read_victim(World& w) {
    long copy = 0;
    const iovec here{&copy, sizeof(copy)};
    const iovec there{const_cast<long*>(w.word), sizeof(copy)};
    return from(::process_vm_readv(w.victim, &here, 1, &there, 1, 0));
}
Way write_victim(World& w) {
    long value = 7;
    const iovec here{&value, sizeof(value)};
    const iovec there{const_cast<long*>(w.word), sizeof(value)};
    return from(::process_vm_writev(w.victim, &here, 1, &there, 1, 0));
}
Way victim_memory_file(World& w) {
    const Fd file(::open(format("/proc/{}/mem", w.victim).c_str(), O_RDWR | O_CLOEXEC));
    if (!file) return Way::refused;
    const long value = 7;
    return from(::pwrite(file.get(), &value, sizeof(value), off_t(w.word)));
}
Way victim_handle(World& w) {
    return from(Fd(int(::syscall(SYS_pidfd_open, w.victim, 0))).get());
}
Way victim_socket(World& w) {
    return from(Fd(int(::syscall(SYS_pidfd_getfd, w.victim_handle.get(), w.udp.get(), 0))).get());
}
Way compare_files(World& w) {
    return from(::syscall(SYS_kcmp, w.victim, w.victim, 0, 0, 0));
}
Way make_process(World&) {
    const pid_t pid = ::fork();
    if (pid == 0) ::_exit(0);
    if (pid > 0) ::waitpid(pid, nullptr, 0);
    return from(pid);
}
Way spawn_program(World&) {
    char name[] = "true";
    char* const arguments[] = {name, nullptr};
    pid_t pid = -1;
    const int error = ::posix_spawnp(&pid, name, nullptr, nullptr, arguments, nullptr);
    if (error == 0) ::waitpid(pid, nullptr, 0);
    errno = error;
    return error == 0 ? Way::works : Way::refused;
}
// A failure that is not EPERM means that the kernel looked at the arguments.
Way execute(World&) {
    char* const none[] = {nullptr};
    ::execve("/nowhere/program", none, none);
    return errno == ENOENT ? Way::works : Way::refused;
}
Way execute_at(World&) {
    char* const none[] = {nullptr};
    ::syscall(SYS_execveat, AT_FDCWD, "/nowhere/program", none, none, 0);
    return errno == ENOENT ? Way::works : Way::refused;
}
Way type_into_terminal(World&) {
    // Not a terminal: ENOTTY shows that the kernel looked at it.
    const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    const char c = 'x';
    ::ioctl(null.get(), TIOCSTI, &c);
    return errno == EPERM ? Way::refused : Way::works;
}

// ---- other namespaces, other ABIs

Way new_network(World&) {
    return from(::unshare(CLONE_NEWNET));
}
Way new_user(World&) {
    return from(::unshare(CLONE_NEWUSER));
}
Way join_network(World&) {
    const Fd own(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    return from(::setns(own.get(), CLONE_NEWNET));
}
Way clone_into_namespace(World&) {
    const long pid = ::syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) ::_exit(0);
    if (pid > 0) ::waitpid(pid_t(pid), nullptr, 0);
    return from(pid);
}
Way clone3_call(World&) {
    // No arguments at all: EINVAL from a kernel that looks, ENOSYS from the filter.
    ::syscall(SYS_clone3, nullptr, 0);
    return errno == ENOSYS ? Way::refused : Way::works;
}
#if defined(__x86_64__)
Way old_abi(World&) {
    // getpid by int 0x80, which has 32-bit numbers (20): harmless, and as good as socketcall (102).
    long result = 20;
    asm volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
    return result > 0 ? Way::works : Way::refused;
}
Way x32_abi(World&) {
    const long result = ::syscall(0x40000000 + SYS_getpid);
    return from(result);
}
#endif

// ---- the kernel's own machinery

Way bpf_call(World&) {
    ::syscall(SYS_bpf, -1, nullptr, 0);
    return errno == EPERM ? Way::refused : Way::works;
}
Way key_ring(World&) {
    return from(::syscall(SYS_keyctl, 0 /* GET_KEYRING_ID */, -2, 0));
}
Way memory_file(World&) {
    return from(Fd(int(::syscall(SYS_memfd_create, "x", 0))).get());
}
Way personality_call(World&) {
    return from(::syscall(SYS_personality, 0xffffffffu));
}

Way user_faults(World&) {
    return from(Fd(int(::syscall(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */))).get());
}
Way performance_events(World&) {
    // No attributes at all: EFAULT from a kernel that looks.
    ::syscall(SYS_perf_event_open, nullptr, 0, -1, -1, 0);
    return errno == EPERM ? Way::refused : Way::works;
}
Way mount_call(World&) {
    // No such folder: ENOENT from a kernel that looks.
    ::syscall(SYS_mount, "none", "/nowhere/at/all", "tmpfs", 0, nullptr);
    return errno == EPERM ? Way::refused : Way::works;
}
Way execute_descriptor(World&) {
    // A file that is no program: ENOEXEC or EACCES from a kernel that looks.
    const Fd file(::open("/etc/passwd", O_RDONLY | O_CLOEXEC));
    char* const none[] = {nullptr};
    ::fexecve(file.get(), none, none);
    return errno == EPERM ? Way::refused : Way::works;
}
Way new_key(World&) {
    // No type at all: EFAULT or EINVAL from a kernel that looks.
    ::syscall(SYS_add_key, nullptr, nullptr, nullptr, 0, 0);
    return errno == EPERM ? Way::refused : Way::works;
}
Way file_handles(World&) {
    ::syscall(SYS_open_by_handle_at, -1, nullptr, 0);
    return errno == EPERM ? Way::refused : Way::works;
}

constexpr ByWay kByWays[] = {
    {"connect_over_tcp", connect_tcp},
    {"connecting_an_accepted_socket_again", reconnect_accepted},
    {"connect_over_udp", connect_udp},
    {"connect_to_a_unix_socket", connect_unix},
    {"sendto_with_an_address", sendto_udp},
    {"sendto_to_a_unix_datagram_socket", sendto_unix},
    {"sendmsg_with_an_address_from_a_datagram_pair", sendmsg_from_datagram_pair},
    {"sendmsg_with_an_address_from_an_old_udp_socket", sendmsg_udp, false, false, 0},
    {"socketpair_raw", raw_pair},
    {"fast_open_by_sendto", fast_open_sendto, true},
    {"fast_open_by_sendmsg", fast_open_sendmsg, true},
    {"fast_open_option", fast_open_option},
    {"fast_open_connect_option", upper_layer_option, true},
    {"socket_inet6", socket_inet6, true},
    {"socket_udp", socket_udp},
    {"socket_unix_datagram", socket_unix},
    {"socket_netlink", socket_netlink},
    {"socket_raw", socket_raw},
    {"socket_packet", socket_packet, true},
    {"socket_vsock", socket_vsock, true},
    {"socket_alg", socket_alg, true},
    {"listen", listen_again},
    {"bind", bind_unix},
    {"io_uring", io_uring, true},
    {"system_calls_newer_than_this_program", newer_call, true, false, ENOSYS},
    {"ptrace", ptrace_victim},
    {"process_vm_readv", read_victim},
    {"process_vm_writev", write_victim},
    {"memory_file_of_another_process", victim_memory_file, false, false, EACCES},
    {"pidfd_open", victim_handle},
    {"pidfd_getfd", victim_socket},
    {"kcmp", compare_files, true},
    {"fork", make_process},
    {"posix_spawn", spawn_program},
    {"execve", execute},
    {"execveat", execute_at},
    {"typing_into_the_terminal", type_into_terminal},
    {"unshare_network", new_network},
    {"unshare_user", new_user, true},
    {"setns", join_network},
    {"clone_into_a_user_namespace", clone_into_namespace, true},
    {"clone3", clone3_call, true, false, ENOSYS},
#if defined(__x86_64__)
    {"int_0x80", old_abi, true, true},
    {"x32", x32_abi, true, true},
#endif
    {"bpf", bpf_call, true},
    {"keyctl", key_ring, true},
    {"memfd_create", memory_file},
    {"personality", personality_call},
    {"userfaultfd", user_faults, true},
    {"perf_event_open", performance_events, true},
    {"mount", mount_call, true},
    {"execution_of_a_descriptor", execute_descriptor},
    {"add_key", new_key, true},
    {"open_by_handle_at", file_handles, true},
};

}  // namespace

std::span<const ByWay> by_ways() {
    return kByWays;
}

}  // namespace hearth::test
