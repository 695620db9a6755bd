#include "egress/relay.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <span>

#include "base/format.h"

namespace hearth::egress {
namespace {

// Rounds of one buffer each before the other connections get their turn: 1 MiB.
constexpr int kRoundsMax = 32;

// TCP states of include/net/tcp_states.h in which the peer's FIN has arrived.
bool fin_arrived(int state, bool clean) {
    constexpr int kTimeWait = 6, kClose = 7, kCloseWait = 8, kLastAck = 9, kClosing = 11;
    return state == kTimeWait || state == kCloseWait || state == kLastAck || state == kClosing ||
           (state == kClose && clean);
}

}  // namespace

Relay::Relay(RequestMessage request, Fd local, ssl_ctx_st* tls_context, const Clock& clock)
    : clock_(clock),
      request_(std::move(request)),
      local_(std::move(local)),
      tls_context_(tls_context) {
    const auto timeout_ms = std::min<std::int64_t>(request_.timeout_ms, kConnectTimeoutMsMax);
    end_ns_ = next_ns_ = clock_.mono_ns() + timeout_ms * kNsPerMs;
    draft_.id = request_.id;
    draft_.opened_wall_ns = clock_.wall_ns();
}

// ---- the way to open

void Relay::refuse(ErrorKind kind, const std::string& outcome, const std::string& message) {
    answer_failure(kind, message);
    finish(outcome, true);
}

void Relay::answer_failure(ErrorKind kind, const std::string& message) {
    if (answered_) return;
    answered_ = true;
    answer_ = AnswerMessage{request_.id, false, kind, clip_text(message)};
}

void Relay::on_resolved(Result<std::vector<Address>> addresses) {
    if (state_ != State::resolving) return;
    if (!addresses)
        return refuse(addresses.error().kind, "connect failed: " + addresses.error().message,
                      addresses.error().message);
    addresses_ = std::move(*addresses);
    state_ = State::connecting;
    connect_next();
}

// Starts the next address that the kernel accepts, or fails with what the last one said.
void Relay::connect_next() {
    while (next_address_ < addresses_.size()) {
        const Address& address = addresses_[next_address_++];
        draft_.address = to_text(address);
        const int family = address.storage.ss_family;
        remote_ = Fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
        const auto* name = reinterpret_cast<const sockaddr*>(&address.storage);
        if (remote_ && (::connect(remote_.get(), name, address.size) == 0 || errno == EINPROGRESS ||
                        errno == EINTR)) {
            const std::int64_t now = clock_.mono_ns();
            const auto n_left = std::int64_t(addresses_.size() - next_address_ + 1);
            const std::int64_t share = std::max(kAttemptMsMin * kNsPerMs, (end_ns_ - now) / n_left);
            next_ns_ = std::min(end_ns_, now + share);
            return;
        }
        last_problem_ = errno_text(draft_.address, errno);
        remote_.reset();
    }
    draft_.address.clear();
    refuse(ErrorKind::upstream_failed, "connect failed: " + last_problem_,
           format("cannot connect to {} ({})", to_text(request_.destination), last_problem_));
}

void Relay::connected() {
    int error = 0;
    socklen_t size = sizeof(error);
    ::getsockopt(remote_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
        last_problem_ = errno_text(draft_.address, error);
        remote_.reset();
        return connect_next();
    }
    const int on = 1;  // requests are written whole: waiting for more only delays them
    ::setsockopt(remote_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    next_ns_ = end_ns_;
    if (tls_context_ == nullptr) return stand();
    auto session = make_tls_session(tls_context_, remote_.get(), request_.destination.host);
    if (!session)
        return refuse(ErrorKind::upstream_failed, "tls failed: " + session.error().message,
                      session.error().message);
    tls_ = std::move(*session);
    state_ = State::handshaking;
    handshake();
}

void Relay::handshake() {
    ::ERR_clear_error();
    errno = 0;
    const int result = ::SSL_do_handshake(tls_.get());
    const int saved_errno = errno;
    tls_wants_write_ = false;
    if (result == 1) {
        draft_.tls_spki_sha256 = tls_spki_sha256(tls_.get());
        return stand();
    }
    const int error = ::SSL_get_error(tls_.get(), result);
    if (error == SSL_ERROR_WANT_READ) return;
    if (error == SSL_ERROR_WANT_WRITE) {
        tls_wants_write_ = true;
        return;
    }
    const std::string problem = tls_problem(tls_.get(), saved_errno);
    tls_.reset();
    refuse(ErrorKind::upstream_failed, "tls failed: " + problem,
           format("no trusted TLS connection to {}: {}", to_text(request_.destination), problem));
}

void Relay::stand() {
    state_ = State::open;
    answered_ = true;
    answer_ = AnswerMessage{request_.id, true, ErrorKind::internal, ""};
}

void Relay::on_timer() {
    const std::int64_t now = clock_.mono_ns();
    if (deadline_ns() == 0 || now < next_ns_) return;
    if (state_ == State::open) return close_by_program("closed: the server did not read", false);
    if (state_ == State::lingering) return finish(draft_.outcome, false);
    if (now < end_ns_ && state_ == State::connecting) {
        last_problem_ = draft_.address + ": no answer";
        remote_.reset();
        return connect_next();
    }
    const char* what = state_ == State::resolving    ? "resolving the name"
                       : state_ == State::connecting ? "connecting"
                                                     : "the TLS handshake";
    refuse(ErrorKind::timeout, format("timeout: {}", what),
           format("{} took longer than {} ms for {}", what, request_.timeout_ms,
                  to_text(request_.destination)));
}

// ---- bytes

Relay::Io Relay::tls_result(int result, std::size_t& n) {
    const int saved_errno = errno;
    if (result > 0) {
        n = std::size_t(result);
        return Io::moved;
    }
    switch (::SSL_get_error(tls_.get(), result)) {
        case SSL_ERROR_WANT_READ:
            return Io::blocked;
        case SSL_ERROR_WANT_WRITE:
            tls_wants_write_ = true;
            return Io::blocked;
        case SSL_ERROR_ZERO_RETURN:
            return Io::ended;
        default:
            break;
    }
    remote_problem_ = "cut: " + tls_problem(tls_.get(), saved_errno);
    tls_.reset();  // after such an error it must not be used, not even to say goodbye
    return Io::failed;
}

Relay::Io Relay::read_remote(char* to, std::size_t size, std::size_t& n) {
    if (tls_context_ != nullptr) {
        if (!tls_) return Io::failed;
        ::ERR_clear_error();
        errno = 0;
        return tls_result(::SSL_read(tls_.get(), to, int(size)), n);
    }
    ssize_t got = 0;
    do {
        got = ::recv(remote_.get(), to, size, 0);
    } while (got < 0 && errno == EINTR);
    if (got > 0) {
        n = std::size_t(got);
        return Io::moved;
    }
    if (got == 0) return Io::ended;
    if (errno == EAGAIN) return Io::blocked;
    remote_problem_ = errno_text("cut", errno);
    return Io::failed;
}

Relay::Io Relay::write_remote(const char* from, std::size_t size, std::size_t& n) {
    if (tls_context_ != nullptr) {
        if (!tls_) return Io::failed;
        ::ERR_clear_error();
        errno = 0;
        return tls_result(::SSL_write(tls_.get(), from, int(size)), n);
    }
    ssize_t put = 0;
    do {
        put = ::send(remote_.get(), from, size, MSG_NOSIGNAL);
    } while (put < 0 && errno == EINTR);
    if (put >= 0) {
        n = std::size_t(put);
        return Io::moved;
    }
    if (errno == EAGAIN) return Io::blocked;
    remote_problem_ = errno_text("cut", errno);
    return Io::failed;
}

void Relay::close_remote_write() {
    up_.closed = true;
    if (tls_) {
        ::ERR_clear_error();
        ::SSL_shutdown(tls_.get());  // close_notify; the other direction stays open
    } else if (tls_context_ == nullptr) {
        ::shutdown(remote_.get(), SHUT_WR);
        fin_sent_ = true;
    }
}

void Relay::drop_up() {
    up_.begin = up_.end = 0;
    up_.ended = up_.closed = true;
}

void Relay::end_down(const std::string& problem) {
    down_.ended = true;
    if (problem.empty()) return;
    remote_gone_ = true;
    drop_up();
}

// One round from the main process to the remote side. True: something moved.
bool Relay::pump_up() {
    bool moved = false;
    if (up_.empty()) up_.begin = up_.end = 0;
    if (!up_.ended && !up_.full()) {
        ssize_t n = 0;
        do {
            n = ::recv(local_.get(), up_.bytes.data() + up_.end, up_.bytes.size() - up_.end, 0);
        } while (n < 0 && errno == EINTR);
        if (n > 0) {
            up_.end += std::size_t(n);
            moved = true;
        } else if (n == 0 || errno != EAGAIN) {
            up_.ended = true;  // a broken socketpair shows as hang-up as well
        }
    }
    if (!up_.empty()) {
        std::size_t n = 0;
        const char* const from = up_.bytes.data() + up_.begin;
        const Io io = write_remote(from, up_.end - up_.begin, n);
        sha256_out_.add(std::as_bytes(std::span(from, n)));
        up_.begin += n;
        draft_.bytes_out += std::int64_t(n);
        if (io == Io::moved) moved = true;
        if (io == Io::failed || io == Io::ended) drop_up();  // reading says what happened
    }
    if (up_.ended && up_.empty() && !up_.closed) close_remote_write();
    return moved;
}

// One round from the remote side to the main process.
bool Relay::pump_down() {
    bool moved = false;
    if (down_.empty()) down_.begin = down_.end = 0;
    if (!down_.ended && !down_.full()) {
        std::size_t n = 0;
        const Io io =
            read_remote(down_.bytes.data() + down_.end, down_.bytes.size() - down_.end, n);
        down_.end += n;
        if (io == Io::moved) moved = true;
        if (io == Io::ended) end_down("");
        if (io == Io::failed) end_down(remote_problem_);
    }
    if (!down_.empty()) {
        ssize_t n = 0;
        do {
            n = ::send(local_.get(), down_.bytes.data() + down_.begin, down_.end - down_.begin,
                       MSG_NOSIGNAL);
        } while (n < 0 && errno == EINTR);
        if (n > 0) {
            down_.begin += std::size_t(n);
            draft_.bytes_in += n;
            moved = true;
        } else if (n < 0 && errno != EAGAIN) {
            down_.begin = down_.end = 0;  // nobody reads; the hang-up ends the relay
            down_.ended = down_.closed = true;
        }
    }
    if (down_.ended && down_.empty() && !down_.closed) {
        down_.closed = true;
        ::shutdown(local_.get(), SHUT_WR);
    }
    return moved;
}

void Relay::pump() {
    tls_wants_write_ = false;
    more_ = false;
    int round = 0;
    for (bool moved = true; moved; ++round) {
        if (round == kRoundsMax) {
            more_ = true;
            break;
        }
        const bool up = pump_up();
        const bool down = pump_down();
        moved = up || down;
    }
    if (down_.closed && (up_.closed || remote_gone_))
        finish(remote_problem_.empty() ? "closed" : remote_problem_, false);
}

void Relay::on_local(std::uint32_t events) {
    if (state_ == State::done) return;
    if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
        // Once it was told the end, a program that has ended its own side looks the same as one
        // that has closed: what it wrote still goes out, for a while. The event would repeat for
        // ever.
        if (state_ != State::open || !down_.closed) return close_by_program("closed", true);
        local_gone_ = true;
        next_ns_ = clock_.mono_ns() + kDrainMs * kNsPerMs;
    }
    if (state_ == State::open) pump();
}

void Relay::stop() {
    if (state_ == State::lingering) return finish(draft_.outcome, false);
    close_by_program("closed: hearth ended", false);
}

void Relay::close_by_program(const std::string& outcome, bool may_linger) {
    if (state_ != State::open)
        return finish("abandoned: the program closed before the connection stood", true);
    int n_unsent = 0;
    if (::ioctl(remote_.get(), SIOCOUTQNSD, &n_unsent) != 0) n_unsent = 0;
    const bool unsent = !up_.empty() || n_unsent > 0;
    const char* dropped = unsent ? ", unsent bytes dropped" : "";
    if (!remote_problem_.empty()) return finish(remote_problem_, unsent);
    if (may_linger && !unsent && !down_.ended && !remote_gone_) return linger_on(outcome);
    finish(outcome + dropped, unsent);
}

// Ends this side, then waits for the server's end. TLS has said goodbye: what still comes is
// counted as it comes, undecrypted.
void Relay::linger_on(const std::string& outcome) {
    if (!up_.closed) close_remote_write();
    tls_.reset();
    if (!fin_sent_) ::shutdown(remote_.get(), SHUT_WR);
    fin_sent_ = local_gone_ = true;
    down_.begin = down_.end = 0;
    draft_.outcome = outcome;
    state_ = State::lingering;
    next_ns_ = clock_.mono_ns() + kLingerMs * kNsPerMs;
    discard();
}

void Relay::discard() {
    while (n_discarded_ < kLingerBytes) {
        const ssize_t n = ::recv(remote_.get(), down_.bytes.data(), down_.bytes.size(), 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        down_.ended = n == 0;
        if (n <= 0) break;
        n_discarded_ += std::size_t(n);
    }
    finish(draft_.outcome, false);
}

void Relay::on_remote(std::uint32_t events) {
    switch (state_) {
        case State::connecting:
            return connected();
        case State::handshaking:
            return handshake();
        case State::open:
            break;
        case State::lingering:
            return discard();
        default:
            return;
    }
    // After a hang-up everything that arrived is in the kernel's buffer and nothing can be sent.
    // Its event would repeat for ever while the main process does not read, so it is not watched.
    if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
        remote_gone_ = true;
        drop_up();
    }
    pump();
}

Relay::Interest Relay::interest() const {
    Interest out;
    switch (state_) {
        case State::connecting:
            out.remote = EPOLLOUT;
            break;
        case State::handshaking:
            out.remote = tls_wants_write_ ? EPOLLOUT : EPOLLIN;
            break;
        case State::open:
            if (!up_.ended && !up_.full()) out.local |= EPOLLIN;
            if (!down_.empty() || more_) out.local |= EPOLLOUT;
            if (!down_.ended && !down_.full()) out.remote |= EPOLLIN;
            if (!up_.empty() || tls_wants_write_) out.remote |= EPOLLOUT;
            break;
        case State::lingering:
            out.remote = EPOLLIN;
            break;
        default:
            break;
    }
    out.watch_remote = bool(remote_) && !remote_gone_;
    out.watch_local = !local_gone_;
    return out;
}

// ---- the end

// Payload bytes of TCP, each counted once. The kernel counts a FIN as one byte where it counts
// sequence numbers: in bytes_received, and in what is queued. What is queued still leaves after
// close(2), unless the connection is aborted, and so it is counted: a receipt never says too
// little.
void Relay::read_wire_counts(bool abort) {
    tcp_info info{};
    socklen_t size = sizeof(info);
    if (!remote_ || ::getsockopt(remote_.get(), IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return;
    if (size < offsetof(tcp_info, tcpi_bytes_retrans) + sizeof(info.tcpi_bytes_retrans)) {
        // Before Linux 4.19 the kernel counts acknowledged bytes only, SYN and FIN included.
        draft_.wire_bytes_out = std::int64_t(info.tcpi_bytes_acked);
    } else {
        draft_.wire_bytes_out = std::int64_t(info.tcpi_bytes_sent - info.tcpi_bytes_retrans);
    }
    if (!abort && info.tcpi_notsent_bytes > 0) {
        draft_.wire_bytes_out += std::int64_t(info.tcpi_notsent_bytes) - (fin_sent_ ? 1 : 0);
    }
    const bool fin = fin_arrived(info.tcpi_state, remote_problem_.empty() && down_.ended);
    draft_.wire_bytes_in = std::int64_t(info.tcpi_bytes_received) - (fin ? 1 : 0);
    if (draft_.wire_bytes_in < 0) draft_.wire_bytes_in = 0;
}

// abort: bytes that were not sent yet are dropped, the remote side sees a reset.
void Relay::finish(const std::string& outcome, bool abort) {
    if (state_ == State::done) return;
    answer_failure(ErrorKind::cancelled, "the connection was closed before it stood");
    if (tls_ && !abort && !up_.closed) {
        ::ERR_clear_error();
        ::SSL_shutdown(tls_.get());
    }
    tls_.reset();
    read_wire_counts(abort);
    if (abort && remote_) {
        const linger now{1, 0};
        ::setsockopt(remote_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    }
    remote_.reset();
    local_.reset();
    state_ = State::done;
    draft_.outcome = clip_text(outcome);
    draft_.closed_wall_ns = clock_.wall_ns();
    receipt_ = draft_;
}

}  // namespace hearth::egress
