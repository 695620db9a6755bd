// Clock: the only source of time. It is a parameter everywhere, so that tests can own time.
#pragma once

#include <cstdint>
#include <string>

namespace hearth {

inline constexpr std::int64_t kNsPerMs = 1'000'000;
inline constexpr std::int64_t kNsPerS = 1'000'000'000;

struct Clock {
    virtual ~Clock() = default;
    virtual std::int64_t mono_ns() const = 0;  // for intervals; never goes back
    virtual std::int64_t wall_ns() const = 0;  // since 1970-01-01 UTC; for records and `created`
};

const Clock& system_clock();

class ManualClock final : public Clock {
  public:
    std::int64_t mono_ns() const override { return now_ns; }
    std::int64_t wall_ns() const override { return now_ns; }
    std::int64_t now_ns = 0;
};

// "2026-03-14T15:09:26.123456789Z"
std::string rfc3339(std::int64_t wall_ns);

}  // namespace hearth
