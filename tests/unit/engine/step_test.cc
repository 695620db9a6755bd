// The step loop over a fake network, one step at a time: who gets what, when it ends, what is
// freed.
#include "engine/step.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <thread>

#include "base/utf8.h"
#include "unit/engine/collector.h"
#include "unit/engine/fakes.h"

namespace hearth::engine {
namespace {

constexpr Sampling kGreedy{.temperature = 0};

std::shared_ptr<Collector> submit(Bench& bench, Request request) {
    auto sink = std::make_shared<Collector>();
    request.sink = sink;
    const Status status = bench.submit(std::move(request));
    EXPECT_TRUE(status) << status.error().message;
    return sink;
}

Error refused(Bench& bench, Request request) {
    auto sink = std::make_shared<Collector>();
    request.sink = sink;
    const Status status = bench.submit(std::move(request));
    EXPECT_FALSE(status);
    bench.run();
    EXPECT_EQ(sink->n_finishes(), 0);
    return status ? Error{} : status.error();
}

TEST(StepLoop, says_what_the_network_says_and_counts_it) {
    Bench bench;
    const auto prompt = tokens(20, 1);
    auto sink = submit(bench, {.prompt = prompt, .sampling = kGreedy, .max_tokens = 30});
    bench.run();
    EXPECT_EQ(sink->ids(), bench.expected(prompt, 30));
    const Finish finish = sink->wait();
    EXPECT_EQ(finish.reason, StopReason::length);
    EXPECT_FALSE(finish.context_full);
    EXPECT_EQ(finish.n_prompt, 20);
    EXPECT_EQ(finish.n_generated, 30);
    EXPECT_EQ(finish.n_cached, 0);
    EXPECT_EQ(sink->n_finishes(), 1);
    const EngineStats stats = bench.loop.stats();
    EXPECT_EQ(stats.prompt_tokens_total, 20);
    EXPECT_EQ(stats.output_tokens_total, 30);
    EXPECT_EQ(stats.steps_total, 30);  // the prompt's step draws the first token
    EXPECT_EQ(stats.n_running + stats.n_waiting + stats.n_blocks_used, 0);
}

TEST(StepLoop, neighbours_chunks_and_few_blocks_change_nothing) {
    const auto prompt = tokens(33, 2);
    const Sampling sampled{.temperature = 1, .seed = 7, .n_logprobs = 3};
    std::vector<TokenId> alone;
    {
        Bench bench;
        auto sink = submit(bench, {.prompt = prompt, .sampling = sampled, .max_tokens = 25});
        bench.run();
        alone = sink->ids();
        ASSERT_EQ(alone.size(), 25u);
    }
    for (const std::int64_t chunk : {0, 1, 5})
        for (const std::int64_t n_blocks : {0, 4, 7}) {
            Bench bench(
                {.n_ctx = 64, .n_batch_tokens = 16, .prefill_chunk = chunk, .n_blocks = n_blocks});
            std::vector<std::shared_ptr<Collector>> others;
            for (int i = 0; i < 4; ++i)
                others.push_back(
                    submit(bench, {.prompt = tokens(5 + 9 * i, i), .sampling = kGreedy}));
            auto sink = submit(bench, {.prompt = prompt, .sampling = sampled, .max_tokens = 25});
            for (int i = 4; i < 9; ++i)
                others.push_back(submit(bench, {.prompt = tokens(3 * i, i), .sampling = kGreedy}));
            bench.run();
            EXPECT_EQ(sink->ids(), alone) << "chunk " << chunk << ", blocks " << n_blocks;
            for (int i = 0; i < 9; ++i) {
                const auto p = i < 4 ? tokens(5 + 9 * i, i) : tokens(3 * i, i);
                EXPECT_EQ(others[std::size_t(i)]->ids(),
                          bench.expected(p, 64 - std::int64_t(p.size())));
            }
            EXPECT_LE(bench.network.most_rows, 16);
            EXPECT_EQ(bench.loop.stats().n_blocks_used, 0);
        }
}

TEST(StepLoop, the_context_may_be_filled_to_its_last_place) {
    Bench bench({.n_ctx = 32});
    auto whole = submit(bench, {.prompt = tokens(31, 1), .sampling = kGreedy});
    auto rest = submit(bench, {.prompt = tokens(20, 1), .sampling = kGreedy, .max_tokens = 500});
    auto exact = submit(bench, {.prompt = tokens(20, 1), .sampling = kGreedy, .max_tokens = 12});
    bench.run();
    EXPECT_EQ(whole->wait().n_generated, 1);
    EXPECT_TRUE(whole->wait().context_full);
    EXPECT_EQ(rest->wait().n_generated, 12);
    EXPECT_TRUE(rest->wait().context_full);
    EXPECT_EQ(exact->wait().n_generated, 12);
    EXPECT_FALSE(exact->wait().context_full);
    EXPECT_EQ(exact->wait().reason, StopReason::length);
}

TEST(StepLoop, a_prompt_that_leaves_no_room_is_refused_with_exact_counts) {
    Bench bench({.n_ctx = 32});
    const Error error = refused(bench, {.prompt = tokens(32, 1)});
    EXPECT_EQ(error.kind, ErrorKind::context_overflow);
    EXPECT_EQ(error.n_prompt_tokens, 32);
    EXPECT_EQ(error.n_ctx, 32);
    EXPECT_EQ(refused(bench, {.prompt = tokens(500, 1)}).n_prompt_tokens, 500);
}

TEST(StepLoop, refuses_prompts_without_meaning) {
    Bench bench;
    EXPECT_EQ(refused(bench, {}).kind, ErrorKind::invalid_request);
    const Error beyond = refused(bench, {.prompt = {TokenId(1), TokenId(100)}});
    EXPECT_EQ(beyond.kind, ErrorKind::invalid_request);
    EXPECT_NE(beyond.message.find("token 100 at place 1"), std::string::npos) << beyond.message;
    EXPECT_EQ(refused(bench, {.prompt = {TokenId(-1)}}).kind, ErrorKind::invalid_request);
    EXPECT_EQ(refused(bench, {.prompt = tokens(3, 1), .max_tokens = -2}).param, "max_tokens");
    EXPECT_EQ(refused(bench, {.prompt = tokens(3, 1), .stop = {""}}).param, "stop");
    EXPECT_EQ(refused(bench, {.prompt = tokens(3, 1), .sampling = {.top_p = 2}}).param, "top_p");
}

TEST(StepLoop, max_tokens_zero_computes_the_prompt_and_says_nothing) {
    Bench bench;
    auto sink = submit(bench, {.prompt = tokens(20, 1), .max_tokens = 0});
    bench.run();
    EXPECT_EQ(sink->n_outputs(), 0u);
    EXPECT_EQ(sink->wait().reason, StopReason::length);
    EXPECT_EQ(bench.loop.stats().prompt_tokens_total, 20);
}

TEST(StepLoop, an_end_token_ends_without_an_output_unless_ignored) {
    for (const bool ignore : {false, true}) {
        Bench bench;
        bench.network.script = [](const std::vector<std::int32_t>& prefix,
                                  std::span<float> logits) {
            if (prefix.size() == 14) logits[0] = 100;
        };
        auto sink = submit(
            bench,
            {.prompt = tokens(10, 1), .sampling = kGreedy, .max_tokens = 20, .ignore_end = ignore});
        bench.run();
        EXPECT_EQ(sink->n_outputs(), ignore ? 20u : 4u);
        EXPECT_EQ(sink->wait().n_generated, ignore ? 20 : 4);
        EXPECT_EQ(sink->wait().reason, ignore ? StopReason::length : StopReason::end_token);
        if (ignore) {
            EXPECT_EQ(sink->outputs()[4].id, TokenId(0));
            EXPECT_EQ(sink->outputs()[4].text, "");
        }
    }
}

TEST(StepLoop, a_stop_string_ends_the_text_and_counts_the_tokens_it_took) {
    const auto prompt = tokens(10, 1);
    std::string all;
    {
        Bench bench;
        auto sink = submit(bench, {.prompt = prompt, .sampling = kGreedy, .max_tokens = 30});
        bench.run();
        all = sink->text();
    }
    ASSERT_EQ(all.size(), 30u);
    const std::string stop = all.substr(11, 3);
    const std::size_t at = all.find(stop);
    Bench bench;
    auto sink = submit(
        bench, {.prompt = prompt, .sampling = kGreedy, .max_tokens = 30, .stop = {"0", stop}});
    bench.run();
    EXPECT_EQ(sink->text(), all.substr(0, at));
    const Finish finish = sink->wait();
    EXPECT_EQ(finish.reason, StopReason::stop_string);
    EXPECT_EQ(finish.n_generated, std::int64_t(at + 3));
    EXPECT_EQ(sink->n_outputs(), at + 3);
}

TEST(StepLoop, text_held_for_a_stop_string_comes_with_the_finish) {
    const auto prompt = tokens(10, 1);
    Bench bench;
    std::string last;
    for (const TokenId id : bench.expected(prompt, 5)) last += char('a' + id.value % 26);
    auto sink = submit(
        bench,
        {.prompt = prompt, .sampling = kGreedy, .max_tokens = 5, .stop = {last.substr(3) + "!"}});
    bench.run();
    EXPECT_EQ(sink->wait().text, last.substr(3));
    EXPECT_EQ(sink->text(), last);
    EXPECT_EQ(sink->wait().reason, StopReason::length);
}

TEST(StepLoop, logits_that_are_no_numbers_fail_that_sequence_and_no_other) {
    Bench bench;
    bench.network.script = [](const std::vector<std::int32_t>& prefix, std::span<float> logits) {
        if (prefix[0] == 42 && prefix.size() == 12)
            logits[5] = std::numeric_limits<float>::quiet_NaN();
    };
    auto bad_prompt = tokens(10, 1);
    bad_prompt[0] = TokenId(42);
    auto good_prompt = bad_prompt;
    good_prompt[0] = TokenId(41);
    auto bad = submit(bench, {.prompt = bad_prompt, .sampling = kGreedy, .max_tokens = 20});
    auto good = submit(bench, {.prompt = good_prompt, .sampling = kGreedy, .max_tokens = 20});
    bench.run();
    EXPECT_EQ(bad->wait().reason, StopReason::failed);
    EXPECT_EQ(bad->wait().error.kind, ErrorKind::internal);
    EXPECT_NE(bad->wait().error.message.find("not a number"), std::string::npos);
    EXPECT_EQ(bad->n_outputs(), 2u);
    EXPECT_EQ(good->ids(), bench.expected(good_prompt, 20));
    EXPECT_EQ(bench.loop.stats().n_blocks_used, 0);
}

TEST(StepLoop, cancelling_frees_the_blocks_before_the_sink_hears_of_it) {
    Bench bench({.n_ctx = 64, .n_parallel = 1});
    auto running = submit(bench, {.prompt = tokens(30, 1), .sampling = kGreedy});
    auto waiting = submit(bench, {.prompt = tokens(30, 2), .sampling = kGreedy});
    for (int i = 0; i < 5; ++i) bench.loop.step();
    EXPECT_EQ(bench.loop.stats().n_running, 1);
    EXPECT_EQ(bench.loop.stats().n_waiting, 1);
    EXPECT_EQ(bench.loop.stats().n_blocks_used, 3);
    EngineStats at_finish;
    running->at_finish = [&] { at_finish = bench.loop.stats(); };
    running->is_cancelled = waiting->is_cancelled = true;
    EXPECT_EQ(bench.run(), 0);  // the step that looks computes nothing more
    EXPECT_EQ(at_finish.n_blocks_used, 0);
    EXPECT_EQ(at_finish.n_running, 0);
    for (const auto& sink : {running, waiting}) {
        EXPECT_EQ(sink->wait().reason, StopReason::cancelled);
        EXPECT_EQ(sink->n_finishes(), 1);
    }
    EXPECT_EQ(running->n_outputs(), 5u);
    EXPECT_EQ(waiting->n_outputs(), 0u);
    EXPECT_EQ(bench.loop.stats().n_waiting, 0);
}

TEST(StepLoop, a_full_queue_refuses_and_takes_again_when_there_is_room) {
    Bench bench({.n_parallel = 2, .n_queue = 3});
    std::vector<std::shared_ptr<Collector>> sinks;
    for (int i = 0; i < 5; ++i)
        sinks.push_back(
            submit(bench, {.prompt = tokens(4, i), .sampling = kGreedy, .max_tokens = 2}));
    EXPECT_EQ(bench.loop.stats().n_waiting, 5);
    auto late = std::make_shared<Collector>();
    const Status status = bench.submit({.prompt = tokens(4, 9), .sink = late});
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().kind, ErrorKind::overloaded);
    EXPECT_GT(status.error().retry_after_s, 0);
    EXPECT_FALSE(bench.loop.score(tokens(3, 1), 0).has_value());
    // Whoever hears of an end finds room at once.
    Status again = fail(ErrorKind::internal, "not tried");
    sinks[0]->at_finish = [&] {
        again = bench.submit(
            {.prompt = tokens(4, 9), .sampling = kGreedy, .max_tokens = 1, .sink = late});
    };
    bench.run();
    EXPECT_TRUE(again);
    for (const auto& sink : sinks) EXPECT_EQ(sink->n_finishes(), 1);
    EXPECT_EQ(late->n_finishes(), 1);
}

TEST(StepLoop, requests_submitted_together_come_in_together_or_not_at_all) {
    Bench bench({.n_parallel = 2, .n_queue = 1});
    auto sink = std::make_shared<Collector>();
    const auto several = [&](std::size_t n) {
        std::vector<Request> requests(n);
        for (Request& r : requests)
            r = {.prompt = tokens(4, 1), .sampling = kGreedy, .max_tokens = 1, .sink = sink};
        return requests;
    };
    EXPECT_FALSE(bench.loop.submit(several(4)));
    auto bad = several(2);
    bad[1].prompt.clear();
    EXPECT_FALSE(bench.loop.submit(std::move(bad)));
    bench.run();
    EXPECT_EQ(sink->n_finishes(), 0);
    EXPECT_TRUE(bench.loop.submit(several(3)));
    bench.run();
    EXPECT_EQ(sink->n_finishes(), 3);
}

TEST(StepLoop, a_late_reader_pauses_its_sequence_only) {
    Bench bench({.n_ctx = 64, .n_parallel = 2, .pause_timeout_ms = 1000});
    const auto prompt = tokens(10, 1);
    auto late = submit(bench, {.prompt = prompt, .sampling = kGreedy, .max_tokens = 20});
    auto other = submit(bench, {.prompt = tokens(10, 2), .sampling = kGreedy, .max_tokens = 20});
    for (int i = 0; i < 4; ++i) bench.loop.step();
    late->is_ready = false;
    bench.run();
    EXPECT_EQ(late->n_outputs(), 4u);
    EXPECT_EQ(other->n_outputs(), 20u);
    EXPECT_EQ(bench.loop.stats().n_paused, 1);
    bench.clock.now_ns += 999'000'000;
    EXPECT_FALSE(bench.loop.step());
    late->is_ready = true;
    bench.run();
    EXPECT_EQ(late->ids(), bench.expected(prompt, 20));
    EXPECT_EQ(bench.loop.stats().n_paused, 0);
}

TEST(StepLoop, a_reader_that_stays_late_is_dropped) {
    Bench bench({.n_ctx = 64, .pause_timeout_ms = 1000});
    auto late = submit(bench, {.prompt = tokens(10, 1), .sampling = kGreedy, .max_tokens = 20});
    for (int i = 0; i < 4; ++i) bench.loop.step();
    late->is_ready = false;
    bench.run();
    bench.clock.now_ns += 1'000'000'000;
    bench.run();
    ASSERT_EQ(late->n_finishes(), 1);
    EXPECT_EQ(late->wait().reason, StopReason::failed);
    EXPECT_EQ(late->wait().error.kind, ErrorKind::timeout);
    EXPECT_EQ(bench.loop.stats().n_blocks_used, 0);
}

TEST(StepLoop, times_add_up_from_arrival_to_end) {
    Bench bench({.n_ctx = 64, .n_parallel = 1, .n_batch_tokens = 8});
    bench.network.at_step = [&](const model::Step&) { bench.clock.now_ns += 10; };
    auto first = submit(bench, {.prompt = tokens(8, 1), .sampling = kGreedy, .max_tokens = 3});
    auto second = submit(bench, {.prompt = tokens(20, 2), .sampling = kGreedy, .max_tokens = 5});
    bench.run();
    const Finish a = first->wait(), b = second->wait();
    EXPECT_EQ(a.queue_ns, 0);
    EXPECT_EQ(a.prefill_ns, 10);
    EXPECT_EQ(a.decode_ns, 20);
    EXPECT_EQ(a.ttft_ns, 10);
    EXPECT_EQ(b.queue_ns, 30);
    EXPECT_EQ(b.prefill_ns, 30);  // 20 tokens in steps of 8
    EXPECT_EQ(b.decode_ns, 40);
    EXPECT_EQ(b.ttft_ns, 60);
    const EngineStats stats = bench.loop.stats();
    EXPECT_EQ(stats.prefill_ns_total, 40);
    EXPECT_EQ(stats.decode_ns_total, 60);
}

TEST(StepLoop, a_first_time_of_zero_is_a_time) {
    // A clock that starts at 0 must not read as "not yet".
    Bench bench;
    auto sink = submit(bench, {.prompt = tokens(8, 1), .sampling = kGreedy, .max_tokens = 2});
    bench.loop.step();
    bench.clock.now_ns = 100;
    bench.run();
    EXPECT_EQ(sink->wait().prefill_ns, 0);
    EXPECT_EQ(sink->wait().ttft_ns, 0);
    EXPECT_EQ(sink->wait().decode_ns, 100);
}

TEST(StepLoop, stopping_tells_everyone_and_lets_nobody_in) {
    Bench bench({.n_ctx = 64, .n_parallel = 2});
    std::vector<std::shared_ptr<Collector>> sinks;
    for (int i = 0; i < 5; ++i)
        sinks.push_back(submit(bench, {.prompt = tokens(10, i), .sampling = kGreedy}));
    bench.loop.step();
    bench.loop.stop();
    const Status status = bench.submit({.prompt = tokens(3, 1), .sink = sinks[0]});
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().kind, ErrorKind::cancelled);
    bench.loop.run();
    for (const auto& sink : sinks) {
        EXPECT_EQ(sink->n_finishes(), 1);
        EXPECT_EQ(sink->wait().reason, StopReason::cancelled);
    }
    EXPECT_EQ(bench.loop.stats().n_blocks_used, 0);
}

