// read_tail(): the newest entries of all slots. Each part of a slot is opened read-only, read in
// one query and closed; a connection of this kind never checkpoints, so that writers are not
// disturbed.
//
// Within a slot the order is that of writing (seq); slots are merged by time. Where a clock was set
// back, the order within each slot still holds. Who follows the journal goes by seq alone
// (read_after()).
#include <algorithm>
#include <filesystem>
#include <functional>
#include <iterator>
#include <limits>
#include <map>

#include "audit/files.h"
#include "base/format.h"
#include "base/log.h"
#include "journal/journal.h"
#include "journal/limits.h"
#include "journal/schema.h"
#include "journal/sqlite.h"

namespace hearth::journal {
namespace {

// The inner query walks the index on wall_ns over the new entries only. ?3 is 1 where what the
// journal says of itself is shown too.
constexpr const char* kNewest =
    "SELECT seq, wall_ns, event, request_id, json FROM entries "
    "WHERE seq >= (SELECT min(seq) FROM entries WHERE wall_ns > ?1) AND wall_ns > ?1 "
    "AND (?3 OR event NOT GLOB 'audit.*') ORDER BY seq DESC LIMIT ?2";

constexpr const char* kAfter =
    "SELECT seq, wall_ns, event, request_id, json FROM entries WHERE seq > ?1 "
    "AND (?3 OR event NOT GLOB 'audit.*') ORDER BY seq LIMIT ?2";
constexpr const char* kOfRequest =
    "SELECT seq, wall_ns, event, request_id, json FROM entries WHERE request_id = ?1 "
    "ORDER BY seq LIMIT ?2";
constexpr const char* kLastSeq = "SELECT coalesce(max(seq), 0) FROM entries";

// Calls read(database, part) for each part whose file holds a journal, in one snapshot: a writer
// may be creating the tables at this moment. It ends with the connection. Damaged files are
// skipped. A part that is deleted meanwhile is none.
Status each_part(const std::string& folder, bool newest_first,
                 const std::function<Status(Database&, const audit::Part&)>& read) {
    HEARTH_TRY(std::vector<audit::Part> parts, audit::list_parts(folder));
    if (newest_first) std::ranges::reverse(parts);
    for (const audit::Part& part : parts) {
        auto opened = Database::open(part.path, Database::Mode::read);
        if (!opened && !std::filesystem::exists(part.path)) continue;
        HEARTH_TRY(const auto database, std::move(opened));
        const auto in_snapshot = [&]() -> Status {
            HEARTH_CHECK_OK(database->exec("BEGIN"));
            HEARTH_TRY(const FileState state, inspect(*database));
            return state == FileState::empty ? Status() : read(*database, part);
        };
        const Status status = in_snapshot();
        if (status) continue;
        if (database->damage() == Damage::none) return status;
        // Its writer sets it aside at its next start; the other slots can be read meanwhile.
        log_warn("journal_slot_skipped", {{"file", part.path}, {"error", status.error().message}});
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
                                            std::int64_t after_wall_ns, Shown shown) {
    n = std::clamp<std::int64_t>(n, 0, kTailMax);
    // Of each slot the newest entries first, part by part, until there are enough.
    std::map<int, std::vector<JournalEntry>> slots;
    HEARTH_CHECK_OK(
        each_part(folder, true, [&](Database& database, const audit::Part& part) -> Status {
            std::vector<JournalEntry>& entries = slots[part.slot];
            if (std::int64_t(entries.size()) >= n) return {};
            HEARTH_TRY(Statement statement, database.prepare(kNewest));
            statement.bind(1, after_wall_ns);
            statement.bind(2, n - std::int64_t(entries.size()));
            statement.bind(3, shown == Shown::all ? 1 : 0);
            HEARTH_TRY(auto older, rows_of(std::move(statement), audit::slot_name(part.slot)));
            std::ranges::move(older, std::back_inserter(entries));
            return {};
        }));
    std::vector<std::vector<JournalEntry>> lists;
    for (auto& [slot, entries] : slots) lists.push_back(std::move(entries));
    return merge(std::move(lists), n);
}

Result<std::vector<JournalEntry>> read_request(const std::string& folder,
                                               const std::string& request_id) {
    std::vector<JournalEntry> entries;
    HEARTH_CHECK_OK(
        each_part(folder, false, [&](Database& database, const audit::Part& part) -> Status {
            HEARTH_TRY(Statement statement, database.prepare(kOfRequest));
            statement.bind(1, std::string_view(request_id));
            statement.bind(2, kTailMax);
            HEARTH_TRY(auto found, rows_of(std::move(statement), audit::slot_name(part.slot)));
            std::ranges::move(found, std::back_inserter(entries));
            return {};
        }));
    std::ranges::stable_sort(entries, {}, &JournalEntry::wall_ns);
    if (std::int64_t(entries.size()) > kTailMax) entries.resize(std::size_t(kTailMax));
    return entries;
}

Result<Cursor> cursor_at_end(const std::string& folder) {
    Cursor cursor;
    HEARTH_CHECK_OK(
        each_part(folder, false, [&](Database& database, const audit::Part& part) -> Status {
            HEARTH_TRY(const std::int64_t last, database.integer(kLastSeq));
            if (last > 0) cursor[audit::slot_name(part.slot)] = last;  // of the newest part
            return {};
        }));
    return cursor;
}

Result<std::vector<JournalEntry>> read_after(const std::string& folder, Cursor& cursor,
                                             std::int64_t n_max, Shown shown) {
    n_max = std::clamp<std::int64_t>(n_max, 0, kTailMax);
    std::map<std::string, std::vector<JournalEntry>> slots;
    HEARTH_CHECK_OK(
        each_part(folder, false, [&](Database& database, const audit::Part& part) -> Status {
            const std::string slot = audit::slot_name(part.slot);
            std::vector<JournalEntry>& entries = slots[slot];
            std::int64_t& seen = cursor[slot];
            HEARTH_TRY(const std::int64_t last, database.integer(kLastSeq));
            const bool newest = !std::filesystem::exists(
                format("{}/{}", folder, audit::part_name(part.slot, part.number + 1)));
            // Another file than the one that was read before; an older part only ends earlier, and
            // one that nothing was written to yet says nothing.
            if (newest && last > 0 && last < seen) seen = 0;
            if (last <= seen || std::int64_t(entries.size()) >= n_max) return {};
            HEARTH_TRY(Statement statement, database.prepare(kAfter));
            statement.bind(1, seen);
            statement.bind(2, n_max - std::int64_t(entries.size()));
            statement.bind(3, shown == Shown::all ? 1 : 0);
            HEARTH_TRY(auto next, rows_of(std::move(statement), slot));
            if (!next.empty()) seen = next.back().seq;
            std::ranges::move(next, std::back_inserter(entries));
            return {};
        }));
    std::vector<std::vector<JournalEntry>> lists;
    for (auto& [slot, entries] : slots) {
        std::ranges::reverse(entries);  // merge() takes the newest first
        lists.push_back(std::move(entries));
    }
    return merge(std::move(lists), std::numeric_limits<std::int64_t>::max());
}

}  // namespace hearth::journal
