// plan(), case by case. Random workloads are in tests/property/scheduler_test.cc.
#include "engine/scheduler.h"

#include <gtest/gtest.h>

namespace hearth::engine {
namespace {

constexpr Limits kWide{.n_blocks = 10'000, .n_batch_tokens = 64, .n_parallel = 8, .max_logits = 20};

SeqState prompt(std::int64_t n_todo, std::int64_t n_tokens = 0) {
    return {.n_tokens = n_tokens, .n_todo = n_todo, .n_claim = n_tokens + n_todo + 100};
}
SeqState decode(std::int64_t n_tokens, std::int64_t n_claim = 500) {
    return {.n_tokens = n_tokens, .n_todo = 1, .n_claim = n_claim, .decodes = true};
}
Plan planned(std::vector<SeqState> running, std::vector<SeqState> waiting,
             const Limits& limits = kWide) {
    Plan out;
    plan(running, waiting, limits, out);
    return out;
}
using Rows = std::vector<std::int64_t>;

TEST(Scheduler, nothing_to_do_is_an_empty_plan) {
    const Plan p = planned({}, {});
    EXPECT_EQ(p.n_rows_total, 0);
    EXPECT_EQ(p.n_admit, 0);
}

TEST(Scheduler, decode_is_not_delayed_by_prefill) {
    const Plan p = planned({prompt(1000), decode(10), prompt(5), decode(20)}, {prompt(1000)});
    EXPECT_EQ(p.n_rows[1], 1);
    EXPECT_EQ(p.n_rows[3], 1);
    EXPECT_EQ(p.n_rows_total, 64);
}

TEST(Scheduler, short_prompts_pass_a_long_one_that_still_moves) {
    EXPECT_EQ(planned({prompt(1000), prompt(20), prompt(10)}, {}).n_rows, (Rows{34, 20, 10}));
    EXPECT_EQ(planned({prompt(1000), prompt(60), prompt(50)}, {}).n_rows, (Rows{16, 0, 48}));
    EXPECT_EQ(planned({prompt(30), prompt(30), prompt(30)}, {}).n_rows, (Rows{30, 30, 4}));
}

TEST(Scheduler, a_chunk_limit_holds_for_each_prompt) {
    Limits limits = kWide;
    limits.prefill_chunk = 7;
    EXPECT_EQ(planned({prompt(100), decode(5), prompt(3)}, {prompt(50)}, limits).n_rows,
              (Rows{7, 1, 3, 7}));
}

TEST(Scheduler, requests_come_in_by_arrival_up_to_n_parallel) {
    Limits limits = kWide;
    limits.n_parallel = 3;
    const Plan p = planned({decode(5)}, {prompt(4), prompt(4), prompt(4)}, limits);
    EXPECT_EQ(p.n_admit, 2);
    EXPECT_EQ(p.n_rows, (Rows{1, 4, 4}));
}

TEST(Scheduler, a_paused_sequence_keeps_its_place_and_gets_no_rows) {
    SeqState paused = decode(10);
    paused.paused = true;
    Limits limits = kWide;
    limits.n_parallel = 2;
    const Plan p = planned({paused, decode(10)}, {prompt(4)}, limits);
    EXPECT_EQ(p.n_rows, (Rows{0, 1}));
    EXPECT_EQ(p.n_admit, 0);
}

TEST(Scheduler, scoring_takes_no_more_rows_than_logits) {
    SeqState score = prompt(500);
    score.all_logits = true;
    // 20 rows of logits, of which decode and the prompt may need one each.
    EXPECT_EQ(planned({decode(5), score, prompt(10)}, {}).n_rows, (Rows{1, 18, 10}));
}

// 10 blocks. A holds 4 and may grow to 9, B holds 4 and may grow to 6: if A took the two free
// blocks, neither could end. B may have both.
TEST(Scheduler, a_block_that_could_deadlock_is_refused) {
    const Limits limits{.n_blocks = 10, .n_batch_tokens = 64, .n_parallel = 4, .max_logits = 8};
    const SeqState a = decode(64, 9 * 16), b = decode(64, 6 * 16);
    Plan p = planned({a, b}, {prompt(1)}, limits);
    EXPECT_EQ(p.n_rows, (Rows{0, 1}));
    EXPECT_EQ(p.n_refused, 1);
    EXPECT_EQ(p.n_admit, 0);  // nothing comes in while a block is refused
    // Within its blocks A goes on.
    p = planned({decode(63, 9 * 16), b}, {}, limits);
    EXPECT_EQ(p.n_rows, (Rows{1, 1}));
}

TEST(Scheduler, a_prompt_gets_the_blocks_that_are_safe_and_no_more) {
    const Limits limits{.n_blocks = 10, .n_batch_tokens = 512, .n_parallel = 4, .max_logits = 8};
    // B, which must be able to end first, needs 2 of the 6 free blocks: the prompt gets 4.
    const SeqState b = decode(60, 6 * 16);
    const SeqState a{.n_tokens = 0, .n_todo = 100, .n_claim = 160};
    const Plan p = planned({a, b}, {}, limits);
    EXPECT_EQ(p.n_rows, (Rows{64, 1}));
}

TEST(Scheduler, a_prompt_comes_in_only_when_it_could_be_computed_whole) {
    const Limits limits{.n_blocks = 10, .n_batch_tokens = 512, .n_parallel = 4, .max_logits = 8};
    const SeqState next{.n_todo = 100, .n_claim = 110};
    EXPECT_EQ(planned({decode(60, 160)}, {next}, limits).n_admit, 0);
    EXPECT_EQ(planned({decode(40, 48)}, {next}, limits).n_admit, 1);
    // Two that fit one after the other do not come in together.
    EXPECT_EQ(planned({}, {next, next}, limits).n_admit, 1);
    // A short one behind it does not pass: arrival decides.
    EXPECT_EQ(planned({decode(60, 160)}, {next, prompt(1)}, limits).n_admit, 0);
}

}  // namespace
}  // namespace hearth::engine
