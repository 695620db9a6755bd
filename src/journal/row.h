// Row: a record as it is stored, one row of `entries`. docs/formats/journal.md lists the members of
// each event's JSON.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "journal/journal.h"

namespace hearth::journal {

// What the journal says of itself: `audit.open`, `audit.checkpoint`, … (journal/chained.h).
struct ChainRecord {
    std::string event, json;
};

using Record =
    std::variant<DecisionRecord, OutcomeRecord, egress::Receipt, EventRecord, ChainRecord>;

struct Row {
    std::string event;
    std::string request_id;
    std::string json;
    bool sync_first = false;  // synced before it counts as written
    // The columns of schema.h's kColumns that are not NULL, in that order.
    struct Value {
        const char* name;
        std::variant<std::int64_t, std::string> value;
    };
    std::vector<Value> sums;
};

// Errors: invalid_request where the row would be larger than kRecordBytes.
Result<Row> to_row(const Record& record);

// About how much memory the record's text takes, for the queue's bound.
std::size_t bytes_of(const Record& record);

}  // namespace hearth::journal
