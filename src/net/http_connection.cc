// The connection's state machine: reading, replying, ending, time. What each state means is in the
// header.
#include "net/http_connection.h"

#include <algorithm>
#include <ctime>
#include <exception>

#include "base/format.h"
#include "base/log.h"

namespace hearth::net {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Reads of one connection before others have their turn.
constexpr int kReadsPerTurn = 4;

constexpr const char* kTooManyBodies =
    "too many bytes of requests are being answered; try again shortly";

// "Fri, 20 Nov 2026 09:47:50 GMT" (RFC 9110, section 5.6.7).
std::string http_date(std::int64_t wall_ns) {
    const std::time_t seconds = wall_ns / 1'000'000'000;
    std::tm t{};
    gmtime_r(&seconds, &t);
    static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                              "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    return format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT", kDays[t.tm_wday], t.tm_mday,
                  kMonths[t.tm_mon], t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
}

// Fields that describe the connection are the server's to write.
bool is_ours(std::string_view name) {
    for (const char* ours : {"Content-Length", "Transfer-Encoding", "Connection", "Date"})
        if (same_header(name, ours)) return true;
    return false;
}

// Statuses whose responses end with the head (RFC 9112, section 6.3).
bool is_bodiless(int status) {
    return status < 200 || status == 204 || status == 304;
}

HttpResponse plain_error(int status, std::string_view message) {
    HttpResponse response{.status = status, .headers = {}, .body = std::string(message) + "\n"};
    response.headers.add("Content-Type", "text/plain; charset=utf-8");
    return response;
}

// Runs a handler; what it throws is logged and goes no further.
template <class F>
void guarded(const char* which, F&& call) {
    try {
        call();
    } catch (const std::exception& e) {
        log_error("handler_threw", {{"handler", which}, {"what", e.what()}});
    }
}

}  // namespace

Connection::Connection(ServerShared& shared, Fd fd, std::string peer, bool is_unix)
    : shared_(shared),
      peer_(std::move(peer)),
      is_unix_(is_unix),
      stream_(shared.loop, std::move(fd)),
      timer_(shared.loop),
      parser_(
          std::make_unique<RequestParser>(shared.limits.header_bytes, shared.limits.body_bytes)) {}

void Connection::start() {
    set_deadline(shared_.limits.idle_timeout_ms);
    arm_read();
}

void Connection::refuse_overload() {
    over_limit_ = true;
    protocol_error(503, "too many connections; try again later");
    arm_read();
}

// ---- reading

std::size_t Connection::room() const {
    if (phase_ == Phase::closed || peer_ended_) return 0;
    if (phase_ != Phase::replying) return kReadBytes;
    return kPipelineBytesMax - std::min(kPipelineBytesMax, in_.size() - in_at_);
}

void Connection::arm_read() {
    if (read_armed_) return;
    if (room() == 0) return watch_hang_up();
    read_armed_ = true;
    stream_.wait_readable([self = shared_from_this()] { self->on_readable(); });
}

void Connection::on_readable() {
    read_armed_ = false;
    for (int i = 0; i < kReadsPerTurn; ++i) {
        const std::size_t n_max = room();
        if (n_max == 0) break;
        const Io io = stream_.read({shared_.scratch.data(), n_max});
        if (io.kind == Io::Kind::again) break;
        if (io.kind != Io::Kind::ok) return peer_closed(io.kind == Io::Kind::failed);
        take(std::string_view(shared_.scratch).substr(0, io.n));
        if (io.n < n_max) break;
    }
    arm_read();
}

void Connection::take(std::string_view bytes) {
    // Earlier bytes wait for the posted take_buffered(): these come after them.
    if (phase_ == Phase::reading && in_at_ < in_.size()) {
        in_ += bytes;
        return;
    }
    while (phase_ == Phase::reading && !bytes.empty()) {
        bytes.remove_prefix(parser_->feed(bytes));
        take_parsed();
    }
    if (phase_ == Phase::replying) {
        in_.erase(0, std::exchange(in_at_, 0));
        in_ += bytes;
    } else if (phase_ == Phase::lingering) {
        n_lingered_ += bytes.size();
        if (n_lingered_ > kLingerBytesMax) close();
    }
}

void Connection::take_buffered() {
    while (phase_ == Phase::reading && in_at_ < in_.size()) {
        in_at_ += parser_->feed(std::string_view(in_).substr(in_at_));
        take_parsed();
    }
    if (in_at_ == in_.size()) {
        in_.clear();
        in_at_ = 0;
    }
    if (phase_ == Phase::reading && peer_ended_) return close();
    arm_read();
}

