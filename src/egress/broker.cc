// The broker process: reads the allow-list, opens its folder (egress/broker_state.h), confines
// itself, then serves requests until the control channel closes. It holds no prompt longer than a
// relay's buffer and logs none. It alone holds the key that signs receipts and checkpoints, and
// signs nothing else than those two forms.
//
// Where the folder cannot be written, no request is connected: a connection that is not counted
// would make the counters worthless.
//
// Thread: one loop over epoll; the resolver's threads only look up names.
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>

#include "base/clock.h"
#include "base/format.h"
#include "base/log.h"
#include "egress/broker_state.h"
#include "egress/child.h"
#include "egress/confine.h"
#include "egress/door.h"
#include "egress/limits.h"
#include "egress/message.h"
#include "egress/relay.h"
#include "egress/resolve.h"
#include "egress/tls.h"

namespace hearth::egress {
namespace {

// What epoll hands back: the relay's id times four, plus which of its ends.
constexpr std::uint64_t kLocalEnd = 0, kRemoteEnd = 1;
constexpr std::uint64_t kControlTag = 2, kResolverTag = 6;  // id 0 is no relay

class Broker {
  public:
    explicit Broker(Fd control) : control_(std::move(control)) {}
    int run();

  private:
    struct Entry {
        std::unique_ptr<Relay> relay;
        // What epoll knows at present.
        std::uint32_t local_events = 0, remote_events = 0;
        int watched_remote = -1;
        bool counted = false;  // as a connection
        std::int64_t number = 0;
        const AllowRule* rule = nullptr;
    };

    Status start();
    void load_contexts();
    int loop();
    void run_deadlines();
    void stop_all();
    bool on_control();
    void on_request(RequestMessage request, Fd local);
    void make_room();
    void route_request(Entry& entry, const Destination& destination, bool full);
    void on_checkpoint(const CheckpointMessage& message);
    bool say_receipt(Entry& entry, ReceiptMessage message);
    const AllowRule* find_rule(const RequestMessage& request) const;
    void on_resolver();
    void on_relay_event(std::uint64_t tag, std::uint32_t events);
    void settle(std::uint64_t id);
    void watch(std::uint64_t id, Entry& entry);
    bool say(const Message& message);
    bool flush();
    void watch_control();
    int wait_ms() const;

    Fd control_, epoll_, wake_;
    AllowListMessage list_;
    std::map<std::string, Result<TlsContext>> contexts_;  // by CA file
    std::optional<BrokerState> state_;
    std::int64_t n_receipts_ = 0;  // of connections that reached an address, handed over
    std::unique_ptr<Resolver> resolver_;
    std::unordered_map<std::uint64_t, Entry> relays_;
    std::deque<std::string> outbox_;  // at most two per relay that was accepted
    const Clock& clock_ = system_clock();
    bool alive_ = true;
    bool finished_ = false;  // no connection is opened any more
};

void Broker::load_contexts() {
    for (const AllowRule& rule : list_.rules) {
        if (!rule.destination.tls || contexts_.contains(rule.ca_file)) continue;
        auto context = make_tls_context(rule.ca_file);
        if (!context)
            log_warn("egress_tls_unavailable",
                     {{"rule", rule.name}, {"error", context.error().message}});
        contexts_.emplace(rule.ca_file, std::move(context));
    }
}

Status Broker::start() {
    HEARTH_CHECK_OK(hide_memory());
    HEARTH_TRY(const Packet packet, receive_packet(control_.get()));
    HEARTH_TRY(Message message, decode(packet.bytes));
    if (!std::holds_alternative<AllowListMessage>(message) || packet.fd)
        return fail(ErrorKind::internal, "egress: the first message is not the allow-list");
    list_ = std::get<AllowListMessage>(std::move(message));
    HEARTH_TRY(BrokerState state, BrokerState::open(list_.folder));
    state_.emplace(std::move(state));
    load_contexts();
    FileRules files;
    files.restrict_writes = true;  // reads stay: resolving reads what the system's libraries want
    if (!list_.folder.empty()) files.write.push_back(list_.folder);
    HEARTH_CHECK_OK(confine_threads(false, files));
    if (protections().seccomp) HEARTH_CHECK_OK(load_broker_filter());
    epoll_ = Fd(::epoll_create1(EPOLL_CLOEXEC));
    wake_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!epoll_ || !wake_) return fail(ErrorKind::internal, errno_text("egress epoll", errno));
    epoll_event control{.events = EPOLLIN, .data = {.u64 = kControlTag}};
    epoll_event wake{.events = EPOLLIN, .data = {.u64 = kResolverTag}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, control_.get(), &control) != 0 ||
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &wake) != 0)
        return fail(ErrorKind::internal, errno_text("egress epoll", errno));
    // Nothing to resolve: no threads.
    if (!list_.rules.empty()) resolver_ = Resolver::start(wake_.get());
    return {};
}

