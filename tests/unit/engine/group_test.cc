// Answers to one prompt: computed once, shared by whole blocks, and each what it would be alone.
#include <gtest/gtest.h>

#include "unit/engine/collector.h"
#include "unit/engine/fakes.h"

namespace hearth::engine {
namespace {

using Sinks = std::vector<std::shared_ptr<Collector>>;

Sinks submit_group(Bench& bench, const std::vector<TokenId>& prompt, std::int64_t n,
                   std::int64_t max_tokens) {
    Sinks sinks;
    std::vector<Request> requests;
    for (std::int64_t i = 0; i < n; ++i) {
        sinks.push_back(std::make_shared<Collector>());
        requests.push_back({.prompt = prompt,
                            .sampling = {.temperature = 1, .seed = std::uint64_t(i)},
                            .max_tokens = max_tokens,
                            .ignore_end = true,
                            .sink = sinks.back()});
    }
    EXPECT_TRUE(bench.loop.submit(std::move(requests)));
    return sinks;
}

// What answer i says on its own.
std::vector<TokenId> alone(const std::vector<TokenId>& prompt, std::int64_t i,
                           std::int64_t max_tokens) {
    Bench bench({.n_ctx = 256});
    auto sink = std::make_shared<Collector>();
    EXPECT_TRUE(bench.submit({.prompt = prompt,
                              .sampling = {.temperature = 1, .seed = std::uint64_t(i)},
                              .max_tokens = max_tokens,
                              .ignore_end = true,
                              .sink = sink}));
    bench.run();
    return sink->ids();
}

void expect_alone(const Sinks& sinks, const std::vector<TokenId>& prompt, std::int64_t n) {
    for (std::size_t i = 0; i < sinks.size(); ++i) {
        ASSERT_EQ(sinks[i]->n_finishes(), 1) << i;
        EXPECT_EQ(sinks[i]->ids(), alone(prompt, std::int64_t(i), n)) << i;
    }
}

TEST(Group, the_prompt_is_computed_once_and_its_blocks_are_shared) {
    for (const std::int64_t n_prompt : {17, 32, 33, 50, 96}) {
        Bench bench({.n_ctx = 256, .n_parallel = 4, .n_batch_tokens = 24});
        const auto prompt = tokens(n_prompt, int(n_prompt));
        std::int64_t most_blocks = 0;
        bench.network.at_step = [&](const model::Step&) {
            most_blocks = std::max(most_blocks, bench.loop.stats().n_blocks_used);
        };
        const Sinks sinks = submit_group(bench, prompt, 4, 20);
        bench.run();
        expect_alone(sinks, prompt, 20);
        const std::int64_t n_shared = (n_prompt - 1) / 16 * 16;
        EXPECT_EQ(bench.loop.stats().prompt_tokens_total, n_prompt + 3 * (n_prompt - n_shared));
        for (std::size_t i = 0; i < 4; ++i)
            EXPECT_EQ(sinks[i]->wait().n_cached, i == 0 ? 0 : n_shared);
        EXPECT_LE(most_blocks, n_shared / 16 + 4 * (blocks_for(n_prompt + 20) - n_shared / 16));
        EXPECT_EQ(bench.loop.stats().n_blocks_used, 0);
    }
}

TEST(Group, answers_that_find_no_place_inherit_the_prompt) {
    Bench bench({.n_ctx = 256, .n_parallel = 2});
    const auto prompt = tokens(70, 3);
    const Sinks sinks = submit_group(bench, prompt, 7, 9);
    bench.run();
    expect_alone(sinks, prompt, 9);
    EXPECT_EQ(bench.loop.stats().prompt_tokens_total, 70 + 6 * (70 - 64));
    EXPECT_EQ(bench.loop.stats().n_blocks_used, 0);
    Bench one_by_one({.n_ctx = 256, .n_parallel = 1});
    const Sinks more = submit_group(one_by_one, prompt, 3, 9);
    one_by_one.run();
    expect_alone(more, prompt, 9);
    EXPECT_EQ(one_by_one.loop.stats().prompt_tokens_total, 70 + 2 * (70 - 64));
}

TEST(Group, a_cancelled_first_answer_leaves_the_rest_whole) {
    for (const int n_steps : {0, 1, 2, 5, 12}) {
        Bench bench({.n_ctx = 256, .n_parallel = 3, .n_batch_tokens = 20});
        const auto prompt = tokens(90, 4);
        const Sinks sinks = submit_group(bench, prompt, 5, 30);
        bench.run(n_steps);
        sinks[0]->is_cancelled = true;
        bench.run();
        EXPECT_EQ(sinks[0]->wait().reason, StopReason::cancelled);
        for (std::size_t i = 1; i < 5; ++i)
            EXPECT_EQ(sinks[i]->ids(), alone(prompt, std::int64_t(i), 30)) << i;
        EXPECT_EQ(bench.loop.stats().n_blocks_used, 0);
    }
}

TEST(Group, when_all_are_cancelled_nothing_stays) {
    for (const int n_steps : {0, 1, 3, 8}) {
        Bench bench({.n_ctx = 256, .n_parallel = 2, .n_batch_tokens = 40});
        const Sinks sinks = submit_group(bench, tokens(90, 4), 5, 30);
        bench.run(n_steps);
        for (const auto& sink : sinks) sink->is_cancelled = true;
        bench.run();
        for (const auto& sink : sinks) EXPECT_EQ(sink->n_finishes(), 1);
        const EngineStats stats = bench.loop.stats();
        EXPECT_EQ(stats.n_running + stats.n_waiting + stats.n_blocks_used, 0);
    }
}

TEST(Group, others_are_not_kept_waiting_by_answers_that_stand_aside) {
    Bench bench({.n_ctx = 1024, .n_parallel = 3, .n_batch_tokens = 16});
    const auto prompt = tokens(800, 5);
    const Sinks sinks = submit_group(bench, prompt, 2, 4);
    auto other = std::make_shared<Collector>();
    ASSERT_TRUE(bench.submit({.prompt = tokens(4, 6), .max_tokens = 5, .sink = other}));
    bench.run(10);
    EXPECT_EQ(other->n_finishes(), 1);
    EXPECT_EQ(sinks[0]->n_outputs(), 0u);
    bench.run();
    EXPECT_EQ(sinks[1]->wait().n_cached, 784);
}

TEST(Group, few_blocks_change_no_token_and_stop_nobody) {
    // One context and a block: the shared prompt leaves room for the answers only in turns.
    Bench bench({.n_ctx = 160, .n_parallel = 4, .n_blocks = 11});
    const auto prompt = tokens(100, 8);
    const Sinks sinks = submit_group(bench, prompt, 4, 60);
    const Sinks others = submit_group(bench, tokens(40, 9), 3, 60);
    bench.run();
    expect_alone(sinks, prompt, 60);
    expect_alone(others, tokens(40, 9), 60);
    EXPECT_EQ(bench.loop.stats().n_blocks_used, 0);
}

TEST(Group, only_equal_prompts_side_by_side_share) {
    Bench bench({.n_ctx = 256, .n_parallel = 4});
    Sinks sinks;
    std::vector<Request> requests;
    for (const int seed : {1, 2, 2, 1}) {
        sinks.push_back(std::make_shared<Collector>());
        requests.push_back({.prompt = tokens(40, seed), .max_tokens = 3, .sink = sinks.back()});
    }
    ASSERT_TRUE(bench.loop.submit(std::move(requests)));
    bench.run();
    for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(sinks[i]->wait().n_cached, i == 2 ? 32 : 0) << i;
}

}  // namespace
}  // namespace hearth::engine
