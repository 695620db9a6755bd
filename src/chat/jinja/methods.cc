// Methods of strings, lists and dicts, as Python has them; those that change their object are
// withheld.
#include "chat/jinja/methods.h"

#include <string.h>

#include <algorithm>

#include "base/format.h"
#include "base/utf8.h"
#include "chat/jinja/builtins.h"

namespace hearth::chat::jinja {

// std::string's find() compares at every place: m · n for "aaa…" in "aaaa…". memmem() is linear in
// glibc (two-way search; short needles go through a table of shifts). Paid afterwards, for what was
// looked at: paying for all the rest before each of many finds would be their square.
std::size_t find_text(Interp& interp, std::string_view text, std::string_view what,
                      std::size_t from) {
    if (from > text.size()) return text.npos;
    const char* const start = text.data() + from;
    const auto* at = static_cast<const char*>(
        what.empty() ? start : ::memmem(start, text.size() - from, what.data(), what.size()));
    const std::size_t end = at ? std::size_t(at - text.data()) + what.size() : text.size();
    interp.meter().step(1 + std::int64_t((end - from) / 64));
    return at ? std::size_t(at - text.data()) : text.npos;
}

namespace {

std::string backwards(Interp& interp, std::string_view text) {
    interp.meter().step(1 + std::int64_t(text.size() / 64));
    return {text.rbegin(), text.rend()};
}

}  // namespace

// The first place in the reversed text: there is no linear memrmem().
std::size_t rfind_text(Interp& interp, std::string_view text, std::string_view what) {
    if (what.size() > text.size()) return text.npos;
    const std::string back = backwards(interp, text);
    const std::size_t at = find_text(interp, back, backwards(interp, what));
    return at == back.npos ? text.npos : text.size() - at - what.size();
}

Value replaced(Interp& interp, std::string_view text, std::string_view old, std::string_view fresh,
               std::int64_t count) {
    TextBuilder out(interp);
    std::size_t at = 0;
    if (old.empty()) {
        for (const auto c : split_code_points(text)) {
            if (count-- != 0) {
                out.add(fresh);
            } else {
                count = 0;
            }
            out.add(c);
        }
        if (count != 0) out.add(fresh);
        return out.value();
    }
    for (; count != 0; --count) {
        const std::size_t next = find_text(interp, text, old, at);
        if (next == text.npos) break;
        out.add(text.substr(at, next - at)).add(fresh);
        at = next + old.size();
    }
    return out.add(text.substr(at)).value();
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
    std::vector<std::string_view> out;
    std::size_t from = 0;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t here = at;
        const char32_t c = utf8_next(text, at);
        const bool ends = (c >= 0xA && c <= 0xD) || (c >= 0x1C && c <= 0x1E) || c == 0x85 ||
                          c == 0x2028 || c == 0x2029;
        if (!ends) continue;
        if (c == U'\r' && at < text.size() && text[at] == '\n') ++at;
        out.push_back(text.substr(from, (keep_ends ? at : here) - from));
        from = at;
    }
    if (from < text.size()) out.push_back(text.substr(from));
    return out;
}

std::vector<std::string_view> split_words(std::string_view text, std::int64_t max) {
    std::vector<std::string_view> out;
    for (text = strip(text, Side::left); !text.empty(); text = strip(text, Side::left)) {
        if (max >= 0 && std::int64_t(out.size()) == max) {
            out.push_back(text);
            break;
        }
        std::size_t end = 0;
        while (end < text.size()) {
            std::size_t next = end;
            if (is_space(utf8_next(text, next))) break;
            end = next;
        }
        out.push_back(text.substr(0, end));
        text.remove_prefix(end);
    }
    return out;
}

Value padded(Interp& interp, std::string_view text, std::int64_t width, std::string_view fill,
             Side where) {
    if (count_code_points(fill) != 1) stop("the fill character must be exactly one character long");
    const std::int64_t n = std::max<std::int64_t>(0, width - count_code_points(text));
    // As str.center: the odd one goes left when the width is odd.
    const std::int64_t left = where == Side::right  ? 0
                              : where == Side::left ? n
                                                    : n / 2 + (n & width & 1);
    return TextBuilder(interp).repeat(fill, left).add(text).repeat(fill, n - left).value();
}

