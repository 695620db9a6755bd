// Costs: what outcomes in the journal cost, by its columns alone: row by row, or summed in groups.
// All slots and all their parts are read, old ones too: a column that a file does not have yet
// counts as NULL, which is 0 or unknown.
//
// Sums are made by SQLite in whole numbers; one that does not fit in 64 bits is an error, not a
// wrong number.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "base/result.h"

namespace hearth::journal {

// The numbers that are summed, in the order of a report.
struct CostSums {
    std::int64_t n_requests = 0, n_local = 0, n_fleet = 0, n_cloud = 0, n_refused = 0;
    std::int64_t input_tokens = 0, cached_tokens = 0, output_tokens = 0, reasoning_tokens = 0;
    std::int64_t total_ns = 0, busy_ns = 0, idle_ns = 0;
    std::int64_t energy_uj = 0, energy_rapl_uj = 0;  // all; of it what was counted
    std::int64_t energy_microusd = 0, amortisation_microusd = 0, idle_microusd = 0;
    std::int64_t paid_microusd = 0;  // to others
    // All of it there instead: rows that were answered there as they were, the others as the other
    // tier would have cost; and how many rows say nothing of it and are left out.
    std::int64_t all_cloud_microusd = 0, n_all_cloud_unknown = 0;
    std::int64_t all_local_microusd = 0, n_all_local_unknown = 0;
    std::int64_t first_wall_ns = 0, last_wall_ns = 0;

    std::int64_t local_microusd() const {
        return energy_microusd + amortisation_microusd + idle_microusd;
    }
};

struct CostRow {
    std::string slot;  // the file's name
    std::int64_t seq = 0, wall_ns = 0;
    std::string request_id, outcome, route, model, upstream, key_id, task;
    std::int64_t input_tokens = 0, cached_tokens = 0, output_tokens = 0, reasoning_tokens = 0;
    std::int64_t total_ns = 0, busy_ns = 0, idle_ns = 0, energy_uj = 0;
    std::string energy_source;
    std::int64_t energy_microusd = 0, amortisation_microusd = 0, idle_microusd = 0;
    std::int64_t paid_microusd = 0;
    std::string other;
    std::optional<std::int64_t> other_microusd;
};

enum class CostsBy : std::uint8_t { nothing, task, key, model, tier, day };

// By group: a task, a key's id, "upstream/model" or a local model's name, a tier, a UTC day. What a
// group is about may be empty, where nobody said it.
Result<std::map<std::string, CostSums>> sum_costs(const std::string& folder,
                                                  std::int64_t since_wall_ns, CostsBy by);
// Every row, slot by slot in the order of writing.
Status each_cost(const std::string& folder, std::int64_t since_wall_ns,
                 const std::function<void(const CostRow&)>& take);

}  // namespace hearth::journal