void Connection::take_parsed() {
    const ParseState state = parser_->state();
    if (state == ParseState::failed)
        return protocol_error(parser_->error().status, parser_->error().message);
    if (state == ParseState::head) {
        if (!parser_->started() || head_timed_) return;
        head_timed_ = true;
        return set_deadline(shared_.limits.header_timeout_ms);
    }
    if (!head_done_ && !head_read()) return;
    if (!body_fits()) return;
    if (state == ParseState::done) return request_read();
    const std::size_t n_body = parser_->request().body.size();
    if (n_body - n_body_seen_ < kBodyProgressBytes) return;
    n_body_seen_ = n_body;
    set_deadline(shared_.limits.body_timeout_ms);
}

// False where the request was answered, or the connection lost.
bool Connection::head_read() {
    head_done_ = true;
    HttpRequest& request = parser_->request();
    request.peer = peer_;
    request.from_unix_socket = is_unix_;
    version_ = parser_->version();
    is_head_ = request.method == "HEAD";
    close_after_ = !parser_->keep_alive();
    const bool has_body = parser_->state() == ParseState::body;
    std::optional<HttpResponse> refusal;
    guarded("on_head", [&] {
        if (shared_.handlers.on_head) refusal = shared_.handlers.on_head(request);
    });
    if (refusal) {
        answer(std::move(*refusal), has_body);
        return false;
    }
    if (!has_body) return true;
    if (parser_->content_length().value_or(0) > shared_.limits.body_bytes) {
        protocol_error(413, format("the body passes {} bytes", shared_.limits.body_bytes));
        return false;
    }
    body_share_ = std::make_shared<BodyShare>(shared_.n_body_bytes, shared_.limits.bodies_bytes);
    if (!body_share_->has_room(parser_->content_length().value_or(0))) {
        protocol_error(503, kTooManyBodies);
        return false;
    }
    set_deadline(shared_.limits.body_timeout_ms);
    if (!parser_->expects_continue()) return true;
    out_ += "HTTP/1.1 100 Continue\r\n\r\n";
    flush();
    return phase_ == Phase::reading;
}

// Counts what has come of the body. False where the connection has answered that it is too much.
bool Connection::body_fits() {
    if (!body_share_ || body_share_->grow_to(parser_->request().body.size())) return true;
    protocol_error(503, kTooManyBodies);
    return false;
}

// A request that will not be handed on gives back at once what it holds.
void Connection::drop_request() {
    body_share_.reset();
    if (!head_done_) return;
    parser_->request().held.reset();
    std::string().swap(parser_->request().body);
}

void Connection::request_read() {
    phase_ = Phase::replying;
    parser_->request().body_share = std::exchange(body_share_, nullptr);
    read_deadline_ = TimePoint::max();
    reply_ = std::make_shared<ReplyState>();
    reply_->connection = this;
    guarded("on_request", [&] {
        shared_.handlers.on_request(std::move(parser_->request()),
                                    make_reply(reply_, shared_.loop.poster()));
    });
    check_gone();
}

void Connection::next_request() {
    if (shared_.draining) return linger();
    phase_ = Phase::reading;
    parser_ =
        std::make_unique<RequestParser>(shared_.limits.header_bytes, shared_.limits.body_bytes);
    head_timed_ = head_done_ = is_head_ = begun_ = ended_ = chunked_ = no_body_ = false;
    close_after_ = false;
    n_body_seen_ = 0;
    version_ = 11;
    set_deadline(shared_.limits.idle_timeout_ms);
    // Posted, so that a row of refused requests does not nest.
    shared_.loop.post([self = shared_from_this()] { self->take_buffered(); });
}

// The peer sends no more. That it has left for good cannot be told apart from a half-close; while
// an answer is being made it counts as leaving, one that is complete is still sent.
void Connection::peer_closed(bool failed) {
    peer_ended_ = true;
    const bool more_to_do =
        phase_ == Phase::replying || (phase_ == Phase::reading && in_at_ < in_.size());
    if (failed || !more_to_do) return close();
    check_gone();
}

// Decided behind what is queued, so that a reply given at once still goes out.
void Connection::check_gone() {
    if (!peer_ended_ || !reply_ || ended_) return;
    shared_.loop.post([self = shared_from_this(), state = reply_] {
        if (self->reply_ == state && !self->ended_) self->close();
    });
}

