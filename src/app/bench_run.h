// bench_run: one measurement through the engine itself, as a server would use it.
#pragma once

#include <cstdint>

#include "engine/engine.h"

namespace hearth::app {

struct BenchRun {
    double prefill_tps = 0, decode_tps = 0;  // of all sequences together
    double ttft_ms = 0;                      // of the slowest
};

// n_parallel sequences of n_prompt tokens, each its own, that generate n_generate tokens each.
// Blocks until all have ended. Errors: what the engine refuses or fails with.
Result<BenchRun> bench_run(engine::Engine& engine, std::int64_t n_prompt, std::int64_t n_generate,
                           std::int64_t n_parallel);

}  // namespace hearth::app
