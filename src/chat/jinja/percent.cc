// "%s …" % values and "{} …".format(values).
#include <algorithm>
#include <cmath>

#include "base/format.h"
#include "base/utf8.h"
#include "chat/jinja/builtins.h"
#include "chat/jinja/text.h"

namespace hearth::chat::jinja {
namespace {

constexpr std::int64_t kWidthMax = 10'000;  // a wider field is a mistake or an attack

struct Spec {
    char fill = ' ';
    char align = 0;  // '<', '>', '^'; 0: by type
    bool plus = false, space = false, alternate = false, comma = false;
    std::int64_t width = 0;
    std::int64_t precision = -1;
    char type = 's';
};

std::string in_base(std::int64_t n, unsigned base, bool upper_case) {
    std::uint64_t rest = n < 0 ? 0 - std::uint64_t(n) : std::uint64_t(n);
    const char* digits = upper_case ? "0123456789ABCDEF" : "0123456789abcdef";
    std::string out;
    do {
        out.insert(out.begin(), digits[rest % base]);
        rest /= base;
    } while (rest > 0);
    return out;
}

std::string with_commas(std::string digits) {
    const std::size_t end = std::min(digits.find('.'), digits.size());
    for (std::size_t i = end; i > 3; i -= 3) digits.insert(i - 3, ",");
    return digits;
}

// The digits without sign.
std::string digits_of(const Value& v, const Spec& spec) {
    const int precision = spec.precision < 0 ? 6 : int(spec.precision);
    switch (spec.type) {
        case 'd':
        case 'i':
        case 'u':
            return in_base(v.is_real() ? std::int64_t(v.number()) : v.whole(), 10, false);
        case 'x':
        case 'X':
            return (spec.alternate ? (spec.type == 'x' ? "0x" : "0X") : "") +
                   in_base(v.whole(), 16, spec.type == 'X');
        case 'o':
            return (spec.alternate ? "0o" : "") + in_base(v.whole(), 8, false);
        case 'b':
            return (spec.alternate ? "0b" : "") + in_base(v.whole(), 2, false);
        case 'f':
        case 'F':
            return format("{:.{}f}", std::abs(v.number()), precision);
        case '%':
            return format("{:.{}f}%", std::abs(v.number()) * 100, precision);
        case 'e':
            return format("{:.{}e}", std::abs(v.number()), precision);
        case 'E':
            return format("{:.{}E}", std::abs(v.number()), precision);
        case 'G':
            return format("{:.{}G}", std::abs(v.number()), precision);
        default:
            return format("{:.{}g}", std::abs(v.number()), precision);
    }
}

std::string number_text(const Value& v, const Spec& spec) {
    if (v.is_undefined()) stop(v.why_undefined());
    if (!v.is_number())
        stop(format("%{} format: a real number is required, not {}", spec.type, v.type_name()));
    const bool whole_only = std::string_view("xXob").find(spec.type) != std::string_view::npos;
    if (whole_only && !v.is_whole()) stop(format("%{} format: an integer is required", spec.type));
    if (v.is_real() && std::string_view("diu").find(spec.type) != std::string_view::npos &&
        !(std::abs(v.number()) < 9.2e18))
        stop("a number is out of range");
    const bool negative = v.is_whole() ? v.whole() < 0 : std::signbit(v.number());
    std::string out = digits_of(v, spec);
    if (spec.comma) out = with_commas(std::move(out));
    return (negative ? "-" : spec.plus ? "+" : spec.space ? " " : "") + out;
}

void add_padded(TextBuilder& out, std::string_view text, const Spec& spec, bool is_number) {
    const std::int64_t n = spec.width - count_code_points(text);
    const char align = spec.align ? spec.align : is_number ? '>' : '<';
    const std::string_view fill(&spec.fill, 1);
    if (n <= 0) {
        out.add(text);
    } else if (align == '<') {
        out.add(text).repeat(fill, n);
    } else if (align == '^') {
        out.repeat(fill, n / 2).add(text).repeat(fill, n - n / 2);
    } else if (align == '=' && !text.empty() && (text[0] == '-' || text[0] == '+')) {
        out.add(text.substr(0, 1)).repeat(fill, n).add(text.substr(1));
    } else {
        out.repeat(fill, n).add(text);
    }
}

void add_value(TextBuilder& out, Interp& interp, const Value& v, const Spec& spec) {
    if (spec.type == 's' || spec.type == 'r' || spec.type == 'a') {
        std::string text;
        if (spec.type == 's') {
            append_str(text, v, interp.meter());
        } else {
            append_repr(text, v, interp.meter());
        }
        if (spec.precision >= 0) text.resize(offset_of(text, spec.precision));
        add_padded(out, text, spec, false);
    } else if (spec.type == 'c') {
        if (v.is_string() ? count_code_points(v.text()) != 1 : !v.is_whole())
            stop("%c requires int or char");
        std::string text;
        if (v.is_string()) {
            text = v.text();
        } else if (v.whole() < 0 || v.whole() > 0x10FFFF ||
                   (v.whole() >= 0xD800 && v.whole() <= 0xDFFF)) {
            stop("%c arg is no character");
        } else {
            append_utf8(text, char32_t(v.whole()));
        }
        add_padded(out, text, spec, true);
    } else {
        add_padded(out, number_text(v, spec), spec, true);
    }
}

std::int64_t read_number(std::string_view text, std::size_t& at) {
    std::int64_t n = 0;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
        n = n * 10 + (text[at] - '0');
        if (n > kWidthMax) stop("a format's width or precision is too large");
    }
    return n;
}

struct PercentArgs {
    Interp& interp;
    const Value& args;
    std::size_t next = 0;

