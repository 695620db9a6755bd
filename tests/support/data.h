// needs_data: tests that read ../shared/data in place. Where the folder is absent the test is
// skipped; where CI is set its absence is a failure.
#pragma once

#include <gtest/gtest.h>

#include <string>

namespace hearth::test {

// The folder's path with /relative appended; empty where it does not exist.
std::string data_path(const std::string& relative);
// A fresh folder, removed at the end of the process with all that was made beside it: a journal
// keeps its keys in a folder of that place.
std::string temp_folder();

}  // namespace hearth::test

// Leaves a test for what this machine lacks and a machine of CI must have: there it fails.
#define CANNOT_RUN(why)                                              \
    do {                                                             \
        if (std::getenv("CI")) FAIL() << (why) << ", and CI is set"; \
        GTEST_SKIP() << (why);                                       \
    } while (false)

// Binds `var` to the path, or leaves the test.
#define NEEDS_DATA(var, relative)                                \
    const std::string var = ::hearth::test::data_path(relative); \
    if (var.empty()) CANNOT_RUN(std::string("needs ../shared/data/") + (relative))
