#include "route/breakeven.h"

#include <algorithm>

#include "route/limits.h"

namespace hearth::route {
namespace {

__extension__ typedef __int128 Wide;

constexpr std::int64_t kNsPerDay = 86'400'000'000'000;
constexpr std::int64_t kPicoPerMicro = 1'000'000;
constexpr auto kLargest = INT64_MAX;

// numerator / denominator, half to even, held to what 63 bits take. Requires: none is negative.
std::int64_t divided(Wide numerator, Wide denominator) {
    Wide quotient = numerator / denominator;
    const Wide twice = numerator % denominator * 2;
    if (twice > denominator || (twice == denominator && (quotient & 1) != 0)) ++quotient;
    return std::int64_t(std::min<Wide>(quotient, kLargest));
}

std::int64_t held(std::int64_t value, std::int64_t least, std::int64_t most) {
    return std::clamp(value, least, most);
}

// Electricity of milliwatts over nanoseconds, in pico-dollars: mW * ns are picojoules, 3.6e18 of
// them a kilowatt-hour, whose price is in micro-dollars.
std::int64_t electricity_picousd(std::int64_t milliwatts, std::int64_t ns, std::int64_t per_kwh) {
    return divided(Wide(milliwatts) * ns * per_kwh, Wide(3'600'000'000'000));
}

struct Held {
    Machine machine;
    RequestSize size;
    std::int64_t per_kwh;
};

Held held(const Machine& m, const RequestSize& size, std::int64_t per_kwh) {
    Held out{m, size, held(per_kwh, 0, kElectricityMicrousdPerKwhMax)};
    Machine& h = out.machine;
    h.hardware_microusd = held(m.hardware_microusd, 0, kHardwareMicrousdMax);
    h.lifetime_hours = held(m.lifetime_hours, 1, kLifetimeHoursMax);
    h.rent_microusd_per_hour = held(m.rent_microusd_per_hour, 0, kHardwareMicrousdMax);
    h.idle_milliwatts = held(m.idle_milliwatts, 0, kMilliwattsMax);
    h.active_milliwatts = held(m.active_milliwatts, h.idle_milliwatts, kMilliwattsMax);
    h.speed.prefill_ns_per_token = held(m.speed.prefill_ns_per_token, 0, kBusyNsMax);
    h.speed.decode_ns_per_token = held(m.speed.decode_ns_per_token, 0, kBusyNsMax);
    out.size = {held(size.n_input, 0, kLedgerTokensMax), held(size.n_output, 0, kLedgerTokensMax)};
    return out;
}

BreakevenPoint point_at(const Breakeven& b, const RequestSize& size, std::int64_t percent) {
    BreakevenPoint point{.utilisation_percent = percent};
    point.n_requests = std::int64_t(Wide(kNsPerDay) * percent / 100 / b.busy_ns);
    const Wide tokens = Wide(point.n_requests) * (size.n_input + size.n_output);
    point.n_tokens = std::int64_t(std::min<Wide>(tokens, kLargest));
    point.here_microusd = divided(
        Wide(b.fixed_picousd_per_day) + Wide(point.n_requests) * b.marginal_picousd, kPicoPerMicro);
    point.there_microusd = divided(Wide(point.n_requests) * b.price_picousd, kPicoPerMicro);
    return point;
}

}  // namespace

Result<Breakeven> breakeven(const Machine& machine, const RequestSize& size, const Price& cloud,
                            std::int64_t electricity_microusd_per_kwh) {
    const auto [m, n, per_kwh] = held(machine, size, electricity_microusd_per_kwh);
    const Wide busy = Wide(n.n_input) * m.speed.prefill_ns_per_token +
                      Wide(n.n_output) * m.speed.decode_ns_per_token;
    if (busy <= 0)
        return fail(
            ErrorKind::invalid_request,
            "a request needs tokens and the machine a speed, or there is nothing to compare");
    Breakeven out;
    out.busy_ns = std::int64_t(std::min<Wide>(busy, kBusyNsMax));
    out.requests_per_day_max = kNsPerDay / out.busy_ns;
    const bool rented = m.rent_microusd_per_hour > 0;
    const Wide fixed =
        rented ? Wide(m.rent_microusd_per_hour) * 24 * kPicoPerMicro
               : Wide(divided(Wide(m.hardware_microusd) * kPicoPerMicro * 24, m.lifetime_hours)) +
                     electricity_picousd(m.idle_milliwatts, kNsPerDay, per_kwh);
    out.fixed_picousd_per_day = std::int64_t(std::min<Wide>(fixed, kLargest));
    if (!rented)
        out.marginal_picousd =
            electricity_picousd(m.active_milliwatts - m.idle_milliwatts, out.busy_ns, per_kwh);
    const Wide price = Wide(n.n_input) * std::max<std::int64_t>(cloud.input_picousd, 0) +
                       Wide(n.n_output) * std::max<std::int64_t>(cloud.output_picousd, 0);
    out.price_picousd = std::int64_t(std::min<Wide>(price, kLargest));
    if (const std::int64_t saved = out.price_picousd - out.marginal_picousd; saved > 0) {
        const Wide needed = (Wide(out.fixed_picousd_per_day) + saved - 1) / saved;
        if (needed <= out.requests_per_day_max) out.requests_per_day = std::int64_t(needed);
    }
    for (std::int64_t percent = 1; percent <= 100; ++percent)
        out.points.push_back(point_at(out, n, percent));
    return out;
}

}  // namespace hearth::route
