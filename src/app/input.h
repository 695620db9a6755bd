// What several commands read in the same way: spans of time, lines of JSON strings.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"

namespace hearth::app {

// "30d", "12h" before now, or "all", as nanoseconds since 1970; never negative.
// Errors: invalid_request that says what may be written.
Result<std::int64_t> since_from(const std::string& text);

// One JSON string a line of a file, or of stdin for "-" and "" as they come; use() answers each on
// stdout, in order. Empty lines are passed over. Returns the exit code: a line that is something
// else is reported with its number and ends it.
int each_json_string(const std::string& file, const std::function<void(const std::string&)>& use);

}  // namespace hearth::app
