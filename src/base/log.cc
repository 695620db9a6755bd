#include "base/log.h"

#include <unistd.h>

#include <atomic>

#include "base/clock.h"
#include "base/format.h"
#include "base/json.h"

namespace hearth {
namespace {

std::atomic<LogLevel> g_level{LogLevel::warn};
std::atomic<LogStyle> g_style{LogStyle::text};

constexpr const char* kNames[] = {"debug", "info", "warn", "error"};

// A value that a reader could take for two fields, or for another line, is written as JSON text.
bool is_plain(std::string_view value) {
    if (value.empty()) return false;
    for (unsigned char c : value) {
        if (c <= ' ' || c == '"' || c == '=' || c == 0x7f) return false;
    }
    return true;
}

std::string text_line(LogLevel level, std::string_view event,
                      std::initializer_list<LogField> fields) {
    std::string stamp = rfc3339(system_clock().wall_ns());
    stamp.replace(stamp.size() - 7, 6, "");  // milliseconds are enough to read
    std::string line = format("{} {:<5} {}", stamp, kNames[int(level)], event);
    for (const LogField& field : fields) {
        line += format(" {}=", field.key);
        line += is_plain(field.value) ? field.value : json_text(field.value);
    }
    return line + "\n";
}

std::string json_line(LogLevel level, std::string_view event,
                      std::initializer_list<LogField> fields) {
    std::string line =
        format(R"({{"ts":"{}","level":"{}","event":{})", rfc3339(system_clock().wall_ns()),
               kNames[int(level)], json_text(event));
    for (const LogField& field : fields) {
        line += format(",{}:", json_text(field.key));
        line += field.quoted ? json_text(field.value) : field.value;
    }
    return line + "}\n";
}

}  // namespace

LogField::LogField(std::string_view k, double v)
    : key(k), value(v - v == 0 ? format("{:.6g}", v) : "null"), quoted(false) {}

void set_log(LogLevel level, LogStyle style) {
    g_level = level;
    g_style = style;
}

void log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
    if (level < g_level.load() || level == LogLevel::off) return;
    const std::string line = g_style == LogStyle::json ? json_line(level, event, fields)
                                                       : text_line(level, event, fields);
    // One write keeps lines whole between threads; a log that cannot be written is not worth
    // failing.
    [[maybe_unused]] ssize_t n = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace hearth
