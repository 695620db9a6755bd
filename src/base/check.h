// CHECK states what must be true of our own code, in release builds too. Never for user input.
#pragma once

namespace hearth {
[[noreturn]] void check_failed(const char* condition, const char* file, int line);
}

#define CHECK(condition) \
    ((condition) ? (void)0 : ::hearth::check_failed(#condition, __FILE__, __LINE__))
