// Acceptors, the drain, and the Reply that handlers hold.
#include "net/http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <future>

#include "base/check.h"
#include "base/format.h"
#include "base/log.h"
#include "net/http_connection.h"

namespace hearth::net {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Connections taken in one go, before others have their turn.
constexpr int kAcceptsPerTurn = 32;

class ReplyHandle final : public Reply {
  public:
    ReplyHandle(std::shared_ptr<ReplyState> state, std::shared_ptr<Poster> io)
        : state_(std::move(state)), io_(std::move(io)) {}
    ~ReplyHandle() override {
        post([](Connection& c) { c.reply_dropped(); });
    }

    void send(HttpResponse response) override {
        post([r = std::move(response)](Connection& c) mutable { c.reply_send(std::move(r)); });
    }
    void begin(int status, Headers headers) override {
        post([status, h = std::move(headers)](Connection& c) { c.reply_begin(status, h); });
    }
    void write(std::string bytes) override {
        if (state_->gone) return;
        const std::size_t n = bytes.size();
        if (state_->n_queued.fetch_add(n) + n >= kWriteLowWater) state_->was_full = true;
        io_->post([state = state_, n, b = std::move(bytes)] {
            if (state->connection)
                state->connection->reply_write(b);
            else
                state->n_queued -= n;
        });
    }
    void end() override {
        post([](Connection& c) { c.reply_end(); });
    }
    void abort() override {
        post([](Connection& c) { c.reply_abort(); });
    }
    bool peer_gone() const override { return state_->gone; }
    std::size_t queued_bytes() const override { return state_->n_queued; }
    bool writable() const override { return queued_bytes() < kWriteLowWater; }
    void on_peer_gone(std::function<void()> callback) override {
        io_->post([state = state_, callback = std::move(callback)]() mutable {
            if (state->connection)
                state->on_gone = std::move(callback);
            else if (state->gone)
                callback();
        });
    }
    void on_writable(std::function<void()> callback) override {
        post([state = state_, callback = std::move(callback)](Connection&) mutable {
            state->on_writable = std::move(callback);
        });
    }

  private:
    // The connection clears its pointer, on io, when the reply is finished or the peer gone.
    template <class F>
    void post(F&& call) {
        io_->post([state = state_, call = std::forward<F>(call)]() mutable {
            if (state->connection) call(*state->connection);
        });
    }

    const std::shared_ptr<ReplyState> state_;
    const std::shared_ptr<Poster> io_;
};

std::string name_of_peer(const sockaddr_storage& address) {
    char text[INET6_ADDRSTRLEN] = "";
    if (address.ss_family == AF_INET) {
        const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
        ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
        return format("{}:{}", text, ntohs(v4.sin_port));
    }
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    return format("[{}]:{}", text, ntohs(v6.sin6_port));
}

// One listening socket. io only.
class Acceptor {
  public:
    Acceptor(ServerShared& shared, Listener listener)
        : shared_(shared),
          address_(std::move(listener.address)),
          is_unix_(listener.is_unix),
          stream_(shared.loop, std::move(listener.fd)),
          timer_(shared.loop) {
        if (is_unix_ && ::lstat(address_.c_str(), &file_) != 0) file_.st_ino = 0;
    }

    void arm() {
        stream_.wait_readable([this] { on_readable(); });
    }

    void close() {
        if (!stream_.is_open()) return;
        timer_.cancel();
        stream_.close();
        // The socket file goes with us, unless another has been put in its place.
        struct stat now;
        if (is_unix_ && file_.st_ino != 0 && ::lstat(address_.c_str(), &now) == 0 &&
            now.st_ino == file_.st_ino && now.st_dev == file_.st_dev)
            ::unlink(address_.c_str());
    }

  private:
    void on_readable() {
        for (int i = 0; i < kAcceptsPerTurn; ++i) {
            sockaddr_storage address{};
            socklen_t size = sizeof address;
            Fd fd(::accept4(stream_.fd(), reinterpret_cast<sockaddr*>(&address), &size,
                            SOCK_CLOEXEC | SOCK_NONBLOCK));
            if (fd) {
                accepted(std::move(fd), address);
                continue;
            }
            if (errno == EAGAIN || errno == EWOULDBLOCK) break;
            // The client left while it waited.
            if (errno == EINTR || errno == ECONNABORTED || errno == EPROTO) continue;
            return pause(errno);
        }
        arm();
    }

