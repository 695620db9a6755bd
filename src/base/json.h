// JSON: a bounded parser for text from outside, and an append-only writer for text to the outside.
//
// The DOM is nlohmann's ordered_json, but never its parse() or dump(): parse() has no limits and
// dump() recurses without one. parse_json() builds the DOM through a SAX front end of ours that
// caps depth, keys, nodes and string length and refuses duplicate keys. to_text() recurses, which
// that cap bounds: parsed values are at most JsonLimits::depth deep, and what this program builds
// itself is shallow. Bytes that are not UTF-8 are replaced on the way out.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hearth {

using Json = nlohmann::ordered_json;  // include <nlohmann/json.hpp> where its members are used

struct JsonLimits {
    std::int64_t depth = 64;              // real requests nest tool schemas about 20 deep
    std::int64_t keys_per_object = 4096;  // ordered_json finds keys linearly: the square of this
    std::int64_t nodes = 1'000'000;       // about 100 bytes each in the DOM
    std::size_t string_bytes = 64u << 20;
};

// Errors: invalid_request with line and column, or with the limit that was passed. Of the text it
// quotes at most the start of a number or of a key that appears twice.
Result<Json> parse_json(std::string_view text, const JsonLimits& limits = {});

// Compact text. Bytes that are not UTF-8 become U+FFFD; NaN and infinities become null.
std::string to_text(const Json& value);

// One JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD.
std::string json_text(std::string_view text);
void append_json_text(std::string& out, std::string_view text);

// JsonWriter: builds one document by appending. The caller keeps begin/end and key/value in order;
// commas are the writer's. Used for SSE chunks and responses, where a DOM would cost more than it
// says.
class JsonWriter {
  public:
    JsonWriter& begin_object();
    JsonWriter& end_object();
    JsonWriter& begin_array();
    JsonWriter& end_array();
    JsonWriter& key(std::string_view name);
    JsonWriter& value(std::string_view text);
    JsonWriter& value(const char* text) { return value(std::string_view(text)); }
    JsonWriter& value(const std::string& text) { return value(std::string_view(text)); }
    JsonWriter& value(bool b);
    JsonWriter& value(double number);  // shortest text that reads back the same; null if not finite
    JsonWriter& value(std::int64_t number);
    JsonWriter& value(int number) { return value(std::int64_t(number)); }
    JsonWriter& value(std::uint64_t number);
    JsonWriter& null();
    JsonWriter& raw(std::string_view json);  // Requires: one complete JSON value.
    template <class T>
    JsonWriter& field(std::string_view name, const T& v) {
        return key(name).value(v);
    }
    std::string take() { return std::move(out_); }
    const std::string& text() const { return out_; }

  private:
    void separate();
    std::string out_;
    bool need_comma_ = false;
};

}  // namespace hearth
