// Line: one entry as a line of the JSONL export, and the verifier of such lines. A line has exactly
// one spelling, so that a bit that flips anywhere in it makes it no line, or another entry:
//
//   {"v":2,"slot":"journal-0","seq":7,"ts":"2026-03-14T15:09:26.123456789Z","wall_ns":…,
//    "event":"outcome","request_id":"…","columns":{"outcome":"finished","input_tokens":12},
//    "prev":"<64 hex>","mac":"<64 hex>","record":{…}}
//
// without the spaces and line ends shown here. `record` is the entry's json byte for byte; where
// that holds control characters, `record_text` holds it as a JSON string instead.
//
// Owner thread: none. Source: docs/formats/journal.md, section 9.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "audit/verify.h"

namespace hearth::audit {

// The longest line: a record of 1 MiB whose every byte is escaped, and the rest.
inline constexpr std::size_t kLineBytes = 8u << 20;

struct Line {
    std::string slot, event, request_id, json;
    std::deque<std::string> texts;  // what the columns point into
    std::vector<Column> columns;
    std::int64_t seq = 0, wall_ns = 0;
    Digest previous{}, mac{};
    EntryView entry() const {
        return {.seq = seq,
                .wall_ns = wall_ns,
                .event = event,
                .request_id = request_id,
                .json = json,
                .columns = columns};
    }
};

// Without a line end.
std::string render_line(std::string_view slot, const EntryView& entry, const Digest& previous,
                        const Digest& mac);
// Nothing for a text that render_line() does not write.
std::unique_ptr<Line> parse_line(std::string_view text);

// Lines of any number of slots, each slot's in order.
class LineVerifier {
  public:
    explicit LineVerifier(const Trust& trust) : trust_(trust) {}
    // False: a fault was found in this line's slot. Requires: no line end in it.
    bool add(std::string_view line);
    std::vector<Stretch> finish();

  private:
    const Trust& trust_;
    std::int64_t n_lines_ = 0;
    std::map<std::string, std::unique_ptr<ChainVerifier>, std::less<>> open_;
    std::vector<Stretch> done_;
    std::string last_slot_;
};

// All lines of an open file, or of stdin. Errors: what read(2) says.
Result<Verdict> verify_lines(int fd, const Trust& trust);

}  // namespace hearth::audit
