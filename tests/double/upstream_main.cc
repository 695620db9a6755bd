// The test program is its own broker: Door::open starts /proc/self/exe again.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

#include "base/log.h"
#include "egress/door.h"

int main(int argc, char** argv) {
    if (argc == 3 && std::strcmp(argv[1], "egress-broker") == 0)
        return hearth::egress::broker_main(std::atoi(argv[2]));
    testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
}