TEST(StepLoop, scores_are_the_logprobs_of_the_definition_in_any_chunks) {
    const auto ids = tokens(60, 5);
    for (const std::int64_t chunk : {0, 1, 7}) {
        Bench bench({.n_ctx = 64, .n_parallel = 2, .n_batch_tokens = 16, .prefill_chunk = chunk});
        auto beside = submit(bench, {.prompt = tokens(30, 1), .sampling = kGreedy});
        std::thread engine([&] { bench.loop.run(); });
        const auto scores = bench.loop.score(ids, 2);
        const auto one = bench.loop.score({TokenId(3)}, 2);
        const auto none = bench.loop.score({}, 0);
        const auto long_one = bench.loop.score(tokens(65, 1), 0);
        const auto beyond = bench.loop.score({TokenId(1), TokenId(100)}, 0);
        beside->wait();
        bench.loop.stop();
        engine.join();
        ASSERT_TRUE(scores) << scores.error().message;
        ASSERT_EQ(scores->logprobs.size(), 59u);
        ASSERT_EQ(scores->top.size(), 59u);
        std::vector<float> row(std::size_t(Bench::kVocab), 0.0f);
        std::uint64_t hash = 0xcbf29ce484222325;
        for (std::size_t i = 0; i < 59; ++i) {
            hash = FakeNetwork::add_to(hash, ids[i].value);
            bench.network.say(hash, row);
            double sum = 0;
            for (const float x : row) sum += std::exp(double(x));
            EXPECT_NEAR(scores->logprobs[i], row[std::size_t(ids[i + 1].value)] - std::log(sum),
                        1e-5);
            const auto best = std::max_element(row.begin(), row.end()) - row.begin();
            EXPECT_EQ(scores->top[i][0].id.value, best);
            EXPECT_EQ(scores->top[i].size(), 2u);
        }
        ASSERT_TRUE(one);
        EXPECT_TRUE(one->logprobs.empty());
        EXPECT_EQ(none.error().kind, ErrorKind::invalid_request);
        EXPECT_EQ(long_one.error().kind, ErrorKind::context_overflow);
        EXPECT_EQ(long_one.error().n_prompt_tokens, 65);
        EXPECT_EQ(beyond.error().kind, ErrorKind::invalid_request);
        EXPECT_EQ(beside->ids(), bench.expected(tokens(30, 1), 34));
    }
}

