// Seeds of a property test: HEARTH_SEED=n runs exactly one, else a fixed run of them from
// HEARTH_SEEDS (how many) on. A failure prints its seed.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <random>
#include <vector>

namespace hearth::test {

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