int Broker::run() {
    const Status started = start();
    say(started ? ReadyMessage{"", to_hex(state_->public_key())}
                : ReadyMessage{clip_text(started.error().message)});
    if (!started) return 1;
    return loop();
}

int Broker::wait_ms() const {
    std::int64_t next = INT64_MAX;
    for (const auto& [id, entry] : relays_)
        if (const std::int64_t at = entry.relay->deadline_ns(); at != 0) next = std::min(next, at);
    if (next == INT64_MAX) return -1;
    return int(std::clamp<std::int64_t>((next - clock_.mono_ns()) / 1'000'000 + 1, 0, 60'000));
}

// The control channel comes last, and all that is ready comes at once: a connection that was closed
// before a request was sent has given its place up when the request is read.
int Broker::loop() {
    std::vector<epoll_event> events(2 * kConnectionsMax + 2);  // two ends each, and our own two
    while (alive_) {
        const int n = ::epoll_wait(epoll_.get(), events.data(), int(events.size()), wait_ms());
        if (n < 0 && errno != EINTR) return 1;
        std::uint32_t control = 0;
        for (int i = 0; i < n && alive_; ++i) {
            const std::uint64_t tag = events[std::size_t(i)].data.u64;
            const std::uint32_t what = events[std::size_t(i)].events;
            if (tag == kControlTag)
                control = what;
            else if (tag == kResolverTag)
                on_resolver();
            else
                on_relay_event(tag, what);
        }
        if (alive_ && (control & EPOLLOUT) != 0) alive_ = flush();
        if (alive_ && (control & ~std::uint32_t(EPOLLOUT)) != 0) alive_ = on_control();
        run_deadlines();
    }
    stop_all();
    return 0;
}

// Among few relays: most are open and have none.
void Broker::run_deadlines() {
    std::vector<std::uint64_t> due;
    for (const auto& [id, entry] : relays_)
        if (const auto at = entry.relay->deadline_ns(); at != 0 && at <= clock_.mono_ns())
            due.push_back(id);
    for (const std::uint64_t id : due) {
        relays_.at(id).relay->on_timer();
        settle(id);
    }
}

// The channel is closed for requests. Whoever still listens there gets the last receipts.
void Broker::stop_all() {
    std::vector<std::uint64_t> open;
    for (const auto& [id, entry] : relays_) open.push_back(id);
    for (const std::uint64_t id : open) {
        relays_.at(id).relay->stop();
        settle(id);
    }
}

// ---- control

// False: the channel closed or spoke nonsense; then everything ends.
bool Broker::on_control() {
    auto packet = receive_packet(control_.get());
    if (!packet || packet->bytes.empty()) return false;
    auto message = decode(packet->bytes);
    if (!message) {
        log_error("egress_control", {{"error", message.error().message}});
        return false;
    }
    if (!packet->fd && std::holds_alternative<FinishMessage>(*message)) {
        finished_ = true;
        stop_all();
        return alive_;
    }
    if (const auto* checkpoint = std::get_if<CheckpointMessage>(&*message);
        checkpoint != nullptr && !packet->fd) {
        on_checkpoint(*checkpoint);
        return alive_;
    }
    auto* request = std::get_if<RequestMessage>(&*message);
    if (request == nullptr || !packet->fd) {
        // A second allow-list would be a way to widen the first.
        log_error("egress_control", {{"error", "a message that the broker does not take"}});
        return false;
    }
    on_request(std::move(*request), std::move(packet->fd));
    return alive_;
}

const AllowRule* Broker::find_rule(const RequestMessage& request) const {
    const AllowRule* found = nullptr;
    for (const AllowRule& rule : list_.rules) {
        if (rule.purpose != request.purpose || rule.destination != request.destination) continue;
        if (rule.name == request.rule) return &rule;
        if (found == nullptr) found = &rule;
    }
    return found;
}

void Broker::on_request(RequestMessage request, Fd local) {
    const std::uint64_t id = request.id;
    if (id == 0 || id > UINT64_MAX / 4 || relays_.contains(id)) {
        alive_ = false;  // our own door never does this
        return;
    }
    const AllowRule* rule = find_rule(request);
    const Destination destination = request.destination;
    ssl_ctx_st* tls = nullptr;
    if (rule != nullptr && destination.tls)
        if (const auto& context = contexts_.at(rule->ca_file)) tls = context->get();
    make_room();
    const bool full = relays_.size() >= kConnectionsMax;
    ::fcntl(local.get(), F_SETFL, O_NONBLOCK);
    Entry& entry = relays_[id];
    entry.relay = std::make_unique<Relay>(std::move(request), std::move(local), tls, clock_);
    entry.rule = rule;
    route_request(entry, destination, full);
    settle(id);
}

// Where all places are taken, the relay that has lingered longest ends now.
void Broker::make_room() {
    if (relays_.size() < kConnectionsMax) return;
    const auto rank = [](const auto& item) {
        const Relay& relay = *item.second.relay;
        return relay.lingers() ? relay.deadline_ns() : INT64_MAX;
    };
    const auto oldest = std::ranges::min_element(relays_, {}, rank);
    if (!oldest->second.relay->lingers()) return;
    oldest->second.relay->stop();
    settle(oldest->first);
}

// The first step of a relay: refused, resolved, or sent to the resolver. Counted before anything.
void Broker::route_request(Entry& entry, const Destination& destination, bool full) {
    Relay& relay = *entry.relay;
    const bool allowed = entry.rule != nullptr && !full && !finished_;
    const auto number = state_->begin(allowed, clock_.wall_ns());
    if (!number)
        return relay.refuse(
            ErrorKind::internal, "refused: " + number.error().message,
            number.error().message + "; nothing may leave that the broker cannot count");
    entry.number = *number;
    entry.counted = allowed;
    const std::uint64_t id = relay.request().id;
    if (entry.rule == nullptr) {
        relay.refuse(ErrorKind::forbidden_by_policy, "refused: not on the allow-list",
                     format("{} is not on the egress allow-list for {}; configure it as an "
                            "upstream",
                            to_text(destination), name_of(relay.request().purpose)));
    } else if (finished_) {
        relay.refuse(ErrorKind::cancelled, "refused: hearth ended", "the program is ending");
    } else if (full) {
        relay.refuse(ErrorKind::overloaded, "refused: too many connections",
                     format("{} upstream connections are open already", kConnectionsMax));
    } else if (const auto context = contexts_.find(entry.rule->ca_file);
               destination.tls && !context->second) {
        const std::string& missing = context->second.error().message;
        relay.refuse(ErrorKind::upstream_failed, "tls failed: " + missing, missing);
    } else if (auto numeric = numeric_address(destination.host, destination.port);
               !numeric.empty()) {
        relay.on_resolved(std::move(numeric));
    } else if (!resolver_->ask(id, destination.host, destination.port)) {
        relay.refuse(ErrorKind::overloaded, "connect failed: too many names to resolve",
                     "too many names wait to be resolved");
    }
}

void Broker::on_checkpoint(const CheckpointMessage& message) {
    auto checkpoint = audit::parse_checkpoint(message.json);
    auto signed_one = checkpoint ? state_->sign(checkpoint->request, n_receipts_)
                                 : std::unexpected(checkpoint.error());
    SignedMessage answer{.id = message.id, .ok = signed_one.has_value()};
    if (signed_one) {
        answer.text = audit::to_json(*signed_one);
    } else {
        answer.kind = signed_one.error().kind;
        answer.text = clip_text(signed_one.error().message);
    }
    alive_ = say(answer) && alive_;
}

// The whole receipt is put together here, because the broker signs what it saw itself: the rule is
// the one of its list.
bool Broker::say_receipt(Entry& entry, ReceiptMessage message) {
    const RequestMessage& request = entry.relay->request();
    message.rule = entry.rule != nullptr ? entry.rule->name : request.rule;
    if (entry.number > 0) {
        message.number = entry.number;
        Receipt receipt;
        receipt.request_id = request.request_id;
        receipt.purpose = request.purpose;
        receipt.destination = request.destination;
        receipt.who = request.who;
        fill_receipt(receipt, message);
        state_->end(receipt, entry.counted, entry.relay->sha256_out());
        message.digest_out = receipt.digest_out;
        message.key_id = receipt.key_id;
        message.signature = receipt.signature;
        // As whoever verifies the journal counts them: those that reached an address.
        if (!message.address.empty()) ++n_receipts_;
    }
    return say(message);
}

void Broker::on_resolver() {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t n = ::read(wake_.get(), &count, sizeof(count));
    for (Resolved& answer : resolver_->take()) {
        const auto found = relays_.find(answer.id);
        if (found == relays_.end()) continue;  // its deadline passed meanwhile
        found->second.relay->on_resolved(std::move(answer.addresses));
        settle(answer.id);
    }
}

void Broker::on_relay_event(std::uint64_t tag, std::uint32_t events) {
    const auto found = relays_.find(tag / 4);
    if (found == relays_.end()) return;  // ended by an earlier event of this batch
    if (tag % 4 == kLocalEnd)
        found->second.relay->on_local(events);
    else
        found->second.relay->on_remote(events);
    settle(tag / 4);
}

// ---- after each step of a relay: say what it has to say, watch what it waits for.

void Broker::settle(std::uint64_t id) {
    const auto found = relays_.find(id);
    Relay& relay = *found->second.relay;
    if (auto answer = relay.take_answer()) alive_ = say(std::move(*answer)) && alive_;
    if (auto receipt = relay.take_receipt())
        alive_ = say_receipt(found->second, std::move(*receipt)) && alive_;
    if (relay.done()) {
        relays_.erase(found);  // closed descriptors leave epoll by themselves
        return;
    }
    watch(id, found->second);
}

void Broker::watch(std::uint64_t id, Entry& entry) {
    const Relay::Interest want = entry.relay->interest();
    const auto set = [&](int op, int fd, std::uint32_t events, std::uint64_t end) {
        epoll_event event{.events = events, .data = {.u64 = id * 4 + end}};
        return ::epoll_ctl(epoll_.get(), op, fd, &event) == 0;
    };
    const int local = entry.relay->local_fd();
    if (!want.watch_local) {
        set(EPOLL_CTL_DEL, local, 0, kLocalEnd);  // fails where it was removed before
    } else if (entry.local_events == 0) {
        set(EPOLL_CTL_ADD, local, want.local, kLocalEnd);
        entry.local_events = want.local | EPOLLHUP;  // always reported; marks it as added
    } else if ((entry.local_events & ~std::uint32_t(EPOLLHUP)) != want.local) {
        set(EPOLL_CTL_MOD, local, want.local, kLocalEnd);
        entry.local_events = want.local | EPOLLHUP;
    }
    const int remote = want.watch_remote ? entry.relay->remote_fd() : -1;
    // The next address of a name may get the same number as the closed one had: MOD fails, ADD it
    // is.
    if (remote < 0) {
        if (entry.watched_remote >= 0) set(EPOLL_CTL_DEL, entry.watched_remote, 0, kRemoteEnd);
    } else if (remote != entry.watched_remote || entry.remote_events != want.remote ||
               want.remote == EPOLLOUT) {
        if (!set(EPOLL_CTL_MOD, remote, want.remote, kRemoteEnd))
            set(EPOLL_CTL_ADD, remote, want.remote, kRemoteEnd);
    }
    entry.watched_remote = remote;
    entry.remote_events = want.remote;
}

bool Broker::say(const Message& message) {
    auto bytes = encode(message);
    if (!bytes) {
        log_error("egress_control", {{"error", bytes.error().message}});
        return false;
    }
    outbox_.push_back(std::move(*bytes));
    return flush();
}

bool Broker::flush() {
    while (!outbox_.empty()) {
        const auto sent = send_packet(control_.get(), outbox_.front());
        if (!sent) return false;
        if (!*sent) break;
        outbox_.pop_front();
    }
    watch_control();
    return true;
}

// While answers wait no new request is read, so the outbox cannot grow without end.
void Broker::watch_control() {
    if (!epoll_) return;
    epoll_event event{.events = std::uint32_t(outbox_.empty() ? EPOLLIN : EPOLLOUT),
                      .data = {.u64 = kControlTag}};
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, control_.get(), &event);
}

}  // namespace

int broker_main(int control_fd) {
    if (!take_channel(control_fd)) {
        std::fprintf(stderr, "hearth %s is started by hearth itself, not by hand\n", kBrokerTask);
        return 2;
    }
    const int code = Broker(Fd(control_fd)).run();
    // A resolver thread may hang in getaddrinfo for a long time: it is not waited for.
    ::_exit(code);
}

}  // namespace hearth::egress
