#include "base/json.h"

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <vector>

#include "base/format.h"
#include "base/utf8.h"

namespace hearth {
namespace {

// Receives nlohmann's SAX events and builds the DOM while counting. Returning false stops the
// parser.
class BoundedBuilder final : public nlohmann::json_sax<Json> {
  public:
    explicit BoundedBuilder(const JsonLimits& limits) : limits_(limits) {}

    bool null() override { return add(nullptr); }
    bool boolean(bool v) override { return add(v); }
    bool number_integer(number_integer_t v) override { return add(v); }
    bool number_unsigned(number_unsigned_t v) override { return add(v); }
    bool number_float(number_float_t v, const string_t& text) override {
        if (!std::isfinite(v)) return stop("the number " + text.substr(0, 40) + " is out of range");
        return add(v);
    }
    bool string(string_t& v) override {
        if (v.size() > limits_.string_bytes)
            return stop(format("a string is longer than {} bytes", limits_.string_bytes));
        return add(std::move(v));
    }
    bool binary(binary_t&) override { return stop("binary values are not JSON"); }
    bool start_object(std::size_t) override { return open(Json::object()); }
    bool end_object() override { return close(); }
    bool start_array(std::size_t) override { return open(Json::array()); }
    bool end_array() override { return close(); }
    bool key(string_t& name) override {
        Frame& frame = stack_.back();
        if (std::int64_t(frame.keys.size()) >= limits_.keys_per_object)
            return stop(format("an object has more than {} keys", limits_.keys_per_object));
        if (!frame.keys.insert(name).second)
            return stop("the key " + json_text(name.substr(0, 80)) +
                        " appears twice in one object");
        frame.key = std::move(name);
        return true;
    }
    bool parse_error(std::size_t, const std::string&,
                     const nlohmann::detail::exception& error) override {
        message_ = error.what();
        if (const auto at = message_.find("parse error"); at != std::string::npos)
            message_.erase(0, at);
        // It goes on with the text that was read, however long: what stands in errors is logged.
        if (const auto at = message_.find("; last read"); at != std::string::npos)
            message_.erase(at);
        return false;
    }

    Json take() { return std::move(root_); }
    const std::string& message() const { return message_; }

  private:
    struct Frame {
        Json* value;
        std::string key;
        std::unordered_set<std::string> keys;
    };

    bool stop(std::string why) {
        message_ = std::move(why);
        return false;
    }

    Json* place(Json&& v) {
        if (stack_.empty()) {
            root_ = std::move(v);
            return &root_;
        }
        Frame& frame = stack_.back();
        if (frame.value->is_array()) {
            frame.value->push_back(std::move(v));
            return &frame.value->back();
        }
        // Appending to the ordered map directly skips its linear search; keys are known distinct.
        auto& members = frame.value->get_ref<Json::object_t&>();
        members.Container::emplace_back(std::move(frame.key), std::move(v));
        return &members.back().second;
    }

    bool count() {
        if (++n_nodes_ <= limits_.nodes) return true;
        return stop(format("the document has more than {} values", limits_.nodes));
    }

    bool add(Json&& v) {
        if (!count()) return false;
        place(std::move(v));
        return true;
    }

    bool open(Json&& v) {
        if (!count()) return false;
        if (std::int64_t(stack_.size()) >= limits_.depth)
            return stop(format("the document nests deeper than {} levels", limits_.depth));
        Json* at = place(std::move(v));
        stack_.push_back({at, {}, {}});
        return true;
    }

    bool close() {
        stack_.pop_back();
        return true;
    }

