// PurposeMint: permits for everything but inference. Who downloads a model, fetches the keys of an
// identity provider or sends telemetry says so here, and gets a permit only where the allow-list
// has a rule for that destination and that purpose. The broker checks again, with its own copy of
// the list: a permit of one purpose never opens a rule of another.
//
// Thread: any; plain functions of values.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "egress/door.h"
#include "egress/permit.h"

namespace hearth::egress {

class PurposeMint {
  public:
    // Errors: forbidden_by_policy with what to configure; invalid_request for inference, whose
    // permits are route's to make, and for what is no destination.
    static Result<EgressPermit> mint(const std::vector<AllowRule>& rules, Purpose purpose,
                                     const Destination& destination, const std::string& request_id,
                                     const std::string& who = {});
};

}  // namespace hearth::egress
