#include "route/cost.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace hearth::route {
namespace {

TEST(Cost, a_dollar_per_million_is_a_micro_dollar_per_token) {
    const auto price = price_of(1, 2);
    ASSERT_TRUE(price);
    EXPECT_EQ(cost_microusd(*price, 1'000'000, 0), 1'000'000);
    EXPECT_EQ(cost_microusd(*price, 3, 4), 11);
}

TEST(Cost, prices_that_binary_fractions_cannot_hold_are_exact) {
    const auto price = price_of(0.15, 0.6);
    ASSERT_TRUE(price);
    EXPECT_EQ(price->input_picousd, 150'000);
    EXPECT_EQ(cost_microusd(*price, 20, 5), 6);  // 3 + 3
    EXPECT_EQ(price_of(0.075, 0)->input_picousd, 75'000);
}

TEST(Cost, what_was_spent_rounds_half_to_even_and_a_bound_rounds_up) {
    const Price half{.input_picousd = 500'000, .output_picousd = 0};
    EXPECT_EQ(cost_microusd(half, 1, 0), 0);
    EXPECT_EQ(cost_microusd(half, 3, 0), 2);
    EXPECT_EQ(cost_microusd(half, 5, 0), 2);
    EXPECT_EQ(cost_microusd(half, 1, 0, Rounding::up), 1);
    EXPECT_EQ(cost_microusd(half, 2, 0, Rounding::up), 1);
    const Price least{.input_picousd = 1, .output_picousd = 0};
    EXPECT_EQ(cost_microusd(least, 1, 0, Rounding::up), 1);
    EXPECT_EQ(cost_microusd(least, 1, 0), 0);
}

TEST(Cost, sums_over_many_requests_do_not_drift) {
    const std::uint64_t seed = 20260314;
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const auto price = price_of(0.5, 1.5);
    ASSERT_TRUE(price);
    std::int64_t rounded = 0, n_in_all = 0, n_out_all = 0;
    constexpr std::int64_t kRequests = 100'000;
    for (std::int64_t i = 0; i < kRequests; ++i) {
        const auto n_in = std::int64_t(random() % 5000), n_out = std::int64_t(random() % 500);
        rounded += cost_microusd(*price, n_in, n_out);
        n_in_all += n_in;
        n_out_all += n_out;
    }
    // Every half rounds up or down with equal chance: the error is a random walk of steps 1/2,
    // whose standard deviation is below sqrt(100000)/2 = 158; six of them bound it. Rounding up
    // would be 25,000 off.
    EXPECT_NEAR(double(rounded), double(cost_microusd(*price, n_in_all, n_out_all)), 950);
}

TEST(Cost, prices_that_are_none_are_refused) {
    constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
    EXPECT_FALSE(price_of(-1, 0));
    EXPECT_FALSE(price_of(0, kNan));
    EXPECT_FALSE(price_of(std::numeric_limits<double>::infinity(), 0));
    EXPECT_FALSE(price_of(1e7, 0));
}

TEST(Cost, saturates_and_takes_negative_counts_as_none) {
    constexpr auto kMax = std::numeric_limits<std::int64_t>::max();
    const auto dear = price_of(1e6, 1e6);
    ASSERT_TRUE(dear);
    EXPECT_EQ(cost_microusd(*dear, kMax, kMax), kMax);
    EXPECT_EQ(cost_microusd(*dear, -5, -5), 0);
    EXPECT_EQ(cost_microusd({.input_picousd = kMax, .output_picousd = kMax}, kMax, kMax), kMax);
}

TEST(Cost, cached_tokens_are_priced_apart) {
    const auto price = price_of(3, 15, 0.3);
    ASSERT_TRUE(price);
    EXPECT_EQ(price->cached_picousd, 300'000);
    const chat::Usage usage{.input_tokens = 1000, .cached_tokens = 900, .output_tokens = 10};
    EXPECT_EQ(cost_microusd(*price, usage), 100 * 3 + 270 + 150);
    // Without a price of their own they cost what others do.
    EXPECT_EQ(cost_microusd(*price_of(3, 15), usage), 3000 + 150);
    EXPECT_FALSE(price_of(3, 15, -1));
}

TEST(Cost, more_cached_tokens_than_there_are_count_as_all_of_them) {
    const auto price = price_of(10, 0, 1);
    ASSERT_TRUE(price);
    EXPECT_EQ(cost_microusd(*price, {.input_tokens = 5, .cached_tokens = 50}), 5);
    EXPECT_EQ(cost_microusd(*price, {.input_tokens = 5, .cached_tokens = -50}), 50);
}

}  // namespace
}  // namespace hearth::route
