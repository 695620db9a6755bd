// Random groups of answers among random single requests, with few blocks, cancellations and late
// readers: every answer is the one it would be alone, everyone ends, nothing stays behind.
#include <gtest/gtest.h>

#include "property/answers.h"
#include "support/seeds.h"

namespace hearth::engine {
namespace {

using test::Dice;

void run_workload(std::uint64_t seed) {
    Dice dice(seed);
    EngineOptions options;
    options.n_ctx = dice.roll(20, 200);
    options.n_parallel = dice.roll(1, 5);
    options.n_batch_tokens = options.n_parallel + dice.roll(0, 40);
    const std::int64_t n_least = blocks_for(options.n_ctx);
    options.n_blocks = n_least + (dice.chance(70) ? dice.roll(0, 3) : 4 * n_least);
    options.prefill_chunk = dice.chance(50) ? 0 : dice.roll(1, 20);
    Bench bench(options);
    std::vector<Answer> answers;
    std::int64_t n_idle = 0;
    for (std::int64_t step = 0; step < 201 || n_idle < 3; ++step) {
        ASSERT_LT(step, 50'000) << "someone waits for ever";
        if (step < 200 && dice.chance(10)) {
            std::vector<Request> requests;
            const auto prompt = tokens(dice.roll(1, options.n_ctx - 1), int(dice.roll(0, 1000)));
            const auto n_prompt = std::int64_t(prompt.size());
            const std::int64_t n_same = dice.roll(1, options.n_ctx - n_prompt);
            const bool same = dice.chance(80);
            for (std::int64_t i = dice.roll(1, 6); i > 0; --i) {
                Answer& a = answers.emplace_back();
                a.prompt = prompt;
                a.n_new = same ? n_same : dice.roll(1, options.n_ctx - n_prompt);
                requests.push_back(a.request());
            }
            ASSERT_TRUE(bench.loop.submit(std::move(requests)));
        }
        for (Answer& a : answers) {
            if (a.sink->n_finishes() > 0) continue;
            if (dice.chance(1) && dice.chance(30)) a.sink->is_cancelled = a.cancelled = true;
            a.sink->is_ready = step >= 200 || !dice.chance(5);
        }
        n_idle = bench.loop.step() ? 0 : n_idle + 1;
    }
    for (std::size_t i = 0; i < answers.size(); ++i) {
        SCOPED_TRACE(i);
        expect_ended_as_if_alone(answers[i], bench);
    }
    expect_nothing_left(bench);
}

TEST(Groups, under_random_workloads_everyone_ends_with_the_right_answer) {
    for (const std::uint64_t seed : test::seeds(150)) {
        SCOPED_TRACE(seed);
        run_workload(seed);
        if (testing::Test::HasFailure()) return;
    }
}

}  // namespace
}  // namespace hearth::engine
