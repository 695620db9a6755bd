// Filters over any value: defaults, conversions, numbers, JSON.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/format.h"
#include "chat/jinja/builtins.h"
#include "chat/jinja/text.h"

namespace hearth::chat::jinja {
namespace {

Value f_default(Interp&, const Value& v, Args& args) {
    ArgReader reader("default", args, {"default_value", "boolean"});
    const bool take = v.is_undefined() || (reader.truth(1, false) && !v.truth());
    if (!take) return v;
    return reader.find(0) ? *reader.find(0) : Value("");
}

Value f_tojson(Interp& interp, const Value& v, Args& args) {
    ArgReader reader("tojson", args, {"ensure_ascii", "indent", "separators", "sort_keys"});
    const std::int64_t indent =
        reader.find(1) && reader.find(1)->is_undefined() ? -1 : reader.whole(1, -1);
    std::string item = indent >= 0 ? "," : ", ", key = ": ";
    if (const Value* s = reader.find(2); s && s->is_list() && s->items().size() == 2) {
        item = soft_text(s->items()[0], interp);
        key = soft_text(s->items()[1], interp);
        if (item.size() + key.size() > 64) stop("tojson: the separators are too long");
    }
    return Value(
        to_json_text(interp, v, indent, item, key, reader.truth(0, false), reader.truth(3, false)));
}

Value f_string(Interp& interp, const Value& v, Args&) {
    return Value(soft_text(v, interp));
}

Value f_pprint(Interp& interp, const Value& v, Args&) {
    std::string out;
    append_repr(out, v, interp.meter());
    return Value(std::move(out));
}

Value f_safe(Interp& interp, const Value& v, Args&) {
    return Value::markup(soft_text(v, interp));
}
Value f_escape(Interp& interp, const Value& v, Args&) {
    return Value::markup(escaped(v, interp));
}

std::optional<double> real_from(std::string_view text) {
    text = strip(text);
    if (text.starts_with('+')) text.remove_prefix(1);
    double value = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

std::optional<std::int64_t> whole_from(std::string_view text, int base) {
    text = strip(text);
    const bool negative = text.starts_with('-');
    if (negative || text.starts_with('+')) text.remove_prefix(1);
    const char mark = text.size() > 2 && text[0] == '0' ? char(text[1] | 0x20) : ' ';
    if ((base == 16 && mark == 'x') || (base == 8 && mark == 'o') || (base == 2 && mark == 'b'))
        text.remove_prefix(2);
    std::int64_t value = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (text.empty() || text[0] == '-' || ec != std::errc() || end != text.data() + text.size())
        return std::nullopt;
    return negative ? -value : value;
}

Value truncated(double x, const Value& fallback) {
    // Beyond 2^63 the reference has big integers; nothing that a prompt shows.
    if (!(std::abs(x) < 9.2e18)) return fallback;
    return Value(std::int64_t(x));
}

Value f_int(Interp&, const Value& v, Args& args) {
    ArgReader reader("int", args, {"default", "base"});
    Value fallback = reader.find(0) ? *reader.find(0) : Value(std::int64_t(0));
    if (v.is_undefined()) stop(v.why_undefined());
    if (v.is_whole()) return Value(v.whole());
    if (v.is_real()) return truncated(v.number(), fallback);
    if (!v.is_string()) return fallback;
    const std::int64_t base = reader.whole(1, 10);
    if (base < 2 || base > 36) return fallback;
    if (const auto n = whole_from(v.text(), int(base))) return Value(*n);
    const auto x = real_from(v.text());
    return x ? truncated(*x, fallback) : fallback;
}

Value f_float(Interp&, const Value& v, Args& args) {
    ArgReader reader("float", args, {"default"});
    if (v.is_undefined()) stop(v.why_undefined());
    if (v.is_number()) return Value(v.number());
    if (v.is_string()) {
        if (const auto x = real_from(v.text())) return Value(*x);
    }
    return reader.find(0) ? *reader.find(0) : Value(0.0);
}

Value f_abs(Interp&, const Value& v, Args&) {
    if (v.is_undefined()) stop(v.why_undefined());
    if (!v.is_number()) stop(format("bad operand type for abs(): '{}'", v.type_name()));
    if (v.is_real()) return Value(std::abs(v.number()));
    if (v.whole() == INT64_MIN) stop("an integer is out of range");
    return Value(std::int64_t(std::abs(v.whole())));
}

Value f_round(Interp&, const Value& v, Args& args) {
    ArgReader reader("round", args, {"precision", "method"});
    if (!v.is_number()) stop(format("round needs a number, not '{}'", v.type_name()));
    const std::int64_t precision = std::clamp<std::int64_t>(reader.whole(0, 0), -300, 300);
    const std::string_view method = reader.text(1, "common");
    if (method == "common") {
        if (v.is_whole()) return v;
        // Rounds the decimal digits of the exact value, as Python does.
        if (precision >= 0) return Value(std::stod(format("{:.{}f}", v.number(), int(precision))));
        const double scale = std::pow(10.0, double(-precision));
        return Value(std::nearbyint(v.number() / scale) * scale);
    }
    const double scale = std::pow(10.0, double(precision));
    if (method == "ceil") return Value(std::ceil(v.number() * scale) / scale);
    if (method == "floor") return Value(std::floor(v.number() * scale) / scale);
    stop("method must be common, ceil or floor");
}

Value f_length(Interp& interp, const Value& v, Args&) {
    switch (v.kind()) {
        case Value::Kind::undefined:
            return Value(std::int64_t(0));
        case Value::Kind::string:
            interp.meter().step(std::int64_t(v.text().size() / 64));
            return Value(count_code_points(v.text()));
        case Value::Kind::list:
            return Value(std::int64_t(v.items().size()));
        case Value::Kind::dict:
            return Value(std::int64_t(v.entries().size()));
        default:
            stop(format("object of type '{}' has no len()", v.type_name()));
    }
}

Value f_attr(Interp& interp, const Value& v, Args& args) {
    ArgReader reader("attr", args, {"name"});
    const std::string_view name = reader.text(0, "");
    // Attributes only: the items of a dict do not count.
    if (!v.is_dict()) return interp.attribute(v, name);
    const Builtin method = find_method(v, name);
    if (!method) return Value::undefined(format("'dict object' has no attribute '{}'", name));
    return Value(std::static_pointer_cast<Object>(std::make_shared<Function>(method, v)));
}

Value f_items(Interp& interp, const Value& v, Args& args) {
    if (v.is_undefined()) return interp.list({});
    if (!v.is_dict()) stop("Can only get item pairs from a mapping.");
    return find_method(v, "items")(interp, v, args);
}

Value f_filesizeformat(Interp&, const Value& v, Args& args) {
    ArgReader reader("filesizeformat", args, {"binary"});
    if (!v.is_number()) stop("filesizeformat needs a number");
    const bool binary = reader.truth(0, false);
    const double base = binary ? 1024 : 1000;
    const double bytes = v.number();
    if (bytes == 1) return Value("1 Byte");
    // 2^62: whatever is below is no size of anything, and no int64_t holds it.
    if (bytes < base) return Value(format("{} Bytes", std::int64_t(std::max(bytes, -0x1p62))));
    static constexpr const char* kDecimal[] = {"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"};
    static constexpr const char* kBinary[] = {"KiB", "MiB", "GiB", "TiB",
                                              "PiB", "EiB", "ZiB", "YiB"};
    double unit = base;
    for (int i = 0; i < 8; ++i, unit *= base) {
        if (bytes < unit * base || i == 7)
            return Value(format("{:.1f} {}", bytes / unit, binary ? kBinary[i] : kDecimal[i]));
    }
    return Value();
}

constexpr Named<Builtin> kFilters[] = {
    {"tojson", f_tojson},      {"length", f_length}, {"default", f_default},
    {"d", f_default},          {"string", f_string}, {"safe", f_safe},
    {"items", f_items},        {"count", f_length},  {"int", f_int},
    {"float", f_float},        {"abs", f_abs},       {"round", f_round},
    {"attr", f_attr},          {"escape", f_escape}, {"e", f_escape},
    {"forceescape", f_escape}, {"pprint", f_pprint}, {"filesizeformat", f_filesizeformat},
};

}  // namespace

std::string escaped(const Value& v, Interp& interp) {
    if (v.is_markup()) return soft_text(v, interp);
    TextBuilder out(interp);
    for (const char c : soft_text(v, interp)) {
        switch (c) {
            case '&':
                out.add("&amp;");
                break;
            case '<':
                out.add("&lt;");
                break;
            case '>':
                out.add("&gt;");
                break;
            case '"':
                out.add("&#34;");
                break;
            case '\'':
                out.add("&#39;");
                break;
            default:
                out.add({&c, 1});
        }
    }
    return out.take();
}

std::span<const Named<Builtin>> value_filters() {
    return kFilters;
}

}  // namespace hearth::chat::jinja
