// How often this program has allocated with operator new, counted from its start.
#pragma once

#include <cstdint>

namespace hearth::test {
std::int64_t n_allocations();
}
