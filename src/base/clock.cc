#include "base/clock.h"

#include <time.h>

#include "base/format.h"

namespace hearth {
namespace {

std::int64_t read_clock(clockid_t id) {
    timespec ts;
    clock_gettime(id, &ts);
    return ts.tv_sec * kNsPerS + ts.tv_nsec;
}

struct SystemClock final : Clock {
    std::int64_t mono_ns() const override { return read_clock(CLOCK_MONOTONIC); }
    std::int64_t wall_ns() const override { return read_clock(CLOCK_REALTIME); }
};

}  // namespace

const Clock& system_clock() {
    static const SystemClock clock;
    return clock;
}

std::string rfc3339(std::int64_t wall_ns) {
    const time_t seconds = wall_ns / kNsPerS;
    tm utc;
    gmtime_r(&seconds, &utc);
    return format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z", utc.tm_year + 1900, utc.tm_mon + 1,
                  utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, wall_ns % kNsPerS);
}

}  // namespace hearth
