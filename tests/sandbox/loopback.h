// Small servers and clients on loopback for the tests of the door, plain blocking sockets.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <thread>

#include "base/file.h"

namespace hearth::test {

// A listening TCP socket on 127.0.0.1 and the port it got.
struct Listener {
    Fd fd;
    int port = 0;
    explicit Listener(int backlog = 16) : fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address));
        ::listen(fd.get(), backlog);
        socklen_t size = sizeof(address);
        ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
        port = ntohs(address.sin_port);
    }
    Fd accept() const { return Fd(::accept4(fd.get(), nullptr, nullptr, SOCK_CLOEXEC)); }
    // True: somebody knocked within the time.
    bool knocked(int timeout_ms) const {
        pollfd poll{fd.get(), POLLIN, 0};
        return ::poll(&poll, 1, timeout_ms) > 0;
    }
};

inline bool write_all(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (n <= 0) return false;
        bytes.remove_prefix(std::size_t(n));
    }
    return true;
}

// Reads n bytes, or fewer if the stream ends.
inline std::string read_n(int fd, std::size_t n) {
    std::string out(n, '\0');
    std::size_t at = 0;
    while (at < n) {
        const ssize_t got = ::recv(fd, out.data() + at, n - at, 0);
        if (got <= 0) break;
        at += std::size_t(got);
    }
    out.resize(at);
    return out;
}

inline std::string read_to_end(int fd) {
    std::string out;
    char piece[4096];
    for (ssize_t n = 0; (n = ::recv(fd, piece, sizeof(piece), 0)) > 0;)
        out.append(piece, std::size_t(n));
    return out;
}

}  // namespace hearth::test
