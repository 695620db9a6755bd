#include "chat/fields.h"

#include <cmath>

#include "base/format.h"

namespace hearth::chat {

FieldReader::FieldReader(const Json& object, std::string path)
    : object_(object), path_(std::move(path)) {}

const Json* FieldReader::find(std::string_view name) const {
    if (error_) return nullptr;
    const auto at = object_.find(name);
    return at == object_.end() || at->is_null() ? nullptr : &*at;
}

const Json* FieldReader::object(std::string_view name) {
    const Json* v = find(name);
    if (!v || v->is_object()) return v;
    refuse(name, format("is {}, expected an object", type_name_of(*v)));
    return nullptr;
}

const Json* FieldReader::array(std::string_view name) {
    const Json* v = find(name);
    if (!v || v->is_array()) return v;
    refuse(name, format("is {}, expected an array", type_name_of(*v)));
    return nullptr;
}

void FieldReader::boolean(std::string_view name, bool& out) {
    const Json* v = find(name);
    if (!v) return;
    if (v->is_boolean()) {
        out = v->get<bool>();
    } else {
        refuse(name, format("is {}, expected true or false", type_name_of(*v)));
    }
}

void FieldReader::text(std::string_view name, std::string& out) {
    const Json* v = find(name);
    if (!v) return;
    if (v->is_string()) {
        out = v->get_ref<const std::string&>();
    } else {
        refuse(name, format("is {}, expected a string", type_name_of(*v)));
    }
}

void FieldReader::number(std::string_view name, std::optional<double>& out, double low,
                         double high) {
    const Json* v = find(name);
    if (!v) return;
    if (!v->is_number()) {
        refuse(name, format("is {}, expected a number", type_name_of(*v)));
        return;
    }
    const double x = v->get<double>();
    if (x >= low && x <= high) {
        out = x;
    } else {
        refuse(name, format("is {}, expected a number from {} to {}", x, low, high));
    }
}

void FieldReader::integer(std::string_view name, std::optional<std::int64_t>& out, std::int64_t low,
                          std::int64_t high) {
    const Json* v = find(name);
    if (!v) return;
    const auto x = whole_number(*v);
    if (!x) {
        refuse(name, format("is {}, expected a whole number",
                            v->is_number() ? to_text(*v) : std::string(type_name_of(*v))));
    } else if (*x < low || *x > high) {
        refuse(name, format("is {}, expected a whole number from {} to {}", *x, low, high));
    } else {
        out = x;
    }
}

void FieldReader::refuse(std::string_view name, std::string_view what) {
    std::string path = path_of(name);
    refuse(Error{.kind = ErrorKind::invalid_request,
                 .message = format("{} {}", path.empty() ? "the request" : path, what),
                 .param = path});
}

void FieldReader::refuse(Error error) {
    if (!error_) error_ = std::move(error);
}

Status FieldReader::status() const {
    if (error_) return std::unexpected(*error_);
    return {};
}

std::string FieldReader::path_of(std::string_view name) const {
    if (name.empty()) return path_;
    return path_.empty() ? std::string(name) : format("{}.{}", path_, name);
}

const char* type_name_of(const Json& value) {
    if (value.is_null()) return "null";
    if (value.is_boolean()) return "a boolean";
    if (value.is_number()) return "a number";
    if (value.is_string()) return "a string";
    if (value.is_array()) return "an array";
    return "an object";
}

std::optional<std::int64_t> whole_number(const Json& value) {
    if (value.is_number_unsigned()) {
        const auto x = value.get<std::uint64_t>();
        if (x > std::uint64_t(std::numeric_limits<std::int64_t>::max())) return std::nullopt;
        return std::int64_t(x);
    }
    if (value.is_number_integer()) return value.get<std::int64_t>();
    if (value.is_number_float()) {
        // 2^53: above it a double no longer says which whole number was meant.
        const double x = value.get<double>();
        if (x == std::trunc(x) && std::abs(x) <= 9007199254740992.0) return std::int64_t(x);
    }
    return std::nullopt;
}

}  // namespace hearth::chat