    // Out of descriptors or memory: the connections that exist come first.
    void pause(int code) {
        log_warn("accept_paused", {{"address", address_},
                                   {"why", std::strerror(code)},
                                   {"n_connections", shared_.n_open.load()}});
        timer_.wait_until(steady_clock::now() + milliseconds(kAcceptPauseMs), [this] { arm(); });
    }

    void accepted(Fd fd, const sockaddr_storage& address) {
        const bool full = shared_.n_open >= shared_.limits.n_connections;
        if (full && shared_.n_refused >= kRefusedMax) return;
        const int on = 1;
        if (!is_unix_) ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        auto connection = std::make_shared<Connection>(
            shared_, std::move(fd), is_unix_ ? "unix" : name_of_peer(address), is_unix_);
        shared_.connections.emplace(connection.get(), connection);
        if (full) {
            ++shared_.n_refused;
            connection->refuse_overload();
        } else {
            ++shared_.n_open;
            connection->start();
        }
    }

    ServerShared& shared_;
    const std::string address_;
    const bool is_unix_;
    struct stat file_{};
    Stream stream_;
    Timer timer_;
};

class Server final : public HttpServer {
  public:
    Server(std::vector<Listener> listeners, Handlers handlers, const ServerLimits& limits,
           const Clock& clock)
        : shared_(std::move(handlers), limits, clock), drain_timer_(shared_.loop) {
        shared_.scratch.resize(kReadBytes);
        shared_.on_closed = [this] { check_drained(); };
        for (auto& listener : listeners)
            acceptors_.push_back(std::make_unique<Acceptor>(shared_, std::move(listener)));
        shared_.loop.run();
        shared_.loop.post([this] {
            for (auto& acceptor : acceptors_) acceptor->arm();
        });
    }

    ~Server() override {
        drain(0);
        shared_.loop.stop();
    }

    bool drain(std::int64_t deadline_ms) override {
        const auto done = std::make_shared<std::promise<bool>>();
        auto result = done->get_future();
        shared_.loop.post([this, deadline_ms, done] { begin_drain(deadline_ms, done); });
        return result.get();
    }

    std::int64_t n_connections() const override { return shared_.n_open; }
    void post(std::function<void()> work) override { shared_.loop.post(std::move(work)); }

  private:
    // A copy: closing changes the table.
    std::vector<std::shared_ptr<Connection>> connections() const {
        std::vector<std::shared_ptr<Connection>> all;
        for (const auto& [_, connection] : shared_.connections) all.push_back(connection);
        return all;
    }

    void begin_drain(std::int64_t deadline_ms, std::shared_ptr<std::promise<bool>> done) {
        shared_.draining = true;
        waiting_.push_back(std::move(done));
        for (auto& acceptor : acceptors_) acceptor->close();
        for (const auto& connection : connections()) connection->close_if_idle();
        if (deadline_ms <= 0) return cut_all();
        drain_timer_.wait_until(steady_clock::now() + milliseconds(deadline_ms),
                                [this] { cut_all(); });
        check_drained();
    }

    void cut_all() {
        for (const auto& connection : connections()) {
            if (connection->replying()) any_cut_ = true;
            connection->cut();
        }
        check_drained();
    }

    void check_drained() {
        if (waiting_.empty() || !shared_.connections.empty()) return;
        drain_timer_.cancel();
        for (const auto& done : waiting_) done->set_value(!any_cut_);
        waiting_.clear();
    }

    ServerShared shared_;
    std::vector<std::unique_ptr<Acceptor>> acceptors_;
    Timer drain_timer_;
    std::vector<std::shared_ptr<std::promise<bool>>> waiting_;  // for the drain to end
    bool any_cut_ = false;
};

}  // namespace

std::shared_ptr<Reply> make_reply(std::shared_ptr<ReplyState> state, std::shared_ptr<Poster> io) {
    return std::make_shared<ReplyHandle>(std::move(state), std::move(io));
}

std::unique_ptr<HttpServer> HttpServer::start(std::vector<Listener> listeners, Handlers handlers,
                                              const ServerLimits& limits, const Clock& clock) {
    CHECK(handlers.on_request);
    return std::make_unique<Server>(std::move(listeners), std::move(handlers), limits, clock);
}

}  // namespace hearth::net
