#include "journal/writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/format.h"
#include "base/json.h"
#include "base/log.h"
#include "journal/limits.h"
#include "journal/schema.h"

namespace hearth::journal {
namespace {

constexpr int kFirstSumColumn = 7;  // parameters of insert_sql(), from 1

std::int64_t size_of(const std::string& path) {
    struct stat info{};
    return ::stat(path.c_str(), &info) == 0 ? std::int64_t(info.st_size) : 0;
}

std::string name_of(const std::string& path) {
    return path.substr(path.rfind('/') + 1);
}

}  // namespace

Result<std::unique_ptr<Writer>> Writer::open(const JournalOptions& options, const Clock& clock) {
    HEARTH_TRY(Slot slot, take_slot(options.folder));
    HEARTH_TRY(Links links, Links::load(keys_folder_of(options)));
    std::unique_ptr<Writer> writer(new Writer(options.sync, clock, std::move(links)));
    writer->slot_ = std::move(slot);
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
    opening_.wal_bytes = size_of(slot_.path + "-wal");
    HEARTH_TRY(database_, Database::open(slot_.path, Database::Mode::write));
    HEARTH_TRY(const FileState state, inspect(*database_));
    if (state == FileState::unchained) {  // it stays as it is; the chain begins in the next part
        HEARTH_CHECK_OK(to_next_part());
        return open_file();
    }
    if (state == FileState::ours) {
        if (const CheckResult found = check(*database_); !found.ok) {
            return database_->mark_damaged(found.finding);
        }
    }
    HEARTH_CHECK_OK(take_up_chain(state));
    if (!database_) return open_file();  // the chain broke; a new one begins in the next part
    return prepare(state);
}

Status Writer::prepare(FileState state) {
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
    HEARTH_TRY(Statement insert, database_->prepare(insert_sql().c_str()));
    insert_ = std::make_unique<Statement>(std::move(insert));
    opening_.slot = slot_.name();
    opening_.file = name_of(slot_.path);
    before_next_ = links_.opening(opening_);
    opening_ = {};
    return {};
}

// Where the chain stands: as this writer knows, else as the file's last entries say, else as those
// of the part before do; else it begins.
Status Writer::take_up_chain(FileState state) {
    if (running_) {
        opening_.continues = true;
        return {};
    }
    std::string path = state == FileState::ours ? slot_.path : std::string();
    if (path.empty() && slot_.part > 1 && opening_.fault.empty() && opening_.set_aside.empty())
        path = format("{}/{}", slot_.folder, audit::part_name(slot_.number, slot_.part - 1));
    if (path.empty()) {
        links_.resume(slot_.name(), std::nullopt);
        return {};
    }
    auto tail = audit::tail_of(path, slot_.name(), links_.trust());
    // Of the part before it may be of schema 1, damaged, or deleted: then this part begins a chain.
    if (!tail && path == slot_.path) return fail(std::move(tail.error()));
    if (!tail || !*tail) {
        links_.resume(slot_.name(), std::nullopt);
        return {};
    }
    if ((*tail)->finding) {
        const audit::Finding& found = *(*tail)->finding;
        opening_.fault = format("{} entry {}: {}", name_of(path), found.seq, found.what);
        log_error("journal_chain_broken", {{"file", path}, {"finding", opening_.fault}});
        links_.resume(slot_.name(), std::nullopt);
        if (path != slot_.path) return {};
        return to_next_part();
    }
    if (!(*tail)->closed && path == slot_.path) opening_.unclosed = **tail;
    links_.resume(slot_.name(), (*tail)->state);
    return {};
}

Status Writer::to_next_part() {
    insert_.reset();
    database_.reset();
    wal_.reset();
    slot_.path = slot_.next_path();
    ++slot_.part;
    return make_file(slot_.path);
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
    opening_ = {};
    opening_.set_aside = name_of(aside);
    return make_file(slot_.path);
}

Status Writer::insert(const Row& row, std::int64_t wall_ns) {
    const Digest mac = links_.next(row, wall_ns);
    insert_->bind(1, links_.state().seq);
    insert_->bind(2, wall_ns);
    insert_->bind(3, row.event);
    insert_->bind(4, row.request_id);
    insert_->bind(5, row.json);
    insert_->bind_blob(6, audit::text_of(mac));
    auto value = row.sums.begin();
    int parameter = kFirstSumColumn;
    for (const ColumnSpec& column : kColumns) {
        if (value == row.sums.end() || std::strcmp(value->name, column.name) != 0) {
            insert_->bind_null(parameter++);
            continue;
        }
        if (const auto* text = std::get_if<std::string>(&value->value))
            insert_->bind(parameter++, *text);
        else
            insert_->bind(parameter++, std::get<std::int64_t>(value->value));
        ++value;
    }
    CHECK(value == row.sums.end());  // row.cc keeps the table's order
    return insert_->run();
}

Status Writer::write_once(std::span<const StampedRow> rows) {
    if (!database_ || !insert_) HEARTH_CHECK_OK(open_checked());
    const audit::ChainState before = links_.state();
    HEARTH_CHECK_OK(database_->exec("BEGIN IMMEDIATE"));
    Status status;
    for (const Row& row : before_next_) {
        status = insert(row, rows.empty() ? clock_.wall_ns() : rows.front().wall_ns);
        if (!status) break;
    }
    for (const StampedRow& stamped : rows) {
        if (!status) break;
        status = insert(stamped.row, stamped.wall_ns);
    }
    if (status) status = database_->exec("COMMIT");
    if (!status) {
        (void)database_->exec("ROLLBACK");  // fails where SQLite rolled back by itself
        links_.back_to(before);
        return status;
    }
    before_next_.clear();
    running_ = true;
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

std::int64_t Writer::file_bytes() {
    return size_of(slot_.path) + size_of(slot_.path + "-wal");
}

Status Writer::rotate() {
    JsonWriter w;
    w.begin_object().field("next", name_of(slot_.next_path())).end_object();
    const StampedRow last{clock_.wall_ns(), own_row("audit.rotated", w.take())};
    HEARTH_CHECK_OK(write(std::span(&last, 1)));
    HEARTH_CHECK_OK(sync());
    HEARTH_CHECK_OK(to_next_part());
    n_pages_to_copy_ = 0;
    return write({});
}

// Oldest first, up to the first one that is still kept: what is left is one piece.
Status Writer::retire(std::int64_t before_wall_ns) {
    HEARTH_TRY(const std::vector<audit::Part> parts, audit::list_parts(slot_.folder));
    for (const audit::Part& part : parts) {
        if (part.slot != slot_.number || part.number >= slot_.part) continue;
        HEARTH_TRY(const auto database, Database::open(part.path, Database::Mode::read));
        HEARTH_TRY(const std::int64_t newest,
                   database->integer("SELECT wall_ns FROM entries ORDER BY seq DESC LIMIT 1"));
        if (newest >= before_wall_ns) return {};
        HEARTH_TRY(const bool deleted, retire_part(part));
        if (!deleted) return {};
    }
    return {};
}

Result<bool> Writer::retire_part(const audit::Part& part) {
    JsonWriter w;
    w.begin_object().field("file", name_of(part.path));
    // A file of schema 1 has no chain; one whose chain is broken is evidence, and stays.
    if (const auto tail = audit::tail_of(part.path, slot_.name(), links_.trust()); tail && *tail) {
        if ((*tail)->finding) {
            log_error("journal_not_deleted",
                      {{"file", part.path}, {"finding", (*tail)->finding->what}});
            return false;
        }
        w.key("end").raw(audit::to_json((*tail)->state));
    }
    w.end_object();
    const StampedRow row{clock_.wall_ns(), own_row("audit.deleted", w.take())};
    HEARTH_CHECK_OK(write(std::span(&row, 1)));
    HEARTH_CHECK_OK(sync());
    for (const char* suffix : {"-wal", "-shm", ""}) {
        const std::string path = part.path + suffix;
        if (::unlink(path.c_str()) != 0 && errno != ENOENT)
            return fail(ErrorKind::internal,
                        format("cannot delete {}: {}", path, std::strerror(errno)));
    }
    log_info("journal_file_deleted", {{"file", part.path}});
    return true;
}

}  // namespace hearth::journal
