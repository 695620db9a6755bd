#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
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

}  // namespace
}  // namespace hearth
