// read_tail(): the newest entries of all slots. Each slot is opened read-only, read in one query
// and closed; a connection of this kind never checkpoints, so that writers are not disturbed.
//
// Within a slot the order is that of writing (seq); slots are merged by time. Where a clock was set
// back, the order within each slot still holds. Who follows the journal goes by seq alone
// (read_after()).
#include <algorithm>
#include <filesystem>
#include <functional>
#include <limits>

#include "base/format.h"
#include "base/log.h"
#include "journal/journal.h"
#include "journal/limits.h"
#include "journal/schema.h"
#include "journal/slot.h"
#include "journal/sqlite.h"

namespace hearth::journal {
namespace {

// The inner query walks the index on wall_ns over the new entries only.
constexpr const char* kNewest =
    "SELECT seq, wall_ns, event, request_id, json FROM entries "
    "WHERE seq >= (SELECT min(seq) FROM entries WHERE wall_ns > ?1) AND wall_ns > ?1 "
    "ORDER BY seq DESC LIMIT ?2";

constexpr const char* kAfter =
    "SELECT seq, wall_ns, event, request_id, json FROM entries WHERE seq > ?1 ORDER BY seq LIMIT "
    "?2";
constexpr const char* kLastSeq = "SELECT coalesce(max(seq), 0) FROM entries";

std::string slot_name(const std::string& path) {
    return std::filesystem::path(path).filename().string();
}

// Calls read(database, slot) for each slot whose file holds a journal, in one snapshot: a writer
// may be creating the tables at this moment. It ends with the connection. Damaged files are
// skipped.
Status each_slot(const std::string& folder,
                 const std::function<Status(Database&, const std::string& slot)>& read) {
    HEARTH_TRY(const std::vector<std::string> paths, slot_files(folder));
    for (const std::string& path : paths) {
        HEARTH_TRY(const auto database, Database::open(path, Database::Mode::read));
        const auto in_snapshot = [&]() -> Status {
            HEARTH_CHECK_OK(database->exec("BEGIN"));
            HEARTH_TRY(const FileState state, inspect(*database));
            return state == FileState::empty ? Status() : read(*database, slot_name(path));
        };
        const Status status = in_snapshot();
        if (status) continue;
        if (database->damage() == Damage::none) return status;
        // Its writer sets it aside at its next start; the other slots can be read meanwhile.
        log_warn("journal_slot_skipped", {{"file", path}, {"error", status.error().message}});
    }
    return {};
}

Result<std::vector<JournalEntry>> rows_of(Statement statement, const std::string& slot) {
    std::vector<JournalEntry> entries;
    for (;;) {
        HEARTH_TRY(const bool row, statement.step());
        if (!row) return entries;
        entries.push_back({.seq = statement.integer(0),
                           .wall_ns = statement.integer(1),
                           .event = statement.text(2),
                           .request_id = statement.text(3),
                           .json = statement.text(4),
                           .slot = slot});
    }
}

// The newest n of all, oldest first.
std::vector<JournalEntry> merge(std::vector<std::vector<JournalEntry>> slots, std::int64_t n) {
    std::vector<JournalEntry> merged;
    std::vector<std::size_t> next(slots.size(), 0);
    while (std::int64_t(merged.size()) < n) {
        std::size_t newest = slots.size();
        for (std::size_t k = 0; k < slots.size(); ++k) {
            if (next[k] == slots[k].size()) continue;
            if (newest == slots.size() ||
                slots[k][next[k]].wall_ns >= slots[newest][next[newest]].wall_ns)
                newest = k;
        }
        if (newest == slots.size()) break;
        merged.push_back(std::move(slots[newest][next[newest]++]));
    }
    std::ranges::reverse(merged);
    return merged;
}

}  // namespace

Result<std::vector<JournalEntry>> read_tail(const std::string& folder, std::int64_t n,
                                            std::int64_t after_wall_ns) {
    n = std::clamp<std::int64_t>(n, 0, kTailMax);
    std::vector<std::vector<JournalEntry>> slots;
    HEARTH_CHECK_OK(each_slot(folder, [&](Database& database, const std::string& slot) -> Status {
        HEARTH_TRY(Statement statement, database.prepare(kNewest));
        statement.bind(1, after_wall_ns);
        statement.bind(2, n);
        HEARTH_TRY(auto entries, rows_of(std::move(statement), slot));
        slots.push_back(std::move(entries));
        return {};
    }));
    return merge(std::move(slots), n);
}

Result<Cursor> cursor_at_end(const std::string& folder) {
    Cursor cursor;
    HEARTH_CHECK_OK(each_slot(folder, [&](Database& database, const std::string& slot) -> Status {
        HEARTH_TRY(cursor[slot], database.integer(kLastSeq));
        return {};
    }));
    return cursor;
}

Result<std::vector<JournalEntry>> read_after(const std::string& folder, Cursor& cursor,
                                             std::int64_t n_max) {
    n_max = std::clamp<std::int64_t>(n_max, 0, kTailMax);
    std::vector<std::vector<JournalEntry>> slots;
    HEARTH_CHECK_OK(each_slot(folder, [&](Database& database, const std::string& slot) -> Status {
        std::int64_t& seen = cursor[slot];
        HEARTH_TRY(const std::int64_t last, database.integer(kLastSeq));
        if (last < seen) seen = 0;  // another file than the one that was read before
        HEARTH_TRY(Statement statement, database.prepare(kAfter));
        statement.bind(1, seen);
        statement.bind(2, n_max);
        HEARTH_TRY(auto entries, rows_of(std::move(statement), slot));
        if (!entries.empty()) seen = entries.back().seq;
        std::ranges::reverse(entries);  // merge() takes the newest first
        slots.push_back(std::move(entries));
        return {};
    }));
    return merge(std::move(slots), std::numeric_limits<std::int64_t>::max());
}

}  // namespace hearth::journal
