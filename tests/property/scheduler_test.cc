// plan() under random workloads: what its header guarantees, checked after every step.
#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <deque>
#include <numeric>

#include "engine/kv_cache.h"
#include "support/seeds.h"

namespace hearth::engine {
namespace {

using test::Dice;

struct Job {
    std::int64_t n_prompt = 1, n_new = 1;  // n_new 0: a score, of n_prompt rows
    std::int64_t n_tokens = 0, n_generated = 0;
    std::int64_t pauses_left = 0;  // steps
    std::int64_t arrival = 0;
    bool is_score() const { return n_new == 0; }
    bool decodes() const { return n_generated > 0; }
    SeqState state() const {
        return {.n_tokens = n_tokens,
                .n_todo = n_prompt + n_generated - n_tokens,
                .n_claim = n_prompt + std::max<std::int64_t>(n_new - 1, 0),
                .decodes = decodes(),
                .all_logits = is_score(),
                .paused = pauses_left > 0};
    }
    bool done() const { return is_score() ? n_tokens == n_prompt : n_generated == n_new; }
};

// Tries every order of finishing: the definition of a safe state, for few sequences.
bool safe_by_search(std::vector<std::pair<std::int64_t, std::int64_t>> held_and_claim,
                    std::int64_t n_free) {
    if (held_and_claim.empty()) return true;
    for (std::size_t i = 0; i < held_and_claim.size(); ++i) {
        const auto [held, claim] = held_and_claim[i];
        if (claim - held > n_free) continue;
        auto rest = held_and_claim;
        rest.erase(rest.begin() + std::int64_t(i));
        if (safe_by_search(rest, n_free + held)) return true;
    }
    return false;
}

class Workload {
  public:
    explicit Workload(std::uint64_t seed) : dice_(seed) {
        limits_.n_parallel = dice_.roll(1, 6);
        limits_.n_batch_tokens = limits_.n_parallel + dice_.roll(0, 60);
        limits_.max_logits = limits_.n_parallel + dice_.roll(1, 20);
        limits_.prefill_chunk = dice_.chance(50) ? 0 : dice_.roll(1, 20);
        n_ctx_ = dice_.roll(2, 400);
        const std::int64_t n_least = blocks_for(n_ctx_);
        limits_.n_blocks =
            n_least +
            (dice_.chance(50) ? dice_.roll(0, 3) : dice_.roll(0, n_least * limits_.n_parallel));
        n_jobs_ = dice_.roll(1, 30);
        pauses_ = dice_.chance(40);
    }

    void run() {
        std::int64_t n_idle = 0;
        for (std::int64_t step = 0; n_done_ < n_jobs_; ++step) {
            arrive(step);
            for (Job& job : running_) {
                if (job.pauses_left > 0)
                    --job.pauses_left;
                else if (pauses_ && dice_.chance(3))
                    job.pauses_left = dice_.roll(1, 20);
            }
            states();
            plan(running_states_, waiting_states_, limits_, plan_);
            check();
            if (testing::Test::HasFailure()) return;
            const bool none_paused = std::none_of(running_.begin(), running_.end(),
                                                  [](const Job& j) { return j.pauses_left > 0; });
            // (4): work is there and nothing is paused, so something moves.
            ASSERT_TRUE(plan_.n_rows_total > 0 || !none_paused ||
                        (running_.empty() && waiting_.empty()));
            n_idle = plan_.n_rows_total > 0 ? 0 : n_idle + 1;
            ASSERT_LT(n_idle, 5000) << "starved";
            apply();
        }
        ASSERT_EQ(n_held(), 0);
    }

  private:
    void arrive(std::int64_t step) {
        while (n_arrived_ < n_jobs_ && dice_.chance(step == 0 ? 60 : 15)) {
            Job job;
            job.arrival = n_arrived_++;
            job.n_prompt = dice_.roll(1, n_ctx_ - 1);
            job.n_new = dice_.chance(20) ? 0 : dice_.roll(1, n_ctx_ - job.n_prompt);
            waiting_.push_back(job);
        }
    }

    void states() {
        running_states_.clear();
        waiting_states_.clear();
        for (const Job& j : running_) running_states_.push_back(j.state());
        for (const Job& j : waiting_) waiting_states_.push_back(j.state());
    }

    std::int64_t n_held() const {
        std::int64_t n = 0;
        for (const Job& j : running_) n += blocks_for(j.n_tokens);
        return n;
    }

    const SeqState& state_of(std::size_t i) const {
        return i < running_states_.size() ? running_states_[i]
                                          : waiting_states_[i - running_states_.size()];
    }

    void check() {
        const auto n_running = std::int64_t(running_.size());
        ASSERT_EQ(std::int64_t(plan_.n_rows.size()), n_running + plan_.n_admit);
        ASSERT_LE(n_running + plan_.n_admit, limits_.n_parallel);
        ASSERT_EQ(std::accumulate(plan_.n_rows.begin(), plan_.n_rows.end(), std::int64_t(0)),
                  plan_.n_rows_total);
        ASSERT_LE(plan_.n_rows_total, limits_.n_batch_tokens);
        std::int64_t n_logits = 0, n_blocks = 0, n_decode = 0;
        std::vector<std::pair<std::int64_t, std::int64_t>> held_and_claim;
        for (std::size_t i = 0; i < plan_.n_rows.size(); ++i) {
            const SeqState& s = state_of(i);
            const std::int64_t n = plan_.n_rows[i];
            ASSERT_GE(n, 0);
            ASSERT_LE(n, s.n_todo);
            ASSERT_TRUE(!s.paused || n == 0);
            ASSERT_TRUE(s.decodes || limits_.prefill_chunk == 0 || n <= limits_.prefill_chunk);
            if (s.decodes) n_decode += n;
            n_logits += s.all_logits ? n : n > 0 && n == s.n_todo;
            n_blocks += blocks_for(s.n_tokens + n);
            held_and_claim.emplace_back(blocks_for(s.n_tokens + n), blocks_for(s.n_claim));
        }
        ASSERT_LE(n_logits, limits_.max_logits);
        ASSERT_LE(n_blocks, limits_.n_blocks);
        ASSERT_TRUE(safe_by_search(held_and_claim, limits_.n_blocks - n_blocks));
        check_decode();
        check_oldest_prefill(limits_.n_batch_tokens - n_decode);
        // A cache with room for every claim never refuses.
        std::int64_t n_claims = 0;
        for (const SeqState& s : running_states_) n_claims += blocks_for(s.n_claim);
        ASSERT_TRUE(n_claims > limits_.n_blocks || plan_.n_refused == 0);
    }

