// format(): text formatting, from {fmt} (std::format is missing in g++ 12). The library is compiled
// once, in fmt.cc.
#pragma once

#include <fmt/format.h>

namespace hearth {
using fmt::format;
}
