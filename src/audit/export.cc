#include "audit/export.h"

#include <charconv>

#include "audit/folder.h"
#include "audit/line.h"
#include "base/clock.h"
#include "base/format.h"
#include "base/utf8.h"

namespace hearth::audit {
namespace {

// CEF: a backslash before what separates; no line ends.
std::string cef_text(std::string_view text, std::string_view special) {
    std::string out;
    for (const char c : text) {
        if (c == '\n' || c == '\r') {
            out += c == '\n' ? "\\n" : "\\r";
            continue;
        }
        if (special.find(c) != special.npos) out += '\\';
        out += c;
    }
    return out;
}

// RFC 5424, section 6.3.3.
std::string param_text(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c == '"' || c == '\\' || c == ']') out += '\\';
        out += c;
    }
    return out;
}

// Whether something was refused or went wrong; the record's own words.
bool is_warning(const EntryView& entry) {
    for (const Column& column : entry.columns)
        if (column.name == "outcome") return column.text != "finished";
    return entry.json.find("\"route\":\"refused\"") != std::string_view::npos ||
           entry.json.find("\"outcome\":\"refused") != std::string_view::npos;
}

std::string line_of(Format format, std::string_view slot, const EntryView& entry,
                    const Digest& previous, const Digest& mac) {
    switch (format) {
        case Format::cef:
            return cef_line(slot, entry, mac);
        case Format::rfc5424:
            return syslog_line(slot, entry, mac);
        case Format::jsonl:
            break;
    }
    return render_line(slot, entry, previous, mac);
}

template <class Number>
bool number(std::string_view& text, Number& to) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), to);
    if (error != std::errc() || to < 0) return false;
    text.remove_prefix(std::size_t(end - text.data()));
    return true;
}

}  // namespace

Result<ExportCursor> parse_cursor(std::string_view text) {
    const auto wrong = [] {
        return fail(ErrorKind::invalid_request,
                    "a cursor is a seq (17), or slots and theirs (0:17,3:2)");
    };
    ExportCursor cursor;
    std::int64_t seq = 0;
    if (std::string_view rest = text; number(rest, seq) && rest.empty()) return {{{0, seq}}};
    while (!text.empty()) {
        int slot = 0;
        if (!number(text, slot) || slot >= kSlotsMax || !text.starts_with(':')) return wrong();
        text.remove_prefix(1);
        if (!number(text, seq)) return wrong();
        cursor[slot] = seq;
        if (text.empty()) return cursor;
        if (!text.starts_with(',')) return wrong();
        text.remove_prefix(1);
    }
    return wrong();
}

std::string to_text(const ExportCursor& cursor) {
    std::string out;
    for (const auto& [slot, seq] : cursor)
        out += format("{}{}:{}", out.empty() ? "" : ",", slot, seq);
    return out;
}

std::string cef_line(std::string_view slot, const EntryView& entry, const Digest& mac) {
    const std::string event = cef_text(entry.event, "\\|");
    std::string out = format("CEF:0|hearth|hearth|{}|{}|{}|{}|", HEARTH_VERSION, event, event,
                             is_warning(entry) ? 5 : 1);
    out += format(
        "rt={} externalId={} cs1Label=slot cs1={} cs2Label=request_id cs2={} "
        "cs3Label=mac cs3={} msg={}",
        entry.wall_ns / kNsPerMs, entry.seq, slot, cef_text(entry.request_id, "\\="), hex_of(mac),
        cef_text(entry.json, "\\="));
    return out;
}

std::string syslog_line(std::string_view slot, const EntryView& entry, const Digest& mac) {
    constexpr int kFacility = 13, kWarning = 4, kInfo = 6;
    // 32473 is the enterprise number for what has none (RFC 5612); a MSGID has 32 characters.
    return format(
        "<{}>1 {} - hearth - {} [hearth@32473 slot=\"{}\" seq=\"{}\" request_id=\"{}\" "
        "mac=\"{}\"] {}",
        kFacility * 8 + (is_warning(entry) ? kWarning : kInfo), rfc3339(entry.wall_ns),
        printable_ascii(entry.event).substr(0, 32), slot, entry.seq, param_text(entry.request_id),
        hex_of(mac), entry.json);
}

Status export_folder(const std::string& folder, Format format, ExportCursor& cursor,
                     const std::function<bool(std::string_view)>& take,
                     const std::function<void(const std::string&)>& left_out) {
    HEARTH_TRY(const std::vector<Part> parts, list_parts(folder));
    for (const Part& part : parts) {
        std::int64_t& seen = cursor[part.slot];
        const std::string slot = slot_name(part.slot);
        std::optional<Digest> previous;  // of the entry before
        bool refused = false;
        // From the entry before the first one, whose mac the first one follows.
        const Status read =
            read_part(part.path, seen - 1, [&](const EntryView& entry, const Digest& mac) {
                if (entry.seq > seen) {
                    if (!previous) {
                        const auto state = previous_of(entry.json);
                        previous = state ? state->mac : Digest{};
                    }
                    refused = !take(line_of(format, slot, entry, *previous, mac));
                    if (refused) return false;
                    seen = entry.seq;
                }
                previous = mac;
                return true;
            });
        if (refused) return fail(ErrorKind::internal, "the lines cannot be written");
        if (read) continue;
        if (read.error().kind != ErrorKind::invalid_request) return read;
        left_out(part.path + ": " + read.error().message);
    }
    return {};
}

}  // namespace hearth::audit
