// Relay: one request of the main process, from its first step to its receipt.
//
//   resolving → connecting → handshaking (TLS only) → open → (lingering →) done
//
// While open, plain bytes flow both ways through two fixed buffers; a full buffer stops reading at
// its source, so a slow reader is felt by the sender. Half-close passes through in both directions.
// When the main process closes its end, the remote side is told so at once and what was not sent is
// dropped: closing is how a request is cancelled. Where all was sent, the relay lingers until the
// server has ended too, or shortly: an answer's last bytes are often on their way when whoever read
// it has seen enough, and bytes that reach this machine belong on the receipt.
//
// Thread:     the broker's loop. Every descriptor is non-blocking; epoll is level triggered.
// Invariants: (1) no byte is read from the main process before state open, so none can leave
// earlier.
//             (2) exactly one answer, then exactly one receipt.
//             (3) bytes_out counts what the socket or TLS took, bytes_in what the main process's
//                 socket took.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/file.h"
#include "egress/limits.h"
#include "egress/message.h"
#include "egress/resolve.h"
#include "egress/tls.h"

namespace hearth::egress {

class Relay {
  public:
    // tls_context: nullptr for plain TCP.
    Relay(RequestMessage request, Fd local, ssl_ctx_st* tls_context, const Clock& clock);
    Relay(const Relay&) = delete;

    // Ends it before anything was connected.
    void refuse(ErrorKind kind, const std::string& outcome, const std::string& message);
    void on_resolved(Result<std::vector<Address>> addresses);
    void on_local(std::uint32_t events);  // of epoll
    void on_remote(std::uint32_t events);
    void on_timer();
    void stop();  // the main process ends

    // What the loop does next with it.
    struct Interest {
        std::uint32_t local = 0;
        std::uint32_t remote = 0;
        bool watch_remote = false, watch_local = true;
    };
    Interest interest() const;
    // When on_timer() is due; 0: never.
    std::int64_t deadline_ns() const {
        const bool waits = state_ == State::open ? local_gone_ : state_ != State::done;
        return waits ? next_ns_ : 0;
    }
    int local_fd() const { return local_.get(); }
    int remote_fd() const { return remote_.get(); }
    const RequestMessage& request() const { return request_; }
    bool lingers() const { return state_ == State::lingering; }
    bool done() const { return state_ == State::done; }
    std::optional<AnswerMessage> take_answer() { return std::exchange(answer_, std::nullopt); }
    std::optional<ReceiptMessage> take_receipt() { return std::exchange(receipt_, std::nullopt); }
    // SHA-256 of the plain bytes that bytes_out counts, hex. Once, after the receipt.
    std::string sha256_out() { return sha256_out_.hex(); }

  private:
    enum class State : std::uint8_t { resolving, connecting, handshaking, open, lingering, done };
    struct Pipe {
        std::array<char, kRelayBytes> bytes;
        std::size_t begin = 0, end = 0;
        bool ended = false;   // the source will send no more
        bool closed = false;  // and the drain was told so
        bool empty() const { return begin == end; }
        bool full() const { return !empty() && end == bytes.size(); }
    };
    enum class Io : std::uint8_t { moved, blocked, ended, failed };

    void connect_next();
    void connected();
    void handshake();
    void stand();  // becomes open
    bool pump_up();
    bool pump_down();
    void drop_up();
    void end_down(const std::string& problem);
    void pump();
    Io read_remote(char* to, std::size_t size, std::size_t& n);
    Io write_remote(const char* from, std::size_t size, std::size_t& n);
    Io tls_result(int result, std::size_t& n);
    void close_remote_write();
    void answer_failure(ErrorKind kind, const std::string& message);
    void finish(const std::string& outcome, bool abort);
    void close_by_program(const std::string& outcome, bool may_linger);
    void linger_on(const std::string& outcome);
    void discard();
    void read_wire_counts(bool abort);

    const Clock& clock_;
    RequestMessage request_;
    Fd local_, remote_;
    ssl_ctx_st* const tls_context_;
    TlsSession tls_;
    State state_ = State::resolving;
    std::vector<Address> addresses_;
    std::size_t next_address_ = 0;
    std::string last_problem_;
    std::int64_t end_ns_ = 0;      // of the whole way to open
    std::int64_t next_ns_ = 0;     // of this step
    std::size_t n_discarded_ = 0;  // while lingering
    bool fin_sent_ = false;        // or queued
    bool tls_wants_write_ = false;
    bool more_ = false;  // stopped for fairness, not because something blocked
    bool local_gone_ =
        false;  // ended both ways, by closing or by half-closing: drains what it wrote
    bool remote_gone_ = false;  // hung up: no events any more, the rest is read as room allows
    std::string remote_problem_;
    Pipe up_, down_;
    bool answered_ = false;
    ReceiptMessage draft_;
    Sha256 sha256_out_;
    std::optional<AnswerMessage> answer_;
    std::optional<ReceiptMessage> receipt_;
};

}  // namespace hearth::egress
