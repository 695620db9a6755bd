// A house for the tests of serve: its upstream's far side is the test's own, and so is what a
// client hears. Nothing connects anywhere.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "chat/dialect.h"
#include "net/http_server.h"
#include "serve/exchange.h"
#include "support/data.h"

namespace hearth::serve {

// Only ends a test that hangs.
inline constexpr auto kPatience = std::chrono::seconds(20);

inline bool eventually(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
}

// Whoever connects waits until the test takes the other end.
class TestDoor final : public egress::Door {
  public:
    Result<Connection> connect(egress::EgressPermit, std::int64_t) override {
        std::unique_lock lock(mutex_);
        ++n_waiting_;
        changed_.notify_all();
        changed_.wait(lock, [&] { return shut_ || !ends_.empty(); });
        --n_waiting_;
        if (shut_) return fail(ErrorKind::cancelled, "shut");
        Connection connection{std::move(ends_.front())};
        ends_.pop_front();
        return connection;
    }
    void shut() override {
        const std::lock_guard lock(mutex_);
        shut_ = true;
        changed_.notify_all();
    }
    void finish() override {}
    Result<audit::SignedCheckpoint> sign(const audit::CheckpointRequest&) override {
        return fail(ErrorKind::internal, "nobody signs here");
    }
    bool alive() const override { return true; }
    const std::string& public_key() const override { return public_key_; }
    int broker_pid() const override { return 0; }

    // Waits for somebody who connects.
    void wait() {
        std::unique_lock lock(mutex_);
        EXPECT_TRUE(changed_.wait_for(lock, kPatience, [&] { return n_waiting_ > 0; }));
    }
    Fd accept() {
        wait();
        int pair[2];
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        const std::lock_guard lock(mutex_);
        ends_.emplace_back(pair[0]);
        changed_.notify_all();
        return Fd(pair[1]);
    }

  private:
    std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    std::deque<Fd> ends_;
    int n_waiting_ = 0;
    bool shut_ = false;
    const std::string public_key_;
};

inline bool send_all(const Fd& fd, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t n = ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (n <= 0) return false;
        bytes.remove_prefix(std::size_t(n));
    }
    return true;
}

// What an OpenAI server's stream begins with, and one piece of text of it.
inline constexpr std::string_view kStreamHead =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
inline std::string text_event(const std::string& text) {
    return R"(data: {"choices":[{"index":0,"delta":{"content":")" + text + "\"}}]}\n\n";
}
inline constexpr std::string_view kStreamEnd =
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
    "data: [DONE]\n\n";

// Remembers what it was given.
class TestReply final : public net::Reply {
  public:
    void send(net::HttpResponse response) override {
        const std::lock_guard lock(mutex_);
        sent = std::move(response);
        ended = true;
    }
    void begin(int code, net::Headers fields) override {
        const std::lock_guard lock(mutex_);
        status = code;
        headers = std::move(fields);
    }
    void write(std::string bytes) override {
        const std::lock_guard lock(mutex_);
        written += bytes;
    }
    void end() override {
        const std::lock_guard lock(mutex_);
        ended = true;
    }
    void abort() override { end(); }
    bool peer_gone() const override { return false; }
    std::size_t queued_bytes() const override { return 0; }
    bool writable() const override { return true; }
    void on_peer_gone(std::function<void()>) override {}

    bool wait() const {
        return eventually([&] {
            const std::lock_guard lock(mutex_);
            return ended;
        });
    }
    std::string text() const {
        const std::lock_guard lock(mutex_);
        return written;
    }

    // Of a stream; of a whole answer. Read under the mutex, or after wait().
    int status = 0;
    net::Headers headers;
    std::string written;
    net::HttpResponse sent;
    bool ended = false;

  private:
    mutable std::mutex mutex_;  // guards the above
};

inline backend::UpstreamConfig acme(const std::vector<std::string>& models) {
    backend::UpstreamConfig config;
    config.name = "acme";
    config.base_url = "http://127.0.0.1:1/v1";
    for (const std::string& model : models) {
        route::Target target;
        target.model = model;
        target.upstream = "acme";
        target.tier = route::Tier::cloud;
        config.models.push_back(target);
    }
    const Status checked = backend::check(config);
    EXPECT_TRUE(checked) << checked.error().message;
    return config;
}

// In the order of its members' lives; what is under way ends before they do.
struct TestHouse {
    explicit TestHouse(const std::vector<std::string>& upstream_models,
                       std::vector<LocalPlace> locals = {}, Places::Load load = Places::load_model)
        : journal(open_journal()),
          places(std::move(locals), {acme(upstream_models)}, &door, std::move(load)),
          house{.places = places,
                .journal = *journal,
                .metrics = metrics,
                .prep = prep,
                .policy = {},
                .clock = clock} {}
    ~TestHouse() {
        prep.close();
        door.shut();
        EXPECT_TRUE(eventually([&] { return metrics.open_requests == 0; }));
    }

    static std::unique_ptr<journal::Journal> open_journal() {
        auto opened = journal::Journal::open({test::temp_folder(), journal::Sync::none});
        EXPECT_TRUE(opened) << opened.error().message;
        return std::move(*opened);
    }

    ManualClock clock;  // set before anything runs, then left alone
    Metrics metrics;
    PrepPool prep;
    std::unique_ptr<journal::Journal> journal;
    TestDoor door;
    Places places;
    House house;
};

}  // namespace hearth::serve
