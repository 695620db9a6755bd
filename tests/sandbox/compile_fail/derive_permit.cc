// Must not compile: deriving does not open the constructor.
#include "egress/permit.h"

struct Forged : hearth::egress::EgressPermit {
    Forged() : EgressPermit({"h", 1, true}, hearth::egress::Purpose::inference, "req", "rule") {}
};
Forged forged;