namespace {

template <Side kSide>
Value m_strip(Interp& interp, const Value& s, Args& args) {
    ArgReader reader("strip", args, {"chars"});
    const Value* chars = reader.find(0);
    interp.meter().step(std::int64_t(s.text().size() / 64));
    const bool plain = !chars || chars->is_none();
    const auto kept = plain ? strip(s.text(), kSide) : strip(s.text(), reader.text(0, ""), kSide);
    return s.is_markup() ? Value::markup(std::string(kept)) : Value(kept);
}

template <std::string (*kChange)(std::string_view)>
Value m_changed(Interp& interp, const Value& s, Args& args) {
    ArgReader reader("this method", args, {});
    return interp.text(kChange(s.text()));
}

std::string swapcase(std::string_view text) {
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
        const char32_t c = utf8_next(text, at);
        append_utf8(out, is_upper(c) ? to_lower(c) : to_upper(c));
    }
    return out;
}

Value pieces(Interp& interp, const std::vector<std::string_view>& parts) {
    std::vector<Value> out;
    for (const auto part : parts) out.push_back(interp.text(std::string(part)));
    return interp.list(std::move(out));
}

Value m_split(Interp& interp, const Value& s, Args& args) {
    ArgReader reader("split", args, {"sep", "maxsplit"});
    const std::int64_t max = reader.whole(1, -1);
    if (!reader.find(0) || reader.find(0)->is_none())
        return pieces(interp, split_words(s.text(), max));
    const std::string_view sep = reader.text(0, "");
    if (sep.empty()) stop("empty separator");
    const std::string_view text = s.text();
    std::vector<std::string_view> parts;
    std::size_t from = 0;
    while (max < 0 || std::int64_t(parts.size()) < max) {
        const std::size_t at = find_text(interp, text, sep, from);
        if (at == text.npos) break;
        parts.push_back(text.substr(from, at - from));
        from = at + sep.size();
    }
    parts.push_back(text.substr(from));
    return pieces(interp, parts);
}

Value m_rsplit(Interp& interp, const Value& s, Args& args) {
    ArgReader reader("rsplit", args, {"sep", "maxsplit"});
    const std::int64_t max = reader.whole(1, -1);
    std::vector<std::string_view> parts;
    std::string_view rest = s.text();
    if (!reader.find(0) || reader.find(0)->is_none()) {
        parts = split_words(rest, -1);
        if (max < 0 || std::int64_t(parts.size()) <= max) return pieces(interp, parts);
        // The first words stay together, with all white space before and between them.
        const std::size_t kept = parts.size() - std::size_t(max);
        const std::size_t size =
            std::size_t(parts[kept - 1].data() - rest.data()) + parts[kept - 1].size();
        parts.erase(parts.begin(), parts.begin() + std::ptrdiff_t(kept - 1));
        parts[0] = rest.substr(0, size);
        return pieces(interp, parts);
    }
    const std::string_view sep = reader.text(0, "");
    if (sep.empty()) stop("empty separator");
    // Turned around once, not once for each part.
    const std::string back = backwards(interp, rest), back_sep = backwards(interp, sep);
    std::size_t from = 0;
    while (max < 0 || std::int64_t(parts.size()) < max) {
        const std::size_t at = find_text(interp, back, back_sep, from);
        if (at == back.npos) break;
        parts.push_back(rest.substr(rest.size() - at, at - from));
        from = at + sep.size();
    }
    parts.push_back(rest.substr(0, rest.size() - from));
    return pieces(interp, {parts.rbegin(), parts.rend()});
}

Value m_splitlines(Interp& interp, const Value& s, Args& args) {
    ArgReader reader("splitlines", args, {"keepends"});
    return pieces(interp, split_lines(s.text(), reader.truth(0, false)));
}

template <bool kLast>
Value m_partition(Interp& interp, const Value& s, Args& args) {
    ArgReader reader("partition", args, {"sep"});
    const std::string_view sep = reader.text(0, ""), text = s.text();
    if (sep.empty()) stop("empty separator");
    const std::size_t at = kLast ? rfind_text(interp, text, sep) : find_text(interp, text, sep);
    std::vector<std::string_view> parts{text, "", ""};
    if (at != text.npos) {
        parts = {text.substr(0, at), sep, text.substr(at + sep.size())};
    } else if (kLast) {
        parts = {"", "", text};
    }
    std::vector<Value> out;
    for (const auto part : parts) out.push_back(interp.text(std::string(part)));
    return interp.list(std::move(out), true);
}

// The part of the text that start and end of find() and its kin select, and its offset.
std::string_view window(Interp& interp, const ArgReader& reader, std::string_view text,
                        std::size_t& offset) {
    interp.meter().step(std::int64_t(text.size() / 64));
    const std::int64_t n = count_code_points(text);
    const auto place = [&](std::int64_t i) {
        return std::clamp<std::int64_t>(i < 0 ? i + n : i, 0, n);
    };
    const std::int64_t from = place(reader.whole(1, 0));
    const std::int64_t to = place(reader.whole(2, n));
    offset = offset_of(text, from);
    if (to <= from) return text.substr(offset, 0);
    return text.substr(offset, offset_of(text, to) - offset);
}

