// A job's way: start() checks its permit and queues it; a connect thread asks the door for a
// connection (which waits); the client loop sends the request and hands back what arrives; SSE
// events become the waist's events through the dialect.
//
// One lock per call orders what its sink hears, because its end can come from three threads: the
// loop (the answer), a connect thread (no connection), the ticker (cancelled).
#include "backend/upstream.h"

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "backend/health.h"
#include "backend/limits.h"
#include "base/check.h"
#include "base/format.h"
#include "base/log.h"
#include "base/queue.h"
#include "base/utf8.h"
#include "chat/dialect.h"
#include "chat/estimate.h"
#include "net/http_client.h"
#include "net/sse.h"

namespace hearth::backend {
namespace {

// What a call needs of its backend; constant while calls live.
struct Place {
    UpstreamConfig config;
    BaseUrl base;
    const chat::Dialect* dialect = nullptr;
    egress::Door* door = nullptr;
    net::ClientLoop* loop = nullptr;
    Health* health = nullptr;
    const Clock* clock = nullptr;
};

Error cancelled_error() {
    return {.kind = ErrorKind::cancelled, .message = "the request was cancelled"};
}

// "text/event-stream; charset=utf-8" is an event stream, "text/event-streams" is none.
bool is_event_stream(std::string_view content_type) {
    auto type = content_type.substr(0, content_type.find(';'));
    while (type.ends_with(' ') || type.ends_with('\t')) type.remove_suffix(1);
    return net::same_header(type, "text/event-stream");
}

// Seconds of a Retry-After header; 0 for a date or nonsense.
std::int64_t retry_after_s(const net::Headers& headers) {
    const auto value = headers.find("retry-after");
    if (!value) return 0;
    std::int64_t seconds = 0;
    const auto [end, error] =
        std::from_chars(value->data(), value->data() + value->size(), seconds);
    if (error != std::errc() || end != value->data() + value->size() || seconds < 0) return 0;
    return std::min(seconds, kRetryAfterMaxS);
}

class Call : public std::enable_shared_from_this<Call> {
  public:
    Call(const Place& place, Job job)
        : place_(place), job_(std::move(job)), queued_ns_(place.clock->mono_ns()) {}

    void connect();  // on a connect thread
    void tick();
    void end(Error error);
    bool ended() const {
        const std::lock_guard lock(mutex_);
        return ended_;
    }

  private:
    net::ClientRequest http_request() const;
    void on_head(int status, const net::Headers& headers);
    void on_body(std::string_view bytes);
    void on_done(Status status);

    // With the lock held:
    void deliver(std::vector<chat::Event> events);
    void take_stream(std::string_view bytes);
    std::optional<Error> why_not_locked() const;
    chat::Usage usage_locked() const;
    void end_locked(chat::Event terminal);
    void fail_locked(Error error);
    void give_up_locked(Error error);
    void fail_status_locked();
    void close_locked();

    const Place& place_;
    Job job_;
    const std::int64_t queued_ns_;

