// Files: which files of a journal's folder belong together. Slot k is one sequence of entries; it
// is cut into parts, each a database:
//
//   journal-<k>.db            part 1          k = 0, 1, …, 63 in decimal
//   journal-<k>.<n>.db        part n, n = 2, 3, …
//   journal-<k>[.<n>].damaged-<t>.db          set aside, no part any more
//
// The part with the greatest number is the one that is written. A part is never renamed: a reader
// that has opened it would take the next one's write-ahead log for its own.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hearth::audit {

inline constexpr int kSlotsMax = 64;
inline constexpr int kPartsMax = 1'000'000;

struct Part {
    int slot = 0;
    int number = 1;
    std::string path;
};

// "journal-0"
std::string slot_name(int slot);
// "journal-0.db", "journal-0.2.db"
std::string part_name(int slot, int number);
std::optional<Part> parse_part_name(std::string_view file_name);

// By slot, then by number. A folder that is not there has none.
Result<std::vector<Part>> list_parts(const std::string& folder);
// The names of what was set aside.
Result<std::vector<std::string>> list_damaged(const std::string& folder);

}  // namespace hearth::audit
