// Random requests of several owners that begin alike, with few blocks, groups, cancellations, late
// readers, owners that are forgotten and time that passes: every answer is the one it would be
// alone, nobody is given what only another owner computed, everyone ends, nothing stays behind.
#include <gtest/gtest.h>

#include <algorithm>

#include "property/answers.h"
#include "support/seeds.h"

namespace hearth::engine {
namespace {

using test::Dice;
using Prompt = std::vector<TokenId>;

struct Owned : Answer {
    std::string owner;

    Prompt whole() const {
        Prompt out = prompt;
        const Prompt said = sink->ids();
        out.insert(out.end(), said.begin(), said.end());
        return out;
    }
};

std::int64_t n_same(const Prompt& a, const Prompt& b) {
    return std::ranges::mismatch(a, b).in1 - a.begin();
}

class Workload {
  public:
    explicit Workload(std::uint64_t seed) : dice_(seed) {
        options_.n_ctx = dice_.roll(60, 200);
        options_.n_parallel = dice_.roll(1, 5);
        options_.n_batch_tokens = options_.n_parallel + dice_.roll(0, 60);
        const std::int64_t n_least = blocks_for(options_.n_ctx);
        options_.n_blocks = n_least + (dice_.chance(60) ? dice_.roll(0, 4) : 5 * n_least);
        options_.prefill_chunk = dice_.chance(50) ? 0 : dice_.roll(1, 20);
        options_.n_prefix_tokens = dice_.chance(50) ? -1 : dice_.roll(0, 16 * options_.n_blocks);
        options_.prefix_idle_ms = 50;
        mark_ = tokens(dice_.roll(0, 60), 1);
    }