// While no read is armed. The deadline is that of reading, which has none while a reply is open.
void Connection::watch_hang_up() {
    if (phase_ != Phase::replying || peer_ended_ || ended_) return;
    if (stream_.hung_up()) return peer_closed(false);
    set_deadline(kHangUpCheckMs);
}

// ---- replying

void Connection::answer(HttpResponse response, bool close_after) {
    phase_ = Phase::replying;
    read_deadline_ = TimePoint::max();
    close_after_ = close_after_ || close_after;
    reply_send(std::move(response));
}

void Connection::protocol_error(int status, const std::string& message) {
    log_debug("http_refused", {{"peer", peer_}, {"status", status}, {"why", message}});
    drop_request();
    HttpResponse response = plain_error(status, message);
    guarded("on_protocol_error", [&] {
        if (shared_.handlers.on_protocol_error)
            response = shared_.handlers.on_protocol_error(status, message);
    });
    answer(std::move(response), true);
}

void Connection::put_head(int status, const Headers& headers, std::optional<std::size_t> length) {
    begun_ = true;
    no_body_ = is_head_ || is_bodiless(status);
    chunked_ = !length && version_ >= 11;
    // HTTP/1.0 knows no chunks: the end of the connection ends the body.
    close_after_ = close_after_ || shared_.draining || (!length && !chunked_);
    out_ += format("HTTP/1.1 {} {}\r\nDate: {}\r\n", status, reason_phrase(status),
                   http_date(shared_.clock.wall_ns()));
    for (const auto& [name, value] : headers.fields()) {
        if (is_ours(name)) continue;
        if (is_token(name) && is_field_value(value))
            out_ += name + ": " + value + "\r\n";
        else
            log_error("response_field_dropped", {{"name", is_token(name) ? name : "(invalid)"}});
    }
    if (!is_bodiless(status)) {
        if (length) out_ += format("Content-Length: {}\r\n", *length);
        if (chunked_) out_ += "Transfer-Encoding: chunked\r\n";
    }
    if (close_after_)
        out_ += "Connection: close\r\n";
    else if (version_ < 11)
        out_ += "Connection: keep-alive\r\n";
    out_ += "\r\n";
}

void Connection::reply_send(HttpResponse response) {
    if (begun_) return log_error("reply_misused", {{"call", "send"}});
    put_head(response.status, response.headers, response.body.size());
    if (!no_body_) out_ += response.body;
    ended_ = true;
    flush();
}

void Connection::reply_begin(int status, const Headers& headers) {
    if (begun_) return log_error("reply_misused", {{"call", "begin"}});
    put_head(status, headers, std::nullopt);
    flush();
}

void Connection::reply_write(std::string_view bytes) {
    n_arrived_ += bytes.size();
    if (!begun_ || ended_) log_error("reply_misused", {{"call", "write"}});
    // An empty chunk would be the last one.
    if (!begun_ || ended_ || no_body_ || bytes.empty()) return update_queued();
    if (out_.size() + sending_.size() + bytes.size() > kWriteQueueMax) {
        log_warn("reader_too_slow", {{"peer", peer_}, {"queued_bytes", out_.size()}});
        return cut();
    }
    if (chunked_) out_ += format("{:x}\r\n", bytes.size());
    out_ += bytes;
    if (chunked_) out_ += "\r\n";
    flush();
}

void Connection::reply_end() {
    if (!begun_ || ended_) return log_error("reply_misused", {{"call", "end"}});
    ended_ = true;
    if (chunked_ && !no_body_) out_ += "0\r\n\r\n";
    flush();
}

void Connection::reply_abort() {
    reply_->on_gone = nullptr;  // the handler knows
    cut();
}

void Connection::reply_dropped() {
    if (ended_) return;
    log_error("reply_dropped", {{"peer", peer_}, {"begun", begun_ ? "yes" : "no"}});
    if (begun_) return reply_abort();
    protocol_error(500, "the request was dropped without an answer");
}

