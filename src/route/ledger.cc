#include "route/ledger.h"

#include <algorithm>

#include "route/limits.h"

namespace hearth::route {
namespace {

__extension__ typedef __int128 Wide;

constexpr std::int64_t kNsPerHour = 3'600'000'000'000;
constexpr std::int64_t kMicrojoulesPerKwh = 3'600'000'000'000;
// Milliwatts times nanoseconds are picojoules.
constexpr std::int64_t kPicojoulesPerKwh = 3'600'000'000'000'000'000;
constexpr std::int64_t kPicojoulesPerMicrojoule = 1'000'000;

// numerator / denominator, half to even; the remainder is between minus and plus half of the
// denominator. Requires: denominator > 0, and a quotient that fits.
std::int64_t rounded(Wide numerator, std::int64_t denominator, std::int64_t& remainder) {
    Wide quotient = numerator / denominator;
    Wide left = numerator % denominator;  // has the numerator's sign
    if (left < 0) {
        left += denominator;
        quotient -= 1;
    }
    const Wide twice = left * 2;
    if (twice > denominator || (twice == denominator && (quotient & 1) != 0)) {
        quotient += 1;
        left -= denominator;
    }
    remainder = std::int64_t(left);
    return std::int64_t(quotient);
}

// With what the last rounding left over. That is minus half a micro-dollar at the least, so that an
// amount never falls below zero: minus a half rounds to zero, which is even.
std::int64_t charged(Wide numerator, std::int64_t denominator, std::int64_t& rest) {
    return rounded(numerator + rest, denominator, rest);
}

CostSettings held(CostSettings s) {
    const auto hold = [](std::int64_t& value, std::int64_t least, std::int64_t most) {
        value = std::clamp(value, least, most);
    };
    hold(s.electricity_microusd_per_kwh, 0, kElectricityMicrousdPerKwhMax);
    hold(s.hardware_microusd, 0, kHardwareMicrousdMax);
    hold(s.lifetime_hours, 1, kLifetimeHoursMax);
    hold(s.active_milliwatts, 0, kMilliwattsMax);
    hold(s.idle_milliwatts, 0, kMilliwattsMax);
    hold(s.utilisation_percent, 1, 100);
    return s;
}

void charge_machine(LedgerRow& row, const EnergyReading& energy, const CostSettings& s,
                    LedgerRest& rest) {
    row.busy_ns = std::clamp<std::int64_t>(energy.busy_ns, 0, kBusyNsMax);
    row.energy_uj = std::clamp<std::int64_t>(energy.energy_uj, 0, kEnergyUjMax);
    row.energy_source = energy.source;
    std::int64_t ignored = 0;
    row.idle_ns =
        rounded(Wide(row.busy_ns) * (100 - s.utilisation_percent), s.utilisation_percent, ignored);
    const std::int64_t life_ns = s.lifetime_hours * kNsPerHour;
    row.energy_microusd = charged(Wide(row.energy_uj) * s.electricity_microusd_per_kwh,
                                  kMicrojoulesPerKwh, rest.energy);
    row.amortisation_microusd =
        charged(Wide(row.busy_ns) * s.hardware_microusd, life_ns, rest.amortisation);
    row.idle_microusd =
        charged(Wide(row.idle_ns) * s.idle_milliwatts * s.electricity_microusd_per_kwh,
                kPicojoulesPerKwh, rest.idle_energy) +
        charged(Wide(row.idle_ns) * s.hardware_microusd, life_ns, rest.idle_amortisation);
}

std::int64_t n_of(std::int64_t n_tokens) {
    return std::clamp<std::int64_t>(n_tokens, 0, kLedgerTokensMax);
}

// What computing these tokens would take of this machine. Tokens from a provider's cache are
// computed here: its cache is not ours.
EnergyReading computed_here(const chat::Usage& usage, const LocalSpeed& speed,
                            const CostSettings& s) {
    const Wide busy =
        Wide(n_of(usage.input_tokens)) * std::max<std::int64_t>(speed.prefill_ns_per_token, 0) +
        Wide(n_of(usage.output_tokens)) * std::max<std::int64_t>(speed.decode_ns_per_token, 0);
    return estimated_energy(std::int64_t(std::min<Wide>(busy, kBusyNsMax)), s);
}

}  // namespace

const char* name_of(EnergySource source) {
    switch (source) {
        case EnergySource::none:
            return "";
        case EnergySource::rapl:
            return "rapl";
        case EnergySource::estimate:
            return "estimate";
    }
    return "";
}

std::optional<Price> price_of(const Target& target) {
    return price_of(target.input_usd_per_mtok, target.output_usd_per_mtok,
                    target.cached_input_usd_per_mtok);
}

EnergyReading estimated_energy(std::int64_t busy_ns, const CostSettings& settings) {
    const CostSettings s = held(settings);
    EnergyReading reading{.busy_ns = std::clamp<std::int64_t>(busy_ns, 0, kBusyNsMax),
                          .energy_uj = 0,
                          .source = EnergySource::estimate};
    std::int64_t ignored = 0;
    reading.energy_uj =
        rounded(Wide(reading.busy_ns) * s.active_milliwatts, kPicojoulesPerMicrojoule, ignored);
    return reading;
}

LedgerRow ledger_of(const LedgerInputs& inputs, LedgerRest& rest) {
    const CostSettings s = held(inputs.settings);
    LedgerRow row;
    charge_machine(row, inputs.energy, s, rest);
    row.paid_microusd = std::max<std::int64_t>(inputs.paid_before_microusd, 0);
    if (inputs.tier != Tier::local) {
        const std::int64_t here = cost_microusd(inputs.price, inputs.usage);
        row.paid_microusd += std::min(here, INT64_MAX - row.paid_microusd);
    }
    if (inputs.tier != Tier::cloud) {
        if (inputs.reference) {
            row.other_microusd = cost_microusd(*inputs.reference, inputs.usage);
            row.other = inputs.reference_label;
        }
    } else if (inputs.speed) {
        // An amount by itself, of work that was not done: it takes and leaves no rest.
        LedgerRow there;
        LedgerRest own;
        charge_machine(there, computed_here(inputs.usage, *inputs.speed, s), s, own);
        row.other_microusd = there.local_microusd();
        row.other = "local";
    }
    return row;
}

}  // namespace hearth::route
