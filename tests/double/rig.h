// What tests of the upstream backend share: a sink that checks the order of what it hears, and a
// rig of double, door and backend.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "backend/upstream.h"
#include "double/ca_file.h"
#include "double/double.h"

namespace hearth::backend {

using namespace std::chrono_literals;
using chat::Event;

// Keeps what it hears, checks its order, and lets a test wait for the end.
class Sink final : public chat::EventSink {
  public:
    void on_event(Event event) override {
        const std::lock_guard lock(mutex_);
        if (n_terminal_ > 0) ++n_late_;
        if (chat::is_terminal(event)) ++n_terminal_;
        if (const auto* text = std::get_if<chat::TextDelta>(&event)) text_ += text->text;
        if (keep_events_ || chat::is_terminal(event)) events_.push_back(std::move(event));
        ++n_events_;
        changed_.notify_all();
    }
    bool ready() const override { return ready_; }
    bool cancelled() const override { return cancelled_; }

    // The end, or nothing after a long while.
    std::optional<Event> wait() {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, 60s, [&] { return n_terminal_ > 0; });
        if (n_terminal_ == 0) return std::nullopt;
        return events_.back();
    }
    bool wait_events(std::int64_t n) {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, 60s, [&] { return n_events_ >= n; });
    }
    std::string text() const {
        const std::lock_guard lock(mutex_);
        return text_;
    }
    std::int64_t n_events() const {
        const std::lock_guard lock(mutex_);
        return n_events_;
    }
    std::vector<Event> events() const {
        const std::lock_guard lock(mutex_);
        return events_;
    }
    // One terminal event, none after it.
    void expect_ended_once() const {
        const std::lock_guard lock(mutex_);
        EXPECT_EQ(n_terminal_, 1);
        EXPECT_EQ(n_late_, 0);
    }

    std::atomic<bool> ready_{true}, cancelled_{false};
    bool keep_events_ = true;

  private:
    mutable std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    std::vector<Event> events_;
    std::string text_;
    std::int64_t n_events_ = 0;
    int n_terminal_ = 0, n_late_ = 0;
};

inline Job job(std::shared_ptr<const chat::ChatRequest> request, std::shared_ptr<Sink> sink,
               std::unique_ptr<egress::EgressPermit> permit) {
    Job out;
    out.request = std::move(request);
    out.model = "big-1";
    out.sink = std::move(sink);
    out.permit = std::move(permit);
    return out;
}

// A double, a door that allows it, and a backend of one behaviour.
class Rig {
  public:
    explicit Rig(const std::string& behaviour, bool tls = false,
                 std::function<void(UpstreamConfig&)> change = {}) {
        auto started = test::Double::start({.tls = tls});
        if (!started) throw std::runtime_error(started.error().message);
        server = std::move(*started);
        config.name = "acme";
        config.base_url = server->url() + "/" + behaviour + "/v1";
        config.key = Secret("sk-test-key");
        config.models.resize(1);
        config.models[0].model = "big-1";
        if (tls) config.ca_file = test::ca_file_of(*server);
        if (change) change(config);
        const Status ok = check(config);
        if (!ok) throw std::runtime_error(ok.error().message);
        auto opened = egress::Door::open({allow_rule(config)}, [this](egress::Receipt receipt) {
            const std::lock_guard lock(mutex);
            receipts.push_back(std::move(receipt));
        });
        if (!opened) throw std::runtime_error(opened.error().message);
        door = std::move(*opened);
        backend = UpstreamBackend::open(config, *door);
    }
    ~Rig() {
        backend.reset();
        door.reset();
    }

    std::unique_ptr<egress::EgressPermit> permit() const {
        route::Facts facts;
        facts.model = "acme/big-1";
        const auto decision = route::decide(facts, {}, {}, config.models);
        auto minted = route::PermitMint::mint(decision, config.models, 0, "req-7");
        if (!minted) return nullptr;
        return std::make_unique<egress::EgressPermit>(std::move(*minted));
    }

    std::shared_ptr<Sink> start(const std::function<void(Sink&)>& prepare = {}) {
        auto sink = std::make_shared<Sink>();
        if (prepare) prepare(*sink);
        auto request = std::make_shared<chat::ChatRequest>();
        request->model = "acme/big-1";
        request->messages.push_back(
            {chat::Role::user, {chat::TextPart{"a question"}}, {}, "", "", ""});
        backend->start(job(request, sink, permit()));
        return sink;
    }
    // How a job ended that failed, with what it used up.
    chat::Failed failed() {
        const auto sink = start();
        const auto end = sink->wait();
        if (end && std::holds_alternative<chat::Failed>(*end)) return std::get<chat::Failed>(*end);
        return {{.kind = ErrorKind::internal, .message = "it did not fail"}};
    }
    // The error a job ends with.
    Error failure(const std::function<void(Sink&)>& prepare = {}) {
        const auto sink = start(prepare);
        const auto end = sink->wait();
        sink->expect_ended_once();
        if (!end) return {.kind = ErrorKind::internal, .message = "no end"};
        if (const auto* failed = std::get_if<chat::Failed>(&*end)) return failed->error;
        return {.kind = ErrorKind::internal, .message = "it finished"};
    }
    bool comes_true(const std::function<bool()>& what) const {
        for (int i = 0; i < 6000; ++i) {
            if (what()) return true;
            std::this_thread::sleep_for(10ms);
        }
        return false;
    }

    std::unique_ptr<test::Double> server;
    UpstreamConfig config;
    std::mutex mutex;  // guards receipts
    std::vector<egress::Receipt> receipts;
    std::unique_ptr<egress::Door> door;
    std::unique_ptr<UpstreamBackend> backend;
};

}  // namespace hearth::backend