    const JsonLimits limits_;
    Json root_;
    std::vector<Frame> stack_;  // pointers stay valid: only the innermost container grows
    std::int64_t n_nodes_ = 0;
    std::string message_;
};

void write_value(JsonWriter& out, const Json& v) {
    switch (v.type()) {
        case Json::value_t::object:
            out.begin_object();
            for (const auto& [key, member] : v.items()) {
                out.key(key);
                write_value(out, member);
            }
            out.end_object();
            return;
        case Json::value_t::array:
            out.begin_array();
            for (const Json& item : v) write_value(out, item);
            out.end_array();
            return;
        case Json::value_t::string:
            out.value(v.get_ref<const std::string&>());
            return;
        case Json::value_t::boolean:
            out.value(v.get<bool>());
            return;
        case Json::value_t::number_integer:
            out.value(v.get<std::int64_t>());
            return;
        case Json::value_t::number_unsigned:
            out.value(v.get<std::uint64_t>());
            return;
        case Json::value_t::number_float:
            out.value(v.get<double>());
            return;
        default:
            out.null();
            return;
    }
}

}  // namespace

Result<Json> parse_json(std::string_view text, const JsonLimits& limits) {
    // The lexer takes a NUL for the end of the text; JSON allows the byte nowhere.
    if (const auto at = text.find('\0'); at != std::string_view::npos)
        return fail(ErrorKind::invalid_request,
                    format("not valid JSON: NUL byte at offset {}", at));
    BoundedBuilder builder(limits);
    // The lexer of nlohmann skips a byte-order mark and checks UTF-8 in strings.
    if (!Json::sax_parse(text.begin(), text.end(), &builder))
        return fail(ErrorKind::invalid_request, "not valid JSON: " + builder.message());
    return builder.take();
}

std::string to_text(const Json& value) {
    JsonWriter out;
    write_value(out, value);
    return out.take();
}

void append_json_text(std::string& out, std::string_view text) {
    static constexpr char kHex[] = "0123456789abcdef";
    out += '"';
    for (std::size_t i = 0; i < text.size();) {
        const unsigned char c = text[i];
        if (c >= 0x80) {
            const std::size_t n = utf8_sequence_length(text.substr(i));
            if (n == 0) {
                out += "\xef\xbf\xbd";
                ++i;
            } else {
                out += text.substr(i, n);
                i += n;
            }
            continue;
        }
        ++i;
        switch (c) {
            case '"':
                out += "\\\"";
                break;
            case '\\':
                out += "\\\\";
                break;
            case '\n':
                out += "\\n";
                break;
            case '\r':
                out += "\\r";
                break;
            case '\t':
                out += "\\t";
                break;
            default:
                if (c < 0x20 || c == 0x7f) {
                    out += "\\u00";
                    out += kHex[c >> 4];
                    out += kHex[c & 15];
                } else {
                    out += char(c);
                }
        }
    }
    out += '"';
}

std::string json_text(std::string_view text) {
    std::string out;
    append_json_text(out, text);
    return out;
}

void JsonWriter::separate() {
    if (need_comma_) out_ += ',';
    need_comma_ = true;
}
JsonWriter& JsonWriter::begin_object() {
    separate();
    out_ += '{';
    need_comma_ = false;
    return *this;
}
JsonWriter& JsonWriter::end_object() {
    out_ += '}';
    need_comma_ = true;
    return *this;
}
JsonWriter& JsonWriter::begin_array() {
    separate();
    out_ += '[';
    need_comma_ = false;
    return *this;
}
JsonWriter& JsonWriter::end_array() {
    out_ += ']';
    need_comma_ = true;
    return *this;
}
JsonWriter& JsonWriter::key(std::string_view name) {
    separate();
    append_json_text(out_, name);
    out_ += ':';
    need_comma_ = false;
    return *this;
}
JsonWriter& JsonWriter::value(std::string_view text) {
    separate();
    append_json_text(out_, text);
    return *this;
}
JsonWriter& JsonWriter::value(bool b) {
    separate();
    out_ += b ? "true" : "false";
    return *this;
}
JsonWriter& JsonWriter::value(double number) {
    if (!std::isfinite(number)) return null();
    separate();
    char text[32];
    const auto end = std::to_chars(text, text + sizeof text, number).ptr;
    const std::string_view written(text, std::size_t(end - text));
    out_ += written;
    // Keep a float a float for readers that tell 1 from 1.0.
    if (written.find_first_of(".e") == std::string_view::npos) out_ += ".0";
    return *this;
}
JsonWriter& JsonWriter::value(std::int64_t number) {
    separate();
    out_ += std::to_string(number);
    return *this;
}
JsonWriter& JsonWriter::value(std::uint64_t number) {
    separate();
    out_ += std::to_string(number);
    return *this;
}
JsonWriter& JsonWriter::null() {
    separate();
    out_ += "null";
    return *this;
}
JsonWriter& JsonWriter::raw(std::string_view json) {
    separate();
    out_ += json;
    return *this;
}

}  // namespace hearth
