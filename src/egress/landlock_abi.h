// The part of Landlock's interface that Linux 6.1's headers do not have yet.
// Source: include/uapi/linux/landlock.h of Linux 6.12.
#pragma once

#include <cstdint>

namespace hearth::egress {

// struct landlock_ruleset_attr as of ABI 6; older kernels take its beginning.
struct LandlockRuleset {
    std::uint64_t handled_access_fs = 0;
    std::uint64_t handled_access_net = 0;  // ABI 4
    std::uint64_t scoped = 0;              // ABI 6
};
inline constexpr std::uint64_t kLandlockNetBindTcp = 1u << 0;
inline constexpr std::uint64_t kLandlockNetConnectTcp = 1u << 1;
inline constexpr std::uint64_t kLandlockScopeAbstractUnix = 1u << 0;
inline constexpr std::uint64_t kLandlockFsTruncate = 1u << 14;  // ABI 3

}  // namespace hearth::egress
