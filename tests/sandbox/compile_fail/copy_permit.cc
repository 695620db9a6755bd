// Must not compile: one permit is one connection, so it cannot be copied.
#include "egress/door.h"

auto twice(hearth::egress::Door& door, const hearth::egress::EgressPermit& permit) {
    return door.connect(permit, 1000);
}
