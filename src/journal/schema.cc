#include "journal/schema.h"

#include <algorithm>
#include <string>

#include "base/format.h"
#include "journal/limits.h"

namespace hearth::journal {
namespace {

// mac links the row to the one before it (audit/chain.h).
std::string create_sql() {
    std::string sql = R"sql(
CREATE TABLE entries (
    seq              INTEGER PRIMARY KEY,
    wall_ns          INTEGER NOT NULL,
    event            TEXT    NOT NULL,
    request_id       TEXT    NOT NULL,
    json             TEXT    NOT NULL,
    mac              BLOB    NOT NULL)sql";
    for (const ColumnSpec& column : kColumns)
        sql += format(",\n    {:<16} {}", column.name, column.is_text ? "TEXT" : "INTEGER");
    return sql + R"sql(
) STRICT;
CREATE INDEX entries_by_wall_ns ON entries (wall_ns);
CREATE INDEX entries_by_request_id ON entries (request_id);
)sql";
}

}  // namespace

Result<FileState> inspect(Database& database) {
    HEARTH_TRY(const std::int64_t application, database.integer("PRAGMA application_id"));
    HEARTH_TRY(const std::int64_t version, database.integer("PRAGMA user_version"));
    HEARTH_TRY(const std::int64_t n_tables, database.integer("SELECT count(*) FROM sqlite_schema"));
    if (application == 0 && version == 0 && n_tables == 0) return FileState::empty;
    if (application != kApplicationId)
        return fail(ErrorKind::invalid_request,
                    format("{} is a database of another program; move it away", database.path()));
    if (version > kSchemaVersion)
        return fail(ErrorKind::invalid_request,
                    format("{} was written by a newer hearth (schema {}, this one knows {}); use "
                           "that one, or move the file away",
                           database.path(), version, kSchemaVersion));
    return version < kFirstChained ? FileState::unchained : FileState::ours;
}

std::string insert_sql() {
    std::string names = "seq, wall_ns, event, request_id, json, mac", marks = "?, ?, ?, ?, ?, ?";
    for (const ColumnSpec& column : kColumns) {
        names += format(", {}", column.name);
        marks += ", ?";
    }
    return format("INSERT INTO entries ({}) VALUES ({})", names, marks);
}

Status create_schema(Database& database) {
    HEARTH_CHECK_OK(database.exec("BEGIN IMMEDIATE"));
    const std::string sql = format("{}PRAGMA application_id = {};PRAGMA user_version = {};COMMIT",
                                   create_sql(), kApplicationId, kSchemaVersion);
    const Status made = database.exec(sql.c_str());
    if (!made) (void)database.exec("ROLLBACK");
    return made;
}

CheckResult check(Database& database) {
    const auto finding_of = [&](const Result<std::string>& answer) -> CheckResult {
        if (!answer) return {.ok = false, .finding = answer.error().message};
        return {.ok = *answer == "ok", .finding = *answer};
    };
    const auto n_pages = database.integer("PRAGMA page_count");
    const auto page_bytes = database.integer("PRAGMA page_size");
    if (!n_pages) return {.ok = false, .finding = n_pages.error().message};
    if (!page_bytes) return {.ok = false, .finding = page_bytes.error().message};
    if (*n_pages <= kQuickCheckBytes / std::max<std::int64_t>(*page_bytes, 512))
        return finding_of(database.text("PRAGMA quick_check(1)"));
    const auto newest = database.text("SELECT json FROM entries ORDER BY seq DESC LIMIT 1");
    if (!newest) return {.ok = false, .finding = newest.error().message};
    return {};
}

}  // namespace hearth::journal
