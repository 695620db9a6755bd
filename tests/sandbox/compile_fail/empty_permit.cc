// Must not compile: there is no empty permit either.
#include "egress/permit.h"

hearth::egress::EgressPermit forge() {
    return {};
}
