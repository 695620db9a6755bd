// PermitMint: the one place where the right to leave this machine for an answer is made.
//
// decide() has removed every target that may not be reached. The mint looks again at what it is
// given, because a permit is the last thing between a prompt and the network: a decision put
// together elsewhere by mistake gets none.
#include <algorithm>

#include "route/decide.h"
#include "route/policy.h"

namespace hearth::route {

std::optional<egress::EgressPermit> PermitMint::mint(const Decision& decision,
                                                     const std::vector<Target>& targets,
                                                     std::size_t target,
                                                     const std::string& request_id,
                                                     const std::string& who) {
    if (decision.refused || target >= targets.size()) return std::nullopt;
    const bool chosen = target == decision.target;
    if (!chosen && std::ranges::find(decision.fallbacks, target) == decision.fallbacks.end())
        return std::nullopt;
    const Target& to = targets[target];
    if (!leaves_machine(to) || to.upstream.empty()) return std::nullopt;
    if (decision.sensitivity >= decision.policy.keep_from &&
        !(decision.redacted && decision.policy.redact_to &&
          decision.sensitivity <= *decision.policy.redact_to))
        return std::nullopt;
    if (to.destination.host.empty() || to.destination.port < 1 || to.destination.port > 65535)
        return std::nullopt;
    return egress::EgressPermit(to.destination, egress::Purpose::inference, request_id,
                                "upstream " + to.upstream, who);
}

}  // namespace hearth::route
