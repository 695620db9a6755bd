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

// Keys, revoked ones included: each of them is one line of the list and one of the usage file, and
// an organisation that needs more has an identity provider.
inline constexpr std::int64_t kKeysMax = 4096;
inline constexpr std::int64_t kUsersMax = 4096;
// keys.json: about 600 bytes a key, and room for scopes.
inline constexpr std::size_t kKeysFileBytesMax = 16u << 20;
// Names of keys and users, and the entries of their scopes: what a person reads in one line.
inline constexpr std::size_t kKeyNameBytesMax = 128;
inline constexpr std::size_t kScopeEntriesMax = 64;
inline constexpr std::size_t kScopeEntryBytesMax = 512;  // the longest name of a model
inline constexpr std::size_t kKeyIdBytes = 11;           // "hk-" and eight characters
// What a key is asked to be valid or to overlap for at most: ten years.
inline constexpr std::int64_t kKeyLifeMaxS = 3653LL * 86400;
// A total that a file may state: a billion dollars, an exabyte. Sums of these do not overflow.
inline constexpr std::int64_t kUsageMax = 1'000'000'000'000'000'000;
// Who edits keys.json waits for who is editing it; an edit takes milliseconds.
inline constexpr std::int64_t kKeysLockWaitMs = 10'000;
// Who counts a key waits for who is counting it. That takes microseconds; a machine that swaps may
// take a second. Longer is a process that was stopped in the middle. The wait is that of the thread
// which moves all bytes, so it happens once; from then on nobody waits longer than for a lock that
// is in use.
inline constexpr std::int64_t kUsageLockWaitMs = 2'000;
inline constexpr std::int64_t kUsageLockLookMs = 1;
// Who lists usage reads a line that is not whole so often, a millisecond apart: one that is being
// written is whole within microseconds, a damaged one stays so.
inline constexpr int kUsageReadsMax = 10;
// Output tokens that are booked for an answer whose length nobody stated: more than most have. The
// rest of a longer one is booked when it has ended.
inline constexpr std::int64_t kAssumedOutputTokens = 1024;
// Egress: the head of a request to an upstream, beside its body.
inline constexpr std::int64_t kEgressHeadBytes = 1024;
// Keys with metrics of their own; Prometheus keeps a series for each for weeks.
inline constexpr std::size_t kMetricKeysMax = 100;
// Requests that ended and whose receipts have not come: each comes when its connection closes.
inline constexpr std::size_t kEgressBookedMax = 4096;
// Failed authentications of one peer in a minute before it is answered 429 instead of 401. No
// guessing helps against 160 bits; this bounds what a wrong client writes into log and journal.
inline constexpr std::int64_t kAuthFailuresMinute = 20;
// Peers that are remembered for it.
inline constexpr std::size_t kAuthPeersMax = 4096;
// The body of a request that makes or changes a key.
inline constexpr std::size_t kKeyRequestBytesMax = 64u << 10;

// What the scan of texts that come again is remembered by: a few hundred bytes of each, so that a
// hundred thousand turns fit.
inline constexpr std::size_t kScanCacheBytes = 32u << 20;

}  // namespace hearth::serve
