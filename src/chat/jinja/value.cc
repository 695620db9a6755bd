#include "chat/jinja/value.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/format.h"
#include "base/utf8.h"
#include "chat/jinja/text.h"

namespace hearth::chat::jinja {

void stop(std::string message) {
    throw Failure{std::move(message)};
}

Value Value::none() {
    Value v;
    v.v_ = None{};
    return v;
}

Value Value::markup(std::string v) {
    Value out;
    out.v_ = std::make_shared<const Text>(Text{std::move(v), true});
    return out;
}

Value Value::undefined(std::string why) {
    Value v;
    v.v_ = Undefined{std::make_shared<const std::string>(std::move(why))};
    return v;
}

Value Value::list(std::vector<Value> items, bool tuple) {
    int depth = 0;
    for (const Value& item : items) depth = std::max(depth, item.depth());
    if (depth >= kValueDepthMax) stop("a value nests too deeply");
    Value v;
    v.v_ = std::make_shared<const ListData>(ListData{std::move(items), tuple, depth + 1});
    return v;
}

Value Value::dict(Dict dict) {
    if (dict.depth() > kValueDepthMax) stop("a value nests too deeply");
    Value v;
    v.v_ = std::make_shared<const Dict>(std::move(dict));
    return v;
}

std::int64_t Value::whole() const {
    return is_bool() ? std::int64_t(*std::get_if<bool>(&v_)) : *std::get_if<std::int64_t>(&v_);
}

double Value::number() const {
    return is_real() ? *std::get_if<double>(&v_) : double(whole());
}

bool Value::truth() const {
    switch (kind()) {
        case Kind::undefined:
        case Kind::none:
            return false;
        case Kind::boolean:
        case Kind::integer:
            return whole() != 0;
        case Kind::real:
            return number() != 0;
        case Kind::string:
            return !text().empty();
        case Kind::list:
            return !items().empty();
        case Kind::dict:
            return entries().size() > 0;
        case Kind::object:
            return true;
    }
    return false;
}

std::string Value::why_undefined() const {
    const auto* u = std::get_if<Undefined>(&v_);
    return u && u->why ? *u->why : "a value is undefined";
}

const char* Value::type_name() const {
    switch (kind()) {
        case Kind::undefined:
            return "Undefined";
        case Kind::none:
            return "NoneType";
        case Kind::boolean:
            return "bool";
        case Kind::integer:
            return "int";
        case Kind::real:
            return "float";
        case Kind::string:
            return "str";
        case Kind::list:
            return is_tuple() ? "tuple" : "list";
        case Kind::dict:
            return "dict";
        case Kind::object:
            return object().type_name();
    }
    return "object";
}

int Value::depth() const {
    switch (kind()) {
        case Kind::list:
            return (*std::get_if<6>(&v_))->depth;
        case Kind::dict:
            return entries().depth();
        case Kind::object:
            return object().depth();
        default:
            return 0;
    }
}

bool Value::same_as(const Value& other) const {
    if (kind() != other.kind()) return false;
    switch (kind()) {
        case Kind::undefined:
        case Kind::none:
            return true;
        case Kind::boolean:
        case Kind::integer:
            return whole() == other.whole();
        case Kind::real:
            return number() == other.number();
        case Kind::string:
            return text() == other.text();
        case Kind::list:
            return &items() == &other.items();
        case Kind::dict:
            return &entries() == &other.entries();
        case Kind::object:
            return &object() == &other.object();
    }
    return false;
}

Value Object::call(Interp&, Args&) {
    stop(format("'{}' object is not callable", type_name()));
}

std::string Object::shown() const {
    return format("<{}>", type_name());
}

// ---------------------------------------------------------------------------------------------------------

std::string key_text(const Value& key) {
    switch (key.kind()) {
        case Value::Kind::string:
            return "s" + key.text();
        case Value::Kind::boolean:
        case Value::Kind::integer:
            return "i" + std::to_string(key.whole());
        case Value::Kind::real: {
            const double x = key.number();
            if (x == std::trunc(x) && std::abs(x) < 9e18)
                return "i" + std::to_string(std::int64_t(x));
            return "f" + real_text(x);
        }
        case Value::Kind::none:
            return "n";
        case Value::Kind::list:
            break;
        default:
            stop(format("unhashable type: '{}'", key.type_name()));
    }
    if (!key.is_tuple()) stop("unhashable type: 'list'");
    std::string out = "(";
    for (const Value& item : key.items()) {
        const std::string text = key_text(item);
        // Shared tuples could grow without end; real keys are short.
        if (out.size() + text.size() > 1u << 20) stop("a dictionary key is too long");
        out += std::to_string(text.size()) + ":" + text;
    }
    return out;
}

namespace {
constexpr std::size_t kIndexFrom = 16;  // below, comparing each key is faster than hashing
}

const Dict::Entry* Dict::locate(const Value& key) const {
    if (entries_.size() < kIndexFrom) {
        if (key.is_string()) {
            for (const Entry& e : entries_) {
                if (e.first.is_string() && e.first.text() == key.text()) return &e;
            }
            return nullptr;
        }
        const std::string text = key_text(key);
        for (const Entry& e : entries_) {
            if (key_text(e.first) == text) return &e;
        }
        return nullptr;
    }
    const auto at = index_.find(key_text(key));
    return at == index_.end() ? nullptr : &entries_[at->second];
}

const Value* Dict::find(const Value& key) const {
    const Entry* e = locate(key);
    return e ? &e->second : nullptr;
}

const Value* Dict::find(std::string_view key) const {
    if (entries_.size() >= kIndexFrom) return find(Value(key));
    for (const Entry& e : entries_) {
        if (e.first.is_string() && e.first.text() == key) return &e.second;
    }
    return nullptr;
}

void Dict::set(Value key, Value value) {
    depth_ = std::max({depth_, value.depth() + 1, key.depth() + 1});
    if (const Entry* e = locate(key)) {
        entries_[std::size_t(e - entries_.data())].second = std::move(value);
        return;
    }
    const std::string text = key_text(key);  // also refuses what cannot be a key
    entries_.emplace_back(std::move(key), std::move(value));
    if (entries_.size() == kIndexFrom) {
        for (std::size_t i = 0; i < entries_.size(); ++i) index_[key_text(entries_[i].first)] = i;
    } else if (entries_.size() > kIndexFrom) {
        index_[text] = entries_.size() - 1;
    }
}

Value from_json(const Json& json) {
    switch (json.type()) {
        case Json::value_t::null:
            return Value::none();
        case Json::value_t::boolean:
            return Value(json.get<bool>());
        case Json::value_t::number_integer:
            return Value(json.get<std::int64_t>());
        case Json::value_t::number_unsigned: {
            const auto n = json.get<std::uint64_t>();
            return n <= std::uint64_t(INT64_MAX) ? Value(std::int64_t(n)) : Value(double(n));
        }
        case Json::value_t::number_float:
            return Value(json.get<double>());
        case Json::value_t::string:
            return Value(utf8_repaired(json.get_ref<const std::string&>()));
        case Json::value_t::array: {
            std::vector<Value> items;
            items.reserve(json.size());
            for (const Json& item : json) items.push_back(from_json(item));
            return Value::list(std::move(items));
        }
        case Json::value_t::object: {
            Dict dict;
            for (const auto& [key, value] : json.items())
                dict.set(utf8_repaired(key), from_json(value));
            return Value::dict(std::move(dict));
        }
        default:
            return Value::none();
    }
}

// ---------------------------------------------------------------------------------------------------------

void append_repr(std::string& out, const Value& value, Meter& meter) {
    meter.step();
    const std::size_t from = out.size();
    switch (value.kind()) {
        case Value::Kind::undefined:
            out += "Undefined";
            break;
        case Value::Kind::none:
            out += "None";
            break;
        case Value::Kind::boolean:
            out += value.whole() ? "True" : "False";
            break;
        case Value::Kind::integer:
            out += std::to_string(value.whole());
            break;
        case Value::Kind::real:
            out += real_text(value.number());
            break;
        case Value::Kind::string:
            meter.bytes(value.text().size());
            append_quoted(out, value.text());
            break;
        case Value::Kind::object:
            out += value.object().shown();
            break;
        case Value::Kind::list: {
            out += value.is_tuple() ? '(' : '[';
            bool first = true;
            for (const Value& item : value.items()) {
                if (!first) out += ", ";
                first = false;
                append_repr(out, item, meter);
            }
            if (value.is_tuple() && value.items().size() == 1) out += ',';
            out += value.is_tuple() ? ')' : ']';
            return;
        }
        case Value::Kind::dict: {
            out += '{';
            bool first = true;
            for (const auto& [key, member] : value.entries()) {
                if (!first) out += ", ";
                first = false;
                append_repr(out, key, meter);
                out += ": ";
                append_repr(out, member, meter);
            }
            out += '}';
            return;
        }
    }
    meter.bytes(out.size() - from);
}

void append_str(std::string& out, const Value& value, Meter& meter) {
    if (value.is_string()) {
        meter.bytes(value.text().size());
        out += value.text();
    } else if (!value.is_undefined()) {
        append_repr(out, value, meter);
    }
}

std::string str(const Value& value, Meter& meter) {
    std::string out;
    append_str(out, value, meter);
    return out;
}

bool equals(const Value& a, const Value& b, Meter& meter) {
    meter.step();
    if (a.is_number() && b.is_number()) {
        if (a.is_whole() && b.is_whole()) return a.whole() == b.whole();
        return a.number() == b.number();
    }
    if (a.kind() != b.kind()) return false;
    if (a.is_string()) return a.text() == b.text();
    if (a.is_list()) {
        if (a.is_tuple() != b.is_tuple() || a.items().size() != b.items().size()) return false;
        for (std::size_t i = 0; i < a.items().size(); ++i) {
            if (!equals(a.items()[i], b.items()[i], meter)) return false;
        }
        return true;
    }
    if (a.is_dict()) {
        if (a.entries().size() != b.entries().size()) return false;
        for (const auto& [key, value] : a.entries()) {
            const Value* other = b.entries().find(key);
            if (!other || !equals(value, *other, meter)) return false;
        }
        return true;
    }
    return a.same_as(b);
}

int compare(const Value& a, const Value& b, const char* op, Meter& meter) {
    meter.step();
    if (a.is_number() && b.is_number()) {
        if (a.is_whole() && b.is_whole()) return a.whole() < b.whole() ? -1 : a.whole() > b.whole();
        return a.number() < b.number() ? -1 : a.number() > b.number();
    }
    // The order of UTF-8 bytes is the order of code points.
    if (a.is_string() && b.is_string()) return a.text().compare(b.text());
    if (a.is_list() && b.is_list() && a.is_tuple() == b.is_tuple()) {
        const std::size_t n = std::min(a.items().size(), b.items().size());
        for (std::size_t i = 0; i < n; ++i) {
            if (!equals(a.items()[i], b.items()[i], meter))
                return compare(a.items()[i], b.items()[i], op, meter);
        }
        return a.items().size() < b.items().size() ? -1 : a.items().size() > b.items().size();
    }
    for (const Value* v : {&a, &b}) {
        if (v->is_undefined()) stop(v->why_undefined());
    }
    stop(format("'{}' not supported between instances of '{}' and '{}'", op, a.type_name(),
                b.type_name()));
}

}  // namespace hearth::chat::jinja
