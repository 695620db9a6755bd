#include "base/utf8.h"

#include "base/format.h"

namespace hearth {
namespace {

struct Lead {
    std::size_t length;               // 0: no sequence starts with this byte
    unsigned char second_low = 0x80;  // bounds of the second byte, where table 3-7 narrows them
    unsigned char second_high = 0xbf;
};

Lead lead_of(unsigned char c) {
    if (c < 0x80) return {1};
    if (c < 0xc2) return {0};
    if (c < 0xe0) return {2};
    if (c == 0xe0) return {3, 0xa0};
    if (c == 0xed) return {3, 0x80, 0x9f};
    if (c < 0xf0) return {3};
    if (c == 0xf0) return {4, 0x90};
    if (c < 0xf4) return {4};
    if (c == 0xf4) return {4, 0x80, 0x8f};
    return {0};
}

// How many bytes of the sequence that starts here are present and well formed.
std::size_t good_bytes(std::string_view text, const Lead& lead) {
    std::size_t n = 1;
    while (n < lead.length && n < text.size()) {
        const unsigned char c = text[n];
        const bool ok =
            n == 1 ? c >= lead.second_low && c <= lead.second_high : c >= 0x80 && c <= 0xbf;
        if (!ok) break;
        ++n;
    }
    return n;
}

}  // namespace

std::size_t utf8_sequence_length(std::string_view text) {
    if (text.empty()) return 0;
    const Lead lead = lead_of(text[0]);
    if (lead.length == 0) return 0;
    return good_bytes(text, lead) == lead.length ? lead.length : 0;
}

bool is_utf8(std::string_view text) {
    while (!text.empty()) {
        const std::size_t n = utf8_sequence_length(text);
        if (n == 0) return false;
        text.remove_prefix(n);
    }
    return true;
}

std::size_t utf8_complete_prefix(std::string_view text) {
    const std::size_t from = text.size() > 3 ? text.size() - 3 : 0;
    for (std::size_t at = text.size(); at-- > from;) {
        const unsigned char c = text[at];
        if (c >= 0x80 && c <= 0xbf) continue;  // a continuation byte: look further back
        const Lead lead = lead_of(c);
        const std::string_view tail = text.substr(at);
        const bool open = lead.length > tail.size() && good_bytes(tail, lead) == tail.size();
        return open ? at : text.size();
    }
    return text.size();
}

std::string utf8_repaired(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    while (!text.empty()) {
        const std::size_t n = utf8_sequence_length(text);
        if (n == 0) {
            out += "\xef\xbf\xbd";
            text.remove_prefix(1);
        } else {
            out += text.substr(0, n);
            text.remove_prefix(n);
        }
    }
    return out;
}

std::string utf8_visible(std::string_view text) {
    const std::string whole = utf8_repaired(text);
    std::string out;
    for (std::size_t at = 0; at < whole.size();) {
        const std::size_t from = at;
        const char32_t c = utf8_next(whole, at);
        if (c < 0x20 || (c >= 0x7f && c <= 0x9f))
            out += format("\\u{:04x}", std::uint32_t(c));
        else
            out.append(whole, from, at - from);
    }
    return out;
}

std::string printable_ascii(std::string_view text) {
    std::string out(text);
    for (char& c : out)
        if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e) c = '?';
    return out;
}

char32_t utf8_next(std::string_view text, std::size_t& at) {
    const auto byte = [&](std::size_t i) { return char32_t((unsigned char)text[at + i]); };
    const char32_t c = byte(0);
    if (c < 0x80) return ++at, c;
    if (c < 0xe0) {
        const char32_t v = (c & 0x1f) << 6 | (byte(1) & 0x3f);
        return at += 2, v;
    }
    if (c < 0xf0) {
        const char32_t v = (c & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f);
        return at += 3, v;
    }
    const char32_t v =
        (c & 0x07) << 18 | (byte(1) & 0x3f) << 12 | (byte(2) & 0x3f) << 6 | (byte(3) & 0x3f);
    return at += 4, v;
}

void append_utf8(std::string& out, char32_t c) {
    if (c < 0x80) {
        out += char(c);
    } else if (c < 0x800) {
        out += char(0xc0 | c >> 6);
        out += char(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        out += char(0xe0 | c >> 12);
        out += char(0x80 | (c >> 6 & 0x3f));
        out += char(0x80 | (c & 0x3f));
    } else {
        out += char(0xf0 | c >> 18);
        out += char(0x80 | (c >> 12 & 0x3f));
        out += char(0x80 | (c >> 6 & 0x3f));
        out += char(0x80 | (c & 0x3f));
    }
}

}  // namespace hearth
