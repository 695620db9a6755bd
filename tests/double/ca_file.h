// The double's certificate authority as a file that its clients are told to trust.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "base/file.h"
#include "double/double.h"
#include "support/data.h"

namespace hearth::test {

inline std::string ca_file_of(const Double& server) {
    std::string path = temp_folder() + "/ca.pem";
    EXPECT_TRUE(write_file(path, server.ca_pem()));
    return path;
}

}  // namespace hearth::test
