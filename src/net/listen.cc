// Listening sockets. They are opened before the sandbox, in which no socket can be made.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/format.h"
#include "net/http_server.h"

namespace hearth::net {
namespace {

// Connections that the kernel keeps while io is busy; more than a burst of a client's pool.
constexpr int kBacklog = 512;

std::string bare(const std::string& host) {
    if (host == "localhost") return "127.0.0.1";
    if (host.size() > 2 && host.front() == '[' && host.back() == ']')
        return host.substr(1, host.size() - 2);
    return host;
}

struct Address {
    sockaddr_storage bytes{};
    socklen_t size = 0;
    int family = AF_UNSPEC;
};

std::optional<Address> parse_address(const std::string& host, int port) {
    Address out;
    sockaddr_in v4{};
    sockaddr_in6 v6{};
    if (::inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) {
        v4.sin_family = AF_INET;
        v4.sin_port = htons(std::uint16_t(port));
        std::memcpy(&out.bytes, &v4, sizeof v4);
        out.size = sizeof v4;
        out.family = AF_INET;
        return out;
    }
    if (::inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) == 1) {
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(std::uint16_t(port));
        std::memcpy(&out.bytes, &v6, sizeof v6);
        out.size = sizeof v6;
        out.family = AF_INET6;
        return out;
    }
    return std::nullopt;
}

std::unexpected<Error> cannot_listen(const std::string& where) {
    const int code = errno;
    std::string message = format("cannot listen on {}: {}", where, std::strerror(code));
    if (code == EADDRINUSE) message += "; another server has it, choose another port";
    if (code == EADDRNOTAVAIL) message += "; this machine has no such address";
    return fail(ErrorKind::invalid_request, std::move(message));
}

int port_of(int fd) {
    sockaddr_storage bytes{};
    socklen_t size = sizeof bytes;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&bytes), &size) != 0) return 0;
    if (bytes.ss_family == AF_INET)
        return ntohs(reinterpret_cast<const sockaddr_in*>(&bytes)->sin_port);
    return ntohs(reinterpret_cast<const sockaddr_in6*>(&bytes)->sin6_port);
}

Fd new_socket(int family) {
    return Fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

// Removes a socket file that no process listens on. Anything else at the path stays.
Status remove_stale(const std::string& path, const sockaddr_un& address) {
    struct stat info;
    if (::lstat(path.c_str(), &info) != 0) {
        if (errno == ENOENT) return {};
        return cannot_listen(path);
    }
    if (!S_ISSOCK(info.st_mode))
        return fail(ErrorKind::invalid_request,
                    format("{} exists and is no socket; remove it or choose another path", path));
    const Fd probe = new_socket(AF_UNIX);
    if (!probe) return cannot_listen(path);
    if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
        errno != ECONNREFUSED)
        return fail(
            ErrorKind::invalid_request,
            format("{} belongs to a server that is running; stop it or choose another path", path));
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return cannot_listen(path);
    return {};
}

}  // namespace

bool is_loopback(const std::string& host) {
    const auto address = parse_address(bare(host), 0);
    if (!address) return false;
    if (address->family == AF_INET) {
        const auto& v4 = reinterpret_cast<const sockaddr_in&>(address->bytes);
        return ntohl(v4.sin_addr.s_addr) >> 24 == 127;
    }
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address->bytes).sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
}

Result<Listener> listen_tcp(const std::string& host, int port) {
    const std::string name = bare(host);
    if (port < 0 || port > 65535)
        return fail(ErrorKind::invalid_request, format("port {} is not in 0..65535", port));
    const auto address = parse_address(name, port);
    if (!address)
        return fail(ErrorKind::invalid_request,
                    format("cannot listen on \"{}\": give a numeric address or localhost", host));
    const bool v6 = address->family == AF_INET6;
    const std::string shown = v6 ? "[" + name + "]" : name;
    Listener out;
    out.fd = new_socket(address->family);
    if (!out.fd) return cannot_listen(shown);
    const int on = 1, off = 0;
    // A restarted server takes its port over from connections that are still closing.
    ::setsockopt(out.fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    // Accepted sockets inherit it: each token is a small packet and must not wait for the next.
    ::setsockopt(out.fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (v6)
        ::setsockopt(out.fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, name == "::" ? &off : &on, sizeof on);
    if (::bind(out.fd.get(), reinterpret_cast<const sockaddr*>(&address->bytes), address->size) !=
            0 ||
        ::listen(out.fd.get(), kBacklog) != 0)
        return cannot_listen(format("{}:{}", shown, port));
    out.address = format("{}:{}", shown, port_of(out.fd.get()));
    return out;
}

Result<Listener> listen_unix(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path)
        return fail(ErrorKind::invalid_request,
                    format("the socket path \"{}\" is empty or longer than {} bytes", path,
                           sizeof address.sun_path - 1));
    std::memcpy(address.sun_path, path.data(), path.size());
    HEARTH_CHECK_OK(remove_stale(path, address));
    Listener out;
    out.fd = new_socket(AF_UNIX);
    // The mode is set before bind(2) makes the file, so that there is no moment at which others may
    // connect; chmod then gives back what an odd umask took from the owner.
    if (!out.fd || ::fchmod(out.fd.get(), 0600) != 0 ||
        ::bind(out.fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::chmod(path.c_str(), 0600) != 0 || ::listen(out.fd.get(), kBacklog) != 0)
        return cannot_listen(path);
    out.address = path;
    out.is_unix = true;
    return out;
}

}  // namespace hearth::net
