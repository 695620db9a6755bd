// White space rules, in the order they apply to the text before a tag: `-` strips all white space;
// else, before a block or comment that is the first thing on its line and has no `+`, the line's
// indentation goes (lstrip_blocks). After a tag: `-` strips all; else, after a block or comment
// without `+`, one newline goes (trim_blocks). One newline at the very end of the source goes as
// well.
//
// Source: Jinja2 3.1, lexer.py, whose regular expressions these functions follow.
#include "chat/jinja/lexer.h"

#include <array>

#include "base/format.h"
#include "base/utf8.h"
#include "chat/jinja/text.h"

namespace hearth::chat::jinja {
namespace {

std::string with_plain_newlines(std::string_view source) {
    std::string out;
    out.reserve(source.size());
    for (std::size_t i = 0; i < source.size(); ++i) {
        if (source[i] != '\r') {
            out += source[i];
        } else {
            out += '\n';
            if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
        }
    }
    if (out.ends_with('\n')) out.pop_back();
    return out;
}

bool is_name_char(char32_t c) {
    return c == U'_' || is_digit(c) || is_alpha(c);
}

class Lexer {
  public:
    explicit Lexer(std::string_view source) : text_(with_plain_newlines(source)), src_(text_) {}

    std::vector<Token> run() {
        while (at_ < src_.size()) {
            const std::size_t open = find_open();
            const bool has_tag = open < src_.size();
            const char sign = has_tag && open + 2 < src_.size() ? src_[open + 2] : ' ';
            const bool is_variable = has_tag && src_[open + 1] == '{';
            add_data(at_, open, has_tag ? sign : '+', !is_variable);
            if (!has_tag) break;
            at_ = open;
            if (src_[open + 1] == '#') {
                comment(open);
            } else if (!raw(open)) {
                tag(open, is_variable);
            }
        }
        at_ = src_.size();
        add(Token::Kind::end, at_, "");
        return std::move(tokens_);
    }

  private:
    std::size_t find_open() const {
        for (std::size_t i = src_.find('{', at_); i != src_.npos; i = src_.find('{', i + 1)) {
            if (i + 1 < src_.size() &&
                (src_[i + 1] == '%' || src_[i + 1] == '{' || src_[i + 1] == '#'))
                return i;
        }
        return src_.size();
    }

    // Offsets only grow, so the line is counted along.
    Pos pos_at(std::size_t offset) {
        for (; counted_ < offset; ++counted_) {
            if (src_[counted_] == '\n') {
                ++line_;
                line_from_ = counted_ + 1;
            }
        }
        return {line_, int(offset - line_from_) + 1};
    }

    [[noreturn]] void fail_at(std::size_t offset, std::string message) {
        Pos pos{1, 1};
        for (std::size_t i = 0; i < offset && i < src_.size(); ++i) {
            pos = src_[i] == '\n' ? Pos{pos.line + 1, 1} : Pos{pos.line, pos.column + 1};
        }
        throw SyntaxError{pos, std::move(message)};
    }

    void add(Token::Kind kind, std::size_t offset, std::string text) {
        tokens_.push_back({kind, std::move(text), pos_at(offset)});
    }

    void add_data(std::size_t from, std::size_t to, char sign, bool may_lstrip) {
        std::string_view text = src_.substr(from, to - from);
        if (sign == '-') {
            text = strip(text, Side::right);
        } else if (sign != '+' && may_lstrip) {
            const std::size_t newline = text.rfind('\n');
            const std::size_t line = newline == text.npos ? 0 : newline + 1;
            const bool starts_line = line > 0 || from == 0 || src_[from - 1] == '\n';
            if (starts_line && strip(text.substr(line)).empty()) text = text.substr(0, line);
        }
        if (!text.empty()) add(Token::Kind::data, from, std::string(text));
    }

    void skip_space() {
        while (at_ < src_.size()) {
            std::size_t next = at_;
            if (!is_space(utf8_next(src_, next))) return;
            at_ = next;
        }
    }

    // At the end of a block or comment whose closing delimiter is `close`: moves behind it.
    bool skip_close(std::string_view close) {
        const auto rest = src_.substr(at_);
        if (rest.starts_with('-') && rest.substr(1).starts_with(close)) {
            at_ += 1 + close.size();
            skip_space();
            return true;
        }
        if (rest.starts_with('+') && rest.substr(1).starts_with(close)) {
            at_ += 1 + close.size();
            return true;
        }
        if (!rest.starts_with(close)) return false;
        at_ += close.size();
        if (at_ < src_.size() && src_[at_] == '\n') ++at_;
        return true;
    }

