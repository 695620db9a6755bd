// Every bound of serving, with its reason.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hearth::serve {

// Requests between "headers read" and "answer complete". More than the engine's queue and batch
// together, so that requests that go elsewhere are not refused for a full local queue.
inline constexpr std::int64_t kOpenRequestsMax = 512;
// An answer that is kept until it is whole: a million tokens are 4 MB of text, and with the twenty
// likeliest of each place a full context still fits.
inline constexpr std::size_t kAnswerBytesMax = 64u << 20;
// Parsing and tokenizing: seconds of work at most for two threads when every body is at its limit.
inline constexpr std::size_t kPrepQueueMax = 512;
inline constexpr int kPrepThreads = 2;
// What 503 asks a client to wait: the time of a few dozen tokens.
inline constexpr std::int64_t kRetryAfterS = 2;
// Clients give up on a silent stream after 30 to 60 s; a comment line tells them to keep waiting.
inline constexpr std::int64_t kKeepWaitingMs = 10'000;
// x-hearth-decision: common clients read headers of 16 KiB in all. A longer decision (dozens of
// upstream models) stands in the journal under the request's id.
inline constexpr std::size_t kDecisionHeaderBytesMax = 12u << 10;
// SIGTERM: long enough for a paragraph to be finished, short enough for service managers (90 s).
inline constexpr std::int64_t kDrainMs = 30'000;

}  // namespace hearth::serve
