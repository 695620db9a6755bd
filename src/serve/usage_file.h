// UsageFile: the totals of each key on disk, so that budgets of a day and a month survive restarts
// and kill -9. docs/formats/keys.md has the layout: JSON lines of 512 bytes each, written in place.
//
// A line is one pwrite(2) inside one page: after the end of a process it is the old one or the new
// one. It is not synced: power loss costs what the kernel had not written yet.
//
// Thread: the caller's; the quota's mutex guards it.
#pragma once

#include <cstdint>
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

    // Takes the file for this process. Errors: overloaded where another process has it; what the
    // file system says; invalid_request for a file that others can read or that is no such file.
    static Result<UsageFile> open(const std::string& path);
    UsageFile() = default;  // keeps nothing

    // Lines that are damaged are left out, with a line in the log.
    const std::vector<KeyUsage>& lines() const { return lines_; }
    // Errors are in the log, once.
    void write(std::size_t line, const KeyUsage& usage);
    explicit operator bool() const { return bool(fd_); }

  private:
    Fd fd_;
    std::string path_;
    std::vector<KeyUsage> lines_;
    bool failed_ = false;
};

// What the file says, without taking it. A file that is not there says nothing.
std::vector<KeyUsage> read_usage(const std::string& path);
// Hostile bytes to lines; the position of a damaged one holds an empty key_id.
std::vector<KeyUsage> parse_usage(std::string_view bytes);
// One line of exactly kLineBytes, its end of line included.
std::string usage_line(const KeyUsage& usage);

}  // namespace hearth::serve
