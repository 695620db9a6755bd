// Connection: one accepted stream, from its first byte to its last.
//
//   idle → head → (body) → replying → idle …        one request at a time, in order
//                        ↘ lingering → closed
//
// A request is handed on when it is whole; the next one is read when its reply has left. While a
// reply is open one read stays armed: its end is how a client's departure is noticed, and bytes
// that come are the next requests, kept up to kPipelineBytesMax; from there on a timer looks for
// the departure. A connection that we end half-closes first and reads on for a moment, because
// closing with unread bytes makes the kernel send a reset, which can cost the client the answer.
//
// Thread:     io. ReplyState's atomics are the only things that other threads see.
// Invariants: (1) at most one reply is open.
//             (2) after close() no callback of the stream or the timer runs.
//             (3) on_peer_gone runs at most once per reply, and only while the reply is open.
// Source:     RFC 9112, sections 9.3 and 9.6; RFC 9110, section 10.1.1.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "base/clock.h"
#include "net/http_parser.h"
#include "net/http_server.h"
#include "net/loop.h"

namespace hearth::net {

class Connection;

// What a Reply and its connection share. It outlives both.
struct ReplyState {
    std::atomic<bool> gone = false;
    // Bytes on their way to io and waiting at the connection, in one number: bytes that move from
    // one to the other must not be seen twice, or a writer would wait for a call that never comes.
    std::atomic<std::size_t> n_queued = 0;
    // At or above the low-water mark since on_writable was last called. Set after n_queued grows
    // and before the bytes are posted: handling them then ends in a call.
    std::atomic<bool> was_full = false;
    // io only:
    Connection* connection = nullptr;  // while the reply is open
    std::function<void()> on_gone, on_writable;
};

// The bytes of all bodies together. Shares are taken on io, which alone adds, and given back from
// whichever thread lets the request go; the counter outlives the server for their sake.
class BodyShare {
  public:
    using Counter = std::shared_ptr<std::atomic<std::size_t>>;
    BodyShare(Counter all, std::size_t n_all_max) : all_(std::move(all)), n_all_max_(n_all_max) {}
    ~BodyShare() { *all_ -= n_; }
    BodyShare(const BodyShare&) = delete;
    BodyShare& operator=(const BodyShare&) = delete;
    bool has_room(std::size_t n_more) const {
        const std::size_t n_all = *all_;
        return n_all <= n_all_max_ && n_more <= n_all_max_ - n_all;
    }
    // To n bytes in all. False where that passes the bound; the share is then as it was.
    bool grow_to(std::size_t n) {
        if (n <= n_) return true;
        if (!has_room(n - n_)) return false;
        *all_ += n - n_;
        n_ = n;
        return true;
    }

  private:
    const Counter all_;
    const std::size_t n_all_max_;
    std::size_t n_ = 0;
};

// What all connections share. io only, except where said.
struct ServerShared {
    ServerShared(Handlers h, const ServerLimits& l, const Clock& c)
        : handlers(std::move(h)), limits(l), clock(c), loop("io") {}

    const Handlers handlers;
    const ServerLimits limits;
    const Clock& clock;
    bool draining = false;
    std::unordered_map<Connection*, std::shared_ptr<Connection>> connections;
    std::int64_t n_refused = 0;            // of these, over the limit and only being told so
    std::atomic<std::int64_t> n_open = 0;  // any thread
    const BodyShare::Counter n_body_bytes = std::make_shared<std::atomic<std::size_t>>(0);
    std::function<void()> on_closed;  // a connection was removed
    std::string scratch;              // every read lands here first
    Loop loop;                        // last: it ends before what its work uses
};

class Connection final : public std::enable_shared_from_this<Connection> {
  public:
    Connection(ServerShared& shared, Fd fd, std::string peer, bool is_unix);
    void start();
    // Answers a connection over the limit, and ends it.
    void refuse_overload();

    // From a Reply, on io.
    void reply_send(HttpResponse response);
    void reply_begin(int status, const Headers& headers);
    void reply_write(std::string_view bytes);
    void reply_end();
    void reply_abort();
    void reply_dropped();

    void close_if_idle();  // when draining begins
    bool replying() const { return reply_ != nullptr; }
    bool over_limit() const { return over_limit_; }
    void cut();  // closes with an error for the peer; an open reply's peer is gone

  private:
    enum class Phase : std::uint8_t { reading, replying, lingering, closed };

    void arm_read();
    void on_readable();
    std::size_t room() const;
    void take(std::string_view bytes);
    void take_buffered();
    void take_parsed();
    bool head_read();
    bool body_fits();
    void request_read();
    void drop_request();
    void next_request();
    void peer_closed(bool failed);
    void check_gone();
    void watch_hang_up();

    void answer(HttpResponse response, bool close_after);
    void protocol_error(int status, const std::string& message);
    void put_head(int status, const Headers& headers, std::optional<std::size_t> length);
    void flush();
    void flushed();
    void linger();
    void close();
    void forget_reply(bool gone);
    void update_queued();

    void set_deadline(std::int64_t ms);
    void arm_timer();
    void on_timer();
    void on_timeout();

    ServerShared& shared_;
    const std::string peer_;
    const bool is_unix_;
    Stream stream_;
    Timer timer_;
    TimePoint read_deadline_ = TimePoint::max(), write_deadline_ = TimePoint::max();
    TimePoint timer_at_ = TimePoint::max();

    Phase phase_ = Phase::reading;
    std::unique_ptr<RequestParser> parser_;
    bool head_timed_ = false, head_done_ = false;
    bool read_armed_ = false, peer_ended_ = false, over_limit_ = false;
    std::size_t n_body_seen_ = 0;  // body bytes at the last extension of the deadline
    std::shared_ptr<BodyShare> body_share_;
    std::size_t n_lingered_ = 0;  // bytes read and dropped while lingering
    std::string in_;              // pipelined bytes, from in_at_ on
    std::size_t in_at_ = 0;

    std::shared_ptr<ReplyState> reply_;
    bool is_head_ = false, begun_ = false, ended_ = false, chunked_ = false, no_body_ = false;
    bool close_after_ = false;
    int version_ = 11;

    std::string out_, sending_;  // waiting; with the socket, from n_sent_ on
    std::size_t n_sent_ = 0;
    bool write_armed_ = false;
    std::size_t n_arrived_ = 0;  // of the reply's posted bytes, not yet taken into n_counted_
    std::size_t n_counted_ = 0;  // what n_queued holds of out_ and sending_
};

// The Reply that handlers hold.
std::shared_ptr<Reply> make_reply(std::shared_ptr<ReplyState> state, std::shared_ptr<Poster> io);

}  // namespace hearth::net
