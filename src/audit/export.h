// Export: the entries of a journal's folder as lines, for other systems. A cursor says how far each
// slot was taken, so that an export can be taken up where the last one ended.
//
//   jsonl     audit/line.h: carries the chain, and can be verified by itself
//   cef       ArcSight Common Event Format 0, one event a line
//   rfc5424   syslog messages, one a line; facility 13 (log audit)
//
// Owner thread: the caller's. Sources: RFC 5424; CEF implementation standard, version 25.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "audit/chain.h"
#include "base/result.h"

namespace hearth::audit {

enum class Format : std::uint8_t { jsonl, cef, rfc5424 };

// The last seq taken, by slot number; slots that it does not name are taken from their start.
using ExportCursor = std::map<int, std::int64_t>;
// "17" (of slot 0) or "0:17,3:2". Errors: invalid_request.
Result<ExportCursor> parse_cursor(std::string_view text);
std::string to_text(const ExportCursor& cursor);

// Calls take(line, without line end) for each entry after the cursor, slot by slot, in order; moves
// the cursor. `left_out` is called with the name of each part that has no chain. Errors: as
// read_part(); internal where take() returns false.
Status export_folder(const std::string& folder, Format format, ExportCursor& cursor,
                     const std::function<bool(std::string_view)>& take,
                     const std::function<void(const std::string&)>& left_out);

// For tests.
std::string cef_line(std::string_view slot, const EntryView& entry, const Digest& mac);
std::string syslog_line(std::string_view slot, const EntryView& entry, const Digest& mac);

}  // namespace hearth::audit
