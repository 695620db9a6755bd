// The tables of what templates can use by name, and how such a function reads its arguments.
#pragma once

#include <span>
#include <string_view>

#include "chat/jinja/interp.h"

namespace hearth::chat::jinja {

// Filters and methods take the value they are applied to and the arguments in parentheses.
using Builtin = Value (*)(Interp&, const Value& in, Args& args);
using Test = bool (*)(Interp&, const Value& in, Args& args);

template <class F>
struct Named {
    std::string_view name;
    F function;
};

// Several files contribute to the filters.
std::span<const Named<Builtin>> text_filters();
std::span<const Named<Builtin>> list_filters();
std::span<const Named<Builtin>> value_filters();
std::span<const Named<Test>> tests();
std::span<const Named<Builtin>> functions();  // `in` is undefined
std::span<const Named<Builtin>> text_methods();
std::span<const Named<Builtin>> container_methods(Value::Kind kind);

Builtin find_filter(std::string_view name);
Test find_test(std::string_view name);
// nullptr if values of this kind have no such method (or the sandbox withholds it).
Builtin find_method(const Value& of, std::string_view name);

// Reads arguments by position or name; stops on what is left over.
class ArgReader {
  public:
    // names: of the parameters in order.
    ArgReader(const char* function, Args& args, std::initializer_list<std::string_view> names);
    const Value* find(std::size_t i) const;  // nullptr if not given
    const Value& need(std::size_t i) const;
    bool truth(std::size_t i, bool fallback) const;
    std::int64_t whole(std::size_t i, std::int64_t fallback) const;
    std::string_view text(std::size_t i, std::string_view fallback) const;

  private:
    const char* function_;
    std::vector<std::string_view> names_;
    std::vector<const Value*> given_;
};

// A function as a value.
class Function final : public Object {
  public:
    Function(Builtin function, Value self) : function_(function), self_(std::move(self)) {}
    const char* type_name() const override { return "builtin_function_or_method"; }
    bool callable() const override { return true; }
    Value call(Interp& interp, Args& args) override { return function_(interp, self_, args); }
    int depth() const override { return self_.depth() + 1; }

  private:
    const Builtin function_;
    const Value self_;
};

// Text that grows under the meter: pays before it takes memory.
class TextBuilder {
  public:
    explicit TextBuilder(Interp& interp) : interp_(interp) {}
    TextBuilder& add(std::string_view text) {
        interp_.meter().bytes(text.size());
        out_ += text;
        return *this;
    }
    TextBuilder& repeat(std::string_view text, std::int64_t n) {
        if (n > 0 && !text.empty()) interp_.meter().step(n);
        for (; n > 0; --n) add(text);
        return *this;
    }
    std::string take() { return std::move(out_); }
    std::size_t size() const { return out_.size(); }
    Value value() { return Value(std::move(out_)); }  // already paid for

  private:
    Interp& interp_;
    std::string out_;
};

// Where `what` first (find_text) or last (rfind_text) stands in text from `from` on; npos if
// nowhere. The time is linear in the bytes looked at, and those are paid for in steps.
std::size_t find_text(Interp& interp, std::string_view text, std::string_view what,
                      std::size_t from = 0);
std::size_t rfind_text(Interp& interp, std::string_view text, std::string_view what);

std::string escaped(const Value& v, Interp& interp);    // str(), for HTML unless it is markup
std::string soft_text(const Value& v, Interp& interp);  // str(), as text filters see their input
std::string to_json_text(Interp& interp, const Value& v, std::int64_t indent,
                         std::string_view item_separator, std::string_view key_separator,
                         bool ensure_ascii, bool sort_keys);                        // tojson.cc
Value percent_format(Interp& interp, std::string_view pattern, const Value& args);  // percent.cc
Value brace_format(Interp& interp, const Value& pattern, Args& args);               // percent.cc
std::string strftime_text(std::int64_t unix_s, const std::string& pattern);         // functions.cc

}  // namespace hearth::chat::jinja
