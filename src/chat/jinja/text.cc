#include "chat/jinja/text.h"

#include <charconv>
#include <cmath>

#include "base/utf8.h"

namespace hearth::chat::jinja {
namespace {

// Letters whose case differs by a fixed distance: first and last capital, distance to the small
// one.
struct CaseRange {
    char32_t first, last;
    int distance;
};
constexpr CaseRange kShifted[] = {
    {U'A', U'Z', 32},   {0xC0, 0xD6, 32},     {0xD8, 0xDE, 32},     {0x388, 0x38A, 37},
    {0x391, 0x3A1, 32}, {0x3A3, 0x3AB, 32},   {0x400, 0x40F, 80},   {0x410, 0x42F, 32},
    {0x531, 0x556, 48}, {0x24B6, 0x24CF, 26}, {0xFF21, 0xFF3A, 32},
};
// Capitals and small letters in turn; the capital's parity.
struct PairRange {
    char32_t first, last;
    unsigned parity;
};
constexpr PairRange kPaired[] = {
    {0x100, 0x12F, 0}, {0x132, 0x137, 0}, {0x139, 0x148, 1},   {0x14A, 0x177, 0},
    {0x179, 0x17E, 1}, {0x1CD, 0x1DC, 1}, {0x1DE, 0x1EF, 0},   {0x1F8, 0x21F, 0},
    {0x222, 0x233, 0}, {0x3D8, 0x3EF, 0}, {0x460, 0x481, 0},   {0x48A, 0x4BF, 0},
    {0x4C1, 0x4CE, 1}, {0x4D0, 0x52F, 0}, {0x1E00, 0x1E95, 0}, {0x1EA0, 0x1EFF, 0},
};

template <class F>
std::string map_text(std::string_view text, F&& f) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) f(out, utf8_next(text, at));
    return out;
}

}  // namespace

bool is_ascii(std::string_view text) {
    for (const char c : text) {
        if (static_cast<unsigned char>(c) >= 0x80) return false;
    }
    return true;
}

bool is_space(char32_t c) {
    return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_digit(char32_t c) {
    return c >= U'0' && c <= U'9';
}

// Beyond the letters with case: everything above Latin-1 that is neither punctuation nor a symbol
// by its block. A template asks this of names and identifiers, which this is good enough for.
bool is_alpha(char32_t c) {
    if (c < 0x80) return (c >= U'a' && c <= U'z') || (c >= U'A' && c <= U'Z');
    if (c < 0xC0) return c == 0xAA || c == 0xB5 || c == 0xBA;
    if (c == 0xD7 || c == 0xF7) return false;
    const bool symbols = (c >= 0x2000 && c <= 0x2BFF) || (c >= 0x3000 && c <= 0x3004) ||
                         (c >= 0x3008 && c <= 0x3020) || (c >= 0xD800 && c <= 0xF8FF) ||
                         (c >= 0xFE00 && c <= 0xFE6F) || (c >= 0xFF00 && c <= 0xFF20) ||
                         (c >= 0x1F000 && c <= 0x1FAFF) || c >= 0xE0000;
    return !symbols;
}

char32_t to_lower(char32_t c) {
    for (const CaseRange& r : kShifted) {
        if (c >= r.first && c <= r.last) return c == 0x3A2 ? c : c + char32_t(r.distance);
    }
    for (const PairRange& r : kPaired) {
        if (c >= r.first && c <= r.last) return c % 2 == r.parity ? c + 1 : c;
    }
    if (c == 0x178) return 0xFF;
    if (c == 0x386) return 0x3AC;
    if (c == 0x38C) return 0x3CC;
    if (c == 0x38E || c == 0x38F) return c + 63;
    return c;
}

char32_t to_upper(char32_t c) {
    for (const CaseRange& r : kShifted) {
        const char32_t d = char32_t(r.distance);
        if (c >= r.first + d && c <= r.last + d) return c == 0x3C2 ? 0x3A3 : c - d;
    }
    for (const PairRange& r : kPaired) {
        if (c >= r.first && c <= r.last) return c % 2 == r.parity ? c : c - 1;
    }
    if (c == 0xFF) return 0x178;
    if (c == 0xB5) return 0x39C;
    if (c == 0x3AC) return 0x386;
    if (c == 0x3CC) return 0x38C;
    if (c == 0x3CD || c == 0x3CE) return c - 63;
    return c;
}

bool is_upper(char32_t c) {
    return to_lower(c) != c;
}
bool is_lower(char32_t c) {
    return to_upper(c) != c || c == 0xDF;
}

std::int64_t count_code_points(std::string_view text) {
    std::int64_t n = 0;
    for (const char c : text) n += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    return n;
}

std::size_t offset_of(std::string_view text, std::int64_t n) {
    std::size_t at = 0;
    while (n-- > 0 && at < text.size()) utf8_next(text, at);
    return at;
}

std::vector<std::string_view> split_code_points(std::string_view text) {
    std::vector<std::string_view> out;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t from = at;
        utf8_next(text, at);
        out.push_back(text.substr(from, at - from));
    }
    return out;
}

