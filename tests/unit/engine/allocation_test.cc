// A step allocates nothing after the first: operator new is replaced and counts for all threads, so
// that the compute threads' are seen as well.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

#include "base/sanitized.h"
#include "support/model_check.h"
#include "support/tiny_model.h"
#include "unit/engine/fakes.h"

namespace {
std::atomic<long> n_allocations = 0;
}

#if !HEARTH_SANITIZED
[[gnu::noinline]] void* operator new(std::size_t size) {
    ++n_allocations;
    if (void* p = std::malloc(size ? size : 1)) return p;
    throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new[](std::size_t size) {
    return operator new(size);
}
// What the device's buffers come from.
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t align) {
    ++n_allocations;
    const auto to = std::size_t(align);
    if (void* p = std::aligned_alloc(to, (std::max<std::size_t>(size, 1) + to - 1) / to * to))
        return p;
    throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p, std::align_val_t) noexcept {
    std::free(p);
}
[[gnu::noinline]] void operator delete(void* p) noexcept {
    std::free(p);
}
[[gnu::noinline]] void operator delete[](void* p) noexcept {
    std::free(p);
}
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept {
    std::free(p);
}
[[gnu::noinline]] void operator delete[](void* p, std::size_t) noexcept {
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

TEST(Allocation, prompts_that_are_found_and_answers_that_are_remembered_allocate_nothing) {
    if (HEARTH_SANITIZED) GTEST_SKIP() << "sanitizers count for themselves";
    Bench bench({.n_ctx = 256, .n_parallel = 3, .n_blocks = 20, .n_prefix_tokens = 320});
    for (int round = 0; round < 3; ++round) {
        std::vector<std::shared_ptr<Counter>> sinks;
        for (int i = 0; i < 3; ++i) {
            sinks.push_back(std::make_shared<Counter>());
            ASSERT_TRUE(bench.submit({.prompt = tokens(40, 1),
                                      .owner = i == 2 ? "ben" : "ann",
                                      .sampling = {.seed = std::uint64_t(i)},
                                      .max_tokens = 150,
                                      .sink = sinks.back()}));
        }
        bench.run();
        for (const auto& sink : sinks) {
            EXPECT_TRUE(sink->finished());
            EXPECT_EQ(sink->most(), 0);
        }
    }
    EXPECT_GT(bench.loop.stats().cached_tokens_total, 0);
}

// The whole loop over a real network: each family and a format of each kind, as the engine puts
// them together.
class Real {
  public:
    Real(const test::TinyModel& shape, const std::string& isa, const std::string& kv)
        : file_(test::tiny_model(shape).bytes()) {
        options_.kv_type = kv;
        options_.n_blocks = options_.n_parallel * blocks_for(options_.n_ctx);
        device_ = std::move(*model::make_cpu_device(isa, 2));
        model_ = std::move(*model::Model::load(
            {.name = "tiny", .path = "", .bytes = std::as_bytes(std::span(file_))}, *device_,
            {.max_rows = options_.n_batch_tokens, .max_logits = max_logits(options_)}));
        const model::Config& c = model_->config();
        kv_ = std::move(*device_->make_kv({.n_layer = c.n_layer,
                                           .n_head_kv = c.n_head_kv,
                                           .head_dim = c.head_dim,
                                           .n_block = options_.n_blocks,
                                           .type = kv}));
        loop_ = std::make_unique<StepLoop>(
            Machine{model_->network(), *device_, *kv_, model_->tokenizer(), c.n_vocab}, options_,
            clock_);
    }
    std::size_t scratch_bytes() const { return device_->scratch_bytes(); }

    // Three prompts of 90 tokens in chunks of at most 32 rows, and 30 tokens of each answer; then
    // the same again with other lengths. How much every step after the first took.
    long most_of_later_steps() {
        long most = 0;
        for (const std::int64_t n_prompt : {90, 61}) {
            const long at_first = n_allocations;
            std::vector<std::shared_ptr<Counter>> sinks;
            for (int i = 0; i < 3; ++i) {
                std::vector<Request> one(1);
                one[0] = {.prompt = tokens(n_prompt, i),
                          .sampling = {.temperature = i == 0 ? 0 : 0.9, .repeat_penalty = 1.1},
                          .max_tokens = 30,
                          .ignore_end = true,
                          .sink = sinks.emplace_back(std::make_shared<Counter>())};
                EXPECT_TRUE(loop_->submit(std::move(one)));
            }
            EXPECT_GT(n_allocations, at_first);  // somebody counts
            int n_steps = 0;
            for (long before = n_allocations; loop_->step(); before = n_allocations)
                if (n_steps++ > 0) most = std::max(most, n_allocations - before);
            EXPECT_GT(n_steps, 30);
            for (const auto& sink : sinks) EXPECT_TRUE(sink->finished());
        }
        return most;
    }

  private:
    EngineOptions options_{.n_ctx = 128, .n_parallel = 3, .n_batch_tokens = 32};
    const std::string file_;
    ManualClock clock_;
    std::unique_ptr<model::Device> device_;
    std::unique_ptr<model::Model> model_;
    std::unique_ptr<model::KvStore> kv_;
    std::unique_ptr<StepLoop> loop_;
};

TEST(Allocation, no_step_after_the_first_allocates_in_any_family) {
    if (HEARTH_SANITIZED) GTEST_SKIP() << "sanitizers count for themselves";
    for (const char* family : test::kFamilies)
        for (const std::string& isa : test::supported_isas())
            for (const std::uint32_t type :
                 {test::kF32, test::kBF16, test::kQ8_0, test::kQ4_K, test::kQ6_K}) {
                test::TinyModel shape = test::tiny_of(family, type);
                shape.n_layer = 1;
                const std::string kv = type == test::kF32    ? "f32"
                                       : type == test::kQ4_K ? "bf16"
                                                             : "f16";
                Real real(shape, isa, kv);
                const std::size_t scratch = real.scratch_bytes();
                EXPECT_EQ(real.most_of_later_steps(), 0) << family << " " << isa << " " << type;
                EXPECT_EQ(real.scratch_bytes(), scratch) << family << " " << isa << " " << type;
            }
}

TEST(Allocation, no_step_after_the_first_allocates_with_a_quantized_cache) {
    if (HEARTH_SANITIZED) GTEST_SKIP() << "sanitizers count for themselves";
    for (const char* family : {"qwen3", "qwen3moe"})
        EXPECT_EQ(Real(test::tiny_of(family, test::kQ8_0), "", "q8_0").most_of_later_steps(), 0)
            << family;
}

TEST(Allocation, log_probabilities_allocate_what_they_hand_out) {
    // One vector for each of the three sequences' outputs in a step.
    decode_counts_nothing({.temperature = 1, .n_logprobs = 5}, {}, 3);
}

}  // namespace
}  // namespace hearth::engine
