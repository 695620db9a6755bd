#include "route/breakeven.h"

#include <gtest/gtest.h>

#include <limits>

namespace hearth::route {
namespace {

// 876 USD over 8,760 hours are 2.4 USD a day; 50 W idle at 0.25 USD are 0.3 USD a day: 2.7
// together. A request of 1,000 and 100 tokens takes 1 s + 9 s = 10 s, so that a day has 8,640. 360
// W above idle for 10 s are 0.001 kWh: 250 micro-dollars each. At 1 and 5 USD per million it costs
// 1,500 there.
const Machine kMachine{.hardware_microusd = 876'000'000,
                       .lifetime_hours = 8760,
                       .active_milliwatts = 410'000,
                       .idle_milliwatts = 50'000,
                       .speed = {1'000'000, 90'000'000}};
const RequestSize kSize{1000, 100};
const Price kCloud{.input_picousd = 1'000'000, .output_picousd = 5'000'000};

TEST(Breakeven, follows_the_arithmetic_that_it_says) {
    const auto b = breakeven(kMachine, kSize, kCloud, 250'000);
    ASSERT_TRUE(b);
    EXPECT_EQ(b->busy_ns, 10'000'000'000);
    EXPECT_EQ(b->requests_per_day_max, 8640);
    EXPECT_EQ(b->fixed_picousd_per_day, 2'700'000'000'000);
    EXPECT_EQ(b->marginal_picousd, 250'000'000);
    EXPECT_EQ(b->price_picousd, 1'500'000'000);
    // 2.7 / (0.0015 - 0.00025) = 2,160 exactly.
    EXPECT_EQ(b->requests_per_day, 2160);
    ASSERT_EQ(b->points.size(), 100u);
    const BreakevenPoint& at_25 = b->points[24];
    EXPECT_EQ(at_25.utilisation_percent, 25);
    EXPECT_EQ(at_25.n_requests, 2160);
    EXPECT_EQ(at_25.n_tokens, 2160 * 1100);
    EXPECT_EQ(at_25.here_microusd, 3'240'000);
    EXPECT_EQ(at_25.there_microusd, 3'240'000);
    EXPECT_GT(b->points[23].here_microusd, b->points[23].there_microusd);
    EXPECT_LT(b->points[25].here_microusd, b->points[25].there_microusd);
}

TEST(Breakeven, is_the_least_whole_number_at_which_here_is_not_dearer) {
    for (std::int64_t hardware = 100'000'000; hardware < 2'000'000'000; hardware += 77'777'777) {
        Machine machine = kMachine;
        machine.hardware_microusd = hardware;
        const auto b = breakeven(machine, kSize, kCloud, 250'000);
        ASSERT_TRUE(b && b->requests_per_day) << hardware;
        const auto dearer = [&](std::int64_t n) {
            return b->fixed_picousd_per_day + n * b->marginal_picousd > n * b->price_picousd;
        };
        EXPECT_FALSE(dearer(*b->requests_per_day));
        EXPECT_TRUE(dearer(*b->requests_per_day - 1));
    }
}

TEST(Breakeven, there_is_none_where_power_alone_is_dearer_or_a_day_too_short) {
    const auto dear_power = breakeven(kMachine, kSize, kCloud, 1'500'000);  // 1,500 each, as there
    ASSERT_TRUE(dear_power);
    EXPECT_FALSE(dear_power->requests_per_day);
    Machine dear = kMachine;
    dear.hardware_microusd = 4'000'000'000;
    EXPECT_FALSE(breakeven(dear, kSize, kCloud, 250'000)->requests_per_day);
    EXPECT_FALSE(breakeven(kMachine, kSize, Price{}, 250'000)->requests_per_day);
}

TEST(Breakeven, a_rented_machine_costs_its_rent_and_no_electricity) {
    Machine rented = kMachine;
    rented.rent_microusd_per_hour = 100'000;  // 2.4 USD a day
    const auto b = breakeven(rented, kSize, kCloud, 250'000);
    ASSERT_TRUE(b);
    EXPECT_EQ(b->fixed_picousd_per_day, 2'400'000'000'000);
    EXPECT_EQ(b->marginal_picousd, 0);
    EXPECT_EQ(b->requests_per_day, 1600);
}

TEST(Breakeven, refuses_what_takes_no_time_and_holds_absurd_numbers) {
    EXPECT_FALSE(breakeven(kMachine, {0, 0}, kCloud, 1));
    Machine still = kMachine;
    still.speed = {};
    EXPECT_FALSE(breakeven(still, kSize, kCloud, 1));
    constexpr auto kMax = std::numeric_limits<std::int64_t>::max();
    const auto b = breakeven({kMax, kMax, kMax, kMax, kMax, {kMax, kMax}}, {kMax, kMax},
                             {.input_picousd = kMax, .output_picousd = kMax}, kMax);
    ASSERT_TRUE(b);
    for (const BreakevenPoint& point : b->points) EXPECT_GE(point.here_microusd, 0);
    EXPECT_TRUE(breakeven({-1, -1, -1, -1, -1, {1, 1}}, {1, 1}, {-1, -1}, -1));
}

}  // namespace
}  // namespace hearth::route
