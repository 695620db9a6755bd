// Compiles: a permit that came from somewhere opens the door, once.
#include <utility>

#include "egress/door.h"

hearth::Result<hearth::egress::Door::Connection> go(hearth::egress::Door& door,
                                                    hearth::egress::EgressPermit permit) {
    return door.connect(std::move(permit), 1000);
}
