// read_tail(): the newest entries of all slots. Each slot is opened read-only, read in one query
// and closed; a connection of this kind never checkpoints, so that writers are not disturbed.
//
// Within a slot the order is that of writing (seq); slots are merged by time. Where a clock was set
// back, the order within each slot still holds.
#include <algorithm>

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

// Newest first.
Result<std::vector<JournalEntry>> read_slot(Database& database, std::int64_t n,
                                            std::int64_t after_wall_ns) {
    std::vector<JournalEntry> entries;
    // One snapshot for all that follows: a writer may be creating the tables at this moment. It ends
    // with the connection.
    HEARTH_CHECK_OK(database.exec("BEGIN"));
    HEARTH_TRY(const FileState state, inspect(database));
    if (state == FileState::empty) return entries;
    HEARTH_TRY(Statement statement, database.prepare(kNewest));
    statement.bind(1, after_wall_ns);
    statement.bind(2, n);
    for (;;) {
        HEARTH_TRY(const bool row, statement.step());
        if (!row) return entries;
        entries.push_back({.seq = statement.integer(0),
                           .wall_ns = statement.integer(1),
                           .event = statement.text(2),
                           .request_id = statement.text(3),
                           .json = statement.text(4)});
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
    HEARTH_TRY(const std::vector<std::string> paths, slot_files(folder));
    std::vector<std::vector<JournalEntry>> slots;
    for (const std::string& path : paths) {
        HEARTH_TRY(const auto database, Database::open(path, Database::Mode::read));
        auto entries = read_slot(*database, n, after_wall_ns);
        if (entries) {
            slots.push_back(std::move(*entries));
            continue;
        }
        if (database->damage() == Damage::none) return std::unexpected(entries.error());
        // Its writer sets it aside at its next start; the other slots can be read meanwhile.
        log_warn("journal_slot_skipped", {{"file", path}, {"error", entries.error().message}});
    }
    return merge(std::move(slots), n);
}

}  // namespace hearth::journal
