// Policy: a named way to choose among the targets that the hard constraints left. One file of
// route/policies each, exporting `policy_<stem>`.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "route/decide.h"

namespace hearth::route {

// The names that are no model's: they say where a request may go.
inline constexpr std::array kVirtualModels{"auto", "local", "cloud"};

// What the caller's model name means.
enum class Asked : std::uint8_t { automatic, local, cloud, concrete };
Asked asked_for(const std::string& model);  // "" is automatic

// True for whatever is not computed on this machine, a server of the operator's own included.
bool leaves_machine(const Target& target);

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

// Null where no policy has this name: configuration is checked with it at start.
const Policy* find_policy(const std::string& name);

}  // namespace hearth::route
