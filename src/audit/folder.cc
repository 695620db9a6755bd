#include "audit/folder.h"

#include <sqlite3.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <limits>
#include <memory>
#include <thread>

#include "base/format.h"

namespace hearth::audit {
namespace {

constexpr std::int64_t kApplicationId = 0x68727468;  // "hrth"; docs/formats/journal.md, section 2
constexpr std::int64_t kFirstChained = 2;
constexpr int kBusyMs = 5000;
constexpr int kPiecesPerThread = 4;

struct CloseDatabase {
    void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
};
struct FinalizeStatement {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Database = std::unique_ptr<sqlite3, CloseDatabase>;
using Statement = std::unique_ptr<sqlite3_stmt, FinalizeStatement>;

std::unexpected<Error> refused(const std::string& path, const std::string& why) {
    return fail(ErrorKind::invalid_request, format("{} cannot be read: {}", path, why));
}

Result<Statement> prepare(const Database& db, const std::string& path, const char* sql) {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(db.get(), sql, -1, &statement, nullptr) != SQLITE_OK)
        return refused(path, sqlite3_errmsg(db.get()));
    return Statement(statement);
}

Result<std::int64_t> integer(const Database& db, const std::string& path, const char* sql) {
    HEARTH_TRY(const Statement statement, prepare(db, path, sql));
    const int code = sqlite3_step(statement.get());
    if (code == SQLITE_ROW) return sqlite3_column_int64(statement.get(), 0);
    if (code == SQLITE_DONE) return 0;
    return refused(path, sqlite3_errmsg(db.get()));
}

std::string uri_of(const std::string& path) {
    std::string uri = "file:";
    for (const char c : path) {
        const bool plain = std::isalnum(static_cast<unsigned char>(c)) || std::strchr("/._-~", c);
        uri += plain ? std::string(1, c) : format("%{:02X}", static_cast<unsigned char>(c));
    }
    return uri;
}

// A file whose last writer closed it can be read where nothing may be written, such as on a disc.
Result<Database> open(const std::string& path) {
    for (const bool immutable : {false, true}) {
        if (immutable && ::access((path + "-wal").c_str(), F_OK) == 0) break;
        const std::string uri = uri_of(path) + (immutable ? "?immutable=1" : "");
        sqlite3* raw = nullptr;
        const int code =
            sqlite3_open_v2(uri.c_str(), &raw,
                            SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, nullptr);
        Database db(raw);
        if (code != SQLITE_OK) continue;
        sqlite3_busy_timeout(raw, kBusyMs);
        sqlite3_db_config(raw, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
        sqlite3_db_config(raw, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
        if (integer(db, path, "SELECT count(*) FROM sqlite_schema")) return db;
    }
    return refused(path, "it is no SQLite database, it is damaged, or it may not be opened");
}

enum class Kind : std::uint8_t { empty, unchained, chained };

Result<Kind> kind_of(const Database& db, const std::string& path) {
    HEARTH_TRY(const std::int64_t application, integer(db, path, "PRAGMA application_id"));
    HEARTH_TRY(const std::int64_t version, integer(db, path, "PRAGMA user_version"));
    HEARTH_TRY(const std::int64_t n_tables,
               integer(db, path, "SELECT count(*) FROM sqlite_schema"));
    if (application == 0 && version == 0 && n_tables == 0) return Kind::empty;
    if (application != kApplicationId) return refused(path, "it is no journal");
    // A view of that name could compute anything.
    HEARTH_TRY(const std::int64_t n_entries,
               integer(db, path,
                       "SELECT count(*) FROM sqlite_schema WHERE name = 'entries' AND "
                       "type = 'table' AND sql NOT LIKE '%virtual%'"));
    if (n_entries != 1) return refused(path, "it has no table of entries");
    return version < kFirstChained ? Kind::unchained : Kind::chained;
}

// The entries of one statement, `SELECT * FROM entries …`.
class Rows {
  public:
    explicit Rows(sqlite3_stmt* statement) : statement_(statement) {
        for (int i = kFixed; i < sqlite3_column_count(statement); ++i)
            names_.emplace_back(sqlite3_column_name(statement, i));
    }
    // The columns that every chained table begins with.
    bool well_formed() const {
        static constexpr const char* kNames[] = {"seq",        "wall_ns", "event",
                                                 "request_id", "json",    "mac"};
        if (sqlite3_column_count(statement_) < kFixed) return false;
        for (int i = 0; i < kFixed; ++i)
            if (std::strcmp(sqlite3_column_name(statement_, i), kNames[i]) != 0) return false;
        return true;
    }
    // The row at hand; false where a value has a type that is not the table's.
    bool read(EntryView& entry, Digest& mac) {
        columns_.clear();
        entry.seq = sqlite3_column_int64(statement_, 0);
        bool ok = sqlite3_column_type(statement_, 1) == SQLITE_INTEGER;
        entry.wall_ns = sqlite3_column_int64(statement_, 1);
        ok = text(2, entry.event) && text(3, entry.request_id) && text(4, entry.json) && ok;
        const void* const bytes = sqlite3_column_blob(statement_, 5);
        if (sqlite3_column_type(statement_, 5) != SQLITE_BLOB ||
            sqlite3_column_bytes(statement_, 5) != int(mac.size()))
            return false;
        std::memcpy(mac.data(), bytes, mac.size());
        for (std::size_t i = 0; i < names_.size(); ++i) {
            const int at = kFixed + int(i);
            const int type = sqlite3_column_type(statement_, at);
            if (type == SQLITE_NULL) continue;
            Column column{.name = names_[i], .is_text = type == SQLITE_TEXT};
            if (type == SQLITE_INTEGER)
                column.number = sqlite3_column_int64(statement_, at);
            else
                ok = text(at, column.text) && ok;
            columns_.push_back(column);
        }
        entry.columns = columns_;
        return ok;
    }

  private:
    static constexpr int kFixed = 6;
    bool text(int at, std::string_view& to) {
        if (sqlite3_column_type(statement_, at) != SQLITE_TEXT) return false;
        const auto* const bytes =
            reinterpret_cast<const char*>(sqlite3_column_text(statement_, at));
        to = {bytes, std::size_t(sqlite3_column_bytes(statement_, at))};
        return true;
    }
    sqlite3_stmt* statement_;
    std::vector<std::string> names_;
    std::vector<Column> columns_;
};

constexpr const char* kEntries = "SELECT * FROM entries WHERE seq > ?1 ORDER BY seq";

// What one thread verifies at a time.
struct Piece {
    std::string slot, path;
    std::optional<ChainState> from = {};  // a checkpoint's claim; else the file's own beginning
    std::int64_t count_after = 0;
    std::int64_t until = std::numeric_limits<std::int64_t>::max();
    bool partial = false;
};

Stretch verify_piece(const Piece& piece, const Trust& trust) {
    ChainVerifier verifier = piece.from ? ChainVerifier(trust, piece.slot, *piece.from)
                                        : ChainVerifier(trust, piece.slot);
    verifier.count_after(piece.count_after);
    const auto read = [&]() -> Status {
        HEARTH_TRY(const Database db, open(piece.path));
        HEARTH_TRY(const Statement statement, prepare(db, piece.path, kEntries));
        sqlite3_bind_int64(statement.get(), 1,
                           piece.from ? piece.from->seq : std::numeric_limits<std::int64_t>::min());
        Rows rows(statement.get());
        if (!rows.well_formed()) return refused(piece.path, "its table has other columns");
        int code = SQLITE_DONE;
        while ((code = sqlite3_step(statement.get())) == SQLITE_ROW) {
            EntryView entry;
            Digest mac;
            const bool ok = rows.read(entry, mac);
            if (entry.seq > piece.until) return {};
            if (!ok)
                verifier.reject(entry.seq, "a value has a wrong type");
            else
                verifier.add(entry, mac);
            if (verifier.finding()) return {};
        }
        return code == SQLITE_DONE ? Status() : refused(piece.path, sqlite3_errmsg(db.get()));
    };
    if (const Status status = read(); !status)
        verifier.reject(verifier.next_seq(), status.error().message);
    Stretch stretch = verifier.finish();
    stretch.partial = stretch.partial || piece.partial;
    if (piece.from && !piece.partial) stretch.claimed_at = piece.count_after;
    return stretch;
}

// The first checkpoint at or after `seq`, or the last at or before it, that covers an entry of this
// part.
std::optional<std::pair<SignedCheckpoint, std::int64_t>> checkpoint_near(const Database& db,
                                                                         const std::string& path,
                                                                         std::int64_t seq,
                                                                         bool before) {
    constexpr const char* kAfter =
        "SELECT seq, json, (SELECT min(seq) FROM entries) FROM entries WHERE seq >= ?1 AND "
        "event = 'audit.checkpoint' ORDER BY seq LIMIT 1";
    constexpr const char* kBefore =
        "SELECT seq, json, (SELECT min(seq) FROM entries) FROM entries WHERE seq <= ?1 AND "
        "event = 'audit.checkpoint' ORDER BY seq DESC LIMIT 1";
    const auto statement = prepare(db, path, before ? kBefore : kAfter);
    if (!statement) return std::nullopt;
    sqlite3_bind_int64(statement->get(), 1, seq);
    if (sqlite3_step(statement->get()) != SQLITE_ROW) return std::nullopt;
    const auto* const json =
        reinterpret_cast<const char*>(sqlite3_column_text(statement->get(), 1));
    auto checkpoint = parse_checkpoint(json ? json : "");
    if (!checkpoint || checkpoint->request.seq < sqlite3_column_int64(statement->get(), 2))
        return std::nullopt;
    return std::pair(std::move(*checkpoint), sqlite3_column_int64(statement->get(), 0));
}

ChainState claim_of(const SignedCheckpoint& checkpoint) {
    const CheckpointRequest& r = checkpoint.request;
    return {.chain = r.chain, .seq = r.seq, .mac = r.head, .root = r.root};
}

// A part as pieces that begin at its start, or at the checkpoint before from_seq, and at
// checkpoints.
Status cut(const Part& part, const FolderOptions& options, int n_threads,
           std::vector<Piece>& pieces, std::vector<std::string>& notes) {
    HEARTH_TRY(const Database db, open(part.path));
    HEARTH_TRY(const Kind kind, kind_of(db, part.path));
    HEARTH_TRY(const std::int64_t n_rows,
               kind == Kind::empty ? Result<std::int64_t>(0)
                                   : integer(db, part.path, "SELECT count(*) FROM entries"));
    if (kind == Kind::unchained)
        notes.push_back(
            format("{}: {} entries of schema 1, which has no chain", part.path, n_rows));
    if (kind != Kind::chained || n_rows == 0) return {};
    HEARTH_TRY(const std::int64_t last, integer(db, part.path, "SELECT max(seq) FROM entries"));
    if (last < options.from_seq) return {};
    Piece piece{.slot = slot_name(part.slot), .path = part.path};
    std::int64_t begin = std::max<std::int64_t>(last - n_rows, 0);
    if (options.from_seq > begin + 1) {
        if (auto near = checkpoint_near(db, part.path, options.from_seq, true)) {
            piece.from = claim_of(near->first);
            piece.count_after = begin = near->second;
            piece.partial = true;
        }
    }
    const std::int64_t n_pieces = std::min<std::int64_t>(std::int64_t(n_threads) * kPiecesPerThread,
                                                         (last - begin) / options.piece_records);
    for (std::int64_t i = 1; i < n_pieces; ++i) {
        const std::int64_t seq = begin + (last - begin) / n_pieces * i;
        auto near = checkpoint_near(db, part.path, seq, false);
        if (!near || near->second <= piece.count_after + 1) continue;
        piece.until = near->second;
        pieces.push_back(piece);
        piece = {.slot = piece.slot,
                 .path = part.path,
                 .from = claim_of(near->first),
                 .count_after = near->second};
    }
    pieces.push_back(std::move(piece));
    return {};
}

}  // namespace

Result<Verdict> verify_folder(const std::string& folder, const Trust& trust,
                              const FolderOptions& options) {
    if (::access(folder.c_str(), R_OK | X_OK) != 0)
        return fail(ErrorKind::not_found,
                    format("cannot read {}: {}", folder, std::strerror(errno)));
    HEARTH_TRY(const std::vector<Part> parts, list_parts(folder));
    HEARTH_TRY(const std::vector<std::string> damaged, list_damaged(folder));
    const int n_threads = options.n_threads > 0
                              ? options.n_threads
                              : std::max(1, int(std::thread::hardware_concurrency()));
    std::vector<Piece> pieces;
    std::vector<std::string> notes;
    for (const Part& part : parts)
        if (const Status status = cut(part, options, n_threads, pieces, notes); !status) {
            // Its place in the order is kept: the piece says what is wrong.
            pieces.push_back({.slot = slot_name(part.slot), .path = part.path});
        }
    std::vector<Stretch> stretches(pieces.size());
    std::atomic<std::size_t> next{0};
    const auto work = [&] {
        for (std::size_t i; (i = next.fetch_add(1)) < pieces.size();)
            stretches[i] = verify_piece(pieces[i], trust);
    };
    {
        std::vector<std::jthread> threads;
        for (int i = 1; i < n_threads && std::size_t(i) < pieces.size(); ++i)
            threads.emplace_back(work);
        work();
    }
    Verdict verdict = judge(stretches, trust);
    for (const std::string& name : damaged) {
        notes.push_back(format("{}: set aside as damaged, not read", name));
        if (verdict.completeness == Completeness::complete)
            verdict.completeness = Completeness::unknown;
    }
    verdict.notes.insert(verdict.notes.begin(), notes.begin(), notes.end());
    return verdict;
}

Status read_part(const std::string& path, std::int64_t after_seq,
                 const std::function<bool(const EntryView&, const Digest&)>& take) {
    HEARTH_TRY(const Database db, open(path));
    HEARTH_TRY(const Kind kind, kind_of(db, path));
    if (kind == Kind::empty) return {};
    if (kind == Kind::unchained)
        return fail(ErrorKind::invalid_request, format("{} has schema 1, without a chain", path));
    HEARTH_TRY(const Statement statement, prepare(db, path, kEntries));
    sqlite3_bind_int64(statement.get(), 1, after_seq);
    Rows rows(statement.get());
    if (!rows.well_formed()) return refused(path, "its table has other columns");
    int code = SQLITE_DONE;
    while ((code = sqlite3_step(statement.get())) == SQLITE_ROW) {
        EntryView entry;
        Digest mac;
        if (!rows.read(entry, mac))
            return refused(path, format("entry {} has a value of a wrong type", entry.seq));
        if (!take(entry, mac)) return {};
    }
    return code == SQLITE_DONE ? Status() : refused(path, sqlite3_errmsg(db.get()));
}

Result<std::optional<Tail>> tail_of(const std::string& path, const std::string& slot,
                                    const Trust& trust) {
    HEARTH_TRY(const Database db, open(path));
    HEARTH_TRY(const Kind kind, kind_of(db, path));
    if (kind == Kind::unchained)
        return fail(ErrorKind::invalid_request, format("{} has schema 1, without a chain", path));
    if (kind == Kind::empty) return std::nullopt;
    HEARTH_TRY(const std::int64_t has_entries,
               integer(db, path, "SELECT EXISTS (SELECT 1 FROM entries)"));
    if (has_entries == 0) return std::nullopt;
    Piece piece{.slot = slot, .path = path};
    constexpr std::int64_t kEnd = std::numeric_limits<std::int64_t>::max();
    if (const auto last = checkpoint_near(db, path, kEnd, true)) piece.from = claim_of(last->first);
    Stretch stretch = verify_piece(piece, trust);
    Tail tail{.state = stretch.end, .finding = stretch.finding};
    tail.n_unsealed = tail.state.seq - stretch.begin.seq;
    HEARTH_TRY(const Statement events,
               prepare(db, path, "SELECT event FROM entries ORDER BY seq DESC LIMIT 8"));
    while (sqlite3_step(events.get()) == SQLITE_ROW) {
        const auto* const event =
            reinterpret_cast<const char*>(sqlite3_column_text(events.get(), 0));
        const std::string_view name = event ? event : "";
        tail.closed = name == "audit.close";
        if (name != "audit.checkpoint") break;
    }
    return tail;
}

Result<std::vector<SignedCheckpoint>> last_checkpoints(const std::string& folder) {
    HEARTH_TRY(const std::vector<Part> parts, list_parts(folder));
    std::vector<SignedCheckpoint> found;
    for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
        if (!found.empty() && found.back().request.slot == slot_name(part->slot)) continue;
        HEARTH_TRY(const Database db, open(part->path));
        HEARTH_TRY(const Kind kind, kind_of(db, part->path));
        if (kind != Kind::chained) continue;
        HEARTH_TRY(const Statement statement,
                   prepare(db, part->path,
                           "SELECT json FROM entries WHERE event = 'audit.checkpoint' AND "
                           "json LIKE '%\"signature\"%' ORDER BY seq DESC LIMIT 1"));
        if (sqlite3_step(statement.get()) != SQLITE_ROW) continue;
        const auto* const json =
            reinterpret_cast<const char*>(sqlite3_column_text(statement.get(), 0));
        HEARTH_TRY(SignedCheckpoint checkpoint, parse_checkpoint(json ? json : ""));
        found.push_back(std::move(checkpoint));
    }
    return std::vector<SignedCheckpoint>(found.rbegin(), found.rend());
}

}  // namespace hearth::audit
