#include "chat/jinja/builtins.h"

#include "base/format.h"

namespace hearth::chat::jinja {
namespace {

template <class F>
F find_in(std::span<const Named<F>> table, std::string_view name) {
    for (const auto& entry : table) {
        if (entry.name == name) return entry.function;
    }
    return nullptr;
}

}  // namespace

Builtin find_filter(std::string_view name) {
    for (const auto table : {value_filters(), text_filters(), list_filters()}) {
        if (const Builtin f = find_in(table, name)) return f;
    }
    return nullptr;
}

Test find_test(std::string_view name) {
    return find_in(tests(), name);
}

Builtin find_method(const Value& of, std::string_view name) {
    if (of.is_string()) return find_in(text_methods(), name);
    if (of.is_list() || of.is_dict()) return find_in(container_methods(of.kind()), name);
    return nullptr;
}

Value Interp::function(std::string_view name) {
    const Builtin f = find_in(functions(), name);
    if (!f) return Value();
    return Value(std::static_pointer_cast<Object>(std::make_shared<Function>(f, Value())));
}

ArgReader::ArgReader(const char* function, Args& args,
                     std::initializer_list<std::string_view> names)
    : function_(function), names_(names), given_(names.size()) {
    if (args.positional.size() > names_.size())
        stop(format("{} takes at most {} argument(s), got {}", function, names_.size(),
                    args.positional.size()));
    for (std::size_t i = 0; i < args.positional.size(); ++i) given_[i] = &args.positional[i];
    for (const auto& [name, value] : args.named) {
        std::size_t i = 0;
        while (i < names_.size() && names_[i] != name) ++i;
        if (i == names_.size()) stop(format("{} has no argument '{}'", function, name));
        if (given_[i]) stop(format("{} got two values for '{}'", function, name));
        given_[i] = &value;
    }
}

const Value* ArgReader::find(std::size_t i) const {
    return given_[i];
}

const Value& ArgReader::need(std::size_t i) const {
    if (!given_[i]) stop(format("{} needs the argument '{}'", function_, names_[i]));
    return *given_[i];
}

bool ArgReader::truth(std::size_t i, bool fallback) const {
    return given_[i] ? given_[i]->truth() : fallback;
}

std::int64_t ArgReader::whole(std::size_t i, std::int64_t fallback) const {
    if (!given_[i] || given_[i]->is_none()) return fallback;
    if (!given_[i]->is_whole())
        stop(format("{}: '{}' must be an integer, not '{}'", function_, names_[i],
                    given_[i]->type_name()));
    return given_[i]->whole();
}

std::string_view ArgReader::text(std::size_t i, std::string_view fallback) const {
    if (!given_[i] || given_[i]->is_none()) return fallback;
    if (given_[i]->is_undefined()) stop(given_[i]->why_undefined());
    if (!given_[i]->is_string())
        stop(format("{}: '{}' must be a string, not '{}'", function_, names_[i],
                    given_[i]->type_name()));
    return given_[i]->text();
}

std::string soft_text(const Value& v, Interp& interp) {
    return str(v, interp.meter());
}

}  // namespace hearth::chat::jinja
