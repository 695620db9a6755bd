#include "audit/line.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "base/clock.h"
#include "base/format.h"
#include "base/json.h"
#include "base/utf8.h"

namespace hearth::audit {
namespace {

// Reads what render_line() writes, from left to right; anything else fails it for good. It may take
// spellings that are not ours: whoever calls renders again and compares.
class Reader {
  public:
    explicit Reader(std::string_view text) : rest_(text) {}
    bool skip(std::string_view literal) {
        if (!rest_.starts_with(literal)) return false;
        rest_.remove_prefix(literal.size());
        return true;
    }
    bool number(std::int64_t& to) {
        const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), to);
        if (error != std::errc()) return false;
        rest_.remove_prefix(std::size_t(end - rest_.data()));
        return true;
    }
    bool text(std::string& to) {
        if (!skip("\"")) return false;
        for (;;) {
            const std::size_t stop = rest_.find_first_of("\"\\");
            if (stop == rest_.npos) return false;
            to.append(rest_.substr(0, stop));
            const bool end = rest_[stop] == '"';
            rest_.remove_prefix(stop + 1);
            if (end) return true;
            if (!escape(to)) return false;
        }
    }
    bool digest(Digest& to) {
        if (!skip("\"") || rest_.size() < 2 * to.size() ||
            !digest_from_hex(rest_.substr(0, 2 * to.size()), to))
            return false;
        rest_.remove_prefix(2 * to.size());
        return skip("\"");
    }
    std::string_view rest() const { return rest_; }

  private:
    bool escape(std::string& to) {
        static constexpr std::string_view kNames = "\"\\/bfnrt", kValues = "\"\\/\b\f\n\r\t";
        if (rest_.empty()) return false;
        const std::size_t which = kNames.find(rest_[0]);
        if (which != kNames.npos) {
            to += kValues[which];
            rest_.remove_prefix(1);
            return true;
        }
        unsigned code = 0;  // JSON's writer escapes control characters only
        if (rest_[0] != 'u' || rest_.size() < 5) return false;
        const auto [end, error] = std::from_chars(rest_.data() + 1, rest_.data() + 5, code, 16);
        if (error != std::errc() || end != rest_.data() + 5 || code > 0x7f) return false;
        to += char(code);
        rest_.remove_prefix(5);
        return true;
    }
    std::string_view rest_;
};

bool read_columns(Reader& in, Line& line) {
    constexpr std::size_t kColumnsMax = 256;  // the table has some dozens
    if (in.skip("}")) return true;
    for (;;) {
        std::string& name = line.texts.emplace_back();
        Column column;
        if (line.columns.size() >= kColumnsMax || !in.text(name) || !in.skip(":")) return false;
        column.name = name;
        column.is_text = in.rest().starts_with("\"");
        if (column.is_text) {
            std::string& text = line.texts.emplace_back();
            if (!in.text(text)) return false;
            column.text = text;
        } else if (!in.number(column.number)) {
            return false;
        }
        line.columns.push_back(column);
        if (in.skip("}")) return true;
        if (!in.skip(",")) return false;
    }
}

bool read_record(Reader& in, Line& line) {
    if (in.skip("\"record_text\":")) return in.text(line.json) && in.rest() == "}";
    if (!in.skip("\"record\":") || !in.rest().ends_with('}')) return false;
    line.json = in.rest().substr(0, in.rest().size() - 1);
    return true;
}

bool has_control(std::string_view text) {
    return std::ranges::any_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x20; });
}

}  // namespace

std::string render_line(std::string_view slot, const EntryView& entry, const Digest& previous,
                        const Digest& mac) {
    JsonWriter w;
    w.begin_object().field("v", 2).field("slot", slot).field("seq", entry.seq);
    w.field("ts", rfc3339(entry.wall_ns)).field("wall_ns", entry.wall_ns);
    w.field("event", entry.event).field("request_id", entry.request_id);
    w.key("columns").begin_object();
    for (const Column& column : entry.columns) {
        w.key(column.name);
        column.is_text ? w.value(column.text) : w.value(column.number);
    }
    w.end_object().field("prev", hex_of(previous)).field("mac", hex_of(mac));
    if (has_control(entry.json) || !is_utf8(entry.json))
        w.field("record_text", entry.json);
    else
        w.key("record").raw(entry.json);
    w.end_object();
    return w.take();
}

std::unique_ptr<Line> parse_line(std::string_view text) {
    if (text.size() > kLineBytes) return nullptr;
    auto line = std::make_unique<Line>();
    Reader in(text);
    std::string stamp;
    const bool read =
        in.skip("{\"v\":2,\"slot\":") && in.text(line->slot) && in.skip(",\"seq\":") &&
        in.number(line->seq) && in.skip(",\"ts\":") && in.text(stamp) && in.skip(",\"wall_ns\":") &&
        in.number(line->wall_ns) && in.skip(",\"event\":") && in.text(line->event) &&
        in.skip(",\"request_id\":") && in.text(line->request_id) && in.skip(",\"columns\":{") &&
        read_columns(in, *line) && in.skip(",\"prev\":") && in.digest(line->previous) &&
        in.skip(",\"mac\":") && in.digest(line->mac) && in.skip(",") && read_record(in, *line);
    if (!read || render_line(line->slot, line->entry(), line->previous, line->mac) != text)
        return nullptr;
    return line;
}

bool LineVerifier::add(std::string_view text) {
    ++n_lines_;
    const std::unique_ptr<Line> line = parse_line(text);
    if (!line) {
        // Whose it was cannot be known: that of the line before.
        auto& verifier = open_[last_slot_];
        if (!verifier) verifier = std::make_unique<ChainVerifier>(trust_, last_slot_);
        return verifier->reject(verifier->next_seq(),
                                format("line {} is no line of an export", n_lines_));
    }
    last_slot_ = line->slot;
    auto& verifier = open_[line->slot];
    // A slot that was begun anew, after its file was damaged.
    if (verifier && line->seq == 1 && line->event == "audit.open") {
        done_.push_back(verifier->finish());
        verifier.reset();
    }
    if (!verifier) verifier = std::make_unique<ChainVerifier>(trust_, line->slot);
    return verifier->add(line->entry(), line->mac, &line->previous);
}

std::vector<Stretch> LineVerifier::finish() {
    for (auto& [slot, verifier] : open_) done_.push_back(verifier->finish());
    open_.clear();
    std::ranges::stable_sort(done_, {}, &Stretch::slot);
    return std::move(done_);
}

Result<Verdict> verify_lines(int fd, const Trust& trust) {
    LineVerifier verifier(trust);
    std::string held;
    std::vector<char> piece(1u << 20);
    bool whole = true;
    for (;;) {
        const ssize_t n = ::read(fd, piece.data(), piece.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return fail(ErrorKind::invalid_request,
                        format("cannot read the lines: {}", std::strerror(errno)));
        if (n == 0) break;
        std::string_view rest(piece.data(), std::size_t(n));
        for (std::size_t end; (end = rest.find('\n')) != rest.npos; rest.remove_prefix(end + 1)) {
            held.append(rest.substr(0, end));
            verifier.add(held);
            held.clear();
        }
        held.append(rest);
        whole = held.empty();
        if (held.size() > kLineBytes) break;
    }
    if (!whole) verifier.add(held + "\n");  // no line: the last one was cut, or is too long
    return judge(verifier.finish(), trust);
}

}  // namespace hearth::audit