    // Guards what follows and the order of the sink's events. Held while the sink takes an event; a
    // sink may start another job from there, which touches another call.
    mutable std::mutex mutex_;
    bool ended_ = false, paused_ = false;
    std::shared_ptr<net::ClientExchange> exchange_;
    int status_ = 0;
    std::int64_t retry_after_s_ = 0;
    std::string error_body_;
    net::SseParser sse_;
    std::unique_ptr<chat::ReadState> reading_;
    bool answering_ = false;           // a piece of the answer has come
    std::int64_t n_answer_bytes_ = 0;  // of the pieces
};

net::ClientRequest Call::http_request() const {
    net::ClientRequest http;
    http.host = host_header(place_.base.destination);
    http.target = place_.base.path + place_.dialect->upstream_path(*job_.request);
    http.headers.add("Content-Type", "application/json");
    http.headers.add("Accept", "text/event-stream");
    http.headers.add("Accept-Encoding", "identity");
    // Says nothing of the caller, and still more than the answer needs.
    if (job_.sensitivity < chat::Sensitivity::confidential)
        http.headers.add("User-Agent", "hearth/" HEARTH_VERSION);
    if (!place_.config.key.empty())
        http.headers.add("Authorization", "Bearer " + place_.config.key.reveal());
    // A hearth there would take what is not stated for less than it is, and may send it on. A
    // provider has no use for it.
    if (place_.config.tier == route::Tier::fleet)
        http.headers.add("x-hearth-sensitivity", chat::name_of(job_.sensitivity));
    http.body = place_.dialect->write_request(*job_.request, job_.model);
    http.head_timeout_ms = place_.config.head_timeout_ms;
    http.idle_timeout_ms = place_.config.idle_timeout_ms;
    return http;
}

// Why a call whose turn has come should not ask for a connection any more. Calls wait while the
// connect threads do; without this the last of them would wait for all connect timeouts before it.
std::optional<Error> Call::why_not_locked() const {
    if (job_.sink->cancelled()) return cancelled_error();
    const std::int64_t waited_ms = (place_.clock->mono_ns() - queued_ns_) / kNsPerMs;
    if (waited_ms > place_.config.connect_timeout_ms)
        return Error{.kind = ErrorKind::timeout,
                     .message = format("no connection was tried within {} ms, because earlier "
                                       "requests still wait for theirs",
                                       place_.config.connect_timeout_ms)};
    if (const auto health = place_.health->now(); !health.healthy)
        return Error{.kind = ErrorKind::upstream_failed, .message = health.why};
    return std::nullopt;
}

void Call::connect() {
    {
        const std::lock_guard lock(mutex_);  // a tick may end the call, and take its sink
        if (ended_) return;
        // Not counted as failures: nobody was asked.
        if (auto error = why_not_locked()) return give_up_locked(std::move(*error));
    }
    auto connection =
        place_.door->connect(std::move(*job_.permit), place_.config.connect_timeout_ms);
    if (!connection) return end(std::move(connection.error()));
    const std::lock_guard lock(mutex_);
    if (ended_) return;  // cancelled meanwhile: the descriptor closes here
    reading_ = place_.dialect->new_read_state();
    // The callbacks keep the call; the handle that the call keeps does not keep the exchange.
    const auto self = shared_from_this();
    exchange_ = place_.loop->run(
        std::move(connection->fd), http_request(),
        {.on_head = [self](int status, const net::Headers& h) { self->on_head(status, h); },
         .on_body = [self](std::string_view bytes) { self->on_body(bytes); },
         .on_done = [self](Status status) { self->on_done(std::move(status)); }});
}

void Call::on_head(int status, const net::Headers& headers) {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    status_ = status;
    retry_after_s_ = retry_after_s(headers);
    if (status < 200 || status >= 300) return;  // the body says more
    const std::string_view type = headers.find("content-type").value_or("");
    if (!is_event_stream(type))
        fail_locked({.kind = ErrorKind::upstream_failed,
                     .message = format("answered with content type \"{}\", expected "
                                       "text/event-stream; is base_url that of an API?",
                                       printable_ascii(type.substr(0, 80)))});
}

void Call::on_body(std::string_view bytes) {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    if (status_ >= 200 && status_ < 300) return take_stream(bytes);
    const std::size_t room = net::kUpstreamErrorBytesMax - error_body_.size();
    error_body_.append(bytes.substr(0, room));
    if (bytes.size() >= room) fail_status_locked();  // enough of it
}

void Call::take_stream(std::string_view bytes) {
    auto parsed = sse_.feed(bytes);
    if (!parsed) return fail_locked(std::move(parsed.error()));
    for (const net::SseEvent& event : *parsed) {
        auto events = place_.dialect->read_event(*reading_, event.event, event.data);
        if (!events) return fail_locked(std::move(events.error()));
        deliver(std::move(*events));
        if (ended_) return;
    }
    if (!job_.sink->ready() && !paused_) {
        paused_ = true;
        exchange_->pause(true);
    }
}

void Call::deliver(std::vector<chat::Event> events) {
    for (chat::Event& event : events) {
        if (ended_) return;
        if (job_.sink->cancelled()) return fail_locked(cancelled_error());
        if (auto* failed = std::get_if<chat::Failed>(&event))
            return fail_locked(std::move(failed->error));
        answering_ = true;
        n_answer_bytes_ += chat::answer_bytes(event);
        if (auto* finished = std::get_if<chat::Finished>(&event)) finished->usage = usage_locked();
        if (chat::is_terminal(event)) return end_locked(std::move(event));
        job_.sink->on_event(std::move(event));
    }
}

void Call::fail_status_locked() {
    Error error = place_.dialect->read_error(status_, error_body_);
    error.retry_after_s = retry_after_s_;
    fail_locked(std::move(error));
}

void Call::on_done(Status status) {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    // Even where the body was cut: the status says enough.
    if (status_ != 0 && (status_ < 200 || status_ >= 300)) return fail_status_locked();
    if (!status) return fail_locked(std::move(status.error()));
    if (sse_.in_event())
        return fail_locked({.kind = ErrorKind::upstream_failed,
                            .message = "the stream was cut in the middle of an event"});
    auto rest = place_.dialect->read_end(*reading_);
    if (!rest) return fail_locked(std::move(rest.error()));
    deliver(std::move(*rest));
    if (!ended_)
        fail_locked({.kind = ErrorKind::upstream_failed,
                     .message = "the stream ended before the answer was complete"});
}

void Call::tick() {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    if (job_.sink->cancelled()) return fail_locked(cancelled_error());
    if (paused_ && job_.sink->ready()) {
        paused_ = false;
        exchange_->pause(false);
    }
}

void Call::end(Error error) {
    const std::lock_guard lock(mutex_);
    if (!ended_) fail_locked(std::move(error));
}

// What was used up: as the stream said, else estimated. Before its first piece a place is taken to
// have counted nothing.
chat::Usage Call::usage_locked() const {
    if (reading_ && reading_->usage) return *reading_->usage;
    if (!answering_) return {};
    return {.input_tokens = chat::size_of_prompt(*job_.request).n_tokens,
            .output_tokens = chat::estimated_tokens(n_answer_bytes_),
            .estimated = true};
}

void Call::fail_locked(Error error) {
    place_.health->on_error(error);
    give_up_locked(std::move(error));
}

void Call::give_up_locked(Error error) {
    if (error.kind != ErrorKind::cancelled)
        error.message = format("upstream {}: {}", place_.config.name, error.message);
    end_locked(chat::Failed{std::move(error), usage_locked()});
}

void Call::end_locked(chat::Event terminal) {
    ended_ = true;  // before the sink hears it: nothing may follow
    if (std::holds_alternative<chat::Finished>(terminal)) place_.health->on_success();
    close_locked();
    const auto sink = std::exchange(job_.sink, nullptr);
    sink->on_event(std::move(terminal));
}

// Closing the descriptor makes the broker close the remote side.
void Call::close_locked() {
    if (const auto exchange = std::exchange(exchange_, nullptr)) exchange->cancel();
}

class Upstream final : public UpstreamBackend {
  public:
    Upstream(const UpstreamConfig& config, BaseUrl base, egress::Door& door, const Clock& clock)
        : health_(config.name, clock),
          loop_(net::ClientLoop::start()),
          place_{config,   std::move(base), chat::find_dialect(config.dialect), &door, loop_.get(),
                 &health_, &clock} {
        for (int i = 0; i < kConnectThreads; ++i)
            connectors_.emplace_back([this] {
                while (auto call = queue_.pop()) guarded(**call, &Call::connect);
            });
        ticker_ = std::thread([this] { tick_loop(); });
    }

