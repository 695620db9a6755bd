// Seeds of random tests. HEARTH_SEED=n repeats what one did.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

namespace hearth::test {

// Another one at each run, printed.
inline std::uint64_t test_seed() {
    const char* const given = std::getenv("HEARTH_SEED");
    const std::uint64_t seed = given ? std::strtoull(given, nullptr, 10) : std::random_device{}();
    std::printf("HEARTH_SEED=%llu\n", static_cast<unsigned long long>(seed));
    return seed;
}

// The same n at each run, or as many as HEARTH_SEEDS says. A failure prints its own.
inline std::vector<std::uint64_t> seeds(std::uint64_t n) {
    if (const char* one = std::getenv("HEARTH_SEED")) return {std::strtoull(one, nullptr, 10)};
    if (const char* many = std::getenv("HEARTH_SEEDS")) n = std::strtoull(many, nullptr, 10);
    std::vector<std::uint64_t> out;
    for (std::uint64_t i = 1; i <= n; ++i) out.push_back(i);
    return out;
}

// Whole numbers in [low, high], the same on every system (std::uniform_int_distribution is not).
class Dice {
  public:
    explicit Dice(std::uint64_t seed) : engine_(seed) {}
    std::int64_t roll(std::int64_t low, std::int64_t high) {
        return low + std::int64_t(engine_() % std::uint64_t(high - low + 1));
    }
    bool chance(std::int64_t percent) { return roll(1, 100) <= percent; }

  private:
    std::mt19937_64 engine_;
};

}  // namespace hearth::test