template <bool kEnd>
Value m_affix(Interp& interp, const Value& s, Args& args) {
    ArgReader reader(kEnd ? "endswith" : "startswith", args, {"prefix", "start", "end"});
    std::size_t offset = 0;
    const bool whole = !reader.find(1) && !reader.find(2);
    const std::string_view text = whole ? s.text() : window(interp, reader, s.text(), offset);
    const auto holds = [&](const Value& v) {
        if (!v.is_string()) stop(format("expected str or a tuple of str, not {}", v.type_name()));
        interp.meter().step(std::int64_t(v.text().size() / 64));
        return kEnd ? text.ends_with(v.text()) : text.starts_with(v.text());
    };
    const Value& affix = reader.need(0);
    if (affix.is_undefined()) stop(affix.why_undefined());
    if (!affix.is_tuple()) return Value(holds(affix));
    interp.meter().step(std::int64_t(affix.items().size()));
    for (const Value& v : affix.items()) {
        if (holds(v)) return Value(true);
    }
    return Value(false);
}

template <bool kLast, bool kMust>
Value m_find(Interp& interp, const Value& s, Args& args) {
    ArgReader reader("find", args, {"sub", "start", "end"});
    std::size_t offset = 0;
    const std::string_view text = window(interp, reader, s.text(), offset);
    const std::string_view sub = reader.text(0, "");
    const std::size_t at = kLast ? rfind_text(interp, text, sub) : find_text(interp, text, sub);
    if (at == text.npos && kMust) stop("substring not found");
    if (at == text.npos) return Value(std::int64_t(-1));
    return Value(count_code_points(std::string_view(s.text()).substr(0, offset + at)));
}

Value m_count(Interp& interp, const Value& s, Args& args) {
    ArgReader reader("count", args, {"sub", "start", "end"});
    std::size_t offset = 0;
    const std::string_view text = window(interp, reader, s.text(), offset);
    const std::string_view sub = reader.text(0, "");
    if (sub.empty()) return Value(count_code_points(text) + 1);
    std::int64_t n = 0;
    for (std::size_t at = find_text(interp, text, sub); at != text.npos;
         at = find_text(interp, text, sub, at + sub.size()))
        ++n;
    return Value(n);
}

Value m_replace(Interp& interp, const Value& s, Args& args) {
    ArgReader reader("replace", args, {"old", "new", "count"});
    reader.need(0), reader.need(1);
    return replaced(interp, s.text(), reader.text(0, ""), reader.text(1, ""), reader.whole(2, -1));
}

Value m_join(Interp& interp, const Value& s, Args& args) {
    ArgReader reader("join", args, {"iterable"});
    TextBuilder out(interp);
    std::size_t i = 0;
    for (const Value& item : interp.iterate(reader.need(0))) {
        if (!item.is_string())
            stop(format("sequence item {}: expected str instance, {} found", i, item.type_name()));
        if (i++ > 0) out.add(s.text());
        out.add(item.text());
    }
    return out.value();
}

template <Side kSide>  // where the padding goes
Value m_pad(Interp& interp, const Value& s, Args& args) {
    ArgReader reader("padding", args, {"width", "fillchar"});
    return padded(interp, s.text(), reader.whole(0, 0), reader.text(1, " "), kSide);
}

Value m_zfill(Interp& interp, const Value& s, Args& args) {
    ArgReader reader("zfill", args, {"width"});
    const std::string_view text = s.text();
    const bool sign = text.starts_with('-') || text.starts_with('+');
    const std::int64_t n = reader.whole(0, 0) - count_code_points(text);
    return TextBuilder(interp)
        .add(text.substr(0, sign))
        .repeat("0", n)
        .add(text.substr(sign))
        .value();
}

template <bool kEnd>
Value m_remove_affix(Interp&, const Value& s, Args& args) {
    ArgReader reader("removeprefix", args, {"affix"});
    std::string_view text = s.text();
    const std::string_view affix = reader.text(0, "");
    if (kEnd && text.ends_with(affix)) text.remove_suffix(affix.size());
    if (!kEnd && text.starts_with(affix)) text.remove_prefix(affix.size());
    return Value(text);
}

Value m_format(Interp& interp, const Value& s, Args& args) {
    return brace_format(interp, s, args);
}

bool is_alnum(char32_t c) {
    return is_alpha(c) || is_digit(c);
}

