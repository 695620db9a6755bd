// Collector: a sink that keeps what it is given, and a way to wait for the end.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace hearth::engine {

class Collector final : public OutputSink {
  public:
    void on_output(Output output) override {
        {
            const std::lock_guard lock(mutex_);
            outputs_.push_back(std::move(output));
        }
        changed_.notify_all();
        if (after_output) after_output(*this);
    }
    void on_finish(Finish finish) override {
        if (at_finish) at_finish();
        {
            const std::lock_guard lock(mutex_);
            finish_ = std::move(finish);
            ++n_finishes_;
        }
        changed_.notify_all();
    }
    bool ready() const override { return is_ready; }
    bool cancelled() const override { return is_cancelled; }

    Finish wait() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return n_finishes_ > 0; });
        return finish_;
    }
    void wait_for_outputs(std::size_t n) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return outputs_.size() >= n || n_finishes_ > 0; });
    }
    std::vector<Output> outputs() const {
        const std::lock_guard lock(mutex_);
        return outputs_;
    }
    std::size_t n_outputs() const {
        const std::lock_guard lock(mutex_);
        return outputs_.size();
    }
    int n_finishes() const {
        const std::lock_guard lock(mutex_);
        return n_finishes_;
    }
    std::vector<TokenId> ids() const {
        std::vector<TokenId> ids;
        for (const Output& o : outputs()) ids.push_back(o.id);
        return ids;
    }
    std::string text() {
        const Finish finish = wait();
        std::string text;
        for (const Output& o : outputs()) text += o.text;
        return text + finish.text;
    }

    std::atomic<bool> is_ready = true, is_cancelled = false;
    std::function<void(Collector&)> after_output;  // on the engine's thread
    std::function<void()> at_finish;

  private:
    mutable std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    std::vector<Output> outputs_;
    Finish finish_;
    int n_finishes_ = 0;
};

}  // namespace hearth::engine
