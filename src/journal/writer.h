// Writer: the one connection that writes a slot, checkpoints it and syncs it.
//
// Thread:     journal only, after open().
// Invariants: (1) a batch is one transaction: all of its records are written or none.
//             (2) each row follows the one before it in the chain (journal/links.h); the chain
//             stands
//                 after the last row that was committed.
//
// Written means in the kernel's page cache: SQLite hands its WAL to write(2), and a committed
// transaction whose frames are there is found again by whoever opens the file next, whatever became
// of this process. Against power loss the WAL must also be synced: by each commit (Sync::each), by
// sync() below (Sync::group), or at checkpoints only (none). In every mode a checkpoint syncs the
// WAL before it touches the database, so that power loss costs the newest records at most, never
// the file. Source: sqlite.org/wal.html, sqlite.org/pragma.html#pragma_synchronous.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "journal/links.h"
#include "journal/row.h"
#include "journal/schema.h"
#include "journal/slot.h"
#include "journal/sqlite.h"

namespace hearth::journal {

struct StampedRow {
    std::int64_t wall_ns = 0;
    Row row;
};

class Writer {
  public:
    // Takes a slot; a damaged file in it is set aside and a new one begun, with a line in the log.
    static Result<std::unique_ptr<Writer>> open(const JournalOptions& options, const Clock& clock);
    ~Writer();

    // A file found damaged on the way is set aside, and the batch goes to a new one.
    Status write(std::span<const StampedRow> rows);
    // Written records that sync() or a checkpoint have not made safe yet (Sync::group only).
    bool needs_sync() const { return needs_sync_; }
    Status sync();
    // Pages that a checkpoint would copy.
    int wal_pages() const { return n_pages_to_copy_; }
    Status checkpoint();

    // A full file is left, and the next part begun. Errors: nothing is lost; the next write tries
    // again.
    Status rotate();
    std::int64_t file_bytes();
    // Deletes older parts of this slot whose newest entry is from before, each after that was
    // recorded.
    Status retire(std::int64_t before_wall_ns);

    const std::string& path() const { return slot_.path; }
    const Links& links() const { return links_; }
    std::string slot_name() const { return slot_.name(); }

  private:
    Writer(Sync sync, const Clock& clock, Links links)
        : sync_(sync), clock_(clock), links_(std::move(links)) {}
    Status open_file();
    Status prepare(FileState state);
    Status take_up_chain(FileState state);
    Status to_next_part();
    Result<bool> retire_part(const audit::Part& part);
    Status open_checked();
    Status start_over(const Error& why);
    Status write_once(std::span<const StampedRow> rows);
    Status insert(const Row& row, std::int64_t wall_ns);

    const Sync sync_;
    const Clock& clock_;
    Links links_;
    Slot slot_;
    bool running_ = false;    // the chain's state is that of the entries written by this writer
    Links::Opening opening_;  // what the next opening has to say
    std::vector<Row> before_next_;  // rows of the journal's own that come before the next batch
    std::unique_ptr<Database> database_;
    std::unique_ptr<Statement> insert_;
    Fd wal_;  // for fdatasync; SQLite holds no lock on this file
    bool needs_sync_ = false;
    int n_pages_to_copy_ = 0;
};

}  // namespace hearth::journal
