// Must not compile: nobody but route::PermitMint can construct a permit.
#include "egress/permit.h"

hearth::egress::EgressPermit forge() {
    return hearth::egress::EgressPermit({"api.example.com", 443, true},
                                        hearth::egress::Purpose::inference, "req", "rule");
}
