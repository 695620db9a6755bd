// log: structured lines on stderr. Ids and counts, never prompt text or keys.
//
//   log_info("model_loaded", {{"model", name}, {"load_ms", ms}});
//   2026-03-14T15:09:26.123Z info  model_loaded model=demo load_ms=12
//
// Thread: any; one write(2) per line.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace hearth {

enum class LogLevel : std::uint8_t { debug, info, warn, error, off };
enum class LogStyle : std::uint8_t { text, json };

struct LogField {
    std::string_view key;
    std::string value;
    bool quoted = true;  // false for numbers, so that JSON lines keep them numbers
    LogField(std::string_view k, std::string_view v) : key(k), value(v) {}
    LogField(std::string_view k, const char* v) : key(k), value(v) {}
    LogField(std::string_view k, const std::string& v) : key(k), value(v) {}
    LogField(std::string_view k, std::integral auto v)
        : key(k), value(std::to_string(v)), quoted(false) {}
    LogField(std::string_view k, double v);
};

void set_log(LogLevel level, LogStyle style = LogStyle::text);
void log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {});

inline void log_debug(std::string_view e, std::initializer_list<LogField> f = {}) {
    log(LogLevel::debug, e, f);
}
inline void log_info(std::string_view e, std::initializer_list<LogField> f = {}) {
    log(LogLevel::info, e, f);
}
inline void log_warn(std::string_view e, std::initializer_list<LogField> f = {}) {
    log(LogLevel::warn, e, f);
}
inline void log_error(std::string_view e, std::initializer_list<LogField> f = {}) {
    log(LogLevel::error, e, f);
}

}  // namespace hearth
