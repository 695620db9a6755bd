// A door for a test: the real broker process, an allow-list, and its receipts kept.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "egress/door.h"

namespace hearth::egress {

// Nothing here takes long; a loaded machine under a sanitizer may.
inline constexpr std::int64_t kPatientMs = 30'000;

// Receipts as they come, with a way to wait for the n-th.
class Receipts {
  public:
    std::function<void(Receipt)> sink() {
        return [this](Receipt receipt) {
            const std::lock_guard lock(mutex_);
            all_.push_back(std::move(receipt));
            arrived_.notify_all();
        };
    }
    std::vector<Receipt> wait(std::size_t n) {
        std::unique_lock lock(mutex_);
        arrived_.wait_for(lock, std::chrono::seconds(30), [&] { return all_.size() >= n; });
        return all_;
    }

  private:
    std::mutex mutex_;  // guards all_
    std::condition_variable arrived_;
    std::vector<Receipt> all_;
};

inline Destination plain(int port, std::string host = "127.0.0.1") {
    return {std::move(host), port, false};
}

struct Opened {
    Receipts receipts;  // outlives the door
    std::unique_ptr<Door> door;
    explicit Opened(std::vector<AllowRule> rules) {
        auto opened = Door::open(std::move(rules), receipts.sink());
        if (opened)
            door = std::move(*opened);
        else
            ADD_FAILURE() << opened.error().message;
    }
};

inline AllowRule rule_for(Destination destination, std::string name = "test") {
    return {.destination = std::move(destination), .name = std::move(name)};
}

}  // namespace hearth::egress
