// The test program is its own broker: Door::open starts /proc/self/exe again.
#include <gtest/gtest.h>

#include "base/log.h"
#include "egress/tasks.h"

int main(int argc, char** argv) {
    if (const auto code = hearth::egress::run_child_task(argc, argv)) return *code;
    testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
}
