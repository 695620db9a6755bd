// Schema: the journal's tables. Everything here reaches the disk: docs/formats/journal.md.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "journal/sqlite.h"

namespace hearth::journal {

inline constexpr std::int64_t kApplicationId = 0x68727468;  // "hrth", PRAGMA application_id
inline constexpr std::int64_t kSchemaVersion = 1;           // PRAGMA user_version

// What a file is, by its header and tables.
enum class FileState : std::uint8_t { empty, ours };
// Requires: a transaction, where another process may be writing.
// Errors: a file of a newer version, or of another program; both are left as they are.
Result<FileState> inspect(Database& database);

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
