// Prompts that begin as an earlier one did: what is computed again, and what is not, and for whom.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "unit/engine/collector.h"
#include "unit/engine/fakes.h"

namespace hearth::engine {
namespace {

using Prompt = std::vector<TokenId>;

struct Told {
    Finish finish;
    Prompt ids;
    std::int64_t n_computed = 0;  // rows of prompts in the meantime
};

std::shared_ptr<Collector> submit(Bench& bench, const Prompt& prompt, std::string owner = {},
                                  std::int64_t n_new = 8) {
    auto sink = std::make_shared<Collector>();
    EXPECT_TRUE(bench.submit({.prompt = prompt,
                              .owner = std::move(owner),
                              .sampling = {.temperature = 0},
                              .max_tokens = n_new,
                              .ignore_end = true,
                              .sink = sink}));
    return sink;
}

// One request, from its submission to its end.
Told ask(Bench& bench, const Prompt& prompt, std::string owner = {}, std::int64_t n_new = 8) {
    const std::int64_t before = bench.loop.stats().prompt_tokens_total;
    auto sink = submit(bench, prompt, std::move(owner), n_new);
    bench.run();
    EXPECT_EQ(sink->ids(), bench.expected(prompt, n_new));
    return {sink->wait(), sink->ids(), bench.loop.stats().prompt_tokens_total - before};
}

Prompt joined(Prompt a, const Prompt& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

const EngineOptions kOptions{.n_ctx = 256, .n_parallel = 4, .n_batch_tokens = 24};

TEST(Prefix, of_a_prompt_that_comes_again_only_the_last_block_is_computed) {
    for (const std::int64_t n : {1, 15, 16, 17, 31, 32, 33, 48, 49, 100}) {
        Bench bench(kOptions);
        const Prompt prompt = tokens(n, int(n));
        EXPECT_EQ(ask(bench, prompt).n_computed, n);
        const Told again = ask(bench, prompt);
        const std::int64_t n_cached = (n - 1) / 16 * 16;
        EXPECT_EQ(again.finish.n_cached, n_cached) << n;
        EXPECT_EQ(again.n_computed, n - n_cached) << n;
        EXPECT_EQ(again.finish.n_prompt, n);
        const EngineStats stats = bench.loop.stats();
        EXPECT_EQ(stats.cached_tokens_total, n_cached);
        EXPECT_EQ(stats.n_blocks_used, 0);
        EXPECT_EQ(stats.n_blocks_remembered, (n + 7) / 16);  // the last token is never computed
    }
}

TEST(Prefix, the_next_turn_finds_the_answer_too) {
    Bench bench(kOptions);
    const Prompt prompt = tokens(20, 1);
    const Told first = ask(bench, prompt, "", 30);
    const Told next = ask(bench, joined(joined(prompt, first.ids), tokens(20, 2)));
    EXPECT_EQ(next.finish.n_cached, 48);  // of 49 that were computed
    EXPECT_EQ(next.n_computed, 22);
}

TEST(Prefix, a_second_request_finds_what_the_first_still_computes_with) {
    Bench bench(kOptions);
    const Prompt head = tokens(80, 1);
    const Prompt a = joined(head, tokens(10, 2)), b = joined(head, tokens(10, 3));
    auto first = submit(bench, a, "", 60);
    bench.run(10);
    ASSERT_EQ(first->n_finishes(), 0);
    const std::int64_t n_used = bench.loop.stats().n_blocks_used;
    auto second = submit(bench, b, "", 60);
    bench.run(2);
    EXPECT_EQ(bench.loop.stats().n_blocks_used, n_used + 2);  // its own rest, and growth
    bench.run();
    EXPECT_EQ(second->wait().n_cached, 80);
    EXPECT_EQ(first->ids(), bench.expected(a, 60));
    EXPECT_EQ(second->ids(), bench.expected(b, 60));
    EXPECT_EQ(bench.loop.stats().n_blocks_used, 0);
}

TEST(Prefix, equal_prompts_that_begin_together_end_in_the_same_blocks) {
    Bench bench(kOptions);
    const Prompt prompt = tokens(60, 1);
    auto first = submit(bench, prompt, "", 40), second = submit(bench, prompt, "", 40);
    bench.run();
    EXPECT_EQ(first->ids(), bench.expected(prompt, 40));
    EXPECT_EQ(second->ids(), bench.expected(prompt, 40));
    EXPECT_EQ(bench.loop.stats().n_blocks_remembered, 99 / 16);
}

TEST(Prefix, what_a_cancelled_request_computed_is_found) {
    Bench bench(kOptions);
    const Prompt prompt = tokens(100, 1);
    auto first = submit(bench, prompt);
    bench.run(2);  // 48 rows
    first->is_cancelled = true;
    bench.run();
    EXPECT_EQ(first->wait().reason, StopReason::cancelled);
    EXPECT_EQ(ask(bench, prompt).finish.n_cached, 48);
}

TEST(Prefix, another_owner_finds_nothing_and_computes_everything) {
    Bench bench(kOptions);
    const Prompt prompt = tokens(90, 1);
    std::vector<std::int64_t> rows;
    bench.network.at_step = [&](const model::Step& step) {
        rows.push_back(std::int64_t(step.ids.size()));
    };
    ask(bench, prompt, "ann");
    const auto alone = std::exchange(rows, {});
    const Told other = ask(bench, prompt, "ben");
    EXPECT_EQ(other.finish.n_cached, 0);
    EXPECT_EQ(rows, alone);  // step by step the same work
    EXPECT_EQ(ask(bench, prompt, "").finish.n_cached, 0);
    EXPECT_EQ(ask(bench, prompt, "ann").finish.n_cached, 80);
    EXPECT_EQ(ask(bench, prompt, "ben").finish.n_cached, 80);
}

TEST(Prefix, another_owner_finds_nothing_while_the_first_runs) {
    Bench bench(kOptions);
    const Prompt prompt = tokens(90, 1);
    auto ann = submit(bench, prompt, "ann", 60);
    bench.run(10);
    auto ben = submit(bench, prompt, "ben", 60);
    bench.run();
    EXPECT_EQ(ben->wait().n_cached, 0);
    EXPECT_EQ(ben->ids(), ann->ids());
}

TEST(Prefix, answers_submitted_together_share_with_their_owner_only) {
    Bench bench(kOptions);
    const Prompt prompt = tokens(40, 1);
    std::vector<std::shared_ptr<Collector>> sinks;
    std::vector<Request> requests;
    for (const char* owner : {"ann", "ann", "ben"}) {
        sinks.push_back(std::make_shared<Collector>());
        requests.push_back({.prompt = prompt, .owner = owner, .sink = sinks.back()});
    }
    ASSERT_TRUE(bench.loop.submit(std::move(requests)));
    bench.run();
    EXPECT_EQ(sinks[1]->wait().n_cached, 32);
    EXPECT_EQ(sinks[2]->wait().n_cached, 0);
}

TEST(Prefix, the_answers_of_a_group_begin_where_an_earlier_request_ended) {
    Bench bench(kOptions);
    const Prompt head = tokens(64, 1), prompt = joined(head, tokens(40, 2));
    ask(bench, head);
    const std::int64_t before = bench.loop.stats().prompt_tokens_total;
    std::vector<std::shared_ptr<Collector>> sinks;
    std::vector<Request> requests;
    for (int i = 0; i < 6; ++i) {
        sinks.push_back(std::make_shared<Collector>());
        requests.push_back({.prompt = prompt,
                            .sampling = {.temperature = 0},
                            .max_tokens = 20,
                            .ignore_end = true,
                            .sink = sinks.back()});
    }
    ASSERT_TRUE(bench.loop.submit(std::move(requests)));
    bench.run();
    EXPECT_EQ(sinks[0]->wait().n_cached, 64);
    for (const auto& sink : sinks) EXPECT_EQ(sink->ids(), bench.expected(prompt, 20));
    EXPECT_EQ(bench.loop.stats().prompt_tokens_total - before, 40 + 5 * 8);
    EXPECT_EQ(bench.loop.stats().n_blocks_used, 0);
}

TEST(Prefix, a_public_prefix_is_everyones_up_to_its_last_whole_block) {
    Bench bench(kOptions);
    const Prompt mark = tokens(40, 1);
    bench.loop.set_public_prefixes({tokens(5, 9), mark});
    const Prompt a = joined(mark, tokens(40, 2));
    EXPECT_EQ(ask(bench, a, "ann").finish.n_cached, 0);
    // The same beginning of what follows, which is Ann's.
    const Told ben = ask(bench, a, "ben");
    EXPECT_EQ(ben.finish.n_cached, 32);
    EXPECT_EQ(ben.n_computed, 48);
    EXPECT_EQ(ask(bench, a, "ann").finish.n_cached, 64);
    EXPECT_EQ(ask(bench, a, "ben").finish.n_cached, 64);
    bench.loop.forget("ann");
    EXPECT_EQ(ask(bench, a, "ann").finish.n_cached, 32);
    EXPECT_EQ(ask(bench, a, "ben").finish.n_cached, 64);
}

TEST(Prefix, a_prompt_that_leaves_a_public_prefix_early_is_its_owners) {
    Bench bench(kOptions);
    const Prompt mark = tokens(64, 1);
    bench.loop.set_public_prefixes({mark});
    Prompt prompt = joined(mark, tokens(20, 2));
    prompt[40] = TokenId(prompt[40].value % 99 + 1);
    ask(bench, prompt, "ann");
    EXPECT_EQ(ask(bench, prompt, "ben").finish.n_cached, 32);
    EXPECT_EQ(ask(bench, prompt, "ann").finish.n_cached, 80);
}

TEST(Prefix, words_of_an_answer_are_never_public) {
    Bench bench(kOptions);
    const Prompt head = tokens(20, 1);
    const Prompt mark = joined(head, bench.expected(head, 60));
    bench.loop.set_public_prefixes({mark});
    ask(bench, head, "ann", 60);  // says the mark to its end
    EXPECT_EQ(ask(bench, joined(mark, tokens(10, 2)), "ben").finish.n_cached, 16);
}

TEST(Prefix, new_public_prefixes_begin_with_an_empty_memory) {
    Bench bench(kOptions);
    const Prompt prompt = tokens(90, 1);
    ask(bench, prompt, "ann");
    auto running = submit(bench, tokens(50, 2), "ann", 60);
    bench.run(5);
    bench.loop.set_public_prefixes({prompt});
    EXPECT_EQ(ask(bench, prompt, "ann").finish.n_cached, 0);
    EXPECT_EQ(running->ids(), bench.expected(tokens(50, 2), 60));
    EXPECT_EQ(ask(bench, prompt, "ben").finish.n_cached, 80);
}

TEST(Prefix, a_forgotten_owner_finds_nothing_and_what_ran_for_it_leaves_nothing) {
    Bench bench(kOptions);
    const Prompt done = tokens(50, 1), running = tokens(60, 2), waiting = tokens(70, 3);
    ask(bench, done, "ann");
    ask(bench, done, "ben");
    auto a = submit(bench, running, "ann", 60), c = submit(bench, tokens(10, 4), "ann", 60);
    bench.run(5);  // and nothing of the last one fills a block so far
    auto b = submit(bench, waiting, "ann");
    bench.loop.forget("ann");
    bench.loop.forget("nobody of whom anything is known");
    bench.run();
    EXPECT_EQ(a->ids(), bench.expected(running, 60));
    EXPECT_EQ(b->ids(), bench.expected(waiting, 8));
    EXPECT_EQ(c->ids(), bench.expected(tokens(10, 4), 60));
    EXPECT_EQ(bench.loop.stats().n_blocks_remembered, 3);  // Ben's
    for (const Prompt& prompt : {done, running, waiting})
        EXPECT_EQ(ask(bench, prompt, "ann").finish.n_cached, 0);
    EXPECT_EQ(ask(bench, done, "ben").finish.n_cached, 48);
    EXPECT_EQ(ask(bench, done, "ann").finish.n_cached, 48);  // of its new life
}

TEST(Prefix, an_idle_loop_forgets_an_owner_and_what_nobody_used) {
    for (const bool by_time : {false, true}) {
        EngineOptions options = kOptions;
        options.prefix_idle_ms = by_time ? 1 : 600'000;
        Bench bench(options);
        ask(bench, tokens(50, 1), "ann");
        ASSERT_EQ(bench.loop.stats().n_blocks_remembered, 3);
        bench.clock.now_ns += by_time ? kNsPerMs : 0;
        std::thread engine([&] { bench.loop.run(); });
        if (!by_time) bench.loop.forget("ann");
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (bench.loop.stats().n_blocks_remembered > 0 && std::chrono::steady_clock::now() < end)
            std::this_thread::yield();
        EXPECT_EQ(bench.loop.stats().n_blocks_remembered, 0) << "for 20 s";
        bench.loop.stop();
        engine.join();
    }
}

TEST(Prefix, what_nobody_used_for_ten_minutes_is_forgotten) {
    Bench bench(kOptions);
    const Prompt prompt = tokens(50, 1);
    ask(bench, prompt);
    bench.clock.now_ns += 600 * kNsPerS - 1;
    EXPECT_EQ(ask(bench, prompt).finish.n_cached, 48);
    bench.clock.now_ns += 600 * kNsPerS;
    EXPECT_EQ(ask(bench, prompt).finish.n_cached, 0);
    bench.clock.now_ns += 600 * kNsPerS;
    bench.loop.step();
    EXPECT_EQ(bench.loop.stats().n_blocks_remembered, 0);
}

TEST(Prefix, at_most_so_many_tokens_are_remembered) {
    for (const auto& [n_prefix, n_blocks] :
         {std::pair(0l, 0l), {15, 0}, {16, 1}, {40, 2}, {-1, 8}, {100'000, 9}}) {
        EngineOptions options = kOptions;
        options.n_prefix_tokens = n_prefix;
        options.n_blocks = 16;
        Bench bench(options);
        const Prompt prompt = tokens(150, 1);
        ask(bench, prompt);
        EXPECT_EQ(bench.loop.stats().n_blocks_remembered, n_blocks) << n_prefix;
        EXPECT_EQ(ask(bench, prompt).finish.n_cached, n_blocks * 16) << n_prefix;
    }
}

TEST(Prefix, what_is_remembered_keeps_nobody_waiting) {
    EngineOptions options = kOptions;
    options.n_prefix_tokens = 100'000;
    options.n_blocks = 16;
    Bench bench(options);
    ask(bench, tokens(240, 1));
    ASSERT_EQ(bench.loop.stats().n_blocks_remembered, 15);
    EXPECT_EQ(ask(bench, tokens(248, 2)).n_computed, 248);
    EXPECT_EQ(ask(bench, tokens(240, 1)).finish.n_cached, 0);
}

TEST(Prefix, attaching_fits_where_few_blocks_are_accounted_to_everyone) {
    // A whole context and one block: three answers to one prompt cannot run side by side.
    EngineOptions options = kOptions;
    options.n_blocks = 17;
    Bench bench(options);
    const Prompt prompt = tokens(120, 1);
    ask(bench, prompt);
    std::vector<std::shared_ptr<Collector>> sinks;
    for (int i = 0; i < 3; ++i) sinks.push_back(submit(bench, prompt, "", 100));
    bench.run();
    for (const auto& sink : sinks) {
        EXPECT_EQ(sink->ids(), bench.expected(prompt, 100));
        EXPECT_EQ(sink->wait().n_cached, 112);
    }
    EXPECT_EQ(bench.loop.stats().n_blocks_used, 0);
}

TEST(Prefix, scores_read_nothing_and_leave_nothing) {
    Bench bench(kOptions);
    const Prompt ids = tokens(60, 1), other = tokens(60, 2);
    ask(bench, ids);
    std::int64_t n_rows = 0;
    bench.network.at_step = [&](const model::Step& step) {
        n_rows += std::int64_t(step.ids.size());
    };
    std::thread engine([&] { bench.loop.run(); });
    ASSERT_TRUE(bench.loop.score(ids, 0));
    EXPECT_EQ(n_rows, 59);
    ASSERT_TRUE(bench.loop.score(other, 0));
    bench.loop.stop();
    engine.join();
    EXPECT_EQ(bench.loop.stats().n_blocks_remembered, 67 / 16);  // of what was asked
}

TEST(Prefix, nothing_is_remembered_of_a_model_that_changed) {
    Bench bench(kOptions);
    const Prompt done = tokens(50, 1), running = tokens(60, 2);
    ask(bench, done);
    auto sink = submit(bench, running, "", 60);
    bench.run(5);
    bench.weights = fail(ErrorKind::internal, "the model file has changed");
    bench.run();
    EXPECT_EQ(sink->wait().reason, StopReason::failed);
    EXPECT_EQ(bench.loop.stats().n_blocks_remembered, 0);
    bench.weights = {};
    EXPECT_EQ(ask(bench, running).finish.n_cached, 0);
    EXPECT_EQ(ask(bench, done).finish.n_cached, 0);
}

}  // namespace
}  // namespace hearth::engine
