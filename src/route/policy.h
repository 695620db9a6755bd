// Policy: a named way to choose among the targets that the hard constraints left. One file of
// route/policies each, exporting `policy_<stem>`.
#pragma once

#include <vector>

#include "route/decide.h"

namespace hearth::route {

struct Choice {
    std::size_t target = 0;
    std::vector<std::size_t> fallbacks;
    std::string reason;
};

struct Policy {
    const char* name;  // "default"
    // left: indices of targets that no constraint removed, in the operator's order; never empty.
    Choice (*choose)(const Facts&, const Signals&, const PolicySettings&,
                     const std::vector<Target>& targets, const std::vector<std::size_t>& left);
};
extern const Policy* const policy_table[];
extern const std::size_t policy_table_size;

}  // namespace hearth::route
