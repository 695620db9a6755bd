// What random workloads ask of a Bench, and what must be true of every answer when all have ended.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "unit/engine/collector.h"
#include "unit/engine/fakes.h"

namespace hearth::engine {

struct Answer {
    std::vector<TokenId> prompt;
    std::int64_t n_new = 0;
    std::shared_ptr<Collector> sink = std::make_shared<Collector>();
    bool cancelled = false;

    Request request(std::string owner = {}) const {
        return {.prompt = prompt,
                .owner = std::move(owner),
                .sampling = {.temperature = 0},
                .max_tokens = n_new,
                .ignore_end = true,
                .sink = sink};
    }
};

// It ended once, and is the one that it would be alone, whole unless it was cancelled.
inline void expect_ended_as_if_alone(const Answer& answer, const Bench& bench) {
    EXPECT_EQ(answer.sink->n_finishes(), 1);
    const std::vector<TokenId> got = answer.sink->ids();
    if (!answer.cancelled) {
        EXPECT_EQ(std::int64_t(got.size()), answer.n_new);
    }
    EXPECT_EQ(got, bench.expected(answer.prompt, std::int64_t(got.size())));
}

inline void expect_nothing_left(const Bench& bench) {
    const EngineStats stats = bench.loop.stats();
    EXPECT_EQ(stats.n_running + stats.n_waiting + stats.n_blocks_used, 0);
}

}  // namespace hearth::engine