    Value take() {
        if (args.is_tuple()) {
            if (next >= args.items().size()) stop("not enough arguments for format string");
            return args.items()[next++];
        }
        if (next++ > 0) stop("not enough arguments for format string");
        return args;
    }
    Value named(std::string_view name) {
        if (!args.is_dict()) stop("format requires a mapping");
        const Value* v = args.entries().find(name);
        if (!v) stop(format("the format's mapping has no '{}'", name));
        next = 1;
        return *v;
    }
};

}  // namespace

Value percent_format(Interp& interp, std::string_view pattern, const Value& args) {
    TextBuilder out(interp);
    PercentArgs values{interp, args};
    for (std::size_t at = 0; at < pattern.size();) {
        const std::size_t mark = std::min(pattern.find('%', at), pattern.size());
        out.add(pattern.substr(at, mark - at));
        if (mark == pattern.size()) break;
        interp.meter().step();
        at = mark + 1;
        std::optional<Value> named;
        if (at < pattern.size() && pattern[at] == '(') {
            const std::size_t end = pattern.find(')', at);
            if (end == pattern.npos) stop("incomplete format key");
            named = values.named(pattern.substr(at + 1, end - at - 1));
            at = end + 1;
        }
        Spec spec;
        for (; at < pattern.size(); ++at) {
            const char c = pattern[at];
            if (c == '-')
                spec.align = '<';
            else if (c == '0')
                spec.fill = '0';
            else if (c == '+')
                spec.plus = true;
            else if (c == ' ')
                spec.space = true;
            else if (c == '#')
                spec.alternate = true;
            else
                break;
        }
        if (spec.fill == '0') spec.align = spec.align == '<' ? '<' : '=';
        if (spec.align == '<') spec.fill = ' ';
        if (!spec.align) spec.align = '>';  // also for text, unlike str.format
        if (at < pattern.size() && pattern[at] == '*') {
            const Value w = values.take();
            if (!w.is_whole()) stop("* wants int");
            spec.width = std::clamp<std::int64_t>(w.whole(), 0, kWidthMax);
            ++at;
        } else {
            spec.width = read_number(pattern, at);
        }
        if (at < pattern.size() && pattern[at] == '.') spec.precision = read_number(pattern, ++at);
        if (at >= pattern.size()) stop("incomplete format");
        spec.type = pattern[at++];
        if (spec.type == '%') {
            out.add("%");
            continue;
        }
        if (std::string_view("srcdiuxXofFeEgGa").find(spec.type) == std::string_view::npos)
            stop(format("unsupported format character '{}'", spec.type));
        add_value(out, interp, named ? *named : values.take(), spec);
    }
    if (args.is_tuple() ? values.next < args.items().size() : values.next == 0 && !args.is_dict())
        stop("not all arguments converted during string formatting");
    return out.value();
}

