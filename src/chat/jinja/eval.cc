// Expressions.
#include "base/format.h"
#include "chat/jinja/builtins.h"
#include "chat/jinja/interp.h"
#include "chat/jinja/text.h"

namespace hearth::chat::jinja {

struct Interp::Deeper {
    explicit Deeper(Interp& i) : interp(i) {
        if (++interp.depth_ > interp.options_.limits.depth)
            stop("the template nests its calls and expressions too deeply");
    }
    ~Deeper() { --interp.depth_; }
    Interp& interp;
};

Value Interp::eval(const Expr& e) {
    const Deeper deeper(*this);
    meter_.step();
    pos_ = e.pos;
    switch (e.kind) {
        case Expr::Kind::constant:
            return e.value;
        case Expr::Kind::name:
            return eval_name(e);
        case Expr::Kind::tuple:
        case Expr::Kind::list: {
            std::vector<Value> items;
            for (const ExprPtr& kid : e.kids) items.push_back(eval(*kid));
            return list(std::move(items), e.kind == Expr::Kind::tuple);
        }
        case Expr::Kind::dict: {
            Dict dict;
            for (std::size_t i = 0; i < e.kids.size(); i += 2) {
                Value key = eval(*e.kids[i]);
                dict.set(std::move(key), eval(*e.kids[i + 1]));
            }
            return Value::dict(std::move(dict));
        }
        case Expr::Kind::unary:
            return eval_unary(e);
        case Expr::Kind::binary: {
            const Value a = eval(*e.kids[0]);
            const Value b = eval(*e.kids[1]);
            pos_ = e.pos;
            return binary(e.op, a, b, *this);
        }
        case Expr::Kind::compare:
            return eval_compare(e);
        case Expr::Kind::both:
        case Expr::Kind::either:
            return eval_logic(e);
        case Expr::Kind::concat:
            return eval_concat(e);
        case Expr::Kind::choice:
            if (eval(*e.kids[1]).truth()) return eval(*e.kids[0]);
            if (e.kids[2]) return eval(*e.kids[2]);
            return Value::undefined("the condition of an if without else was false");
        case Expr::Kind::attribute: {
            const Value of = eval(*e.kids[0]);
            pos_ = e.pos;
            return attribute(of, e.text);
        }
        case Expr::Kind::subscript:
            return eval_subscript(e);
        case Expr::Kind::slice:
            stop("a slice stands alone");
        case Expr::Kind::call:
            return eval_call(e);
        case Expr::Kind::filter:
            return eval_filter(e, nullptr);
        case Expr::Kind::test: {
            const Value v = eval(*e.kids[0]);
            Args args = eval_args(e.args);
            pos_ = e.pos;
            return Value(test(e.text, v, std::move(args)));
        }
    }
    return Value();
}

const Value* Interp::lookup(Symbol symbol) const {
    for (const Scope* s = scope_.get(); s; s = s->parent.get()) {
        for (auto at = s->vars.rbegin(); at != s->vars.rend(); ++at) {
            if (at->first == symbol) return &at->second;
        }
    }
    return nullptr;
}

Value Interp::eval_name(const Expr& e) {
    if (const Value* v = lookup(e.symbol)) return *v;
    const std::string& name = ast_.symbols[std::size_t(e.symbol)];
    Value v = function(name);
    return v.is_undefined() ? Value::undefined(format("'{}' is undefined", name)) : v;
}

Value Interp::eval_unary(const Expr& e) {
    const Value v = eval(*e.kids[0]);
    pos_ = e.pos;
    if (e.op == Op::not_) return Value(!v.truth());
    if (v.is_undefined()) stop(v.why_undefined());
    if (!v.is_number())
        stop(format("bad operand type for unary {}: '{}'", e.op == Op::neg ? '-' : '+',
                    v.type_name()));
    if (e.op == Op::plus) return v.is_bool() ? Value(v.whole()) : v;
    if (v.is_real()) return Value(-v.number());
    if (v.whole() == INT64_MIN) stop("an integer is out of range");
    return Value(-v.whole());
}

Value Interp::eval_compare(const Expr& e) {
    Value left = eval(*e.kids[0]);
    for (std::size_t i = 0; i < e.ops.size(); ++i) {
        Value right = eval(*e.kids[i + 1]);
        pos_ = e.pos;
        bool holds = false;
        switch (e.ops[i]) {
            case Op::eq:
                holds = equals(left, right, meter_);
                break;
            case Op::ne:
                holds = !equals(left, right, meter_);
                break;
            case Op::lt:
                holds = compare(left, right, "<", meter_) < 0;
                break;
            case Op::le:
                holds = compare(left, right, "<=", meter_) <= 0;
                break;
            case Op::gt:
                holds = compare(left, right, ">", meter_) > 0;
                break;
            case Op::ge:
                holds = compare(left, right, ">=", meter_) >= 0;
                break;
            case Op::in:
                holds = contains(right, left, *this);
                break;
            case Op::not_in:
                holds = !contains(right, left, *this);
                break;
            default:
                break;
        }
        if (!holds) return Value(false);
        left = std::move(right);
    }
    return Value(true);
}

Value Interp::eval_logic(const Expr& e) {
    // As in Python the value that decided is the result.
    const bool until = e.kind == Expr::Kind::either;
    for (std::size_t i = 0; i + 1 < e.kids.size(); ++i) {
        Value v = eval(*e.kids[i]);
        if (v.truth() == until) return v;
    }
    return eval(*e.kids.back());
}

Value Interp::eval_concat(const Expr& e) {
    std::string out;
    for (const ExprPtr& kid : e.kids) append_str(out, eval(*kid), meter_);
    return Value(std::move(out));
}

Value Interp::eval_subscript(const Expr& e) {
    const Value of = eval(*e.kids[0]);
    const Expr& key = *e.kids[1];
    if (key.kind == Expr::Kind::slice) {
        Value bounds[3];
        for (std::size_t i = 0; i < 3; ++i)
            bounds[i] = key.kids[i] ? eval(*key.kids[i]) : Value::none();
        pos_ = e.pos;
        return slice(of, bounds[0], bounds[1], bounds[2], *this);
    }
    const Value k = eval(key);
    pos_ = e.pos;
    return subscript(of, k);
}

Args Interp::eval_args(const std::vector<Argument>& args) {
    Args out;
    for (const Argument& arg : args) {
        Value v = eval(*arg.value);
        switch (arg.kind) {
            case Argument::Kind::positional:
                out.positional.push_back(std::move(v));
                break;
            case Argument::Kind::named:
                out.named.emplace_back(arg.name, std::move(v));
                break;
            case Argument::Kind::star:
                for (Value& item : iterate(v)) out.positional.push_back(std::move(item));
                break;
            case Argument::Kind::star_star:
                if (!v.is_dict()) stop("the argument after ** must be a mapping");
                meter_.step(std::int64_t(v.entries().size()));
                for (const auto& [key, value] : v.entries()) {
                    if (!key.is_string()) stop("keywords must be strings");
                    out.named.emplace_back(key.text(), value);
                }
        }
    }
    return out;
}

Value Interp::eval_call(const Expr& e, std::optional<Value> caller) {
    const Expr& callee = *e.kids[0];
    // A method is called on its value directly; making it a value first would cost an allocation.
    if (callee.kind == Expr::Kind::attribute && !caller) {
        const Value of = eval(*callee.kids[0]);
        pos_ = callee.pos;
        if (const Builtin method = find_method(of, callee.text)) {
            Args args = eval_args(e.args);
            pos_ = e.pos;
            return method(*this, of, args);
        }
        const Value f = attribute(of, callee.text);
        Args args = eval_args(e.args);
        pos_ = e.pos;
        return call(f, std::move(args));
    }
    const Value f = eval(callee);
    Args args = eval_args(e.args);
    if (caller) args.named.emplace_back("caller", std::move(*caller));
    pos_ = e.pos;
    return call(f, std::move(args));
}

// innermost: what a filter block's or set block's chain starts from.
Value Interp::eval_filter(const Expr& e, const Value* innermost) {
    const Deeper deeper(*this);
    Value in;
    if (!e.kids[0]) {
        if (innermost) in = *innermost;
    } else if (e.kids[0]->kind == Expr::Kind::filter) {
        in = eval_filter(*e.kids[0], innermost);
    } else {
        in = eval(*e.kids[0]);
    }
    Args args = eval_args(e.args);
    pos_ = e.pos;
    return filter(e.text, in, std::move(args));
}

Value Interp::filter(std::string_view name, const Value& in, Args args) {
    meter_.step();
    const Builtin f = find_filter(name);
    if (!f) stop(format("no filter named '{}'", name));
    return f(*this, in, args);
}

bool Interp::test(std::string_view name, const Value& in, Args args) {
    meter_.step();
    const Test t = find_test(name);
    if (!t) stop(format("no test named '{}'", name));
    return t(*this, in, args);
}

Value Interp::call(const Value& callee, Args args) {
    const Deeper deeper(*this);
    meter_.step();
    if (callee.is_undefined()) stop(callee.why_undefined());
    if (!callee.is_object()) stop(format("'{}' object is not callable", callee.type_name()));
    return callee.object().call(*this, args);
}

namespace {

// What the sandbox of the reference keeps from templates: they would change a value that others
// share.
bool is_withheld(const Value& of, std::string_view name) {
    static constexpr std::string_view kList[] = {"append", "clear",  "extend",  "insert",
                                                 "pop",    "remove", "reverse", "sort"};
    static constexpr std::string_view kDict[] = {"clear", "pop", "popitem", "setdefault", "update"};
    if (name.starts_with("__")) return true;
    if (of.is_list() && !of.is_tuple()) {
        for (const auto n : kList) {
            if (n == name) return true;
        }
    }
    if (of.is_dict()) {
        for (const auto n : kDict) {
            if (n == name) return true;
        }
    }
    return false;
}

Value no_attribute(const Value& of, std::string_view name) {
    if (of.is_none()) return Value::undefined(format("'None' has no attribute '{}'", name));
    return Value::undefined(format("'{} object' has no attribute '{}'", of.type_name(), name));
}

}  // namespace

// As in Python first what the object itself has (methods), then its items: message.items is the
// method.
Value Interp::attribute(const Value& of, std::string_view name) {
    if (of.is_undefined()) stop(of.why_undefined());
    if (of.is_object()) return of.object().attribute(*this, name);
    if (const Builtin method = find_method(of, name))
        return Value(std::static_pointer_cast<Object>(std::make_shared<Function>(method, of)));
    if (is_withheld(of, name))
        return Value::undefined(
            format("access to attribute '{}' of '{}' object is unsafe", name, of.type_name()));
    if (of.is_dict()) {
        if (const Value* v = of.entries().find(name)) return *v;
    }
    return no_attribute(of, name);
}

Value Interp::subscript(const Value& of, const Value& key) {
    if (of.is_undefined()) stop(of.why_undefined());
    if (of.is_dict()) {
        // A list cannot be a key, but asking for one is no error for the reference.
        if (!key.is_list() || key.is_tuple()) {
            if (const Value* v = key.is_undefined() ? nullptr : of.entries().find(key)) return *v;
        }
    } else if (of.is_list() && key.is_whole()) {
        const auto n = std::int64_t(of.items().size());
        const std::int64_t i = key.whole() < 0 ? key.whole() + n : key.whole();
        if (i >= 0 && i < n) return of.items()[std::size_t(i)];
    } else if (of.is_string() && key.is_whole()) {
        const std::string& s = of.text();
        const std::int64_t n = count_code_points(s);
        meter_.step(n / 64);
        const std::int64_t i = key.whole() < 0 ? key.whole() + n : key.whole();
        if (i >= 0 && i < n) {
            const std::size_t from = offset_of(s, i);
            return Value(s.substr(from, offset_of(std::string_view(s).substr(from), 1)));
        }
    }
    if (key.is_string()) return attribute(of, key.text());
    return Value::undefined(
        format("'{} object' has no element {}", of.type_name(), str(key, meter_).substr(0, 80)));
}

Value Interp::text(std::string s) {
    meter_.bytes(s.size());
    return Value(std::move(s));
}

Value Interp::list(std::vector<Value> items, bool tuple) {
    meter_.bytes(items.size() * sizeof(Value));
    return Value::list(std::move(items), tuple);
}

std::vector<Value> Interp::iterate(const Value& v) {
    std::vector<Value> out;
    switch (v.kind()) {
        case Value::Kind::undefined:
            return out;
        case Value::Kind::list:
            out = v.items();
            break;
        case Value::Kind::dict:
            for (const auto& entry : v.entries()) out.push_back(entry.first);
            break;
        case Value::Kind::string:
            meter_.bytes(v.text().size() * sizeof(Value));
            for (const auto c : split_code_points(v.text())) out.push_back(Value(c));
            break;
        case Value::Kind::object: {
            // A cycle or loop is no sequence; a namespace neither.
            stop(format("'{}' object is not iterable", v.type_name()));
        }
        default:
            stop(format("'{}' object is not iterable", v.type_name()));
    }
    meter_.step(std::int64_t(out.size()));
    meter_.bytes(out.size() * sizeof(Value));
    return out;
}

}  // namespace hearth::chat::jinja
