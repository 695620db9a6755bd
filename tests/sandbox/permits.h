// Permits for tests of the door. The only friend of EgressPermit is route::PermitMint; these
// programs do not link hearth_route, so the name is theirs to define. What tests the product's mint
// links it.
#pragma once

#include <string>

#include "egress/permit.h"

namespace hearth::route {
class PermitMint {
  public:
    static egress::EgressPermit make(egress::Destination destination, std::string rule = "test",
                                     egress::Purpose purpose = egress::Purpose::inference,
                                     std::string request_id = "req-1") {
        return egress::EgressPermit(std::move(destination), purpose, std::move(request_id),
                                    std::move(rule));
    }
};
}  // namespace hearth::route
