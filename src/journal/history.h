// History: what was measured here, one JSON document a line, never rewritten.
//
//   state/hearth/history/bench.jsonl     a line for each `hearth bench` (docs/formats/history.md)
//
// A line is written with one write(2) under an exclusive flock(2), so that programs that measure at
// the same time do not mix; a torn last line (power loss) is closed before the next begins, and
// readers pass over what is no JSON object.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hearth::journal {

// A line is a run with some dozens of rows; beyond this something is wrong.
inline constexpr std::size_t kHistoryLineBytes = 1u << 20;
// Ten years of ten runs a day.
inline constexpr std::size_t kHistoryBytes = 256u << 20;

// Makes the folder where it is missing. Errors: invalid_request for text that is not one line;
// internal for what the system refuses, with the path.
Status append_history(const std::string& path, std::string_view json);
// The lines that are whole JSON objects, oldest first; none where there is no file.
Result<std::vector<std::string>> read_history(const std::string& path);

}  // namespace hearth::journal
