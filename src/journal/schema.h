// Schema: the journal's tables. Everything here reaches the disk: docs/formats/journal.md.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "journal/sqlite.h"

namespace hearth::journal {

inline constexpr std::int64_t kApplicationId = 0x68727468;  // "hrth", PRAGMA application_id
inline constexpr std::int64_t kSchemaVersion = 2;           // PRAGMA user_version
inline constexpr std::int64_t kFirstChained =
    2;  // files of before hold no chain, and stay as they are

// The columns after json that hold what reports sum, so that they need not parse every record; one
// line each. NULL where the record has none. To add one: a line at the end here, and its value in
// row.cc; the chain covers it, because it covers every column that is not NULL.
struct ColumnSpec {
    const char* name;
    bool is_text;
};
// clang-format off
inline constexpr ColumnSpec kColumns[] = {
    {"outcome", true},
    {"model", true},
    {"upstream", true},
    {"route", true},
    {"input_tokens", false},
    {"cached_tokens", false},
    {"output_tokens", false},
    {"reasoning_tokens", false},
    {"cost_microusd", false},
    {"key_id", true},
    {"task", true},
    {"total_ns", false},
    {"busy_ns", false},
    {"idle_ns", false},
    {"energy_uj", false},
    {"energy_source", true},
    {"energy_microusd", false},
    {"amortisation_microusd", false},
    {"idle_microusd", false},
    {"other", true},
    {"other_microusd", false},
};
// clang-format on

// What a file is, by its header and tables.
enum class FileState : std::uint8_t { empty, unchained, ours };
// Requires: a transaction, where another process may be writing.
// Errors: a file of a newer version, or of another program; both are left as they are.
Result<FileState> inspect(Database& database);

// The statement that inserts a row: seq, wall_ns, event, request_id, json, mac, then kColumns.
std::string insert_sql();

// Makes an empty file a journal, in one transaction.
Status create_schema(Database& database);

// The whole file up to kQuickCheckBytes, else its newest record. Errors: with Database::damage() or
// the finding.
struct CheckResult {
    bool ok = true;
    std::string finding;
};
CheckResult check(Database& database);

}  // namespace hearth::journal
