// Philox 4x32-10: random numbers as a pure function of (key, counter).
//
// A sequence's i-th draw depends on (seed, i) and on nothing that happened before, so neighbours,
// restarts and speculation cannot change it. Ten rounds of a 4-word Feistel-like mix whose keys
// step by Weyl constants. Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011, section 4.3; known answers from the authors' Random123 library are in
// sampler_test.cc.
#pragma once

#include <array>
#include <cstdint>

namespace hearth::engine {

using PhiloxWords = std::array<std::uint32_t, 4>;

constexpr PhiloxWords philox(PhiloxWords counter, std::array<std::uint32_t, 2> key) {
    constexpr std::uint64_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
    constexpr std::uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t a = kMultiplier0 * counter[0], b = kMultiplier1 * counter[2];
        counter = {std::uint32_t(b >> 32) ^ counter[1] ^ key[0], std::uint32_t(b),
                   std::uint32_t(a >> 32) ^ counter[3] ^ key[1], std::uint32_t(a)};
        key = {key[0] + kWeyl0, key[1] + kWeyl1};
    }
    return counter;
}

// A number in [0, 1) with 53 random bits, for the output position of a sequence with this seed.
constexpr double uniform(std::uint64_t seed, std::uint64_t position) {
    const PhiloxWords words = philox({std::uint32_t(position), std::uint32_t(position >> 32), 0, 0},
                                     {std::uint32_t(seed), std::uint32_t(seed >> 32)});
    return double((std::uint64_t(words[0]) << 32 | words[1]) >> 11) * 0x1p-53;
}

}  // namespace hearth::engine