namespace {

template <class Drop>
std::string_view strip_if(std::string_view text, Side side, Drop&& drop) {
    if (side != Side::right) {
        std::size_t at = 0;
        while (at < text.size()) {
            std::size_t next = at;
            if (!drop(utf8_next(text, next))) break;
            at = next;
        }
        text.remove_prefix(at);
    }
    while (side != Side::left && !text.empty()) {
        std::size_t last = text.size() - 1;
        while (last > 0 && (static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
        std::size_t at = last;
        if (!drop(utf8_next(text, at))) break;
        text = text.substr(0, last);
    }
    return text;
}

}  // namespace

std::string_view strip(std::string_view text, Side side) {
    return strip_if(text, side, is_space);
}

std::string_view strip(std::string_view text, std::string_view chars, Side side) {
    return strip_if(text, side, [&](char32_t c) {
        for (std::size_t at = 0; at < chars.size();) {
            if (utf8_next(chars, at) == c) return true;
        }
        return false;
    });
}

std::string lower(std::string_view text) {
    return map_text(text, [](std::string& out, char32_t c) { append_utf8(out, to_lower(c)); });
}

std::string upper(std::string_view text) {
    return map_text(text, [](std::string& out, char32_t c) {
        if (c == 0xDF) {
            out += "SS";
        } else {
            append_utf8(out, to_upper(c));
        }
    });
}

std::string capitalize(std::string_view text) {
    bool first = true;
    return map_text(text, [&](std::string& out, char32_t c) {
        append_utf8(out, first ? to_upper(c) : to_lower(c));
        first = false;
    });
}

std::string title(std::string_view text) {
    bool inside = false;
    return map_text(text, [&](std::string& out, char32_t c) {
        append_utf8(out, inside ? to_lower(c) : to_upper(c));
        inside = is_alpha(c);
    });
}

namespace {

// What repr() writes as an escape: controls, separators but the space, format and private
// characters.
bool is_printable(char32_t c) {
    if (c < 0x20 || c == 0x7F) return false;
    if (c < 0x7F) return true;
    if (c <= 0xA0 || c == 0xAD || is_space(c)) return false;
    return !((c >= 0x200B && c <= 0x200F) || (c >= 0x202A && c <= 0x202E) ||
             (c >= 0x2060 && c <= 0x206F) || (c >= 0xD800 && c <= 0xF8FF) || c == 0xFEFF ||
             (c >= 0xFFF0 && c <= 0xFFFB) || c >= 0xE0000);
}

void append_hex(std::string& out, char32_t c, int n_digits) {
    for (int i = n_digits - 1; i >= 0; --i) out += "0123456789abcdef"[(c >> (4 * i)) & 15];
}

}  // namespace

void append_quoted(std::string& out, std::string_view text) {
    const bool has_single = text.find('\'') != text.npos;
    const char quote = has_single && text.find('"') == text.npos ? '"' : '\'';
    out += quote;
    for (std::size_t at = 0; at < text.size();) {
        const char32_t c = utf8_next(text, at);
        if (c == char32_t(quote) || c == U'\\') {
            out += '\\';
            out += char(c);
        } else if (c == U'\n') {
            out += "\\n";
        } else if (c == U'\r') {
            out += "\\r";
        } else if (c == U'\t') {
            out += "\\t";
        } else if (is_printable(c)) {
            append_utf8(out, c);
        } else {
            out += c < 0x100 ? "\\x" : c < 0x10000 ? "\\u" : "\\U";
            append_hex(out, c, c < 0x100 ? 2 : c < 0x10000 ? 4 : 8);
        }
    }
    out += quote;
}

void append_json_quoted(std::string& out, std::string_view text, bool ensure_ascii) {
    const auto escape = [&](char32_t unit) {
        out += "\\u";
        append_hex(out, unit, 4);
    };
    out += '"';
    for (std::size_t at = 0; at < text.size();) {
        const char32_t c = utf8_next(text, at);
        switch (c) {
            case U'"':
                out += "\\\"";
                continue;
            case U'\\':
                out += "\\\\";
                continue;
            case U'\b':
                out += "\\b";
                continue;
            case U'\f':
                out += "\\f";
                continue;
            case U'\n':
                out += "\\n";
                continue;
            case U'\r':
                out += "\\r";
                continue;
            case U'\t':
                out += "\\t";
                continue;
            default:
                break;
        }
        if (c < 0x20 || (ensure_ascii && c >= 0x7F && c < 0x10000 && c != 0x7F)) {
            escape(c);
        } else if (ensure_ascii && c >= 0x10000) {
            escape(0xD800 + ((c - 0x10000) >> 10));
            escape(0xDC00 + ((c - 0x10000) & 0x3FF));
        } else {
            append_utf8(out, c);
        }
    }
    out += '"';
}

// Python writes the shortest digits that read back the same, plainly for exponents from -4 to 15.
std::string real_text(double number) {
    if (std::isnan(number)) return "nan";
    if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
    char buffer[32];
    const auto end =
        std::to_chars(buffer, buffer + sizeof buffer, number, std::chars_format::scientific).ptr;
    std::string_view text(buffer, std::size_t(end - buffer));
    std::string out;
    if (text[0] == '-') {
        out = "-";
        text.remove_prefix(1);
    }
    const std::size_t e = text.find('e');
    std::string digits(1, text[0]);
    if (e > 2) digits += text.substr(2, e - 2);
    const int exponent = std::stoi(std::string(text.substr(e + 1)));
    if (exponent < -4 || exponent > 15) {
        out += digits[0];
        if (digits.size() > 1) out += "." + digits.substr(1);
        const int size = std::abs(exponent);
        out += exponent < 0 ? "e-" : "e+";
        return out + (size < 10 ? "0" : "") + std::to_string(size);
    }
    if (exponent < 0) return out + "0." + std::string(std::size_t(-exponent - 1), '0') + digits;
    const std::size_t whole = std::size_t(exponent) + 1;
    if (digits.size() < whole) digits.append(whole - digits.size(), '0');
    return out + digits.substr(0, whole) + "." +
           (digits.size() > whole ? digits.substr(whole) : "0");
}

}  // namespace hearth::chat::jinja
