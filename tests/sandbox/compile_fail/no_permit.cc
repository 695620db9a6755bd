// Must not compile: the door opens for a permit, not for a destination.
#include "egress/door.h"

auto go(hearth::egress::Door& door) {
    return door.connect(hearth::egress::Destination{"api.example.com", 443, true}, 1000);
}