TEST(StepLoop, scoring_broken_logits_is_an_error) {
    Bench bench;
    bench.network.script = [](const std::vector<std::int32_t>& prefix, std::span<float> logits) {
        if (prefix.size() == 5) logits[1] = std::numeric_limits<float>::quiet_NaN();
    };
    std::thread engine([&] { bench.loop.run(); });
    const auto scores = bench.loop.score(tokens(20, 1), 0);
    bench.loop.stop();
    engine.join();
    ASSERT_FALSE(scores);
    EXPECT_EQ(scores.error().kind, ErrorKind::internal);
    EXPECT_EQ(bench.loop.stats().n_blocks_used, 0);
}

TEST(StepLoop, long_prompts_do_not_keep_a_running_answer_waiting) {
    Bench bench({.n_ctx = 512, .n_parallel = 4, .n_batch_tokens = 16});
    auto answer = submit(bench, {.prompt = tokens(4, 1), .sampling = kGreedy, .max_tokens = 40});
    bench.loop.step();
    for (int i = 0; i < 3; ++i)
        submit(bench, {.prompt = tokens(400, i), .sampling = kGreedy, .max_tokens = 1});
    for (std::size_t i = 1; i < 40; ++i) {
        EXPECT_EQ(answer->n_outputs(), i);
        bench.loop.step();
    }
    EXPECT_EQ(answer->n_outputs(), 40u);
}

