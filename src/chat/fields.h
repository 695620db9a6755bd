// FieldReader: the typed members of one JSON object from outside, for dialects.
//
// Each read looks at one member and leaves `out` untouched when it is absent or null. The first
// member of a wrong type or range is remembered as an invalid_request error whose `param` is the
// member's path ("messages[2].content"); reads after it do nothing, so that a caller checks once at
// the end.
#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace hearth::chat {

class FieldReader {
  public:
    // Requires: `object` is a JSON object that outlives the reader. path: "" for the body itself.
    explicit FieldReader(const Json& object, std::string path = "");

    // The member, or nullptr when it is absent, null, or an error came before.
    const Json* find(std::string_view name) const;
    const Json* object(std::string_view name);
    const Json* array(std::string_view name);

    void boolean(std::string_view name, bool& out);
    void text(std::string_view name, std::string& out);
    // Inclusive bounds.
    void number(std::string_view name, std::optional<double>& out, double low, double high);
    // Whole numbers; 3.0 is one too.
    void integer(std::string_view name, std::optional<std::int64_t>& out, std::int64_t low,
                 std::int64_t high);

    // Remembers an error at the member (or at the object itself when name is empty).
    void refuse(std::string_view name, std::string_view what);
    void refuse(Error error);
    bool ok() const { return !error_; }
    Status status() const;
    std::string path_of(std::string_view name) const;

  private:
    const Json& object_;
    const std::string path_;
    std::optional<Error> error_;
};

// "a string", "an array", …: how messages name a JSON value's type.
const char* type_name_of(const Json& value);
// A whole number, written with or without ".0"; nothing if it is not one or out of range.
std::optional<std::int64_t> whole_number(const Json& value);

}  // namespace hearth::chat
