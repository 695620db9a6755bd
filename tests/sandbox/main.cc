// The test program is its own broker and opener: both are /proc/self/exe, started again.
#include <gtest/gtest.h>

#include "egress/tasks.h"

int main(int argc, char** argv) {
    if (const auto code = hearth::egress::run_child_task(argc, argv)) return *code;
    testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
}
