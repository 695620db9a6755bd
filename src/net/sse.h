// Server-sent events: a parser for streams that arrive in any pieces. Writing is one line, in the
// dialects.
// Source: HTML Living Standard, 9.2.6 "Interpreting an event stream".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/limits.h"

namespace hearth::net {

struct SseEvent {
    std::string event;  // empty: unnamed
    std::string data;
};

class SseParser {
  public:
    explicit SseParser(std::size_t event_bytes_max = kSseEventBytesMax) : max_(event_bytes_max) {}
    // The events completed by these bytes. Errors: upstream_failed past the limit of one event.
    Result<std::vector<SseEvent>> feed(std::string_view bytes);
    // Whether bytes of an unfinished event are held: at the end of the stream it was cut.
    // A comment that was cut is no loss.
    bool in_event() const {
        return (!line_.empty() && line_[0] != ':') || has_data_ || !event_.empty();
    }

  private:
    void end_line(std::vector<SseEvent>& out);
    const std::size_t max_;
    std::string line_, event_, data_;
    bool has_data_ = false, at_start_ = true, skip_lf_ = false;
};

}  // namespace hearth::net