void Connection::flush() {
    if (phase_ == Phase::closed) return;
    if (write_armed_) return update_queued();
    bool moved = write_deadline_ == TimePoint::max();
    for (;;) {
        if (n_sent_ == sending_.size()) {
            sending_.clear();
            n_sent_ = 0;
            std::swap(sending_, out_);
            if (sending_.empty()) break;
        }
        const Io io = stream_.write(std::string_view(sending_).substr(n_sent_));
        if (io.kind == Io::Kind::failed) return close();
        if (io.kind == Io::Kind::ok) {
            n_sent_ += io.n;
            moved = true;
            continue;
        }
        write_armed_ = true;
        stream_.wait_writable([self = shared_from_this()] {
            self->write_armed_ = false;
            self->flush();
        });
        if (moved && shared_.limits.write_timeout_ms > 0) {
            write_deadline_ = steady_clock::now() + milliseconds(shared_.limits.write_timeout_ms);
            arm_timer();
        }
        return update_queued();
    }
    write_deadline_ = TimePoint::max();
    update_queued();
    flushed();
}

void Connection::flushed() {
    if (phase_ != Phase::replying || !ended_) return;
    forget_reply(false);
    if (close_after_)
        linger();
    else
        next_request();
}

void Connection::update_queued() {
    if (!reply_) return;
    const std::size_t n_now = out_.size() + sending_.size() - n_sent_;
    // Unsigned arithmetic wraps to the right sum.
    const std::size_t change = n_now - n_counted_ - n_arrived_;
    n_counted_ = n_now;
    n_arrived_ = 0;
    if (reply_->n_queued.fetch_add(change) + change >= kWriteLowWater) {
        reply_->was_full = true;
    } else if (reply_->was_full.exchange(false) && reply_->on_writable && !ended_) {
        const auto state = reply_;
        guarded("on_writable", [&] { state->on_writable(); });
    }
}

// ---- ending

void Connection::linger() {
    if (peer_ended_) return close();
    phase_ = Phase::lingering;
    in_.clear();
    in_at_ = 0;
    stream_.shutdown_send();
    set_deadline(shared_.draining ? kLingerDrainMs : kLingerMs);
    arm_read();
}

void Connection::close() {
    if (phase_ == Phase::closed) return;
    phase_ = Phase::closed;
    stream_.close();
    timer_.cancel();
    // The caller is still inside this object.
    shared_.loop.post([self = shared_from_this()] {});
    shared_.connections.erase(this);
    if (over_limit_)
        --shared_.n_refused;
    else
        --shared_.n_open;
    forget_reply(true);
    if (shared_.on_closed) shared_.on_closed();
}

void Connection::cut() {
    stream_.reset();
    close();
}

void Connection::close_if_idle() {
    if (phase_ == Phase::reading && !parser_->started() && in_.empty())
        close();
    else if (phase_ == Phase::lingering)
        set_deadline(kLingerDrainMs);
}

void Connection::forget_reply(bool gone) {
    if (!reply_) return;
    const auto state = std::exchange(reply_, nullptr);
    state->connection = nullptr;
    // What is still posted is taken off when it arrives.
    state->n_queued -= std::exchange(n_counted_, 0) + std::exchange(n_arrived_, 0);
    state->gone = gone;
    const auto on_gone = std::exchange(state->on_gone, nullptr);
    state->on_writable = nullptr;
    if (gone && on_gone) guarded("on_peer_gone", on_gone);
}

// ---- time

void Connection::set_deadline(std::int64_t ms) {
    read_deadline_ = ms > 0 ? steady_clock::now() + milliseconds(ms) : TimePoint::max();
    arm_timer();
}

// The timer is moved only when it must fire earlier; firing early, it arms itself anew.
void Connection::arm_timer() {
    const TimePoint next = std::min(read_deadline_, write_deadline_);
    if (phase_ == Phase::closed || next >= timer_at_) return;
    timer_at_ = next;
    timer_.wait_until(next, [self = shared_from_this()] { self->on_timer(); });
}

void Connection::on_timer() {
    timer_at_ = TimePoint::max();
    const TimePoint now = steady_clock::now();
    if (now >= write_deadline_) {
        log_warn("write_timeout", {{"peer", peer_}});
        return cut();
    }
    if (now >= read_deadline_) {
        read_deadline_ = TimePoint::max();
        return on_timeout();
    }
    arm_timer();
}

void Connection::on_timeout() {
    // An open reply has no deadline here, only a look at its client; room may have come back.
    if (phase_ == Phase::replying) return arm_read();
    if (phase_ != Phase::reading || !parser_->started()) return close();
    protocol_error(408, head_done_ ? "the request body came too slowly"
                                   : "the request header came too slowly");
}

}  // namespace hearth::net
