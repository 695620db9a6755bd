// The upstream backend when places are down, threads are busy and jobs are many: who waits, who
// does not ask any more, and that the program lives on.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <random>

#include "backend/limits.h"
#include "base/format.h"
#include "double/rig.h"
#include "support/seeds.h"

namespace hearth::backend {
namespace {

TEST(Upstream, nobody_listening_is_a_failure_and_three_open_the_circuit) {
    Rig rig("ok");
    rig.server.reset();
    for (int i = 0; i < kFailuresToOpen; ++i) {
        EXPECT_TRUE(rig.backend->health().healthy) << i;
        EXPECT_EQ(rig.failure().kind, ErrorKind::upstream_failed);
    }
    EXPECT_FALSE(rig.backend->health().healthy);
    EXPECT_EQ(rig.backend->health().upstream, "acme");
}

// A listener that lets connections in and never says a word: every TLS handshake hangs.
class BlackHole {
  public:
    BlackHole() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        if (::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
            ::listen(fd_.get(), 100) != 0 ||
            ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
            throw std::runtime_error("no listener");
        port_ = ntohs(address.sin_port);
    }
    int port() const { return port_; }
    void take(int n) {  // waits for so many connections and holds them
        for (; n > 0; --n) held_.emplace_back(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    }
    void close() {
        fd_.reset();
        held_.clear();
    }

  private:
    Fd fd_;
    std::vector<Fd> held_;
    int port_ = 0;
};

struct HandClock final : Clock {
    std::int64_t mono_ns() const override { return now_ns; }
    std::int64_t wall_ns() const override { return now_ns; }
    std::atomic<std::int64_t> now_ns{1};
};

TEST(Upstream, who_waited_for_a_connect_thread_too_long_does_not_connect_any_more) {
    BlackHole hole;
    HandClock clock;
    Rig rig("ok", false, [&](UpstreamConfig& config) {
        config.base_url = format("https://127.0.0.1:{}/v1", hole.port());
        config.connect_timeout_ms = 60'000;
    });
    rig.backend = UpstreamBackend::open(rig.config, *rig.door, clock);
    std::vector<std::shared_ptr<Sink>> sinks;
    for (int i = 0; i < kConnectThreads; ++i) sinks.push_back(rig.start());
    hole.take(kConnectThreads);
    const auto last = rig.start();
    clock.now_ns += 60'001 * kNsPerMs;
    hole.close();  // frees the threads
    const auto end = last->wait();
    ASSERT_TRUE(end && std::holds_alternative<chat::Failed>(*end));
    EXPECT_EQ(std::get<chat::Failed>(*end).error.kind, ErrorKind::timeout);
    EXPECT_THAT(std::get<chat::Failed>(*end).error.message, testing::HasSubstr("60000 ms"));
    for (const auto& sink : sinks) EXPECT_TRUE(sink->wait());
    rig.door.reset();  // all receipts are in
    EXPECT_EQ(rig.receipts.size(), std::size_t(kConnectThreads));
}

TEST(Upstream, once_the_place_is_known_to_be_down_nobody_waits_for_it) {
    BlackHole hole;
    Rig rig("ok", false, [&](UpstreamConfig& config) {
        config.base_url = format("https://127.0.0.1:{}/v1", hole.port());
        config.connect_timeout_ms = 60'000;
    });
    std::vector<std::shared_ptr<Sink>> sinks;
    for (int i = 0; i < 40; ++i) sinks.push_back(rig.start());
    hole.take(kConnectThreads);
    hole.close();
    for (const auto& sink : sinks) {
        const auto end = sink->wait();
        ASSERT_TRUE(end && std::holds_alternative<chat::Failed>(*end));
        EXPECT_EQ(std::get<chat::Failed>(*end).error.kind, ErrorKind::upstream_failed);
        sink->expect_ended_once();
    }
    rig.door.reset();
    // Those under way, and those that began before the third failure was counted.
    EXPECT_LE(rig.receipts.size(), std::size_t(2 * kConnectThreads));
}

// Which thread asks first is chance; none of them may take the program down.
TEST(Upstream, a_sink_that_throws_fails_its_own_call_only) {
    class Throwing final : public chat::EventSink {
      public:
        explicit Throwing(std::shared_ptr<Sink> to) : to_(std::move(to)) {}
        void on_event(Event event) override { to_->on_event(std::move(event)); }
        bool ready() const override { return true; }
        bool cancelled() const override { throw std::runtime_error("no answer to that"); }

      private:
        const std::shared_ptr<Sink> to_;
    };
    Rig rig("never");
    const auto sink = std::make_shared<Sink>();
    Job one = job(std::make_shared<chat::ChatRequest>(), nullptr, rig.permit());
    one.sink = std::make_shared<Throwing>(sink);
    rig.backend->start(std::move(one));
    const auto end = sink->wait();
    ASSERT_TRUE(end && std::holds_alternative<chat::Failed>(*end));
    EXPECT_EQ(std::get<chat::Failed>(*end).error.kind, ErrorKind::internal);
    sink->expect_ended_once();
}

// ---- many

TEST(Upstream, many_jobs_at_once_end_once_each) {
    Rig rig("ok");
    std::vector<std::shared_ptr<Sink>> sinks;
    for (int i = 0; i < 60; ++i) sinks.push_back(rig.start());
    for (const auto& sink : sinks) {
        const auto end = sink->wait();
        ASSERT_TRUE(end && std::holds_alternative<chat::Finished>(*end));
        EXPECT_EQ(sink->text(), "The double answers in plain words.");
        sink->expect_ended_once();
    }
    EXPECT_EQ(rig.server->counts().connections, 60);
}

TEST(Upstream, jobs_cancelled_at_any_moment_end_once) {
    std::mt19937 random(test::test_seed());
    Rig rig("slow");
    std::vector<std::shared_ptr<Sink>> sinks;
    for (int i = 0; i < 40; ++i) {
        sinks.push_back(rig.start());
        if (random() % 2 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(random() % 8));
        sinks[random() % sinks.size()]->cancelled_ = true;
    }
    for (const auto& sink : sinks) sink->cancelled_ = true;
    for (const auto& sink : sinks) {
        ASSERT_TRUE(sink->wait());
        sink->expect_ended_once();
    }
}

TEST(Upstream, ending_the_backend_ends_its_jobs) {
    Rig rig("stall");
    const auto sink = rig.start();
    ASSERT_TRUE(sink->wait_events(2));
    rig.backend.reset();
    const auto end = sink->wait();
    ASSERT_TRUE(end && std::holds_alternative<chat::Failed>(*end));
    sink->expect_ended_once();
}

TEST(Upstream, more_jobs_than_the_bound_are_refused_as_overload) {
    Rig rig("never");
    std::vector<std::shared_ptr<Sink>> sinks;
    for (std::size_t i = 0; i < kUpstreamJobsMax; ++i) sinks.push_back(rig.start());
    EXPECT_EQ(rig.failure().kind, ErrorKind::overloaded);
    for (const auto& sink : sinks) sink->cancelled_ = true;
    for (const auto& sink : sinks) EXPECT_TRUE(sink->wait());
}

}  // namespace
}  // namespace hearth::backend
