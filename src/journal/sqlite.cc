// Every connection is opened with autocheckpoint off: checkpoints come from the one writer only,
// because SQLite before 3.51.3 can corrupt a file whose WAL two connections reset at the same time.
// Source: sqlite.org/wal.html, section "the WAL-reset bug".
#include "journal/sqlite.h"

#include <sqlite3.h>

#include <utility>

#include "base/format.h"
#include "journal/limits.h"

namespace hearth::journal {
namespace {

int keep_wal_pages(void* pages, sqlite3*, const char*, int n_pages) {
    *static_cast<int*>(pages) = n_pages;
    return SQLITE_OK;
}

const char* advice_for(int code) {
    switch (code & 0xff) {
        case SQLITE_FULL:
            return "the disk is full; free some space";
        case SQLITE_READONLY:
            return "the file or its file system is read-only";
        case SQLITE_CANTOPEN:
        case SQLITE_PERM:
            return "check that the folder exists and belongs to you";
        case SQLITE_IOERR:
            return "the disk refused the operation";
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
            return "another process holds the file; try again";
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
            return "the file is damaged";
        default:
            return "unexpected";
    }
}

bool is_damage(int code) {
    return (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB;
}

ErrorKind kind_for(int code) {
    const bool busy = (code & 0xff) == SQLITE_BUSY || (code & 0xff) == SQLITE_LOCKED;
    return busy ? ErrorKind::overloaded : ErrorKind::internal;
}

}  // namespace

Statement::Statement(Statement&& other) noexcept
    : database_(other.database_),
      statement_(std::exchange(other.statement_, nullptr)),
      bind_error_(other.bind_error_) {}

Statement::~Statement() {
    sqlite3_finalize(statement_);
}

void Statement::bind(int parameter, std::int64_t value) {
    const int code = sqlite3_bind_int64(statement_, parameter, value);
    if (bind_error_ == SQLITE_OK) bind_error_ = code;
}

void Statement::bind(int parameter, std::string_view text) {
    const int code = sqlite3_bind_text64(statement_, parameter, text.data() ? text.data() : "",
                                         text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
    if (bind_error_ == SQLITE_OK) bind_error_ = code;
}

void Statement::bind_blob(int parameter, std::string_view bytes) {
    const int code =
        sqlite3_bind_blob64(statement_, parameter, bytes.data(), bytes.size(), SQLITE_TRANSIENT);
    if (bind_error_ == SQLITE_OK) bind_error_ = code;
}

void Statement::bind_null(int parameter) {
    const int code = sqlite3_bind_null(statement_, parameter);
    if (bind_error_ == SQLITE_OK) bind_error_ = code;
}

Result<bool> Statement::step() {
    if (bind_error_ != SQLITE_OK)
        return database_->failed("bind values for", std::exchange(bind_error_, SQLITE_OK));
    const int code = sqlite3_step(statement_);
    if (code == SQLITE_ROW) return true;
    if (code == SQLITE_DONE) return false;
    auto error = database_->failed("use", code);
    sqlite3_reset(statement_);
    return error;
}

Status Statement::run() {
    for (;;) {
        const Result<bool> row = step();
        if (row && *row) continue;
        sqlite3_reset(statement_);
        if (!row) return std::unexpected(row.error());
        return {};
    }
}

std::int64_t Statement::integer(int column) const {
    return sqlite3_column_int64(statement_, column);
}

std::string Statement::text(int column) const {
    const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    const int n = sqlite3_column_bytes(statement_, column);
    return bytes ? std::string(bytes, std::size_t(n)) : std::string();
}

Result<std::unique_ptr<Database>> Database::open(const std::string& path, Mode mode) {
    std::unique_ptr<Database> database(new Database(path));
    const int flags =
        mode == Mode::write ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
    const int code = sqlite3_open_v2(path.c_str(), &database->handle_,
                                     flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
    if (code != SQLITE_OK) return database->failed("open", code);
    sqlite3* const handle = database->handle_;
    sqlite3_busy_timeout(handle, kBusyMs);
    // The file may have been altered: nothing in its schema may run functions, and nothing of ours
    // may write to it by other means than its tables.
    sqlite3_db_config(handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
    sqlite3_db_config(handle, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    sqlite3_wal_autocheckpoint(handle, 0);
    sqlite3_wal_hook(handle, keep_wal_pages, &database->wal_pages_);
    if (mode == Mode::read) sqlite3_db_config(handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    // Large sorts stay in memory: the sandbox closes the folders of temporary files.
    HEARTH_CHECK_OK(database->exec("PRAGMA temp_store = MEMORY"));
    return database;
}

Database::~Database() {
    sqlite3_close_v2(handle_);
}

std::unexpected<Error> Database::failed(const char* verb, int code) {
    if (is_damage(code)) damage_ = Damage::damaged;
    return fail(
        kind_for(code),
        format("cannot {} the journal {}: {} ({}, SQLite {})", verb, path_, advice_for(code),
               handle_ ? sqlite3_errmsg(handle_) : sqlite3_errstr(code), code));
}

std::unexpected<Error> Database::mark_damaged(const std::string& finding) {
    damage_ = Damage::damaged;
    return fail(ErrorKind::internal, format("the journal {} is damaged: {}", path_, finding));
}

Status Database::exec(const char* sql) {
    const int code = sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr);
    if (code != SQLITE_OK) return failed("use", code);
    return {};
}

Result<Statement> Database::prepare(const char* sql) {
    sqlite3_stmt* statement = nullptr;
    const int code =
        sqlite3_prepare_v3(handle_, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
    if (code != SQLITE_OK) return failed("read", code);
    return Statement(*this, statement);
}

Result<std::int64_t> Database::integer(const char* sql) {
    HEARTH_TRY(Statement statement, prepare(sql));
    HEARTH_TRY(const bool row, statement.step());
    return row ? statement.integer(0) : 0;
}

Result<std::string> Database::text(const char* sql) {
    HEARTH_TRY(Statement statement, prepare(sql));
    HEARTH_TRY(const bool row, statement.step());
    return row ? statement.text(0) : std::string();
}

Result<bool> Database::checkpoint(bool wait) {
    int n_pages = 0, n_copied = 0;
    const int code = sqlite3_wal_checkpoint_v2(
        handle_, nullptr, wait ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_PASSIVE, &n_pages,
        &n_copied);
    // Busy: a reader is in the way. What could be copied was.
    if ((code & 0xff) == SQLITE_BUSY) return false;
    if (code != SQLITE_OK) return failed("checkpoint", code);
    return n_copied >= n_pages;
}

}  // namespace hearth::journal
