// Database, Statement: the few words of SQLite that the journal uses, with Results instead of
// codes.
//
// Thread: a Database belongs to the thread that uses it. SQLite is compiled threadsafe; ours is
//         opened without its mutexes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace hearth::journal {

// What the file is good for after an error.
enum class Damage : std::uint8_t { none, damaged };

class Database;

class Statement {
  public:
    Statement(Statement&& other) noexcept;
    Statement& operator=(Statement&&) = delete;
    ~Statement();

    // Parameters count from 1. Text is copied.
    void bind(int parameter, std::int64_t value);
    void bind(int parameter, std::string_view text);
    void bind_blob(int parameter, std::string_view bytes);
    void bind_null(int parameter);
    // True: a row is at hand. False: the statement is done.
    Result<bool> step();
    // step() to the end, then ready to be bound again.
    Status run();

    std::int64_t integer(int column) const;
    std::string text(int column) const;  // "" for NULL

  private:
    friend class Database;
    Statement(Database& database, sqlite3_stmt* statement)
        : database_(&database), statement_(statement) {}
    Database* database_;
    sqlite3_stmt* statement_;
    int bind_error_ = 0;  // the first one; step() reports it
};

class Database {
  public:
    enum class Mode : std::uint8_t { read, write };
    // Mode::read never checkpoints, not even when it is the last to close.
    static Result<std::unique_ptr<Database>> open(const std::string& path, Mode mode);
    ~Database();
    Database(const Database&) = delete;

    Status exec(const char* sql);
    Result<Statement> prepare(const char* sql);
    // The first column of the first row, 0 where there is none.
    Result<std::int64_t> integer(const char* sql);
    Result<std::string> text(const char* sql);

    // Pages that the WAL held after the last commit.
    int wal_pages() const { return wal_pages_; }
    // Copies the WAL into the file. `wait`: waits for readers and starts the WAL over. True when
    // nothing is left to copy.
    Result<bool> checkpoint(bool wait);

    // Damaged once any error said so, or a check found it.
    Damage damage() const { return damage_; }
    std::unexpected<Error> mark_damaged(const std::string& finding);
    const std::string& path() const { return path_; }

  private:
    friend class Statement;
    explicit Database(std::string path) : path_(std::move(path)) {}
    std::unexpected<Error> failed(const char* verb, int code);

    const std::string path_;
    sqlite3* handle_ = nullptr;
    int wal_pages_ = 0;
    Damage damage_ = Damage::none;
};

}  // namespace hearth::journal
