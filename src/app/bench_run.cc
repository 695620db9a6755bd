// bench_run: one measurement through the engine itself, as a server would use it.
#include "app/bench_run.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "base/clock.h"

namespace hearth::app {
namespace {

// Waits for the end of a set of sequences. None decodes before all have their first token: a rate
// of n sequences is one of n, without the prefill of any.
class Gate {
  public:
    explicit Gate(std::int64_t n) : n_prefilling_(n), n_left_(n) {}
    // Engine thread, these three.
    void leave_prefill() {
        if (--n_prefilling_ == 0) decode_begin_ns_ = system_clock().mono_ns();
    }
    bool open() const { return n_prefilling_ == 0; }
    void pass(engine::Finish finish) {
        const std::lock_guard lock(mutex_);
        finishes_.push_back(std::move(finish));
        decode_ns_ = system_clock().mono_ns() - decode_begin_ns_;
        if (--n_left_ == 0) done_.notify_all();
    }
    const std::vector<engine::Finish>& wait() {
        std::unique_lock lock(mutex_);
        done_.wait(lock, [&] { return n_left_ == 0; });
        return finishes_;
    }
    // From the last first token to the last end. Requires: wait().
    std::int64_t decode_ns() const { return decode_ns_; }

  private:
    std::int64_t n_prefilling_, decode_begin_ns_ = 0;  // engine thread
    std::mutex mutex_;                                 // guards all below
    std::condition_variable done_;
    std::int64_t n_left_, decode_ns_ = 0;
    std::vector<engine::Finish> finishes_;
};

struct Counter final : engine::OutputSink {
    explicit Counter(std::shared_ptr<Gate> g) : gate(std::move(g)) {}
    void on_output(engine::Output) override { leave_prefill(); }
    bool ready() const override { return prefilling || gate->open(); }
    void on_finish(engine::Finish finish) override {
        leave_prefill();  // where it failed before: nobody waits for it
        gate->pass(std::move(finish));
    }
    void leave_prefill() {
        if (std::exchange(prefilling, false)) gate->leave_prefill();
    }
    std::shared_ptr<Gate> gate;
    bool prefilling = true;
};

// Ids spread over the vocabulary; which ones does not change the work.
std::vector<TokenId> prompt_of(std::int64_t n, std::int64_t n_vocab, std::int64_t salt) {
    std::vector<TokenId> ids;
    std::uint64_t x = std::uint64_t(salt) * 0x9e3779b97f4a7c15u + 1;
    for (std::int64_t i = 0; i < n; ++i) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        ids.emplace_back(std::int32_t((x >> 33) % std::uint64_t(n_vocab)));
    }
    return ids;
}

}  // namespace

Result<BenchRun> bench_run(engine::Engine& engine, std::int64_t n_prompt, std::int64_t n_generate,
                           std::int64_t n_parallel) {
    auto gate = std::make_shared<Gate>(n_parallel);
    std::vector<engine::Request> requests;
    for (std::int64_t i = 0; i < n_parallel; ++i) {
        engine::Request r;
        r.prompt = prompt_of(n_prompt, engine.model().tokenizer().n_vocab(), i);
        r.sampling.temperature = 0;
        r.max_tokens = n_generate;
        r.ignore_end = true;
        r.sink = std::make_shared<Counter>(gate);
        requests.push_back(std::move(r));
    }
    HEARTH_CHECK_OK(engine.submit_all(std::move(requests)));
    BenchRun m;
    std::int64_t prefill_ns = 0, n_decoded = 0;
    for (const engine::Finish& finish : gate->wait()) {
        if (finish.reason == engine::StopReason::failed) return fail(finish.error);
        prefill_ns = std::max(prefill_ns, finish.prefill_ns);
        n_decoded += finish.n_generated - 1;  // the first comes with the prefill
        m.ttft_ms = std::max(m.ttft_ms, double(finish.ttft_ns) / kNsPerMs);
    }
    if (prefill_ns > 0)
        m.prefill_tps = double(n_prompt * n_parallel) * kNsPerS / double(prefill_ns);
    if (n_decoded > 0 && gate->decode_ns() > 0)
        m.decode_tps = double(n_decoded) * kNsPerS / double(gate->decode_ns());
    return m;
}

}  // namespace hearth::app
