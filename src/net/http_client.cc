// ClientLoop: exchanges live in a table on the loop's thread; the handle that callers hold only
// posts.
//
// Request bytes go out and response bytes come in independently: a server may answer, and close,
// before it has read the whole request, and its answer then still counts.
#include "net/http_client.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <future>
#include <unordered_map>

#include "base/format.h"
#include "base/log.h"
#include "net/http_parser.h"
#include "net/limits.h"
#include "net/loop.h"

namespace hearth::net {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int kReadsPerTurn = 4;

class Exchange;

// The loop's thread only.
struct Table {
    Loop loop{"io-up"};
    std::unordered_map<Exchange*, std::shared_ptr<Exchange>> exchanges;
    std::array<char, kReadBytes> scratch;
};

// What goes on the wire, or why it must not: a line break in a field would forge another field.
Result<std::string> serialize(const ClientRequest& request) {
    const auto is_target = [](unsigned char c) { return c > 0x20 && c < 0x7f; };
    if (!is_token(request.method) || !is_authority(request.host) || request.target.empty() ||
        !std::ranges::all_of(request.target, is_target))
        return fail(ErrorKind::invalid_request,
                    format("method, host or target of the request to \"{}\" is malformed",
                           is_authority(request.host) ? request.host : "(invalid)"));
    std::string out =
        format("{} {} HTTP/1.1\r\nHost: {}\r\n", request.method, request.target, request.host);
    bool has_connection = false;
    for (const auto& [name, value] : request.headers.fields()) {
        if (same_header(name, "Host") || same_header(name, "Content-Length") ||
            same_header(name, "Transfer-Encoding"))
            continue;
        if (!is_token(name) || !is_field_value(value))
            return fail(ErrorKind::invalid_request,
                        format("the value of header \"{}\" holds a line break or control character",
                               is_token(name) ? name : "(invalid name)"));
        has_connection = has_connection || same_header(name, "Connection");
        out += name + ": " + value + "\r\n";
    }
    // One exchange per connection: the server need not wait for another request.
    if (!has_connection) out += "Connection: close\r\n";
    const bool takes_body = request.method != "GET" && request.method != "HEAD";
    if (takes_body || !request.body.empty())
        out += format("Content-Length: {}\r\n", request.body.size());
    out += "\r\n";
    out += request.body;
    return out;
}

class Exchange final : public std::enable_shared_from_this<Exchange> {
  public:
    Exchange(Table& table, Fd connection, ClientRequest request, ClientCallbacks callbacks)
        : table_(table),
          request_(std::move(request)),
          callbacks_(std::move(callbacks)),
          stream_(table.loop, std::move(connection)),
          timer_(table.loop) {}

    void start() {
        auto bytes = serialize(request_);
        if (!bytes) return finish(std::unexpected(bytes.error()));
        out_ = std::move(*bytes);
        request_.body = {};
        new_parser();
        set_deadline(request_.head_timeout_ms);
        flush();
        arm_read();
    }

    void pause(bool on) {
        if (paused_ == on || done_) return;
        paused_ = on;
        if (head_seen_) set_deadline(on ? 0 : request_.idle_timeout_ms);
        if (!on) arm_read();
    }

    void finish(Status status) {
        if (done_) return;
        done_ = true;
        stream_.close();
        timer_.cancel();
        // The caller is still inside this object.
        table_.loop.post([self = shared_from_this()] {});
        table_.exchanges.erase(this);
        const auto callbacks = std::move(callbacks_);
        callbacks_ = {};
        if (callbacks.on_done) callbacks.on_done(std::move(status));
    }

  private:
    void new_parser() {
        parser_ = std::make_unique<ResponseParser>(
            kUpstreamHeaderBytesMax, request_.method == "HEAD", [this](std::string_view bytes) {
                if (callbacks_.on_body) callbacks_.on_body(bytes);
            });
    }

    void arm_read() {
        if (read_armed_ || paused_ || done_) return;
        read_armed_ = true;
        stream_.wait_readable([self = shared_from_this()] {
            self->read_armed_ = false;
            self->on_readable();
        });
    }

    void on_readable() {
        auto& scratch = table_.scratch;
        for (int i = 0; i < kReadsPerTurn && !paused_; ++i) {
            const Io io = stream_.read(scratch);
            if (io.kind == Io::Kind::again) break;
            if (io.kind != Io::Kind::ok) return ended(io.kind == Io::Kind::failed);
            take({scratch.data(), io.n});
            if (done_) return;
            if (io.n < scratch.size()) break;
        }
        arm_read();
    }

    void take(std::string_view bytes) {
        if (head_seen_) set_deadline(request_.idle_timeout_ms);
        while (!bytes.empty() && !done_) {
            bytes.remove_prefix(parser_->feed(bytes));
            look();
        }
    }

