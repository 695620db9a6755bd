// The ways around connect(2) that the sandbox must close, as a table: the sandbox's test tries each
// before (it must work, or the test shows nothing) and after (it must not).
#pragma once

#include <cerrno>
#include <span>

#include "sandbox/isolated.h"

namespace hearth::test {

enum class Way : int {
    works,    // it did what it set out to do
    refused,  // the system call failed; errno says how
};

struct ByWay {
    const char* name;
    Way (*attempt)(World&);
    // What else a machine must have for it to work before the sandbox; its absence is no failure.
    bool control_may_fail = false;
    // The process ends (killed) instead of getting an error.
    bool kills = false;
    // How it is refused; 0: by the absence of what it needs, in whatever way.
    int error = EPERM;
};
std::span<const ByWay> by_ways();

}  // namespace hearth::test
