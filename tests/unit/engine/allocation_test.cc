// A decode step allocates nothing after the first: operator new is replaced and counted by thread.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

#include "base/sanitized.h"
#include "unit/engine/fakes.h"

namespace {
thread_local long n_allocations = 0;
}

#if !HEARTH_SANITIZED
void* operator new(std::size_t size) {
    ++n_allocations;
    if (void* p = std::malloc(size ? size : 1)) return p;
    throw std::bad_alloc();
}
void* operator new[](std::size_t size) {
    return operator new(size);
}
void operator delete(void* p) noexcept {
    std::free(p);
}
void operator delete[](void* p) noexcept {
    std::free(p);
}
void operator delete(void* p, std::size_t) noexcept {
    std::free(p);
}
void operator delete[](void* p, std::size_t) noexcept {
    std::free(p);
}
#endif

namespace hearth::engine {
namespace {

// Notes how much was allocated since the output before; keeps nothing.
class Counter final : public OutputSink {
  public:
    void on_output(Output) override {
        if (n_outputs_++ > 1) most_ = std::max(most_, n_allocations - last_);
        last_ = n_allocations;
    }
    void on_finish(Finish) override { finished_ = true; }
    long most() const { return most_; }
    bool finished() const { return finished_; }

  private:
    int n_outputs_ = 0;
    long last_ = 0, most_ = 0;
    bool finished_ = false;
};

void decode_counts_nothing(const Sampling& sampling, std::vector<std::string> stop, long allowed) {
    if (HEARTH_SANITIZED) GTEST_SKIP() << "sanitizers count for themselves";
    Bench bench({.n_ctx = 256, .n_parallel = 4});
    std::vector<std::shared_ptr<Counter>> sinks;
    for (int i = 0; i < 3; ++i) {
        sinks.push_back(std::make_shared<Counter>());
        ASSERT_TRUE(bench.submit({.prompt = tokens(10, i),
                                  .sampling = sampling,
                                  .max_tokens = 200,
                                  .stop = stop,
                                  .sink = sinks.back()}));
    }
    bench.run();
    for (const auto& sink : sinks) {
        EXPECT_TRUE(sink->finished());
        EXPECT_LE(sink->most(), allowed);
    }
}

TEST(Allocation, a_greedy_decode_step_allocates_nothing) {
    decode_counts_nothing({.temperature = 0}, {}, 0);
}

TEST(Allocation, a_sampled_decode_step_with_stop_strings_allocates_nothing) {
    decode_counts_nothing({.temperature = 1, .top_k = 0, .top_p = 0.95}, {"zzz!", "abab!"}, 0);
}

TEST(Allocation, penalties_and_biases_allocate_nothing) {
    decode_counts_nothing({.temperature = 1,
                           .repeat_penalty = 1.2,
                           .presence_penalty = 0.3,
                           .frequency_penalty = 0.2,
                           .logit_bias = {{TokenId(5), 2}, {TokenId(7), -100}}},
                          {}, 0);
}

TEST(Allocation, answers_that_share_a_prompt_allocate_nothing) {
    if (HEARTH_SANITIZED) GTEST_SKIP() << "sanitizers count for themselves";
    Bench bench({.n_ctx = 256, .n_parallel = 3});
    std::vector<std::shared_ptr<Counter>> sinks;
    std::vector<Request> requests;
    for (int i = 0; i < 3; ++i) {
        sinks.push_back(std::make_shared<Counter>());
        requests.push_back({.prompt = tokens(40, 1),
                            .sampling = {.seed = std::uint64_t(i)},
                            .max_tokens = 200,
                            .sink = sinks.back()});
    }
    ASSERT_TRUE(bench.loop.submit(std::move(requests)));
    bench.run();
    for (const auto& sink : sinks) {
        EXPECT_TRUE(sink->finished());
        EXPECT_EQ(sink->most(), 0);
    }
}

TEST(Allocation, log_probabilities_allocate_what_they_hand_out) {
    // One vector for each of the three sequences' outputs in a step.
    decode_counts_nothing({.temperature = 1, .n_logprobs = 5}, {}, 3);
}

}  // namespace
}  // namespace hearth::engine