    // (2): the prefill of this step takes no decoding sequence's row or block.
    void check_decode() {
        auto decoding = running_states_;
        for (SeqState& s : decoding)
            if (!s.decodes) s.n_todo = 0;
        Plan without;
        plan(decoding, {}, limits_, without);
        for (std::size_t i = 0; i < decoding.size(); ++i) {
            if (!decoding[i].decodes || decoding[i].paused) continue;
            ASSERT_TRUE(plan_.n_rows[i] == 1 || plan_.n_admit == 0)  // (5)
                << "admitted while a block was refused";
            ASSERT_EQ(plan_.n_rows[i], without.n_rows[i]) << "prefill took a decoding row";
            const bool needs_block = decoding[i].n_tokens % 16 == 0;
            ASSERT_TRUE(needs_block || plan_.n_rows[i] == 1);
        }
    }

    // (3), where no block was refused.
    void check_oldest_prefill(std::int64_t n_left) {
        if (plan_.n_refused > 0) return;
        std::int64_t n_logits = limits_.max_logits;
        for (std::size_t i = 0; i < plan_.n_rows.size(); ++i) n_logits -= !state_of(i).all_logits;
        for (std::size_t i = 0; i < plan_.n_rows.size(); ++i) {
            const SeqState& s = state_of(i);
            if (s.decodes || s.paused) continue;
            std::int64_t least = std::min(s.n_todo, std::max<std::int64_t>(1, n_left / 4));
            if (limits_.prefill_chunk > 0) least = std::min(least, limits_.prefill_chunk);
            if (s.all_logits) least = std::min(least, n_logits);
            ASSERT_GE(least, 1);
            ASSERT_GE(plan_.n_rows[i], least) << "the oldest prompt starves";
            return;
        }
    }

    void apply() {
        for (std::int64_t i = 0; i < plan_.n_admit; ++i) {
            ASSERT_EQ(waiting_.front().arrival, next_admitted_++) << "admitted out of order";
            running_.push_back(waiting_.front());
            waiting_.pop_front();
        }
        for (std::size_t i = 0; i < running_.size(); ++i) {
            Job& job = running_[i];
            job.n_tokens += plan_.n_rows[i];
            const bool has_logits =
                plan_.n_rows[i] > 0 && job.n_tokens == job.n_prompt + job.n_generated;
            if (!job.is_score() && has_logits) ++job.n_generated;
            // Some answers end early, as real ones do.
            if (job.decodes() && dice_.chance(2)) job.n_new = job.n_generated;
        }
        n_done_ += std::int64_t(std::erase_if(running_, [](const Job& job) { return job.done(); }));
    }

    Dice dice_;
    Limits limits_;
    std::int64_t n_ctx_ = 0, n_jobs_ = 0, n_arrived_ = 0, n_done_ = 0, next_admitted_ = 0;
    bool pauses_ = false;
    std::vector<Job> running_;
    std::deque<Job> waiting_;
    std::vector<SeqState> running_states_, waiting_states_;
    Plan plan_;
};

TEST(SchedulerProperty, keeps_its_guarantees_in_every_step_and_everyone_ends) {
    for (const std::uint64_t seed : test::seeds(200)) {
        SCOPED_TRACE("HEARTH_SEED=" + std::to_string(seed));
        Workload(seed).run();
        if (testing::Test::HasFailure()) return;
    }
}

TEST(SchedulerProperty, the_same_states_give_the_same_plan_whatever_was_planned_before) {
    for (const std::uint64_t seed : test::seeds(50)) {
        SCOPED_TRACE("HEARTH_SEED=" + std::to_string(seed));
        Dice dice(seed);
        Plan used;
        for (int round = 0; round < 20; ++round) {
            const Limits limits{
                .n_blocks = 60, .n_batch_tokens = 30, .n_parallel = 6, .max_logits = 9};
            std::vector<SeqState> running, waiting;
            for (std::int64_t i = dice.roll(0, 6); i > 0; --i) {
                const std::int64_t n = dice.roll(0, 80);
                const bool decodes = n > 0 && dice.chance(50);
                running.push_back({.n_tokens = n,
                                   .n_todo = decodes ? 1 : dice.roll(1, 50),
                                   .n_claim = 140,
                                   .decodes = decodes});
            }
            for (std::int64_t i = dice.roll(0, 4); i > 0; --i)
                waiting.push_back({.n_todo = dice.roll(1, 100), .n_claim = 150});
            Plan fresh;
            plan(running, waiting, limits, fresh);
            plan(running, waiting, limits, used);
            ASSERT_EQ(fresh.n_rows, used.n_rows);
            ASSERT_EQ(fresh.n_admit, used.n_admit);
        }
    }
}

}  // namespace
}  // namespace hearth::engine
