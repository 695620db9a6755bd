#include "unit/net/wire.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/format.h"

namespace hearth::net::test {

bool eventually(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatienceMs);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
}

Peer Peer::connect(const std::string& address) {
    if (address.starts_with('/')) {
        sockaddr_un to{};
        to.sun_family = AF_UNIX;
        std::strncpy(to.sun_path, address.c_str(), sizeof to.sun_path - 1);
        Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) fd.reset();
        return Peer(std::move(fd));
    }
    const auto colon = address.rfind(':');
    const auto port = htons(std::uint16_t(std::stoi(address.substr(colon + 1))));
    if (address.starts_with('[')) {
        sockaddr_in6 to{};
        to.sin6_family = AF_INET6;
        to.sin6_port = port;
        ::inet_pton(AF_INET6, address.substr(1, colon - 2).c_str(), &to.sin6_addr);
        Fd fd(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
        if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) fd.reset();
        return Peer(std::move(fd));
    }
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = port;
    ::inet_pton(AF_INET, address.substr(0, colon).c_str(), &to.sin_addr);
    Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) fd.reset();
    return Peer(std::move(fd));
}

bool Peer::send(std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        bytes.remove_prefix(std::size_t(n));
    }
    return true;
}

bool Peer::fill() {
    if (ended_ || !fd_) return false;
    pollfd wait{fd_.get(), POLLIN, 0};
    if (::poll(&wait, 1, kPatienceMs) != 1) {
        ADD_FAILURE() << "nothing came; so far: " << in_.substr(0, 500);
        ended_ = true;
        return false;
    }
    char chunk[65536];
    const ssize_t n = ::recv(fd_.get(), chunk, sizeof chunk, 0);
    if (n <= 0) {
        ended_ = true;
        reset_ = n < 0;
        return false;
    }
    in_.append(chunk, std::size_t(n));
    return true;
}

std::string Peer::read(std::size_t n) {
    while (in_.size() < n && fill()) {
    }
    const std::string out = in_.substr(0, n);
    in_.erase(0, out.size());
    return out;
}

std::string Peer::read_until(std::string_view end) {
    std::size_t at;
    while ((at = in_.find(end)) == in_.npos)
        if (!fill()) return read(in_.size());
    return read(at + end.size());
}

std::string Peer::read_all() {
    while (fill()) {
    }
    return read(in_.size());
}

bool Peer::at_end() {
    if (!in_.empty()) return false;
    return !fill() && ended_;
}

RawResponse Peer::response(bool to_head) {
    RawResponse out;
    out.head = read_until("\r\n\r\n");
    if (!out.head.starts_with("HTTP/1.1 ") || !out.head.ends_with("\r\n\r\n")) return out;
    out.status = std::stoi(out.head.substr(9, 3));
    for (std::size_t at = out.head.find("\r\n") + 2; at + 2 < out.head.size();) {
        const std::size_t end = out.head.find("\r\n", at);
        const std::string line = out.head.substr(at, end - at);
        const std::size_t colon = line.find(": ");
        EXPECT_NE(colon, line.npos) << line;
        std::string name = line.substr(0, colon);
        for (char& c : name) c = char(std::tolower(c));
        EXPECT_FALSE(out.fields.contains(name)) << "twice: " << line;
        out.fields[name] = line.substr(colon + 2);
        at = end + 2;
    }
    if (to_head || out.status < 200 || out.status == 204 || out.status == 304) {
        out.complete = true;
    } else if (out.fields.contains("content-length")) {
        const std::size_t n = std::stoul(out.fields["content-length"]);
        out.body = read(n);
        out.complete = out.body.size() == n;
    } else if (out.fields.contains("transfer-encoding")) {
        for (;;) {
            const std::string size = read_until("\r\n");
            if (!size.ends_with("\r\n")) return out;
            const std::size_t n = std::stoul(size, nullptr, 16);
            const std::string chunk = read(n + 2);
            if (chunk.size() < n + 2) return out;
            EXPECT_TRUE(chunk.ends_with("\r\n"));
            out.body += chunk.substr(0, n);
            if (n == 0) break;
        }
        out.complete = true;
    } else {
        out.body = read_all();
        out.complete = !reset_;
    }
    return out;
}

void Peer::half_close() {
    ::shutdown(fd_.get(), SHUT_WR);
}

void Peer::set_receive_buffer(int bytes) {
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
}

std::pair<Fd, Fd> socket_pair() {
    int fds[2] = {-1, -1};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    return {Fd(fds[0]), Fd(fds[1])};
}

TestServer::TestServer(Handlers handlers, ServerLimits limits) {
    auto listener = listen_tcp("127.0.0.1", 0);
    EXPECT_TRUE(listener) << listener.error().message;
    address = listener->address;
    std::vector<Listener> listeners;
    listeners.push_back(std::move(*listener));
    server = HttpServer::start(std::move(listeners), std::move(handlers), limits);
}

TestServer::TestServer(OnRequest on_request, ServerLimits limits)
    : TestServer(
          Handlers{.on_head = {}, .on_request = std::move(on_request), .on_protocol_error = {}},
          limits) {}

void echo(HttpRequest request, std::shared_ptr<Reply> reply) {
    reply->send(text(
        200, format("{} {} ?{} [{}]", request.method, request.path, request.query, request.body)));
}

HttpResponse text(int status, std::string body) {
    HttpResponse response{.status = status, .headers = {}, .body = std::move(body)};
    response.headers.add("Content-Type", "text/plain");
    return response;
}

}  // namespace hearth::net::test
