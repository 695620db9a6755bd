// Bounds of the route room, each with its reason.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hearth::route {

// Places tried after the first one. Each may wait for a connect timeout before it is given up, so
// more than a few would keep the caller waiting for minutes.
inline constexpr std::size_t kFallbacksMax = 4;

// Dearest price that configuration may state, in USD per million tokens. A thousand times the
// dearest price list of today; it keeps cost arithmetic far from overflow.
inline constexpr double kPriceUsdPerMtokMax = 1e6;

// Names of targets that one message lists before it says "and n more".
inline constexpr std::size_t kListedMax = 8;

// A recorded decision that is read back. Ours are about 300 bytes and 300 more per target.
inline constexpr std::size_t kRecordedBytesMax = 1u << 20;

}  // namespace hearth::route
