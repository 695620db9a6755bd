#include "egress/purpose.h"

#include <algorithm>

#include "base/format.h"
#include "egress/limits.h"

namespace hearth::egress {

Result<EgressPermit> PurposeMint::mint(const std::vector<AllowRule>& rules, Purpose purpose,
                                       const Destination& destination,
                                       const std::string& request_id, const std::string& who) {
    if (purpose == Purpose::inference)
        return fail(ErrorKind::invalid_request,
                    "a permit for inference follows from a decision; route makes it");
    if (destination.host.empty() || destination.host.size() > kHostBytesMax ||
        destination.port < 1 || destination.port > 65535)
        return fail(ErrorKind::invalid_request,
                    format("{} is no destination: a host of 1 to {} bytes and a port of 1 to 65535 "
                           "are needed",
                           to_text(destination), kHostBytesMax));
    const auto rule = std::ranges::find_if(rules, [&](const AllowRule& r) {
        return r.purpose == purpose && r.destination == destination;
    });
    if (rule == rules.end())
        return fail(ErrorKind::forbidden_by_policy,
                    format("{} is not on the egress allow-list for {}, so nothing is sent there",
                           to_text(destination), name_of(purpose)));
    return EgressPermit(destination, purpose, request_id, rule->name, who);
}

}  // namespace hearth::egress
