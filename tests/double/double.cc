#include "double/double.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <list>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/file.h"
#include "base/format.h"
#include "base/json.h"
#include "double/behaviours.h"
#include "double/certificates.h"

namespace hearth::test {
namespace {

constexpr std::size_t kHeadMax = 64u << 10;
constexpr std::size_t kBodyMax = 64u << 20;

// One connection, with or without TLS.
class SocketPeer final : public Peer {
  public:
    SocketPeer(int fd, SSL_CTX* context) : fd_(fd) {
        if (context == nullptr) return;
        tls_.reset(SSL_new(context));
        SSL_set_fd(tls_.get(), fd_);
        ok_ = SSL_accept(tls_.get()) == 1;
    }
    ~SocketPeer() override {
        if (tls_ && ok_) SSL_shutdown(tls_.get());
    }
    bool ok() const { return ok_; }

    long read(char* to, std::size_t size) {
        if (tls_) {
            const int n = SSL_read(tls_.get(), to, int(size));
            if (n <= 0) ok_ = false;
            return n;
        }
        return ::recv(fd_, to, size, 0);
    }
    bool write(std::string_view bytes) override {
        while (!bytes.empty()) {
            const long n = tls_ ? SSL_write(tls_.get(), bytes.data(), int(bytes.size()))
                                : ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (n <= 0) {
                ok_ = false;
                return false;
            }
            bytes.remove_prefix(std::size_t(n));
        }
        return true;
    }
    bool wait(int ms) override {
        // A half-closed peer still listens; one that sent a FIN and then a reset does not, and a
        // client of ours closes whole. With TLS its farewell is data.
        pollfd poll{fd_, short(POLLRDHUP | (tls_ ? POLLIN : 0)), 0};
        return ::poll(&poll, 1, ms) == 0;
    }

  private:
    struct FreeTls {
        void operator()(SSL* tls) const { SSL_free(tls); }
    };
    const int fd_;
    std::unique_ptr<SSL, FreeTls> tls_;
    bool ok_ = true;
};

struct Request {
    std::string head, target, body;
};

// Nothing where the peer left before its request was whole.
std::optional<Request> read_request(SocketPeer& peer) {
    std::string bytes;
    char piece[16384];
    std::size_t head_end = std::string::npos;
    while ((head_end = bytes.find("\r\n\r\n")) == std::string::npos) {
        const long n = bytes.size() > kHeadMax ? 0 : peer.read(piece, sizeof(piece));
        if (n <= 0) return std::nullopt;
        bytes.append(piece, std::size_t(n));
    }
    Request request;
    request.head = bytes.substr(0, head_end);
    const auto target_at = request.head.find(' ');
    const auto target_end = request.head.find(' ', target_at + 1);
    if (target_end == std::string::npos) return std::nullopt;
    request.target = request.head.substr(target_at + 1, target_end - target_at - 1);
    std::string lower = request.head;
    for (char& c : lower) c = char(std::tolower(static_cast<unsigned char>(c)));
    std::size_t length = 0;
    if (const auto at = lower.find("\r\ncontent-length: "); at != std::string::npos)
        std::from_chars(lower.data() + at + 18, lower.data() + lower.size(), length);
    if (length > kBodyMax) return std::nullopt;
    request.body = bytes.substr(head_end + 4);
    while (request.body.size() < length) {
        const long n = peer.read(piece, sizeof(piece));
        if (n <= 0) return std::nullopt;
        request.body.append(piece, std::size_t(n));
    }
    return request;
}

std::string behaviour_of(const Request& request) {
    const auto end = request.target.find('/', 1);
    const std::string first = request.target.substr(1, end == std::string::npos ? end : end - 1);
    if (is_behaviour(first)) return first;
    const auto json = parse_json(request.body);
    if (json && json->is_object() && json->contains("model") && (*json)["model"].is_string())
        return (*json)["model"].get<std::string>();
    return "ok";
}

class Server final : public Double {
  public:
    explicit Server(const DoubleOptions& options) {
        if (options.tls)
            credentials_ =
                make_server_credentials(options.certificate_host, !options.certificate_host.empty(),
                                        options.certificate_expired);
        tls_ = options.tls;
    }
    Status listen(int port);
    ~Server() override;

