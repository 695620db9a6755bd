// Row: a record as it is stored, one row of `entries`. docs/formats/journal.md lists the members of
// each event's JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "base/result.h"
#include "journal/journal.h"

namespace hearth::journal {

using Record = std::variant<DecisionRecord, OutcomeRecord, egress::Receipt, EventRecord>;

struct Row {
    std::string event;
    std::string request_id;
    std::string json;
    bool sync_first = false;  // synced before it counts as written
    // The columns of an outcome; absent for other events.
    struct Sums {
        std::string outcome, model, upstream, route;
        chat::Usage usage;
        std::int64_t cost_microusd = 0;
    };
    std::optional<Sums> sums;
};

// Errors: invalid_request where the row would be larger than kRecordBytes.
Result<Row> to_row(const Record& record);

// About how much memory the record's text takes, for the queue's bound.
std::size_t bytes_of(const Record& record);

}  // namespace hearth::journal
