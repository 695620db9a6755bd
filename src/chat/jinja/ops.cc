// Arithmetic, membership and slices, with Python's rules for mixed types.
#include <algorithm>
#include <cmath>

#include "base/format.h"
#include "chat/jinja/builtins.h"
#include "chat/jinja/text.h"

namespace hearth::chat::jinja {
namespace {

[[noreturn]] void no_operator(const char* op, const Value& a, const Value& b) {
    for (const Value* v : {&a, &b}) {
        if (v->is_undefined()) stop(v->why_undefined());
    }
    if (std::string_view(op) == "+" && a.is_string())
        stop(format("can only concatenate str (not \"{}\") to str", b.type_name()));
    stop(format("unsupported operand type(s) for {}: '{}' and '{}'", op, a.type_name(),
                b.type_name()));
}

const char* sign_of(Op op) {
    switch (op) {
        case Op::add:
            return "+";
        case Op::sub:
            return "-";
        case Op::mul:
            return "*";
        case Op::div:
            return "/";
        case Op::floor_div:
            return "//";
        case Op::mod:
            return "%";
        default:
            return "**";
    }
}

std::int64_t floor_div(std::int64_t a, std::int64_t b) {
    const std::int64_t q = a / b;
    return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

Value power(std::int64_t base, std::int64_t exponent) {
    if (exponent < 0) return Value(std::pow(double(base), double(exponent)));
    std::int64_t out = 1;
    // At most 64 rounds that change anything: 0, 1 and -1 repeat, all else overflows.
    if (base == 0 || base == 1) return Value(exponent == 0 ? std::int64_t(1) : base);
    if (base == -1) return Value(std::int64_t(exponent % 2 == 0 ? 1 : -1));
    for (; exponent > 0; --exponent) {
        if (__builtin_mul_overflow(out, base, &out)) stop("an integer is out of range");
    }
    return Value(out);
}

Value whole_arithmetic(Op op, std::int64_t a, std::int64_t b) {
    std::int64_t out = 0;
    bool overflow = false;
    switch (op) {
        case Op::add:
            overflow = __builtin_add_overflow(a, b, &out);
            break;
        case Op::sub:
            overflow = __builtin_sub_overflow(a, b, &out);
            break;
        case Op::mul:
            overflow = __builtin_mul_overflow(a, b, &out);
            break;
        case Op::pow:
            return power(a, b);
        default:
            if (b == 0) stop(op == Op::mod ? "integer modulo by zero" : "division by zero");
            if (op == Op::div) return Value(double(a) / double(b));
            overflow = a == INT64_MIN && b == -1;
            if (!overflow) out = op == Op::floor_div ? floor_div(a, b) : a - floor_div(a, b) * b;
    }
    if (overflow) stop("an integer is out of range");
    return Value(out);
}

Value real_arithmetic(Op op, double a, double b) {
    switch (op) {
        case Op::add:
            return Value(a + b);
        case Op::sub:
            return Value(a - b);
        case Op::mul:
            return Value(a * b);
        case Op::pow:
            return Value(std::pow(a, b));
        default:
            break;
    }
    if (b == 0) stop("float division by zero");
    if (op == Op::div) return Value(a / b);
    if (op == Op::floor_div) return Value(std::floor(a / b));
    const double r = std::fmod(a, b);
    return Value(r != 0 && (r < 0) != (b < 0) ? r + b : r);
}

Value repeated(const Value& what, std::int64_t n, Interp& interp) {
    if (what.is_string()) return TextBuilder(interp).repeat(what.text(), n).value();
    std::vector<Value> out;
    const std::int64_t size = std::int64_t(what.items().size());
    std::int64_t total = 0;
    if (n <= 0 || size == 0) return interp.list({}, what.is_tuple());
    if (__builtin_mul_overflow(n, size, &total)) stop("a list is too long");
    interp.meter().step(total);
    interp.meter().bytes(std::size_t(total) * sizeof(Value));
    for (std::int64_t i = 0; i < n; ++i)
        out.insert(out.end(), what.items().begin(), what.items().end());
    return Value::list(std::move(out), what.is_tuple());
}

}  // namespace

Value binary(Op op, const Value& a, const Value& b, Interp& interp) {
    if (a.is_number() && b.is_number()) {
        if (a.is_whole() && b.is_whole()) return whole_arithmetic(op, a.whole(), b.whole());
        return real_arithmetic(op, a.number(), b.number());
    }
    if (op == Op::add && a.is_string() && b.is_string() && (a.is_markup() || b.is_markup()))
        return Value::markup(escaped(a, interp) + escaped(b, interp));
    if (op == Op::add && a.is_string() && b.is_string())
        return TextBuilder(interp).add(a.text()).add(b.text()).value();
    if (op == Op::add && a.is_list() && b.is_list() && a.is_tuple() == b.is_tuple()) {
        std::vector<Value> out = a.items();
        out.insert(out.end(), b.items().begin(), b.items().end());
        return interp.list(std::move(out), a.is_tuple());
    }
    if (op == Op::mul && (a.is_string() || a.is_list()) && b.is_whole())
        return repeated(a, b.whole(), interp);
    if (op == Op::mul && (b.is_string() || b.is_list()) && a.is_whole())
        return repeated(b, a.whole(), interp);
    if (op == Op::mod && a.is_string() && !b.is_undefined())
        return percent_format(interp, a.text(), b);
    no_operator(sign_of(op), a, b);
}

bool contains(const Value& in, const Value& what, Interp& interp) {
    switch (in.kind()) {
        case Value::Kind::undefined:
            return false;
        case Value::Kind::string:
            if (!what.is_string())
                stop(what.is_undefined()
                         ? what.why_undefined()
                         : format("'in <string>' requires string as left operand, not {}",
                                  what.type_name()));
            return find_text(interp, in.text(), what.text()) != std::string::npos;
        case Value::Kind::list:
            for (const Value& item : in.items()) {
                if (equals(item, what, interp.meter())) return true;
            }
            return false;
        case Value::Kind::dict:
            return !what.is_undefined() && in.entries().find(what) != nullptr;
        case Value::Kind::object:
            if (const auto* ns = dynamic_cast<const Namespace*>(&in.object()))
                return what.is_string() && ns->attributes.find(what) != nullptr;
            break;
        default:
            break;
    }
    stop(format("argument of type '{}' is not iterable", in.type_name()));
}

namespace {

std::optional<std::int64_t> bound(const Value& v) {
    if (v.is_none()) return std::nullopt;
    if (v.is_undefined()) stop(v.why_undefined());
    if (!v.is_whole()) stop("slice indices must be integers or None");
    return v.whole();
}

}  // namespace

// As Python: negative bounds count from the end, all are clamped, a negative step walks backwards.
Value slice(const Value& of, const Value& start, const Value& stop_at, const Value& step,
            Interp& interp) {
    if (of.is_undefined()) stop(of.why_undefined());
    if (!of.is_string() && !of.is_list())
        stop(format("'{}' object cannot be sliced", of.type_name()));
    const std::int64_t by = bound(step).value_or(1);
    if (by == 0) stop("slice step cannot be zero");
    std::vector<std::string_view> letters;
    if (of.is_string()) {
        interp.meter().step(std::int64_t(of.text().size() / 8));
        if (by == 1 && is_ascii(of.text()))
            letters = {};
        else
            letters = split_code_points(of.text());
    }
    const bool bytes = of.is_string() && by == 1 && is_ascii(of.text());
    const std::int64_t n = std::int64_t(bytes            ? of.text().size()
                                        : of.is_string() ? letters.size()
                                                         : of.items().size());
    const auto place = [&](std::optional<std::int64_t> b, std::int64_t fallback) {
        if (!b) return fallback;
        const std::int64_t low = by > 0 ? 0 : -1;
        const std::int64_t high = by > 0 ? n : n - 1;
        const std::int64_t i = *b < 0 ? (*b < -n ? -n - 1 : *b) + n : *b;
        return std::clamp(i, low, high);
    };
    const std::int64_t from = place(bound(start), by > 0 ? 0 : n - 1);
    const std::int64_t to = place(bound(stop_at), by > 0 ? n : -1);
    if (bytes)
        return interp.text(
            of.text().substr(std::size_t(from), std::size_t(std::max(to - from, std::int64_t(0)))));
    TextBuilder text(interp);
    std::vector<Value> items;
    for (std::int64_t i = from; by > 0 ? i < to : i > to;) {
        if (of.is_string()) {
            text.add(letters[std::size_t(i)]);
        } else {
            items.push_back(of.items()[std::size_t(i)]);
        }
        if (__builtin_add_overflow(i, by, &i)) break;
    }
    if (of.is_string()) return text.value();
    return interp.list(std::move(items), of.is_tuple());
}

}  // namespace hearth::chat::jinja
