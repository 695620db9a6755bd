#include "serve/prep_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <stdexcept>

namespace hearth::serve {
namespace {

TEST(PrepPool, work_that_throws_ends_neither_the_thread_nor_the_program) {
    testing::internal::CaptureStderr();
    PrepPool pool(1);
    auto held = std::make_shared<int>(0);
    const std::weak_ptr<int> weak = held;
    ASSERT_TRUE(pool.post([held = std::move(held)] { throw std::runtime_error("out of memory"); }));
    std::promise<bool> dropped;
    ASSERT_TRUE(pool.post([&] { dropped.set_value(weak.expired()); }));
    EXPECT_TRUE(dropped.get_future().get()) << "what the work held lives on";
    EXPECT_NE(testing::internal::GetCapturedStderr().find("prep_work_threw"), std::string::npos);
}

TEST(PrepPool, close_runs_what_is_queued_and_refuses_what_comes_later) {
    PrepPool pool(2);
    std::atomic<int> n = 0;
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(pool.post([&] { ++n; }));
    pool.close();
    EXPECT_EQ(n, 100);
    EXPECT_FALSE(pool.post([&] { ++n; }));
    pool.close();
    EXPECT_EQ(n, 100);
}

}  // namespace
}  // namespace hearth::serve
