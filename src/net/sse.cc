// A line ends at CR LF, LF or CR; a CR at the end of a piece ends its line at once, and a LF that
// then comes first is skipped. A leading byte order mark is dropped when the first line ends.
#include "net/sse.h"

#include "base/format.h"

namespace hearth::net {

Result<std::vector<SseEvent>> SseParser::feed(std::string_view bytes) {
    std::vector<SseEvent> out;
    while (!bytes.empty()) {
        if (skip_lf_) {
            skip_lf_ = false;
            if (bytes.front() == '\n') {
                bytes.remove_prefix(1);
                continue;
            }
        }
        const std::size_t end = bytes.find_first_of("\r\n");
        const std::string_view part = bytes.substr(0, end);
        if (part.size() > max_ - line_.size() - data_.size() - event_.size())
            return fail(ErrorKind::upstream_failed,
                        format("one event of the stream passes {} bytes", max_));
        line_ += part;
        if (end == bytes.npos) break;
        skip_lf_ = bytes[end] == '\r';
        bytes.remove_prefix(end + 1);
        end_line(out);
    }
    return out;
}

void SseParser::end_line(std::vector<SseEvent>& out) {
    std::string_view line = line_;
    if (at_start_ && line.starts_with("\xef\xbb\xbf")) line.remove_prefix(3);
    at_start_ = false;
    if (line.empty()) {
        if (has_data_) out.push_back({std::move(event_), std::move(data_)});
        event_.clear();
        data_.clear();
        has_data_ = false;
    } else if (const std::size_t colon = line.find(':'); colon != 0) {
        const std::string_view field = line.substr(0, colon);
        std::string_view value;
        if (colon != line.npos) value = line.substr(colon + 1);
        if (value.starts_with(' ')) value.remove_prefix(1);
        if (field == "event") event_ = value;
        if (field == "data") {
            if (has_data_) data_ += '\n';
            data_ += value;
            has_data_ = true;
        }
    }
    line_.clear();
}

}  // namespace hearth::net