    ~Upstream() override {
        queue_.close();
        {
            const std::lock_guard lock(mutex_);
            stop_ = true;
        }
        changed_.notify_all();
        ticker_.join();
        for (const auto& call : calls_)
            call->end({.kind = ErrorKind::cancelled, .message = "the program is ending"});
        connectors_.clear();  // joins; each finds its call ended
        loop_.reset();
    }

    void start(Job job) override;
    route::Signals::Health health() const override { return health_.now(); }

  private:
    void tick_loop();

    // What fails in one call (memory, a sink) ends that call, not the program.
    static void guarded(Call& call, void (Call::*step)()) {
        try {
            (call.*step)();
        } catch (const std::exception& e) {
            log_error("upstream_call", {{"error", e.what()}});
            call.end({.kind = ErrorKind::internal, .message = e.what()});
        }
    }

    Health health_;
    std::unique_ptr<net::ClientLoop> loop_;
    const Place place_;
    BoundedQueue<std::shared_ptr<Call>> queue_{kUpstreamJobsMax};
    std::vector<std::jthread> connectors_;
    std::thread ticker_;

    std::mutex mutex_;  // guards what follows; never held while a sink is called
    std::condition_variable changed_;
    std::set<std::shared_ptr<Call>> calls_;  // not ended when last looked at
    bool stop_ = false;
};

void Upstream::start(Job job) {
    CHECK(job.sink && job.request);
    const auto call_sink = job.sink;
    const auto refuse = [&](ErrorKind kind, std::string message) {
        call_sink->on_event(chat::Failed{
            {.kind = kind, .message = format("upstream {}: {}", place_.config.name, message)}});
    };
    if (!job.permit) return refuse(ErrorKind::internal, "the job brings no egress permit");
    if (job.permit->destination() != place_.base.destination ||
        job.permit->purpose() != egress::Purpose::inference)
        return refuse(ErrorKind::internal, format("the permit is for {}, not for {}",
                                                  egress::to_text(job.permit->destination()),
                                                  egress::to_text(place_.base.destination)));
    if (job.request->raw)
        return refuse(ErrorKind::invalid_request, "takes messages, no raw prompt or ids");
    const auto call = std::make_shared<Call>(place_, std::move(job));
    const Error full{.kind = ErrorKind::overloaded,
                     .message = format("{} requests are under way already", kUpstreamJobsMax)};
    bool room = false;
    {
        const std::lock_guard lock(mutex_);
        room = calls_.size() < kUpstreamJobsMax;
        if (room) calls_.insert(call);
    }
    if (!room) return refuse(full.kind, full.message);
    changed_.notify_one();
    // Full of calls that were cancelled while they waited, or the program is ending.
    if (!queue_.try_push(std::shared_ptr(call))) call->end(full);
}

// Sleeps without calls; with calls looks at each once per tick.
void Upstream::tick_loop() {
    std::unique_lock lock(mutex_);
    while (!stop_) {
        if (calls_.empty())
            changed_.wait(lock);
        else
            changed_.wait_for(lock, std::chrono::milliseconds(kTickMs), [&] { return stop_; });
        const auto calls = calls_;
        lock.unlock();
        std::vector<std::shared_ptr<Call>> ended;
        for (const auto& call : calls) {
            guarded(*call, &Call::tick);
            if (call->ended()) ended.push_back(call);
        }
        lock.lock();
        for (const auto& call : ended) calls_.erase(call);
    }
}

}  // namespace

std::unique_ptr<UpstreamBackend> UpstreamBackend::open(const UpstreamConfig& config,
                                                       egress::Door& door, const Clock& clock) {
    auto base = parse_base_url(config.base_url);
    CHECK(base.has_value() && chat::find_dialect(config.dialect) != nullptr);  // check() passed
    return std::make_unique<Upstream>(config, std::move(*base), door, clock);
}

}  // namespace hearth::backend