    void run() {
        Bench bench(options_);
        bench.loop.set_public_prefixes({tokens(3, 9), mark_});
        std::int64_t n_idle = 0;
        for (std::int64_t step = 0; step < 251 || n_idle < 3; ++step) {
            ASSERT_LT(step, 50'000) << "someone waits for ever";
            bench.clock.now_ns += dice_.roll(0, 2) * kNsPerMs;
            if (step < 250 && dice_.chance(15)) submit(bench);
            if (step < 250 && dice_.chance(2)) bench.loop.forget(owner());
            for (Owned& a : answers_) {
                if (a.sink->n_finishes() > 0) continue;
                if (dice_.chance(1)) a.sink->is_cancelled = a.cancelled = true;
                a.sink->is_ready = step >= 250 || !dice_.chance(5);
            }
            n_idle = bench.loop.step() ? 0 : n_idle + 1;
            const EngineStats stats = bench.loop.stats();
            ASSERT_LE(stats.n_blocks_used + stats.n_blocks_remembered, options_.n_blocks);
        }
        check(bench);
        bench.clock.now_ns += 50 * kNsPerMs;
        bench.loop.step();
        ASSERT_EQ(bench.loop.stats().n_blocks_remembered, 0);
    }
    std::int64_t n_cached = 0;

  private:
    std::string owner() { return std::string(1, char('a' + dice_.roll(0, 2))); }

    // Half of the prompts go on where an earlier one ended, of whichever owner; others begin with
    // the mark, or with a part of it.
    Prompt prompt() {
        Prompt out = mark_;
        if (!answers_.empty() && dice_.chance(60))
            out = answers_[std::size_t(dice_.roll(0, std::int64_t(answers_.size()) - 1))].whole();
        out.resize(std::size_t(dice_.roll(0, std::int64_t(out.size()))));
        const Prompt rest = tokens(dice_.roll(1, 60), int(dice_.roll(0, 1000)));
        out.insert(out.end(), rest.begin(), rest.end());
        out.resize(std::min(out.size(), std::size_t(options_.n_ctx - 1)));
        return out;
    }

    void submit(Bench& bench) {
        std::vector<Request> requests;
        const Prompt what = prompt();
        const std::string who = owner();
        const std::int64_t n_room = options_.n_ctx - std::int64_t(what.size());
        for (std::int64_t n = dice_.chance(70) ? 1 : dice_.roll(2, 4); n > 0; --n) {
            Owned& a = answers_.emplace_back();
            a.prompt = what;
            a.owner = who;
            a.n_new = dice_.roll(1, n_room);
            requests.push_back(a.request(who));
        }
        ASSERT_TRUE(bench.loop.submit(std::move(requests)));
    }

    void check(const Bench& bench) {
        for (std::size_t i = 0; i < answers_.size(); ++i) {
            const Owned& a = answers_[i];
            SCOPED_TRACE(i);
            expect_ended_as_if_alone(a, bench);
            if (testing::Test::HasFailure()) return;
            // The most that anybody of its owner has ever computed of this prompt, or of the mark.
            std::int64_t n_most = n_same(a.prompt, mark_) / 16 * 16;
            for (std::size_t k = 0; k < answers_.size(); ++k)
                if (k != i && answers_[k].owner == a.owner)
                    n_most = std::max(n_most, n_same(a.prompt, answers_[k].whole()) / 16 * 16);
            const std::int64_t n = a.sink->wait().n_cached;
            ASSERT_EQ(n % 16, 0);
            ASSERT_LE(n, std::min(n_most, (std::int64_t(a.prompt.size()) - 1) / 16 * 16));
            n_cached += n;
        }
        expect_nothing_left(bench);
    }

    Dice dice_;
    EngineOptions options_;
    Prompt mark_;
    std::vector<Owned> answers_;
};

TEST(Prefixes, under_random_workloads_everyone_ends_with_the_right_answer_and_nobody_elses_blocks) {
    std::int64_t n_cached = 0;
    for (const std::uint64_t seed : test::seeds(200)) {
        SCOPED_TRACE("HEARTH_SEED=" + std::to_string(seed));
        Workload workload(seed);
        workload.run();
        if (testing::Test::HasFailure()) return;
        n_cached += workload.n_cached;
    }
    EXPECT_GT(n_cached, 0);
}

// One after the other in a cache that forgets nothing: exactly what was computed before is found.
TEST(Prefixes, one_by_one_everything_that_an_owner_computed_is_found) {
    for (const std::uint64_t seed : test::seeds(30)) {
        SCOPED_TRACE("HEARTH_SEED=" + std::to_string(seed));
        Dice dice(seed);
        Bench bench({.n_ctx = 200, .n_parallel = 2, .n_blocks = 1000, .n_prefix_tokens = 16'000});
        const Prompt mark = tokens(dice.roll(0, 100), 1);
        bench.loop.set_public_prefixes({mark});
        struct Computed {
            std::string owner;
            Prompt whole;
            std::int64_t n_prompt;
        };
        std::vector<Computed> computed;
        for (int i = 0; i < 40; ++i) {
            Prompt prompt = mark;
            if (!computed.empty() && dice.chance(70))
                prompt =
                    computed[std::size_t(dice.roll(0, std::int64_t(computed.size()) - 1))].whole;
            prompt.resize(std::size_t(dice.roll(0, std::int64_t(prompt.size()))));
            for (const TokenId id : tokens(dice.roll(1, 40), int(dice.roll(0, 1000))))
                prompt.push_back(id);
            prompt.resize(std::min<std::size_t>(prompt.size(), 150));
            const std::string owner(1, char('a' + dice.roll(0, 1)));
            const Answer a{.prompt = prompt, .n_new = dice.roll(1, 30)};
            ASSERT_TRUE(bench.submit(a.request(owner)));
            bench.run();
            expect_ended_as_if_alone(a, bench);
            if (testing::Test::HasFailure()) return;
            // Of its owner, all tokens but an answer's last; of anybody, the prompt's part that is
            // the mark's.
            std::int64_t n_expected = 0;
            for (const auto& [who, whole, n_prompt] : computed) {
                const std::int64_t n = n_same(prompt, whole);
                const std::int64_t n_public = std::min({n, n_same(prompt, mark), n_prompt});
                n_expected = std::max(n_expected, (who == owner ? n : n_public) / 16);
            }
            n_expected = std::min(n_expected, (std::int64_t(prompt.size()) - 1) / 16);
            ASSERT_EQ(a.sink->wait().n_cached, 16 * n_expected);
            Prompt whole = prompt;
            for (const TokenId id : a.sink->ids()) whole.push_back(id);
            whole.pop_back();
            computed.push_back({owner, whole, std::int64_t(prompt.size())});
        }
    }
}

}  // namespace
}  // namespace hearth::engine