    // What the parser has come to.
    void look() {
        const ParseState state = parser_->state();
        if (state == ParseState::failed)
            return finish(
                fail(ErrorKind::upstream_failed,
                     format("{} answered badly: {}", request_.host, parser_->error().message)));
        if (state == ParseState::head) return;
        if (!head_seen_ && parser_->status() < 200) return skip_interim();
        if (!head_seen_) {
            head_seen_ = true;
            set_deadline(request_.idle_timeout_ms);
            if (callbacks_.on_head) callbacks_.on_head(parser_->status(), parser_->headers());
        }
        if (state == ParseState::done) finish({});
    }

    void skip_interim() {
        if (parser_->status() == 101 || ++n_interim_ > kInterimResponsesMax)
            return finish(
                fail(ErrorKind::upstream_failed, format("{} answered badly: unexpected status {}",
                                                        request_.host, parser_->status())));
        new_parser();
    }

    void ended(bool failed) {
        if (!failed) parser_->feed_eof();
        if (!failed && parser_->state() == ParseState::done) return finish({});
        finish(fail(ErrorKind::upstream_failed,
                    format("{} closed the connection {}", request_.host,
                           head_seen_ ? "in the middle of its answer" : "before it answered")));
    }

    void flush() {
        while (n_sent_ < out_.size()) {
            const Io io = stream_.write(std::string_view(out_).substr(n_sent_));
            if (io.kind == Io::Kind::again) {
                stream_.wait_writable([self = shared_from_this()] { self->flush(); });
                return;
            }
            if (io.kind != Io::Kind::ok) break;  // an answer may still come; reading tells
            n_sent_ += io.n;
        }
        out_ = {};
        n_sent_ = 0;
    }

    // 0: none. One timer that is moved only when it must fire earlier, as in the server.
    void set_deadline(std::int64_t ms) {
        deadline_ = ms > 0 ? steady_clock::now() + milliseconds(ms) : TimePoint::max();
        arm_timer();
    }

    void arm_timer() {
        if (done_ || deadline_ >= timer_at_) return;
        timer_at_ = deadline_;
        timer_.wait_until(deadline_, [self = shared_from_this()] { self->on_timer(); });
    }

    void on_timer() {
        timer_at_ = TimePoint::max();
        if (steady_clock::now() < deadline_) return arm_timer();
        const std::int64_t ms = head_seen_ ? request_.idle_timeout_ms : request_.head_timeout_ms;
        finish(
            fail(ErrorKind::timeout, format("{} {} for {} ms", request_.host,
                                            head_seen_ ? "sent nothing" : "did not answer", ms)));
    }

    Table& table_;
    ClientRequest request_;
    ClientCallbacks callbacks_;
    Stream stream_;
    Timer timer_;
    TimePoint deadline_ = TimePoint::max(), timer_at_ = TimePoint::max();
    std::unique_ptr<ResponseParser> parser_;
    std::string out_;
    std::size_t n_sent_ = 0;
    int n_interim_ = 0;
    bool head_seen_ = false, paused_ = false, read_armed_ = false, done_ = false;
};

// Holds the exchange weakly, and touches it on the loop only.
class Handle final : public ClientExchange {
  public:
    Handle(std::shared_ptr<std::weak_ptr<Exchange>> exchange, std::shared_ptr<Poster> io)
        : exchange_(std::move(exchange)), io_(std::move(io)) {}

    void cancel() override {
        io_->post([exchange = exchange_] {
            if (const auto e = exchange->lock())
                e->finish(fail(ErrorKind::cancelled, "the request was cancelled"));
        });
    }
    void pause(bool on) override {
        io_->post([exchange = exchange_, on] {
            if (const auto e = exchange->lock()) e->pause(on);
        });
    }

  private:
    const std::shared_ptr<std::weak_ptr<Exchange>> exchange_;  // set by the loop
    const std::shared_ptr<Poster> io_;
};

class LoopOfClients final : public ClientLoop {
  public:
    LoopOfClients() { table_.loop.run(); }

    ~LoopOfClients() override {
        std::promise<void> done;
        table_.loop.post([this, &done] {
            while (!table_.exchanges.empty()) {
                const auto exchange = table_.exchanges.begin()->second;
                exchange->finish(fail(ErrorKind::cancelled, "the program is ending"));
            }
            done.set_value();
        });
        done.get_future().wait();
        table_.loop.stop();
    }

    std::shared_ptr<ClientExchange> run(Fd connection, ClientRequest request,
                                        ClientCallbacks callbacks) override {
        auto slot = std::make_shared<std::weak_ptr<Exchange>>();
        auto handle = std::make_shared<Handle>(slot, table_.loop.poster());
        table_.loop.post([this, slot = std::move(slot), fd = std::move(connection),
                          r = std::move(request), c = std::move(callbacks)]() mutable {
            auto exchange =
                std::make_shared<Exchange>(table_, std::move(fd), std::move(r), std::move(c));
            table_.exchanges.emplace(exchange.get(), exchange);
            *slot = exchange;
            exchange->start();
        });
        return handle;
    }

  private:
    Table table_;
};

}  // namespace

std::unique_ptr<ClientLoop> ClientLoop::start() {
    return std::make_unique<LoopOfClients>();
}

}  // namespace hearth::net
