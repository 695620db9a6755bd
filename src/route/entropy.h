// How random a text looks: Shannon's entropy of its bytes, in bits per byte.
#pragma once

#include <array>
#include <cmath>
#include <string_view>

namespace hearth::route {

inline double entropy_of(std::string_view text) {
    std::array<int, 256> count{};
    for (const char c : text) ++count[(unsigned char)c];
    double bits = 0;
    for (const int n : count)
        if (n > 0) bits -= n * std::log2(double(n) / double(text.size()));
    return text.empty() ? 0 : bits / double(text.size());
}

}  // namespace hearth::route
