// Filters over text.
#include <algorithm>

#include "base/format.h"
#include "base/utf8.h"
#include "chat/jinja/builtins.h"
#include "chat/jinja/methods.h"
#include "chat/jinja/text.h"

namespace hearth::chat::jinja {
namespace {

template <std::string (*kChange)(std::string_view)>
Value changed(Interp& interp, const Value& v, Args&) {
    return interp.text(kChange(soft_text(v, interp)));
}

Value f_trim(Interp& interp, const Value& v, Args& args) {
    ArgReader reader("trim", args, {"chars"});
    const std::string text = soft_text(v, interp);
    const Value* chars = reader.find(0);
    const bool plain = !chars || chars->is_none();
    const auto kept = plain ? strip(text) : strip(text, reader.text(0, ""), Side::both);
    return v.is_markup() ? Value::markup(std::string(kept)) : Value(kept);
}

Value f_replace(Interp& interp, const Value& v, Args& args) {
    ArgReader reader("replace", args, {"old", "new", "count"});
    const std::string old = soft_text(reader.need(0), interp);
    const std::string fresh = soft_text(reader.need(1), interp);
    return replaced(interp, soft_text(v, interp), old, fresh, reader.whole(2, -1));
}

// Capital after white space and after - ( { [ <, small elsewhere; unlike str.title().
Value f_title(Interp& interp, const Value& v, Args&) {
    std::string out;
    bool inside = false;
    const std::string text = soft_text(v, interp);
    for (std::size_t at = 0; at < text.size();) {
        const char32_t c = utf8_next(text, at);
        append_utf8(out, inside ? to_lower(c) : to_upper(c));
        inside = !is_space(c) && std::u32string_view(U"-({[<").find(c) == std::u32string_view::npos;
    }
    return interp.text(std::move(out));
}

Value f_indent(Interp& interp, const Value& v, Args& args) {
    ArgReader reader("indent", args, {"width", "first", "blank"});
    std::string indent(4, ' ');
    if (const Value* w = reader.find(0)) {
        if (w->is_string()) {
            indent = w->text();
        } else {
            const std::int64_t n = std::max<std::int64_t>(0, reader.whole(0, 4));
            interp.meter().bytes(std::size_t(n));
            indent.assign(std::size_t(n), ' ');
        }
    }
    const bool blank = reader.truth(2, false);
    const std::string text = soft_text(v, interp) + "\n";
    TextBuilder out(interp);
    if (reader.truth(1, false)) out.add(indent);
    bool first = true;
    for (const auto line : split_lines(text, false)) {
        if (!first) out.add("\n");
        if (!first && (blank || !line.empty())) out.add(indent);
        out.add(line);
        first = false;
    }
    return out.value();
}

Value f_truncate(Interp& interp, const Value& v, Args& args) {
    ArgReader reader("truncate", args, {"length", "killwords", "end", "leeway"});
    const std::string text = soft_text(v, interp);
    const std::int64_t length = reader.whole(0, 255);
    const std::string_view end = reader.text(2, "...");
    const std::int64_t kept = length - count_code_points(end);
    if (kept < 0)
        stop(format("truncate: expected length >= {}, got {}", count_code_points(end), length));
    if (count_code_points(text) <= length + std::max<std::int64_t>(0, reader.whole(3, 5)))
        return Value(text);
    std::string_view head = std::string_view(text).substr(0, offset_of(text, kept));
    if (!reader.truth(1, false)) {
        if (const auto space = head.rfind(' '); space != head.npos) head = head.substr(0, space);
    }
    return TextBuilder(interp).add(head).add(end).value();
}

Value f_wordcount(Interp& interp, const Value& v, Args&) {
    std::int64_t n = 0;
    bool inside = false;
    const std::string text = soft_text(v, interp);
    for (std::size_t at = 0; at < text.size();) {
        const char32_t c = utf8_next(text, at);
        const bool word = is_alpha(c) || is_digit(c) || c == U'_';
        n += word && !inside;
        inside = word;
    }
    return Value(n);
}

Value f_center(Interp& interp, const Value& v, Args& args) {
    ArgReader reader("center", args, {"width"});
    return padded(interp, soft_text(v, interp), reader.whole(0, 80), " ", Side::both);
}

Value f_format(Interp& interp, const Value& v, Args& args) {
    const std::string pattern = soft_text(v, interp);
    if (args.named.empty())
        return percent_format(interp, pattern, interp.list(std::move(args.positional), true));
    Dict named;
    for (auto& [name, value] : args.named) named.set(name, std::move(value));
    return percent_format(interp, pattern, Value::dict(std::move(named)));
}

// Text without <…> and comments, white space runs as one space.
Value f_striptags(Interp& interp, const Value& v, Args&) {
    const std::string text = soft_text(v, interp);
    std::string out;
    for (std::size_t i = 0; i < text.size();) {
        const std::string_view rest = std::string_view(text).substr(i);
        const bool comment = rest.starts_with("<!--");
        const std::size_t end = text[i] != '<' ? text.npos : text.find(comment ? "-->" : ">", i);
        if (end != text.npos) {
            i = end + (comment ? 3 : 1);
        } else if (text[i] == '<') {
            out += rest;  // no tag ends behind this
            break;
        } else {
            out += text[i++];
        }
    }
    TextBuilder built(interp);
    bool first = true;
    for (const auto word : split_words(out, -1)) {
        if (!first) built.add(" ");
        built.add(word);
        first = false;
    }
    return built.value();
}

// in_query: as a part of a query string, where / is quoted too and a space is +.
void append_quoted_url(TextBuilder& out, std::string_view text, bool in_query) {
    for (const char c : text) {
        const bool plain = is_alpha(static_cast<unsigned char>(c) & 0x7f) ||
                           (c >= '0' && c <= '9') ||
                           std::string_view("_.-~").find(c) != std::string_view::npos;
        if (in_query && c == ' ') {
            out.add("+");
        } else if ((plain && static_cast<unsigned char>(c) < 0x80) || (c == '/' && !in_query)) {
            out.add({&c, 1});
        } else {
            out.add(format("%{:02X}", static_cast<unsigned char>(c)));
        }
    }
}

Value f_urlencode(Interp& interp, const Value& v, Args&) {
    TextBuilder out(interp);
    if (!v.is_dict()) {
        append_quoted_url(out, soft_text(v, interp), false);
        return out.value();
    }
    bool first = true;
    for (const auto& [key, value] : v.entries()) {
        if (!first) out.add("&");
        first = false;
        append_quoted_url(out, soft_text(key, interp), true);
        out.add("=");
        append_quoted_url(out, soft_text(value, interp), true);
    }
    return out.value();
}

constexpr Named<Builtin> kFilters[] = {
    {"trim", f_trim},           {"upper", changed<upper>},
    {"lower", changed<lower>},  {"capitalize", changed<capitalize>},
    {"title", f_title},         {"replace", f_replace},
    {"indent", f_indent},       {"truncate", f_truncate},
    {"center", f_center},       {"format", f_format},
    {"wordcount", f_wordcount}, {"striptags", f_striptags},
    {"urlencode", f_urlencode},
};

}  // namespace

std::span<const Named<Builtin>> text_filters() {
    return kFilters;
}

}  // namespace hearth::chat::jinja
