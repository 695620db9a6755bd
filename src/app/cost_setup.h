// cost_setup: what the ledger and the cost commands take from settings, price table and benchmarks.
#pragma once

#include <optional>
#include <string>

#include "app/commands.h"
#include "journal/ledger.h"

namespace hearth::app {

// From the cost.* settings. Watts while computing are scaled to the threads that compute:
// idle + (active - idle) * threads / cores.
route::CostSettings cost_settings(const Settings& settings);
// That scaling as a person reads it: "15 W + (65 W - 15 W) * 2 of 4 cores = 40 W".
std::string active_watts_text(const Settings& settings);

// How fast this machine was at the newest benchmark that has both rates, and of which model.
struct MeasuredSpeed {
    double prefill_tps = 0, decode_tps = 0;
    std::string model, test, time;  // "demo", "pp512, tg128, 2 at a time", "2026-03-14T…"
    route::LocalSpeed per_token() const;
};
// Nothing where there is no such benchmark.
std::optional<MeasuredSpeed> measured_speed(const std::string& bench_history);

journal::LedgerOptions ledger_options(const Context& context);

// Prices for the upstreams' models that state none.
void take_prices(Settings& settings, const route::PriceTable& table);

}  // namespace hearth::app
