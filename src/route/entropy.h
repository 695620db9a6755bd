// How random a text looks: Shannon's entropy of its bytes, in bits per byte.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>

namespace hearth::route {

// log2(N) - (sum of n * log2(n)) / N over the N bytes, n of each kind; the sum grows by steps that
// are known for texts of ordinary lengths.
inline double entropy_of(std::string_view text) {
    if (text.empty()) return 0;
    static const auto kSteps = [] {
        std::array<double, 512> steps{};
        for (std::size_t n = 1; n + 1 < steps.size(); ++n)
            steps[n] = double(n + 1) * std::log2(double(n + 1)) - double(n) * std::log2(double(n));
        return steps;
    }();
    std::array<std::uint32_t, 256> count{};
    double sum = 0;
    for (const char c : text) {
        const std::uint32_t n = count[(unsigned char)c]++;
        sum += n < kSteps.size() - 1
                   ? kSteps[n]
                   : (n + 1) * std::log2(double(n + 1)) - n * std::log2(double(n));
    }
    return std::log2(double(text.size())) - sum / double(text.size());
}

}  // namespace hearth::route