    void comment(std::size_t open) {
        std::size_t end = src_.find("#}", open + 2);
        if (end == src_.npos) fail_at(open, "this comment has no end");
        if (end > open + 2 && (src_[end - 1] == '-' || src_[end - 1] == '+')) --end;
        at_ = end;
        skip_close("#}");
    }

    // {% raw %} … {% endraw %}: the text between as it is.
    bool raw(std::size_t open) {
        if (src_[open + 1] != '%') return false;
        at_ = open + 2;
        if (at_ < src_.size() && (src_[at_] == '-' || src_[at_] == '+')) ++at_;
        skip_space();
        if (!src_.substr(at_).starts_with("raw")) return false;
        at_ += 3;
        skip_space();
        const auto rest = src_.substr(at_);
        if (!rest.starts_with("%}") && !rest.starts_with("-%}")) return false;
        at_ += rest.starts_with('-') ? 3 : 2;
        if (rest.starts_with('-')) skip_space();
        const std::size_t from = at_;
        for (std::size_t end = src_.find("{%", from); end != src_.npos;
             end = src_.find("{%", end + 2)) {
            at_ = end + 2;
            char sign = ' ';
            if (at_ < src_.size() && (src_[at_] == '-' || src_[at_] == '+')) sign = src_[at_++];
            skip_space();
            if (!src_.substr(at_).starts_with("endraw")) continue;
            at_ += 6;
            skip_space();
            if (!skip_close("%}")) continue;
            const std::size_t after = at_;
            add_data(from, end, sign, true);
            at_ = after;
            return true;
        }
        fail_at(open, "this raw block has no endraw");
    }

    void tag(std::size_t open, bool is_variable) {
        at_ = open + 2;
        if (at_ < src_.size() && (src_[at_] == '-' || src_[at_] == '+')) ++at_;
        add(is_variable ? Token::Kind::variable_begin : Token::Kind::block_begin, open, "");
        brackets_.clear();
        for (;;) {
            skip_space();
            if (at_ >= src_.size()) return;  // the parser reports where it still expected something
            const std::size_t here = at_;
            if (brackets_.empty() && close_tag(is_variable)) {
                add(is_variable ? Token::Kind::variable_end : Token::Kind::block_end, here, "");
                return;
            }
            expression_token();
        }
    }

    bool close_tag(bool is_variable) {
        if (!is_variable) return skip_close("%}");
        const auto rest = src_.substr(at_);
        if (rest.starts_with("}}")) {
            at_ += 2;
        } else if (rest.starts_with("-}}")) {
            at_ += 3;
            skip_space();
        } else {
            return false;
        }
        return true;
    }

    void expression_token() {
        const char c = src_[at_];
        if (c == '"' || c == '\'') return string(c);
        if (is_digit(char32_t(static_cast<unsigned char>(c)))) return number();
        std::size_t end = at_;
        while (end < src_.size()) {
            std::size_t next = end;
            if (!is_name_char(utf8_next(src_, next))) break;
            end = next;
        }
        if (end > at_) {
            add(Token::Kind::name, at_, std::string(src_.substr(at_, end - at_)));
            at_ = end;
            return;
        }
        op();
    }