namespace {

// [[fill]align][sign][#][0][width][,][.precision][type]
Spec read_spec(std::string_view text, const Value& v) {
    Spec spec;
    std::size_t at = 0;
    const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
    const auto is = [&](char c) { return at < text.size() && text[at] == c; };
    if (text.size() > 1 && is_align(text[1])) {
        spec.fill = text[0];
        spec.align = text[1];
        at = 2;
    } else if (!text.empty() && is_align(text[0])) {
        spec.align = text[at++];
    }
    if (is('+') || is('-') || is(' ')) {
        spec.plus = text[at] == '+';
        spec.space = text[at++] == ' ';
    }
    if (is('#')) spec.alternate = true, ++at;
    if (is('0')) {
        if (!spec.align) spec.fill = '0', spec.align = '=';
        ++at;
    }
    spec.width = read_number(text, at);
    if (is(',')) spec.comma = true, ++at;
    if (is('.')) spec.precision = read_number(text, ++at);
    const bool plain = v.is_real() && spec.precision < 0;
    spec.type = v.is_int() ? 'd' : v.is_real() && !plain ? 'g' : 's';
    if (at < text.size()) spec.type = text[at++];
    if (at < text.size() ||
        std::string_view("sdxXobfFeEgG%c").find(spec.type) == std::string_view::npos)
        stop(format("invalid format specifier '{}'", text.substr(0, 40)));
    return spec;
}

}  // namespace

Value brace_format(Interp& interp, const Value& pattern_value, Args& args) {
    const std::string_view pattern = pattern_value.text();
    TextBuilder out(interp);
    std::size_t next = 0;
    for (std::size_t at = 0; at < pattern.size();) {
        const std::size_t mark = std::min(pattern.find_first_of("{}", at), pattern.size());
        out.add(pattern.substr(at, mark - at));
        if (mark == pattern.size()) break;
        interp.meter().step();
        at = mark + 1;
        if (at < pattern.size() && pattern[at] == pattern[mark]) {
            out.add(pattern.substr(at++, 1));
            continue;
        }
        const std::size_t end = pattern.find('}', at);
        if (pattern[mark] == '}' || end == pattern.npos) stop("single brace in format string");
        std::string_view field = pattern.substr(at, end - at), spec_text;
        at = end + 1;
        if (const auto colon = field.find(':'); colon != field.npos) {
            spec_text = field.substr(colon + 1);
            field = field.substr(0, colon);
        }
        char conversion = 's';
        if (const auto bang = field.find('!'); bang != field.npos) {
            conversion = bang + 1 < field.size() ? field[bang + 1] : 's';
            field = field.substr(0, bang);
        }
        Value v;
        const std::size_t dot = std::min(field.find('.'), field.size());
        const std::string_view head = field.substr(0, dot);
        std::size_t digits = 0;
        const std::int64_t number = read_number(head, digits);
        if (head.empty() || digits == head.size()) {
            const std::size_t i = head.empty() ? next++ : std::size_t(number);
            if (i >= args.positional.size())
                stop("Replacement index out of range for positional args");
            v = args.positional[i];
        } else {
            bool found = false;
            for (const auto& [name, value] : args.named) {
                if (name == head) v = value, found = true;
            }
            if (!found) stop(format("format has no argument '{}'", head.substr(0, 80)));
        }
        if (dot < field.size()) v = interp.attribute(v, field.substr(dot + 1));
        Spec spec = read_spec(spec_text, v);
        if (conversion == 'r' && spec.type == 's') spec.type = 'r';
        add_value(out, interp, v, spec);
    }
    return out.value();
}

}  // namespace hearth::chat::jinja
