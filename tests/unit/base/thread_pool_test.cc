#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace hearth {
namespace {

TEST(ThreadPool, every_part_runs_exactly_once) {
    for (const int n_threads : {1, 2, 3, 8}) {
        ThreadPool pool(n_threads);
        for (int round = 0; round < 2000; ++round) {
            const int n = round % 37;
            std::vector<std::atomic<int>> seen(std::size_t(n) + 1);
            pool.run(n, [&](std::int64_t i) { seen[std::size_t(i)].fetch_add(1); });
            for (int i = 0; i < n; ++i) ASSERT_EQ(seen[std::size_t(i)].load(), 1) << n_threads;
        }
    }
}

TEST(ThreadPool, writes_of_parts_are_seen_by_the_caller) {
    ThreadPool pool(4);
    std::vector<int> out(64);
    for (int round = 0; round < 1000; ++round) {
        pool.run(64, [&](std::int64_t i) { out[std::size_t(i)] = round + int(i); });
        for (int i = 0; i < 64; ++i) ASSERT_EQ(out[std::size_t(i)], round + i);
    }
}

// Parts of a region of n that other threads than the caller took; each of theirs takes so long.
int taken_by_others(ThreadPool& pool, int n, int others_ms, int own_ms) {
    const auto caller = std::this_thread::get_id();
    std::atomic<int> n_others{0};
    pool.run(n, [&](std::int64_t) {
        const bool other = std::this_thread::get_id() != caller;
        if (other) n_others.fetch_add(1);
        std::this_thread::sleep_for(std::chrono::milliseconds(other ? others_ms : own_ms));
    });
    return n_others;
}

// As if the worker had lost its core in the middle of its part.
TEST(ThreadPool, a_worker_that_was_waited_for_rests_and_comes_back) {
    ThreadPool pool(2);
    while (taken_by_others(pool, 8, 500, 2) == 0) {
    }
    EXPECT_EQ(taken_by_others(pool, 8, 1, 1), 0);  // it rests for two seconds
    EXPECT_EQ(taken_by_others(pool, 8, 1, 1), 0);
    while (taken_by_others(pool, 8, 1, 1) == 0) {
    }
}

TEST(ThreadPool, parts_that_take_everybody_long_are_no_reason_to_rest) {
    ThreadPool pool(2);
    while (taken_by_others(pool, 3, 40, 40) == 0) {
    }
    int n_others = 0;
    for (int i = 0; i < 8; ++i) n_others += taken_by_others(pool, 3, 40, 40);
    EXPECT_GT(n_others, 0);  // a rest would last for four times 40 ms at least
}

TEST(ThreadPool, a_pool_whose_worker_rests_ends_at_once) {
    ThreadPool pool(2);
    while (taken_by_others(pool, 8, 700, 2) == 0) {
    }
    taken_by_others(pool, 8, 1, 1);  // the worker sees that it is to rest
}

}  // namespace
}  // namespace hearth