TEST(StepLoop, threads_may_submit_cancel_and_score_while_it_runs) {
    Bench bench({.n_ctx = 64, .n_parallel = 3, .n_queue = 1000, .n_blocks = 5});
    std::thread engine([&] { bench.loop.run(); });
    std::vector<std::thread> callers;
    std::atomic<int> n_wrong = 0;
    for (int t = 0; t < 3; ++t)
        callers.emplace_back([&, t] {
            for (int i = 0; i < 30; ++i) {
                const auto prompt = tokens(1 + (t * 7 + i * 5) % 50, t * 100 + i);
                auto sink =
                    submit(bench, {.prompt = prompt, .sampling = kGreedy, .max_tokens = 10});
                if (i % 3 == 0) sink->is_cancelled = true;
                if (i % 5 == 0) {
                    sink->is_ready = false;
                    std::this_thread::yield();
                    sink->is_ready = true;
                }
                if (i % 7 == 0) n_wrong += !bench.loop.score(tokens(30, i), 1).has_value();
                const Finish finish = sink->wait();
                const auto ids = sink->ids();
                const auto expected = bench.expected(prompt, std::int64_t(ids.size()));
                n_wrong += ids != expected || bench.loop.stats().n_blocks_used > 5;
                n_wrong += finish.reason != StopReason::cancelled && ids.size() != 10;
            }
        });
    for (std::thread& t : callers) t.join();
    bench.loop.stop();
    engine.join();
    EXPECT_EQ(n_wrong, 0);
    EXPECT_EQ(bench.loop.stats().n_blocks_used, 0);
}

}  // namespace
}  // namespace hearth::engine
