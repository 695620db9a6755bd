// Value: what a template computes with, as Python would have it.
//
// Lists, tuples, dicts and strings are immutable once made and shared by reference. That is what
// the sandbox of the reference enforces too, so values can form no cycles. Only namespaces change;
// the interpreter keeps a list of them and empties them at its end (interp.h).
//
// Invariant: a value nests at most kValueDepthMax containers, so that code may recurse over it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "base/json.h"
#include "chat/jinja/failure.h"

namespace hearth::chat::jinja {

class Dict;
class Interp;
class Object;
class Value;

inline constexpr int kValueDepthMax = 100;  // JSON from outside nests at most 64

struct ListData {
    std::vector<Value> items;
    bool tuple = false;
    int depth = 1;
};

class Value {
  public:
    enum class Kind : std::uint8_t {
        undefined,
        none,
        boolean,
        integer,
        real,
        string,
        list,  // also tuples
        dict,
        object,
    };

    Value() = default;  // undefined
    explicit Value(bool v) : v_(v) {}
    explicit Value(std::int64_t v) : v_(v) {}
    explicit Value(double v) : v_(v) {}
    explicit Value(std::string v) : v_(std::make_shared<const Text>(Text{std::move(v)})) {}
    explicit Value(std::string_view v) : Value(std::string(v)) {}
    explicit Value(const char* v) : Value(std::string(v)) {}
    explicit Value(std::shared_ptr<Object> v) : v_(std::move(v)) {}
    static Value none();
    // A string that `safe` or `escape` made: adding plain text to it escapes that text for HTML, as
    // the reference does even where nothing else is escaped.
    static Value markup(std::string v);
    // why: what to say when the value is used where a defined one is needed.
    static Value undefined(std::string why);
    static Value list(std::vector<Value> items, bool tuple = false);
    static Value dict(Dict dict);

    Kind kind() const { return Kind(v_.index()); }
    bool is_undefined() const { return kind() == Kind::undefined; }
    bool is_none() const { return kind() == Kind::none; }
    bool is_bool() const { return kind() == Kind::boolean; }
    bool is_int() const { return kind() == Kind::integer; }
    bool is_real() const { return kind() == Kind::real; }
    bool is_number() const { return is_bool() || is_int() || is_real(); }
    bool is_whole() const { return is_bool() || is_int(); }
    bool is_string() const { return kind() == Kind::string; }
    bool is_list() const { return kind() == Kind::list; }
    bool is_dict() const { return kind() == Kind::dict; }
    bool is_object() const { return kind() == Kind::object; }

    // Each requires the kind.
    const std::string& text() const { return (*std::get_if<5>(&v_))->s; }
    bool is_markup() const { return is_string() && (*std::get_if<5>(&v_))->markup; }
    const std::vector<Value>& items() const { return (*std::get_if<6>(&v_))->items; }
    bool is_tuple() const { return is_list() && (*std::get_if<6>(&v_))->tuple; }
    const Dict& entries() const { return **std::get_if<7>(&v_); }
    Object& object() const { return **std::get_if<8>(&v_); }
    const std::shared_ptr<Object>& object_pointer() const { return *std::get_if<8>(&v_); }
    std::int64_t whole() const;  // is_whole
    double number() const;       // is_number

    bool truth() const;
    std::string why_undefined() const;
    const char* type_name() const;  // as Python names it: "str", "NoneType"
    int depth() const;              // containers nested in it, itself included
    // The same object in memory, or equal scalars: Python's `is`.
    bool same_as(const Value& other) const;

  private:
    struct Undefined {
        std::shared_ptr<const std::string> why;
    };
    struct None {};
    struct Text {
        std::string s;
        bool markup = false;
    };
    // The order is that of Kind.
    std::variant<Undefined, None, bool, std::int64_t, double, std::shared_ptr<const Text>,
                 std::shared_ptr<const ListData>, std::shared_ptr<const Dict>,
                 std::shared_ptr<Object>>
        v_;
};

// Dict: keeps insertion order; keys are strings, numbers, booleans, none or tuples of them.
class Dict {
  public:
    using Entry = std::pair<Value, Value>;
    const Value* find(const Value& key) const;
    const Value* find(std::string_view key) const;
    void set(Value key, Value value);
    void set(std::string_view key, Value value) { set(Value(key), std::move(value)); }
    std::size_t size() const { return entries_.size(); }
    auto begin() const { return entries_.begin(); }
    auto end() const { return entries_.end(); }
    int depth() const { return depth_; }

  private:
    const Entry* locate(const Value& key) const;
    std::vector<Entry> entries_;
    std::unordered_map<std::string, std::size_t> index_;  // by key_text; only for larger dicts
    int depth_ = 1;
};

struct Args {
    std::vector<Value> positional;
    std::vector<std::pair<std::string, Value>> named;
};

// What has attributes or can be called: functions, macros, methods, loops, namespaces.
class Object : public std::enable_shared_from_this<Object> {
  public:
    virtual ~Object() = default;
    virtual const char* type_name() const = 0;
    virtual Value attribute(Interp&, std::string_view) { return Value(); }
    virtual bool callable() const { return false; }
    virtual Value call(Interp&, Args&);
    virtual int depth() const { return 1; }
    virtual std::string shown() const;  // what printing it shows
};

// Equal keys have equal texts: 1, 1.0 and true are one key, as in Python.
std::string key_text(const Value& key);

Value from_json(const Json& json);

// Python's str() and repr(), bounded by the meter.
void append_str(std::string& out, const Value& value, Meter& meter);
void append_repr(std::string& out, const Value& value, Meter& meter);
std::string str(const Value& value, Meter& meter);

bool equals(const Value& a, const Value& b, Meter& meter);
// < 0, 0, > 0. Stops where Python has no order.
int compare(const Value& a, const Value& b, const char* op, Meter& meter);

}  // namespace hearth::chat::jinja
