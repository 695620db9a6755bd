// How much memory this process can still take: what the machine has and what its cgroups allow.
//
// MemAvailable is the kernel's own estimate of what can be used without swapping; pages of mapped
// model files count as available in it, since they can be dropped and read again. A cgroup's limit,
// its own and each of its parents', counts what is used without the file pages it could drop
// (inactive_file). Both cgroup versions are read, as containers still use either.
// Source: Documentation/filesystems/proc.rst, admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst.
#pragma once

#include <cstddef>
#include <string>

namespace hearth::engine {

// root: put before /proc and /sys, so that tests can bring their own. When nothing can be read (a
// sandbox without /proc) there is no limit to check: SIZE_MAX.
std::size_t memory_at_hand(const std::string& root = "");

}  // namespace hearth::engine