template <bool (*kIs)(char32_t)>
Value m_all(Interp&, const Value& s, Args&) {
    const std::string_view text = s.text();
    for (std::size_t at = 0; at < text.size();) {
        if (!kIs(utf8_next(text, at))) return Value(false);
    }
    return Value(!text.empty());
}

template <bool (*kIs)(char32_t), bool (*kIsNot)(char32_t)>
Value m_case(Interp&, const Value& s, Args&) {
    const std::string_view text = s.text();
    bool any = false;
    for (std::size_t at = 0; at < text.size();) {
        const char32_t c = utf8_next(text, at);
        if (kIsNot(c)) return Value(false);
        any = any || kIs(c);
    }
    return Value(any);
}

constexpr Named<Builtin> kText[] = {
    {"strip", m_strip<Side::both>},
    {"lstrip", m_strip<Side::left>},
    {"rstrip", m_strip<Side::right>},
    {"split", m_split},
    {"rsplit", m_rsplit},
    {"splitlines", m_splitlines},
    {"partition", m_partition<false>},
    {"rpartition", m_partition<true>},
    {"startswith", m_affix<false>},
    {"endswith", m_affix<true>},
    {"replace", m_replace},
    {"join", m_join},
    {"format", m_format},
    {"upper", m_changed<upper>},
    {"lower", m_changed<lower>},
    {"casefold", m_changed<lower>},
    {"title", m_changed<title>},
    {"capitalize", m_changed<capitalize>},
    {"swapcase", m_changed<swapcase>},
    {"find", m_find<false, false>},
    {"rfind", m_find<true, false>},
    {"index", m_find<false, true>},
    {"rindex", m_find<true, true>},
    {"count", m_count},
    {"center", m_pad<Side::both>},
    {"ljust", m_pad<Side::right>},
    {"rjust", m_pad<Side::left>},
    {"zfill", m_zfill},
    {"removeprefix", m_remove_affix<false>},
    {"removesuffix", m_remove_affix<true>},
    {"isdigit", m_all<is_digit>},
    {"isdecimal", m_all<is_digit>},
    {"isnumeric", m_all<is_digit>},
    {"isalpha", m_all<is_alpha>},
    {"isalnum", m_all<is_alnum>},
    {"isspace", m_all<is_space>},
    {"isupper", m_case<is_upper, is_lower>},
    {"islower", m_case<is_lower, is_upper>},
};

Value d_get(Interp&, const Value& d, Args& args) {
    ArgReader reader("get", args, {"key", "default"});
    const Value& key = reader.need(0);
    const Value* v = key.is_undefined() ? nullptr : d.entries().find(key);
    if (v) return *v;
    return reader.find(1) ? *reader.find(1) : Value::none();
}

Value d_items(Interp& interp, const Value& d, Args&) {
    interp.meter().bytes(d.entries().size() * 3 * sizeof(Value));
    std::vector<Value> out;
    for (const auto& [key, value] : d.entries()) out.push_back(Value::list({key, value}, true));
    return interp.list(std::move(out));
}

Value d_keys(Interp& interp, const Value& d, Args&) {
    return interp.list(interp.iterate(d));
}

Value d_values(Interp& interp, const Value& d, Args&) {
    std::vector<Value> out;
    for (const auto& entry : d.entries()) out.push_back(entry.second);
    return interp.list(std::move(out));
}

Value c_copy(Interp&, const Value& v, Args&) {
    return v;
}  // nothing can change it

Value l_count(Interp& interp, const Value& v, Args& args) {
    ArgReader reader("count", args, {"value"});
    std::int64_t n = 0;
    for (const Value& item : v.items()) n += equals(item, reader.need(0), interp.meter());
    return Value(n);
}

Value l_index(Interp& interp, const Value& v, Args& args) {
    ArgReader reader("index", args, {"value"});
    for (std::size_t i = 0; i < v.items().size(); ++i) {
        if (equals(v.items()[i], reader.need(0), interp.meter())) return Value(std::int64_t(i));
    }
    stop("the value is not in the list");
}

constexpr Named<Builtin> kDict[] = {
    {"get", d_get}, {"items", d_items}, {"keys", d_keys}, {"values", d_values}, {"copy", c_copy}};
constexpr Named<Builtin> kList[] = {{"count", l_count}, {"index", l_index}, {"copy", c_copy}};

}  // namespace

std::span<const Named<Builtin>> text_methods() {
    return kText;
}

std::span<const Named<Builtin>> container_methods(Value::Kind kind) {
    if (kind == Value::Kind::dict) return kDict;
    return kList;
}

}  // namespace hearth::chat::jinja