    void op() {
        static constexpr std::array<std::string_view, 26> kOps = {
            "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
            "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
        for (const auto name : kOps) {
            if (!src_.substr(at_).starts_with(name)) continue;
            bracket(name[0]);
            add(Token::Kind::op, at_, std::string(name));
            at_ += name.size();
            return;
        }
        fail_at(at_, format("unexpected character {}", std::string(src_.substr(at_, 1))));
    }

    void bracket(char c) {
        if (c == '(' || c == '[' || c == '{') {
            brackets_ += c == '(' ? ')' : c == '[' ? ']' : '}';
        } else if (c == ')' || c == ']' || c == '}') {
            if (brackets_.empty()) fail_at(at_, format("unexpected '{}'", c));
            if (brackets_.back() != c)
                fail_at(at_, format("unexpected '{}', expected '{}'", c, brackets_.back()));
            brackets_.pop_back();
        }
    }

    // Digits with single underscores between them.
    void digits(std::string& out, int base) {
        for (; at_ < src_.size(); ++at_) {
            const char c = src_[at_];
            const bool digit = base == 16 ? std::isxdigit(static_cast<unsigned char>(c)) != 0
                                          : c >= '0' && c < '0' + base;
            if (digit) {
                out += c;
            } else if (c != '_' || out.empty() || at_ + 1 >= src_.size() || src_[at_ + 1] == '_') {
                return;
            }
        }
    }

    void number() {
        const std::size_t from = at_;
        std::string text;
        const char mark = src_[at_] == '0' && at_ + 1 < src_.size() ? src_[at_ + 1] | 0x20 : ' ';
        if (mark == 'x' || mark == 'o' || mark == 'b') {
            at_ += 2;
            digits(text, mark == 'x' ? 16 : mark == 'o' ? 8 : 2);
            add(Token::Kind::integer, from, std::string("0") + mark + text);
            return;
        }
        digits(text, 10);
        bool real = false;
        const auto digit_at = [&](std::size_t i) {
            return i < src_.size() && src_[i] >= '0' && src_[i] <= '9';
        };
        if (at_ < src_.size() && src_[at_] == '.' && digit_at(at_ + 1)) {
            real = true;
            text += '.';
            ++at_;
            std::string fraction;
            digits(fraction, 10);
            text += fraction;
        }
        if (at_ < src_.size() && (src_[at_] == 'e' || src_[at_] == 'E')) {
            const bool sign =
                at_ + 1 < src_.size() && (src_[at_ + 1] == '-' || src_[at_ + 1] == '+');
            if (digit_at(at_ + (sign ? 2 : 1))) {
                real = true;
                text += 'e';
                if (sign && src_[at_ + 1] == '-') text += '-';
                at_ += sign ? 2 : 1;
                std::string exponent;
                digits(exponent, 10);
                text += exponent;
            }
        }
        add(real ? Token::Kind::real : Token::Kind::integer, from, std::move(text));
    }

    void string(char quote) {
        const std::size_t from = at_++;
        std::string out;
        while (at_ < src_.size() && src_[at_] != quote) {
            if (src_[at_] == '\\' && at_ + 1 < src_.size()) {
                ++at_;
                escape(out);
            } else {
                out += src_[at_++];
            }
        }
        if (at_ >= src_.size()) fail_at(from, "this string has no end");
        ++at_;
        add(Token::Kind::string, from, std::move(out));
    }

    // Behind a backslash, as in a Python string; what means nothing keeps its backslash.
    void escape(std::string& out) {
        static constexpr std::string_view kNames = "abfnrtv\\'\"";
        static constexpr std::string_view kMeanings = "\a\b\f\n\r\t\v\\'\"";
        const char c = src_[at_];
        if (const auto i = kNames.find(c); i != kNames.npos) {
            out += kMeanings[i];
            ++at_;
        } else if (c == '\n') {
            ++at_;
        } else if (c >= '0' && c <= '7') {
            char32_t code = 0;
            for (int k = 0; k < 3 && at_ < src_.size() && src_[at_] >= '0' && src_[at_] <= '7'; ++k)
                code = code * 8 + char32_t(src_[at_++] - '0');
            append_utf8(out, code);
        } else if (c == 'x' || c == 'u' || c == 'U') {
            ++at_;
            hex_escape(out, c == 'x' ? 2 : c == 'u' ? 4 : 8);
        } else {
            out += '\\';
        }
    }

    void hex_escape(std::string& out, int n_digits) {
        char32_t code = 0;
        for (int i = 0; i < n_digits; ++i, ++at_) {
            const int c = at_ < src_.size() ? static_cast<unsigned char>(src_[at_]) : 0;
            if (!std::isxdigit(c)) fail_at(at_, "expected a hexadecimal digit of an escape");
            code = code * 16 + char32_t(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
        }
        if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
            fail_at(at_, "this escape is no character");
        append_utf8(out, code);
    }

    const std::string text_;
    const std::string_view src_;
    std::size_t at_ = 0;
    std::vector<Token> tokens_;
    std::string brackets_;  // closing brackets still expected
    std::size_t counted_ = 0, line_from_ = 0;
    int line_ = 1;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) {
    return Lexer(source).run();
}

}  // namespace hearth::chat::jinja
