// default: this machine first. `auto`, `local` and names prefer what does not leave; `cloud`
// prefers what does. Within a tier the operator's order holds.
//
// A name is a choice of model, so that its targets keep the operator's order whatever their tier.
// Fallbacks are the others that are left; across the machine's edge only where the policy allows
// it.
#include <algorithm>

#include "route/policy.h"

namespace hearth::route {
namespace {

int rank(Asked asked, const Target& target) {
    if (asked == Asked::concrete) return 0;
    const int nearness = leaves_machine(target) ? (target.tier == Tier::fleet ? 1 : 2) : 0;
    return asked == Asked::cloud ? -nearness : nearness;
}

const char* reason_for(Asked asked, const Target& target) {
    const bool leaves = leaves_machine(target);
    switch (asked) {
        case Asked::automatic:
            return leaves ? "no-local" : "default-local";
        case Asked::cloud:
            return leaves ? "preferred" : "no-cloud";
        case Asked::local:
        case Asked::concrete:
            return "pinned";
    }
    return "pinned";
}

Choice choose(const Facts& facts, const Signals&, const PolicySettings& settings,
              const std::vector<Target>& targets, const std::vector<std::size_t>& left) {
    const Asked asked = asked_for(facts.model);
    std::vector<std::size_t> order = left;
    std::ranges::stable_sort(order, {}, [&](std::size_t i) { return rank(asked, targets[i]); });
    Choice choice{.target = order.front(),
                  .fallbacks = {},
                  .reason = reason_for(asked, targets[order.front()])};
    const bool leaves = leaves_machine(targets[choice.target]);
    for (std::size_t k = 1; k < order.size(); ++k)
        if (settings.fallback || leaves_machine(targets[order[k]]) == leaves)
            choice.fallbacks.push_back(order[k]);
    return choice;
}

}  // namespace

extern const Policy policy_default;
const Policy policy_default = {.name = "default", .choose = choose};

}  // namespace hearth::route
