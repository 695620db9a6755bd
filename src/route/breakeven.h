// Break-even: from how many requests a day on is a machine of one's own cheaper than a cloud model?
//
//   a day here      fixed + n * marginal       fixed: amortisation or rent, and idle watts all day
//                                              marginal: watts above idle while a request computes
//   a day there     n * price                  tokens of a request at the provider's price
//   equal           n = fixed / (price - marginal), rounded up to a whole request
//
// There is no such n where the marginal cost alone is not below the price, and none that helps
// where it is more than the machine can compute in 24 hours. Whole pico-dollars, each rounded half
// to even once; sums and the comparison are exact in 128 bits.
//
// Pure. What it leaves out: answers of another length or quality, work to run the machine, and that
// several requests computed at a time are faster together (state the rate of the whole batch).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "route/cost.h"
#include "route/ledger.h"

namespace hearth::route {

struct Machine {
    std::int64_t hardware_microusd = 0, lifetime_hours = 1;  // owned
    std::int64_t rent_microusd_per_hour = 0;                 // rented: electricity is in it
    std::int64_t active_milliwatts = 0, idle_milliwatts = 0;
    LocalSpeed speed;
};

// A typical request.
struct RequestSize {
    std::int64_t n_input = 0, n_output = 0;
};

struct BreakevenPoint {
    std::int64_t utilisation_percent = 0;
    std::int64_t n_requests = 0, n_tokens = 0;  // a day
    std::int64_t here_microusd = 0, there_microusd = 0;
};

struct Breakeven {
    std::int64_t busy_ns = 0;               // of a request
    std::int64_t requests_per_day_max = 0;  // of the machine
    std::int64_t fixed_picousd_per_day = 0;
    std::int64_t marginal_picousd = 0, price_picousd = 0;  // of a request
    // The least whole number a day from which on here is not dearer; nothing: never.
    std::optional<std::int64_t> requests_per_day = {};
    std::vector<BreakevenPoint> points = {};  // 1 … 100 %
};

// Numbers beyond their bounds (limits.h) are held to them.
// Errors: invalid_request for a request without tokens or a machine without speed.
Result<Breakeven> breakeven(const Machine& machine, const RequestSize& size, const Price& cloud,
                            std::int64_t electricity_microusd_per_kwh);

}  // namespace hearth::route
