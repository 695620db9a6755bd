// Ledger: what one request cost, as whole numbers that add up.
//
// A request is paid for in one of two ways, or in both where a place failed before another
// answered:
//
// clang-format off
//   cloud   tokens at the provider's price              OutcomeRecord::cost_microusd
//   here    electricity    joules that computing took, at the price of a kilowatt-hour
//           amortisation   busy time as a share of the machine's life, at its price
//           idle           the time in which the machine stands ready: for each busy second
//                          (100 - u) / u idle ones, u being the utilisation that the operator
//                          plans with; electricity at idle watts, and amortisation
// clang-format on
//
// Busy time is the machine's, not the caller's: the time of each moment is divided by the number of
// answers that were computed at it, so that the busy times of all rows add up to the time in which
// the machine computed at all. Joules are divided in the same way (journal/energy.h).
//
// Rounding, once for all: every amount is an exact fraction, rounded half to even to a whole
// micro-dollar. What is paid to others is rounded by itself, as they do. Of this machine's three
// amounts, which may each be a thousandth of a micro-dollar, the rest of the rounding is carried
// into the next row of the process (LedgerRest): a sum of rows is never off the exact sum by more
// than half a micro-dollar, however many rows it has. Totals are sums of rows, nothing else.
//
// The other tier: what the same counts of tokens would have cost there. For an answer of this
// machine or of the fleet the reference model of the cloud; for an answer of the cloud this
// machine, at its measured rates. It is an estimate by nature: another vocabulary counts otherwise,
// and another model answers at another length.
//
// Pure: the same inputs give the same row.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "chat/chat.h"
#include "route/cost.h"
#include "route/decide.h"

namespace hearth::route {

// The prices of a target; nothing where they cannot be used.
std::optional<Price> price_of(const Target& target);

// Whence the joules: counted by the processor, or watts times seconds.
enum class EnergySource : std::uint8_t { none, rapl, estimate };
const char* name_of(EnergySource source);  // "", "rapl", "estimate"

// What computing one answer took of this machine.
struct EnergyReading {
    std::int64_t busy_ns = 0;
    std::int64_t energy_uj = 0;
    EnergySource source = EnergySource::none;
};

// The assumptions. Bounds are in limits.h; ledger_of() holds what passes them to them.
struct CostSettings {
    std::int64_t electricity_microusd_per_kwh = 300'000;
    std::int64_t hardware_microusd = 1'000'000'000;
    std::int64_t lifetime_hours = 4 * 8760;  // of being switched on
    std::int64_t active_milliwatts = 65'000;
    std::int64_t idle_milliwatts = 15'000;
    std::int64_t utilisation_percent = 10;  // 1 … 100
};

// How fast this machine computes, as nanoseconds of busy time per token.
struct LocalSpeed {
    std::int64_t prefill_ns_per_token = 0;
    std::int64_t decode_ns_per_token = 0;
};

struct LedgerInputs {
    Tier tier = Tier::local;  // of the place that answered in the end
    chat::Usage usage;        // there
    Price price = {};         // there; all 0 for this machine
    // To places that failed before it, each rounded by itself.
    std::int64_t paid_before_microusd = 0;
    EnergyReading energy = {};  // of this machine, failed tries included
    // The cloud model that an answer of this machine is compared with, and its label; nothing:
    // there is none, and nothing to compare with.
    std::optional<Price> reference = {};
    std::string reference_label = {};
    std::optional<LocalSpeed> speed = {};  // nothing: not measured, so that no local cost is known
    CostSettings settings = {};
};

struct LedgerRow {
    std::int64_t busy_ns = 0;
    std::int64_t idle_ns = 0;  // charged to it
    std::int64_t energy_uj = 0;
    EnergySource energy_source = EnergySource::none;
    std::int64_t energy_microusd = 0;
    std::int64_t amortisation_microusd = 0;
    std::int64_t idle_microusd = 0;
    std::int64_t paid_microusd = 0;  // to all places; OutcomeRecord::cost_microusd
    // Of the other tier, and what was taken for it: "openai/gpt-5-mini", "local". Nothing: unknown.
    std::optional<std::int64_t> other_microusd = {};
    std::string other = {};

    std::int64_t local_microusd() const {
        return energy_microusd + amortisation_microusd + idle_microusd;
    }
    friend bool operator==(const LedgerRow&, const LedgerRow&) = default;
};

// What the roundings before left over, each a fraction of a micro-dollar by its own denominator.
struct LedgerRest {
    std::int64_t energy = 0, amortisation = 0, idle_energy = 0, idle_amortisation = 0;
};

// `rest` is that of the process, changed only by what this machine did itself. A process that sets
// other prices starts with an empty one.
LedgerRow ledger_of(const LedgerInputs& inputs, LedgerRest& rest);

// Watts times seconds, for machines whose joules nobody counts.
EnergyReading estimated_energy(std::int64_t busy_ns, const CostSettings& settings);

}  // namespace hearth::route
