// Limits of the engine, each with its reason.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hearth::engine {

// Stop strings of one request. Each is matched byte by byte beside the others, so their number is a
// factor of the cost of a byte; APIs allow 4 to 16.
inline constexpr std::size_t kMaxStops = 64;
// A stop string longer than this would hold back more text than a reader waits for.
inline constexpr std::size_t kMaxStopBytes = 4096;
// Best tokens reported at one place. APIs ask for at most 20; evaluation code for some hundreds.
inline constexpr std::int64_t kMaxLogprobs = 1024;
// Rows of a step that carry logits for score(), beside one row for each sequence. 64 rows of
// 150,000 values are 38 MB, and a matmul of 64 rows already reads the weights only once.
inline constexpr std::int64_t kScoreRows = 64;
// Penalties and biases. APIs allow -2 to 2 and -100 to 100; a logit is seldom beyond +-100, so more
// would change nothing. A repeat penalty is a factor, 1.1 in most advice.
inline constexpr double kMaxPenalty = 100, kMaxBias = 100, kMaxRepeatPenalty = 100;
// Biased tokens of one request: added one by one at each draw. Above the largest vocabulary's use
// for them (banning a script takes some 10,000).
inline constexpr std::size_t kMaxBiases = 1 << 16;
// Tokens of one context. 16 M tokens of the smallest useful model (1 KiB each) are 16 GiB.
inline constexpr std::int64_t kMaxContext = 16ll << 20;
// What a context is when nobody asks for more: the KV cache of 8 such sequences of an 8 B model
// (128 KiB a token) is 8 GiB.
inline constexpr std::int64_t kDefaultContext = 8192;
inline constexpr std::int64_t kMaxParallel = 1024;
// Rows of a step. Scratch grows with it, and past some thousands a matmul gains nothing.
inline constexpr std::int64_t kMaxBatchTokens = 16384;
inline constexpr std::int64_t kMaxQueue = 1 << 16;
// While every sequence waits for its reader, readers are asked again after this long: short against
// what a person notices, long against the cost of asking.
inline constexpr std::int64_t kPausePollMs = 2;

}  // namespace hearth::engine
