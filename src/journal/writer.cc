#include "journal/writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/format.h"
#include "base/log.h"
#include "journal/limits.h"
#include "journal/schema.h"

namespace hearth::journal {
namespace {

constexpr const char* kInsert =
    "INSERT INTO entries (wall_ns, event, request_id, json, outcome, model, upstream, route, "
    "input_tokens, cached_tokens, output_tokens, reasoning_tokens, cost_microusd) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
constexpr int kFirstSumColumn = 5, kLastColumn = 13;

}  // namespace

Result<std::unique_ptr<Writer>> Writer::open(const JournalOptions& options, const Clock& clock) {
    std::unique_ptr<Writer> writer(new Writer(options.sync, clock));
    HEARTH_TRY(writer->slot_, take_slot(options.folder));
    HEARTH_CHECK_OK(writer->open_checked());
    return writer;
}

Writer::~Writer() {
    if (needs_sync_) {
        if (const Status synced = sync(); !synced)
            log_error("journal_sync_failed", {{"error", synced.error().message}});
    }
    insert_.reset();    // before its connection
    database_.reset();  // the last connection to close checkpoints
}

// Opens the slot's file. Database::damage() of database_ tells whether a failure means damage.
Status Writer::open_file() {
    HEARTH_TRY(database_, Database::open(slot_.path, Database::Mode::write));
    HEARTH_TRY(const FileState state, inspect(*database_));
    if (state == FileState::ours) {
        if (const CheckResult found = check(*database_); !found.ok) {
            return database_->mark_damaged(found.finding);
        }
    }
    HEARTH_CHECK_OK(database_->exec("PRAGMA temp_store = MEMORY"));
    // Answers with the mode in force: another one where the file system has no shared memory.
    HEARTH_TRY(const std::string mode, database_->text("PRAGMA journal_mode = WAL"));
    if (mode != "wal")
        return fail(
            ErrorKind::internal,
            format("{} cannot be written ahead (journal mode {}); put the state folder on a "
                   "local disk",
                   slot_.path, mode));
    HEARTH_CHECK_OK(database_->exec(sync_ == Sync::each ? "PRAGMA synchronous = FULL"
                                                        : "PRAGMA synchronous = NORMAL"));
    HEARTH_CHECK_OK(
        database_->exec(format("PRAGMA journal_size_limit = {}", kWalBytesKept).c_str()));
    if (state == FileState::empty) HEARTH_CHECK_OK(create_schema(*database_));
    HEARTH_TRY(Statement insert, database_->prepare(kInsert));
    insert_ = std::make_unique<Statement>(std::move(insert));
    return {};
}

Status Writer::open_checked() {
    const Status opened = open_file();
    if (opened || !database_ || database_->damage() == Damage::none) return opened;
    HEARTH_CHECK_OK(start_over(opened.error()));
    return open_file();
}

// The damaged file is kept under another name; the slot gets a new one.
Status Writer::start_over(const Error& why) {
    insert_.reset();
    database_.reset();
    wal_.reset();
    HEARTH_TRY(const std::string aside, set_aside(slot_.path, clock_));
    log_error("journal_set_aside",
              {{"file", slot_.path}, {"kept_as", aside}, {"error", why.message}});
    return make_file(slot_.path);
}

Status Writer::insert(const StampedRow& stamped) {
    const Row& row = stamped.row;
    insert_->bind(1, stamped.wall_ns);
    insert_->bind(2, row.event);
    insert_->bind(3, row.request_id);
    insert_->bind(4, row.json);
    if (row.sums) {
        int column = kFirstSumColumn;
        for (const std::string* text :
             {&row.sums->outcome, &row.sums->model, &row.sums->upstream, &row.sums->route})
            insert_->bind(column++, *text);
        const chat::Usage& usage = row.sums->usage;
        for (const std::int64_t number :
             {usage.input_tokens, usage.cached_tokens, usage.output_tokens, usage.reasoning_tokens,
              row.sums->cost_microusd})
            insert_->bind(column++, number);
    } else {
        for (int column = kFirstSumColumn; column <= kLastColumn; ++column)
            insert_->bind_null(column);
    }
    return insert_->run();
}

Status Writer::write_once(std::span<const StampedRow> rows) {
    if (!database_ || !insert_) HEARTH_CHECK_OK(open_checked());
    HEARTH_CHECK_OK(database_->exec("BEGIN IMMEDIATE"));
    Status status;
    for (const StampedRow& row : rows) {
        status = insert(row);
        if (!status) break;
    }
    if (status) status = database_->exec("COMMIT");
    if (!status) {
        (void)database_->exec("ROLLBACK");  // fails where SQLite rolled back by itself
        return status;
    }
    n_pages_to_copy_ = database_->wal_pages();
    needs_sync_ = needs_sync_ || sync_ == Sync::group;
    return {};
}

Status Writer::write(std::span<const StampedRow> rows) {
    const Status status = write_once(rows);
    if (status || !database_ || database_->damage() == Damage::none) return status;
    HEARTH_CHECK_OK(start_over(status.error()));
    return write_once(rows);
}

Status Writer::sync() {
    needs_sync_ = false;  // also after a failure: it is reported once, not at every turn
    const std::string path = slot_.path + "-wal";
    if (!wal_) wal_ = Fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (!wal_ || ::fdatasync(wal_.get()) != 0)
        return fail(ErrorKind::internal, format("cannot sync {}: {}", path, std::strerror(errno)));
    return {};
}

Status Writer::checkpoint() {
    if (!database_) return {};
    HEARTH_TRY(const bool all, database_->checkpoint(n_pages_to_copy_ >= kCheckpointPagesForced));
    if (all) n_pages_to_copy_ = 0;
    return {};
}

}  // namespace hearth::journal
