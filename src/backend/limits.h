// Every bound of the upstream backends, with its reason.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hearth::backend {

// Connecting waits in door.connect: name, TCP, TLS. Four at once per upstream; more would hit the
// same slow place.
inline constexpr int kConnectThreads = 4;
// Jobs of one upstream between start() and their end; the door has as many connections for all.
inline constexpr std::size_t kUpstreamJobsMax = 256;
// How often cancelled and resumed readers are looked for: below what a person notices.
inline constexpr std::int64_t kTickMs = 50;

// The circuit: so many failures in a row within the window mean that the place is down, not the
// request. It is asked again after the pause, which doubles while it stays down.
inline constexpr int kFailuresToOpen = 3;
inline constexpr std::int64_t kFailureWindowMs = 30'000;
inline constexpr std::int64_t kPauseMsMin = 5'000;
inline constexpr std::int64_t kPauseMsMax = 60'000;

// Retry-After beyond a day is a mistake or a taunt.
inline constexpr std::int64_t kRetryAfterMaxS = 86'400;

// Model files up to this size are hashed when they are opened: a twentieth of a second.
inline constexpr std::size_t kHashAtOpenBytes = 64u << 20;

}  // namespace hearth::backend
