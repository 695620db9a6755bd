#include "backend/health.h"

#include <gtest/gtest.h>

#include "backend/limits.h"

namespace hearth::backend {
namespace {

constexpr std::int64_t kMs = 1'000'000;
const Error kDown{.kind = ErrorKind::upstream_failed, .message = "down"};

TEST(Health, one_failure_is_no_outage) {
    ManualClock clock;
    Health health("acme", clock);
    for (int i = 1; i < kFailuresToOpen; ++i) health.on_error(kDown);
    EXPECT_TRUE(health.now().healthy);
    EXPECT_EQ(health.now().upstream, "acme");
}

TEST(Health, failures_in_a_row_open_the_circuit_for_a_while) {
    ManualClock clock;
    Health health("acme", clock);
    for (int i = 0; i < kFailuresToOpen; ++i) health.on_error(kDown);
    EXPECT_FALSE(health.now().healthy);
    EXPECT_NE(health.now().why.find("failures in a row"), std::string::npos);
    clock.now_ns += kPauseMsMin * kMs - 1;
    EXPECT_FALSE(health.now().healthy);
    clock.now_ns += 1;
    EXPECT_TRUE(health.now().healthy);  // asked again
}

TEST(Health, a_failure_on_trial_opens_it_for_twice_as_long_up_to_a_bound) {
    ManualClock clock;
    Health health("acme", clock);
    for (int i = 0; i < kFailuresToOpen; ++i) health.on_error(kDown);
    std::int64_t pause_ms = kPauseMsMin;
    for (int i = 0; i < 8; ++i) {
        clock.now_ns += pause_ms * kMs;
        ASSERT_TRUE(health.now().healthy) << i;
        health.on_error(kDown);
        ASSERT_FALSE(health.now().healthy) << i;
        pause_ms = std::min(2 * pause_ms, kPauseMsMax);
    }
    EXPECT_EQ(pause_ms, kPauseMsMax);
}

TEST(Health, a_success_closes_it_and_forgets) {
    ManualClock clock;
    Health health("acme", clock);
    for (int i = 0; i < kFailuresToOpen; ++i) health.on_error(kDown);
    clock.now_ns += kPauseMsMin * kMs;
    health.on_success();
    for (int i = 1; i < kFailuresToOpen; ++i) health.on_error(kDown);
    EXPECT_TRUE(health.now().healthy);
    health.on_error(kDown);
    EXPECT_FALSE(health.now().healthy);
}

TEST(Health, failures_far_apart_do_not_add_up) {
    ManualClock clock;
    Health health("acme", clock);
    for (int i = 0; i < 10; ++i) {
        health.on_error(kDown);
        clock.now_ns += (kFailureWindowMs + 1) * kMs;
    }
    EXPECT_TRUE(health.now().healthy);
}

TEST(Health, a_bad_request_says_nothing_about_the_place) {
    ManualClock clock;
    Health health("acme", clock);
    for (const ErrorKind kind :
         {ErrorKind::invalid_request, ErrorKind::context_overflow, ErrorKind::cancelled,
          ErrorKind::forbidden_by_policy, ErrorKind::internal})
        for (int i = 0; i < 5; ++i) health.on_error({.kind = kind, .message = "no"});
    EXPECT_TRUE(health.now().healthy);
}

TEST(Health, late_failures_of_requests_from_before_do_not_prolong_it) {
    ManualClock clock;
    Health health("acme", clock);
    for (int i = 0; i < 50; ++i) health.on_error(kDown);
    clock.now_ns += kPauseMsMin * kMs;
    EXPECT_TRUE(health.now().healthy);
}

}  // namespace
}  // namespace hearth::backend
