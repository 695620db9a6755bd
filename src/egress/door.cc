#include "egress/door.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <ctime>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "base/format.h"
#include "base/log.h"
#include "egress/child.h"
#include "egress/limits.h"
#include "egress/message.h"

namespace hearth::egress {
namespace {

constexpr const char* kShut = "the program is ending, so no connection is opened any more";
constexpr const char* kBrokerGone =
    "the egress broker process ended, so nothing can leave this machine; restart hearth";

// Waits until the descriptor is readable (or writable). False: the deadline passed.
bool wait_for(int fd, short events, std::int64_t deadline_ns) {
    for (;;) {
        const std::int64_t left_ms = (deadline_ns - system_clock().mono_ns()) / 1'000'000;
        if (left_ms < 0) return false;
        pollfd poll{fd, events, 0};
        const int n = ::poll(&poll, 1, int(std::min<std::int64_t>(left_ms + 1, 60'000)));
        if (n > 0) return true;
        if (n < 0 && errno != EINTR) return false;
    }
}

class ProcessDoor final : public Door {
  public:
    ProcessDoor(Child broker, Fd wake, std::string public_key,
                std::function<void(Receipt)> on_receipt)
        : broker_(std::move(broker)),
          wake_(std::move(wake)),
          public_key_(std::move(public_key)),
          on_receipt_(std::move(on_receipt)),
          reader_([this] { read_loop(); }) {}

    ~ProcessDoor() override {
        {
            const std::lock_guard lock(mutex_);
            stop_ = true;
        }
        wake();
        reader_.join();
        end_child(broker_);
    }

    Result<Connection> connect(EgressPermit permit, std::int64_t timeout_ms) override;
    void shut() override {
        {
            const std::lock_guard lock(mutex_);
            shut_ = true;
        }
        answered_.notify_all();
    }
    void finish() override;
    Result<audit::SignedCheckpoint> sign(const audit::CheckpointRequest& request) override;
    bool alive() const override {
        const std::lock_guard lock(mutex_);
        return !gone_;
    }
    const std::string& public_key() const override { return public_key_; }
    int broker_pid() const override { return broker_.pid; }

  private:
    // Shared by the waiting thread and the reader: either may be done with the request first.
    using Answer = std::optional<AnswerMessage>;
    struct Pending {
        Receipt receipt;  // the request's part of it
        std::shared_ptr<Answer> answer;
    };

    void wake() {
        const std::uint64_t one = 1;
        [[maybe_unused]] const ssize_t n = ::write(wake_.get(), &one, sizeof(one));
    }
    Result<std::uint64_t> enter(Receipt receipt, std::shared_ptr<Answer> answer);
    Status send(const Message& message, int fd, std::int64_t deadline_ns);
    std::unexpected<Error> withdraw(std::uint64_t id, Error error);
    void read_loop();
    bool read_message();
    void on_answer(AnswerMessage answer);
    void on_receipt_message(ReceiptMessage message);
    void on_signed(SignedMessage message);
    void on_broker_gone();
    void deliver_refused();
    void deliver(Receipt receipt);

    Child broker_;
    const Fd wake_;
    const std::string public_key_;
    const std::function<void(Receipt)> on_receipt_;

    std::mutex send_mutex_;     // one packet at a time; held while the channel is full
    mutable std::mutex mutex_;  // guards what follows
    std::condition_variable answered_;
    std::map<std::uint64_t, std::optional<SignedMessage>> signing_;  // until its caller took it
    std::map<std::uint64_t, Pending> pending_;                       // until its receipt
    std::vector<Receipt> refused_;  // by the door itself; delivered by the reader
    std::uint64_t next_id_ = 1;
    int n_delivering_ = 0;   // calls of on_receipt_ that have not returned
    bool finished_ = false;  // on_receipt_ is called no more
    bool gone_ = false;      // the broker
    bool stop_ = false;
    bool shut_ = false;
    std::thread reader_;  // last: it uses everything above
};

// Takes a place among the pending; what is refused here still gets its receipt.
Result<std::uint64_t> ProcessDoor::enter(Receipt receipt, std::shared_ptr<Answer> answer) {
    const std::lock_guard lock(mutex_);
    Error error;
    if (shut_)
        error = {.kind = ErrorKind::cancelled, .message = kShut};
    else if (gone_)
        error = {.kind = ErrorKind::upstream_failed, .message = kBrokerGone};
    else if (pending_.size() >= kPendingMax)
        error = {.kind = ErrorKind::overloaded,
                 .message = format("{} upstream connections wait for their receipts", kPendingMax)};
    if (!error.message.empty()) {
        receipt.outcome = "refused: " + error.message;
        receipt.closed_wall_ns = receipt.opened_wall_ns;
        refused_.push_back(std::move(receipt));
        wake();
        return fail(std::move(error));
    }
    const std::uint64_t id = next_id_++;
    pending_[id] = Pending{std::move(receipt), std::move(answer)};
    return id;
}

// The broker never heard of it: its receipt is ours to write.
std::unexpected<Error> ProcessDoor::withdraw(std::uint64_t id, Error error) {
    const std::lock_guard lock(mutex_);
    if (auto node = pending_.extract(id)) {
        Receipt receipt = std::move(node.mapped().receipt);
        receipt.outcome = "refused: " + error.message;
        receipt.closed_wall_ns = system_clock().wall_ns();
        refused_.push_back(std::move(receipt));
        wake();
    }
    return fail(std::move(error));
}

Status ProcessDoor::send(const Message& message, int fd, std::int64_t deadline_ns) {
    HEARTH_TRY(const std::string bytes, encode(message));
    const std::lock_guard lock(send_mutex_);
    for (;;) {
        const auto sent = send_packet(broker_.channel.get(), bytes, fd);
        if (!sent) return fail(ErrorKind::upstream_failed, kBrokerGone);
        if (*sent) return {};
        if (!wait_for(broker_.channel.get(), POLLOUT, deadline_ns))
            return fail(ErrorKind::timeout, "the egress broker does not take requests");
    }
}

Result<Door::Connection> ProcessDoor::connect(EgressPermit permit, std::int64_t timeout_ms) {
    timeout_ms = std::clamp<std::int64_t>(timeout_ms, 1, kConnectTimeoutMsMax);
    const std::int64_t deadline_ns = system_clock().mono_ns() + timeout_ms * 1'000'000;
    Receipt receipt;
    receipt.request_id = permit.request_id();
    receipt.rule = permit.rule();
    receipt.who = permit.who();
    receipt.purpose = permit.purpose();
    receipt.destination = permit.destination();
    receipt.opened_wall_ns = system_clock().wall_ns();
    const auto answer = std::make_shared<Answer>();
    HEARTH_TRY(const std::uint64_t id, enter(std::move(receipt), answer));
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return withdraw(id,
                        {.kind = ErrorKind::internal, .message = errno_text("socketpair", errno)});
    Fd ours(pair[0]);
    Fd theirs(pair[1]);
    // The broker's own deadline comes a little earlier, so that its precise answer is the one
    // heard.
    const auto broker_ms = std::uint32_t(timeout_ms - std::min<std::int64_t>(100, timeout_ms / 10));
    const RequestMessage message{
        id,        permit.purpose(), permit.destination(), permit.request_id(), permit.rule(),
        broker_ms, permit.who()};
    if (auto sent = send(message, theirs.get(), deadline_ns); !sent)
        return withdraw(id, std::move(sent.error()));
    theirs.reset();

    std::unique_lock lock(mutex_);
    const auto deadline =
        std::chrono::steady_clock::time_point(std::chrono::nanoseconds(deadline_ns));
    if (!answered_.wait_until(lock, deadline,
                              [&] { return answer->has_value() || gone_ || shut_; }))
        return fail(ErrorKind::timeout, format("no connection to {} within {} ms",
                                               to_text(permit.destination()), timeout_ms));
    if (!answer->has_value() && shut_) return fail(ErrorKind::cancelled, kShut);
    if (!answer->has_value()) return fail(ErrorKind::upstream_failed, kBrokerGone);
    const AnswerMessage& said = **answer;
    if (!said.ok) return fail(said.kind, said.message);
    return Connection{std::move(ours)};
}

void ProcessDoor::finish() {
    shut();
    const std::int64_t deadline_ns = system_clock().mono_ns() + kChildEndMs * kNsPerMs;
    // A broker that is gone ends its connections by being gone; the reader writes their receipts.
    (void)send(FinishMessage{}, -1, deadline_ns);
    std::unique_lock lock(mutex_);
    const auto deadline =
        std::chrono::steady_clock::time_point(std::chrono::nanoseconds(deadline_ns));
    answered_.wait_until(lock, deadline, [&] { return pending_.empty() && refused_.empty(); });
    finished_ = true;
    answered_.wait(lock, [&] { return n_delivering_ == 0; });
}

Result<audit::SignedCheckpoint> ProcessDoor::sign(const audit::CheckpointRequest& request) {
    const std::int64_t deadline_ns = system_clock().mono_ns() + kSignMs * kNsPerMs;
    std::uint64_t id = 0;
    {
        const std::lock_guard lock(mutex_);
        if (gone_) return fail(ErrorKind::upstream_failed, kBrokerGone);
        id = next_id_++;
        signing_[id] = std::nullopt;
    }
    audit::SignedCheckpoint unsigned_one;
    unsigned_one.request = request;
    const auto sent =
        send(CheckpointMessage{.id = id, .json = audit::to_json(unsigned_one)}, -1, deadline_ns);
    std::unique_lock lock(mutex_);
    const auto deadline =
        std::chrono::steady_clock::time_point(std::chrono::nanoseconds(deadline_ns));
    if (sent)
        answered_.wait_until(lock, deadline, [&] { return signing_[id].has_value() || gone_; });
    auto said = std::move(signing_.extract(id).mapped());
    const bool gone = gone_;
    lock.unlock();
    if (!sent) return fail(sent.error());
    if (!said && gone) return fail(ErrorKind::upstream_failed, kBrokerGone);
    if (!said)
        return fail(ErrorKind::timeout,
                    format("the egress broker signed nothing for {} ms", kSignMs));
    if (!said->ok) return fail(said->kind, std::move(said->text));
    return audit::parse_checkpoint(said->text);
}

// ---- the reader's thread

void ProcessDoor::read_loop() {
    for (;;) {
        pollfd polls[2] = {{wake_.get(), POLLIN, 0}, {broker_.channel.get(), POLLIN, 0}};
        bool gone = false;
        {
            const std::lock_guard lock(mutex_);
            gone = gone_;
        }
        if (::poll(polls, gone ? 1 : 2, -1) < 0 && errno != EINTR) return;
        if ((polls[0].revents & POLLIN) != 0) {
            std::uint64_t count = 0;
            [[maybe_unused]] const ssize_t n = ::read(wake_.get(), &count, sizeof(count));
            deliver_refused();
            const std::lock_guard lock(mutex_);
            if (stop_) break;
        }
        if (!gone && polls[1].revents != 0 && !read_message()) on_broker_gone();
    }
    // Closing the channel ends every connection; the broker is given a moment to say its receipts.
    ::shutdown(broker_.channel.get(), SHUT_WR);
    const std::int64_t deadline = system_clock().mono_ns() + kChildEndMs * 1'000'000;
    while (wait_for(broker_.channel.get(), POLLIN, deadline) && read_message()) {
    }
    on_broker_gone();
}

// False: the channel is closed or spoke nonsense.
bool ProcessDoor::read_message() {
    auto packet = receive_packet(broker_.channel.get());
    if (!packet || packet->bytes.empty() || packet->fd) return false;
    auto message = decode(packet->bytes);
    if (!message) {
        log_error("egress_control", {{"error", message.error().message}});
        return false;
    }
    if (auto* answer = std::get_if<AnswerMessage>(&*message))
        on_answer(std::move(*answer));
    else if (auto* receipt = std::get_if<ReceiptMessage>(&*message))
        on_receipt_message(std::move(*receipt));
    else if (auto* checkpoint = std::get_if<SignedMessage>(&*message))
        on_signed(std::move(*checkpoint));
    else
        return false;
    return true;
}

void ProcessDoor::on_answer(AnswerMessage answer) {
    {
        const std::lock_guard lock(mutex_);
        const auto it = pending_.find(answer.id);
        if (it == pending_.end()) return;
        *it->second.answer = std::move(answer);
    }
    answered_.notify_all();
}

void ProcessDoor::on_receipt_message(ReceiptMessage message) {
    Receipt receipt;
    {
        std::unique_lock lock(mutex_);
        const auto it = pending_.find(message.id);
        if (it == pending_.end()) return;
        receipt = it->second.receipt;
    }
    const std::uint64_t id = message.id;
    fill_receipt(receipt, std::move(message));
    deliver(std::move(receipt));
    {
        const std::lock_guard lock(mutex_);
        pending_.erase(id);
    }
    answered_.notify_all();  // finish() waits for the last
}

void ProcessDoor::deliver(Receipt receipt) {
    {
        const std::lock_guard lock(mutex_);
        if (finished_ || !on_receipt_) return;
        ++n_delivering_;
    }
    on_receipt_(std::move(receipt));
    {
        const std::lock_guard lock(mutex_);
        --n_delivering_;
    }
    answered_.notify_all();
}

void ProcessDoor::on_signed(SignedMessage message) {
    {
        const std::lock_guard lock(mutex_);
        const auto it = signing_.find(message.id);
        if (it == signing_.end()) return;  // its caller waited no longer
        it->second = std::move(message);
    }
    answered_.notify_all();
}

void ProcessDoor::on_broker_gone() {
    std::map<std::uint64_t, Pending> lost;
    {
        const std::lock_guard lock(mutex_);
        if (!gone_ && !stop_) log_error("egress_broker_gone", {{"pid", broker_.pid}});
        gone_ = true;
        lost = pending_;
    }
    answered_.notify_all();
    for (auto& [id, pending] : lost) {
        pending.receipt.outcome = "broker ended: bytes unknown";
        pending.receipt.closed_wall_ns = system_clock().wall_ns();
        deliver(std::move(pending.receipt));
    }
    deliver_refused();
    {
        const std::lock_guard lock(mutex_);
        pending_.clear();  // nothing was added: enter() refuses since gone_
    }
    answered_.notify_all();
}

void ProcessDoor::deliver_refused() {
    std::vector<Receipt> refused;
    {
        const std::lock_guard lock(mutex_);
        refused.swap(refused_);
    }
    for (Receipt& receipt : refused) deliver(std::move(receipt));
    if (!refused.empty()) answered_.notify_all();
}

}  // namespace

Result<std::unique_ptr<Door>> Door::open(std::vector<AllowRule> rules,
                                         std::function<void(Receipt)> on_receipt,
                                         const std::string& folder) {
    HEARTH_TRY(const std::string list, encode(AllowListMessage{std::move(rules), folder}));
    Fd wake(::eventfd(0, EFD_CLOEXEC));
    if (!wake) return fail(ErrorKind::internal, errno_text("eventfd", errno));
    HEARTH_TRY(Child broker, start_child(kBrokerTask));
    const std::int64_t deadline_ns = system_clock().mono_ns() + kBrokerStartMs * 1'000'000;
    const auto give_up = [&](std::string message) {
        end_child(broker);
        return fail(ErrorKind::internal, std::move(message));
    };
    if (const auto sent = send_packet(broker.channel.get(), list); !sent || !*sent)
        return give_up(
            "the egress broker takes no allow-list; it must be started by a program "
            "whose main() hands `egress-broker` to egress::broker_main");
    if (!wait_for(broker.channel.get(), POLLIN, deadline_ns))
        return give_up(format("the egress broker said nothing for {} ms", kBrokerStartMs));
    const auto packet = receive_packet(broker.channel.get());
    const auto message = packet ? decode(packet->bytes) : std::unexpected(packet.error());
    const auto* ready = message ? std::get_if<ReadyMessage>(&*message) : nullptr;
    if (ready == nullptr)
        return give_up(
            "the egress broker ended at once; main() must hand `egress-broker` to "
            "egress::broker_main before anything else");
    if (!ready->problem.empty()) return give_up("egress broker: " + ready->problem);
    auto public_key = from_hex(ready->public_key);
    if (!public_key || public_key->size() != kPublicKeyBytes)
        return give_up("the egress broker names no key");
    return std::make_unique<ProcessDoor>(std::move(broker), std::move(wake), std::move(*public_key),
                                         std::move(on_receipt));
}

}  // namespace hearth::egress
