// The tojson filter: json.dumps as transformers calls it, so ", " and ": " between items, NaN as
// NaN, and nothing escaped for HTML.
#include <algorithm>
#include <cmath>

#include "base/format.h"
#include "chat/jinja/builtins.h"
#include "chat/jinja/text.h"

namespace hearth::chat::jinja {
namespace {

struct JsonOut {
    Interp& interp;
    const std::int64_t indent;  // < 0: on one line
    const std::string_view item_separator, key_separator;
    const bool ensure_ascii, sort_keys;
    std::string out;

    void line(std::int64_t level) {
        if (indent < 0) return;
        interp.meter().bytes(std::size_t(level * indent + 1));
        out += '\n';
        out.append(std::size_t(level * indent), ' ');
    }
    void quoted(std::string_view s) {
        interp.meter().bytes(s.size() * (ensure_ascii ? 6 : 1));
        append_json_quoted(out, s, ensure_ascii);
    }
    void number(const Value& v) {
        if (v.is_int()) {
            out += std::to_string(v.whole());
        } else if (std::isfinite(v.number())) {
            out += real_text(v.number());
        } else {
            out += std::isnan(v.number()) ? "NaN" : v.number() < 0 ? "-Infinity" : "Infinity";
        }
    }
    void key(const Value& v) {
        if (v.is_string()) return quoted(v.text());
        if (v.is_list()) stop("keys must be str, int, float, bool or None, not tuple");
        out += '"';
        scalar(v);
        out += '"';
    }
    void scalar(const Value& v) {
        if (v.is_none()) {
            out += "null";
        } else if (v.is_bool()) {
            out += v.truth() ? "true" : "false";
        } else {
            number(v);
        }
    }
    void array(const Value& v, std::int64_t level) {
        if (v.items().empty()) {
            out += "[]";
            return;
        }
        out += '[';
        bool first = true;
        for (const Value& item : v.items()) {
            if (!first) out += item_separator;
            first = false;
            line(level + 1);
            value(item, level + 1);
        }
        line(level);
        out += ']';
    }
    void object(const Value& v, std::int64_t level) {
        if (v.entries().size() == 0) {
            out += "{}";
            return;
        }
        std::vector<const Dict::Entry*> entries;
        for (const auto& e : v.entries()) entries.push_back(&e);
        if (sort_keys)
            std::stable_sort(entries.begin(), entries.end(), [&](const auto* a, const auto* b) {
                return compare(a->first, b->first, "<", interp.meter()) < 0;
            });
        out += '{';
        bool first = true;
        for (const auto* e : entries) {
            if (!first) out += item_separator;
            first = false;
            line(level + 1);
            key(e->first);
            out += key_separator;
            value(e->second, level + 1);
        }
        line(level);
        out += '}';
    }
    void value(const Value& v, std::int64_t level) {
        interp.meter().step();
        interp.meter().bytes(8);  // punctuation and scalars
        switch (v.kind()) {
            case Value::Kind::string:
                return quoted(v.text());
            case Value::Kind::list:
                return array(v, level);
            case Value::Kind::dict:
                return object(v, level);
            case Value::Kind::undefined:
            case Value::Kind::object:
                stop(format("Object of type {} is not JSON serializable", v.type_name()));
            default:
                scalar(v);
        }
    }
};

}  // namespace

std::string to_json_text(Interp& interp, const Value& v, std::int64_t indent,
                         std::string_view item_separator, std::string_view key_separator,
                         bool ensure_ascii, bool sort_keys) {
    JsonOut json{interp,
                 std::min<std::int64_t>(indent, 64),
                 item_separator,
                 key_separator,
                 ensure_ascii,
                 sort_keys,
                 {}};
    json.value(v, 0);
    return std::move(json.out);
}

}  // namespace hearth::chat::jinja
