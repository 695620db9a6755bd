// UsageFile: the totals of each key on disk. They survive restarts and kill -9, and all servers on
// one state folder count in them together. docs/formats/keys.md has the layout: JSON lines of 512
// bytes each, written in place.
//
// The file is the truth. Whoever changes a line locks the file (flock(2), a few microseconds),
// reads the line, and writes it changed. A line is one pwrite(2) inside one page: after the end of
// a process it is the old one or the new one, and the lock ended with the process. It is not
// synced: power loss costs what the kernel had not written yet. Who reads at the same moment may
// get half of each; a check in the line tells.
//
// A process that was stopped while it held the lock (SIGSTOP, a debugger) keeps it. One call waits
// kUsageLockWaitMs for it; those after it wait kUsageLockLookMs each, until one of them gets it.
//
// Thread: the caller's; the quota's mutex guards it.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/result.h"

namespace hearth::serve {

struct KeyUsage {
    std::string key_id;
    std::int64_t day = 0;    // days since 1970-01-01 UTC
    std::int64_t month = 0;  // months since January 1970
    std::int64_t requests_day = 0, tokens_day = 0, microusd_day = 0, egress_bytes_day = 0;
    std::int64_t tokens_month = 0, microusd_month = 0;
    std::int64_t last_used_s = 0;  // Unix seconds, to the minute; 0: never
    friend bool operator==(const KeyUsage&, const KeyUsage&) = default;
};

// Months since January 1970 of a day since 1970-01-01, and the first day of a month.
std::int64_t month_of_day(std::int64_t day);
std::int64_t first_day_of_month(std::int64_t month);

class UsageFile {
  public:
    static constexpr std::size_t kLineBytes = 512;
    struct Line {
        std::size_t at = 0;
        std::string text;
        KeyUsage usage;
    };

    // Errors: what the file system says; invalid_request for a file that others can read or that is
    // no such file.
    static Result<UsageFile> open(const std::string& path);
    UsageFile() = default;  // keeps nothing
    explicit operator bool() const { return bool(fd_); }

    // False where another process has held the file for too long; the log has it once, with what
    // to do. The lock stays until unlock().
    bool lock();
    void unlock();

    // Requires of all below: the lock.
    //
    // Lines that nobody has been told of: all at first, later those that other processes added, and
    // damaged ones that became whole. A damaged one is left out, with a line in the log, once.
    // Nothing: the file cannot be read.
    std::optional<std::vector<Line>> news();
    // Lines that news() knows, damaged ones included; a new key's line is the next one.
    std::size_t n_lines() const { return n_lines_; }
    // The bytes of n lines from one on, fewer at the end of the file. Nothing: it cannot be read.
    std::optional<std::string> read(std::size_t line, std::size_t n = 1);
    // False where it could not be written; the log has it once.
    bool write(std::size_t line, const std::string& text);

  private:
    Fd fd_;
    std::string path_;
    std::size_t n_lines_ = 0;
    std::set<std::size_t> damaged_;
    bool is_stuck_ = false, read_failed_ = false, write_failed_ = false;
};

// What the file says, for who counts nothing: it takes no lock. A file that is not there says
// nothing.
std::vector<KeyUsage> read_usage(const std::string& path);
// Hostile bytes to lines; the position of a damaged one holds an empty key_id.
std::vector<KeyUsage> parse_usage(std::string_view bytes);
// One of them; an empty key_id where it is damaged.
KeyUsage parse_usage_line(std::string_view line);
// One line of exactly kLineBytes, its end of line included.
std::string usage_line(const KeyUsage& usage);

}  // namespace hearth::serve