    int port() const override { return port_; }
    std::string url() const override {
        return format("{}://127.0.0.1:{}", tls_ ? "https" : "http", port_);
    }
    DoubleCounts counts() const override {
        const std::lock_guard lock(mutex_);
        return counts_;
    }
    std::string last_body() const override {
        const std::lock_guard lock(mutex_);
        return last_.body;
    }
    std::string last_head() const override {
        const std::lock_guard lock(mutex_);
        return last_.head;
    }
    const std::string& ca_pem() const override { return credentials_.ca_pem; }
    const std::string& spki_sha256() const override { return credentials_.spki_sha256; }

  private:
    struct Connection {
        Fd fd;
        std::thread thread;
        std::atomic<bool> over{false};
    };
    void accept_loop();
    void serve(Connection& connection);
    void answer(const Request& request, SocketPeer& peer);
    std::string ask(const std::string& target);
    void reap(bool all);

    ServerCredentials credentials_;
    bool tls_ = false;
    Fd listener_;
    int port_ = 0;
    std::thread acceptor_;
    std::list<Connection> connections_;  // the acceptor's; after its end the destructor's
    std::atomic<bool> stop_{false};
    mutable std::mutex mutex_;  // guards what follows
    DoubleCounts counts_;
    Request last_;
};

Status Server::listen(int port) {
    listener_ = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    ::setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(std::uint16_t(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    if (::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        ::listen(listener_.get(), 64) != 0 ||
        ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
        return fail(ErrorKind::internal, format("cannot listen on 127.0.0.1:{}", port));
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept_loop(); });
    return {};
}

Server::~Server() {
    stop_ = true;
    ::shutdown(listener_.get(), SHUT_RDWR);
    if (acceptor_.joinable()) acceptor_.join();
    for (Connection& connection : connections_) ::shutdown(connection.fd.get(), SHUT_RDWR);
    reap(true);
}

void Server::reap(bool all) {
    for (auto it = connections_.begin(); it != connections_.end();) {
        if (!all && !it->over) {
            ++it;
            continue;
        }
        it->thread.join();
        it = connections_.erase(it);
    }
}

void Server::accept_loop() {
    while (!stop_) {
        Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!fd) {
            if (errno == EINTR || errno == ECONNABORTED) continue;
            return;
        }
        reap(false);
        {
            const std::lock_guard lock(mutex_);
            ++counts_.connections;
            ++counts_.open;
        }
        Connection& connection = connections_.emplace_back();
        connection.fd = std::move(fd);
        connection.thread = std::thread([this, &connection] { serve(connection); });
    }
}

void Server::serve(Connection& connection) {
    {
        SocketPeer peer(connection.fd.get(), credentials_.context.get());
        const auto request = peer.ok() ? read_request(peer) : std::nullopt;
        if (request && request->target.starts_with("/_")) {
            {
                const std::lock_guard lock(mutex_);
                --counts_.connections;
                --counts_.open;
            }
            peer.write(ask(request->target));
            {
                const std::lock_guard lock(mutex_);
                ++counts_.open;
            }
        } else if (request) {
            answer(*request, peer);
        }
    }
    // The peer sees the end now; the descriptor's number is freed by reap(), after the join.
    ::shutdown(connection.fd.get(), SHUT_RDWR);
    const std::lock_guard lock(mutex_);
    --counts_.open;
    connection.over = true;
}

std::string Server::ask(const std::string& target) {
    const std::lock_guard lock(mutex_);
    if (target == "/_last") return plain_response(200, "application/json", last_.body);
    if (target == "/_head") return plain_response(200, "text/plain", last_.head);
    if (target == "/_count")
        return plain_response(
            200, "application/json",
            format(R"({{"connections":{},"requests":{},"open":{},"aborted":{}}})",
                   counts_.connections, counts_.requests, counts_.open, counts_.aborted));
    return plain_response(404, "text/plain", "known: /_count, /_last, /_head\n");
}

void Server::answer(const Request& request, SocketPeer& peer) {
    {
        const std::lock_guard lock(mutex_);
        ++counts_.requests;
        last_ = request;
    }
    if (request.target.ends_with("/models")) {
        peer.write(plain_response(
            200, "application/json",
            R"({"object":"list","data":[{"id":"double-1","object":"model","owned_by":"test"}]})"));
        return;
    }
    if (behave(behaviour_of(request), request.body, peer)) return;
    const std::lock_guard lock(mutex_);
    ++counts_.aborted;
}

}  // namespace

Result<std::unique_ptr<Double>> Double::start(const DoubleOptions& options) {
    ::signal(SIGPIPE, SIG_IGN);  // SSL_write has no MSG_NOSIGNAL
    auto server = std::make_unique<Server>(options);
    HEARTH_CHECK_OK(server->listen(options.port));
    return server;
}

}  // namespace hearth::test
