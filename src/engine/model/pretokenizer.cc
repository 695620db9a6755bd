#include "engine/model/pretokenizer.h"

#include <utf8proc.h>

#include "base/utf8.h"

namespace hearth::model {
namespace {

using Contraction = PreRule::Contraction;
using Lead = PreRule::Lead;

constexpr PreRule kRules[] = {
    // '(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
    {"gpt-2", Contraction::exact_case, Lead::space, 0, true, false, false, false},
    // (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|
    // \s*[\r\n]+|\s+(?!\S)|\s+
    {"qwen2", Contraction::any_case, Lead::any_mark, 1, false, true, false, false},
    // As qwen2, with \p{N}{1,3}.
    {"llama-bpe", Contraction::any_case, Lead::any_mark, 3, false, true, true, true},
};

enum class Class : std::uint8_t { letter, digit, newline, space, other, end };

struct Char {
    Class kind = Class::end;
    std::size_t n_bytes = 0;
    bool is(Class a) const { return kind == a; }
    bool is_white() const { return kind == Class::newline || kind == Class::space; }
};

Class class_of(char32_t c) {
    if (c == '\n' || c == '\r') return Class::newline;
    if ((c >= 9 && c <= 13) || c == ' ' || c == 0x85) return Class::space;
    if (c < 128) {
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return Class::letter;
        return c >= '0' && c <= '9' ? Class::digit : Class::other;
    }
    switch (utf8proc_category(utf8proc_int32_t(c))) {
        case UTF8PROC_CATEGORY_LU:
        case UTF8PROC_CATEGORY_LL:
        case UTF8PROC_CATEGORY_LT:
        case UTF8PROC_CATEGORY_LM:
        case UTF8PROC_CATEGORY_LO:
            return Class::letter;
        case UTF8PROC_CATEGORY_ND:
        case UTF8PROC_CATEGORY_NL:
        case UTF8PROC_CATEGORY_NO:
            return Class::digit;
        case UTF8PROC_CATEGORY_ZS:
        case UTF8PROC_CATEGORY_ZL:
        case UTF8PROC_CATEGORY_ZP:
            return Class::space;
        default:
            return Class::other;
    }
}

Char char_at(std::string_view text, std::size_t at) {
    if (at >= text.size()) return {};
    if (static_cast<unsigned char>(text[at]) < 128) return {class_of(char32_t(text[at])), 1};
    if (utf8_sequence_length(text.substr(at)) == 0) return {Class::other, 1};
    std::size_t end = at;
    const char32_t c = utf8_next(text, end);
    return {class_of(c), end - at};
}

// End of the run of a class from `at`, of at most n_max characters (0: no bound).
std::size_t run(std::string_view text, std::size_t at, Class kind, std::int32_t n_max = 0) {
    for (std::int32_t n = 0; n_max == 0 || n < n_max; ++n) {
        const Char c = char_at(text, at);
        if (!c.is(kind)) break;
        at += c.n_bytes;
    }
    return at;
}

// Bytes of a contraction ('s 't 'm 'd 're 've 'll) at the start of text, or 0.
std::size_t contraction(std::string_view text, Contraction kind) {
    if (text.size() < 2 || text[0] != '\'') return 0;
    const auto letter = [&](std::size_t i) {
        const char c = i < text.size() ? text[i] : '\0';
        return kind == Contraction::any_case && c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c;
    };
    const char a = letter(1), b = letter(2);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

// A run of white space that no other part of the expression took.
std::size_t white_word(const PreRule& rule, std::string_view text) {
    std::size_t end = 0, last = 0, after_newline = 0;
    Char c;
    while ((c = char_at(text, end)).is_white()) {
        last = end;
        end += c.n_bytes;
        if (c.is(Class::newline)) after_newline = end;
    }
    if (rule.newlines_join && after_newline > 0) return after_newline;
    // The last space before a word is left to it, if there are others.
    return c.is(Class::end) || last == 0 ? end : last;
}

}  // namespace

const PreRule* find_pre_rule(std::string_view name) {
    for (const PreRule& rule : kRules)
        if (name == rule.name) return &rule;
    return nullptr;
}

const PreRule& default_pre_rule() {
    return kRules[0];
}

std::size_t next_word(const PreRule& rule, std::string_view text) {
    if (const std::size_t n = contraction(text, rule.contraction)) return n;
    const Char first = char_at(text, 0);
    const bool blank = text[0] == ' ';
    const Char second = char_at(text, first.n_bytes);

    if (first.is(Class::letter)) return run(text, 0, Class::letter);
    const bool may_lead =
        rule.lead == Lead::space ? blank : first.is(Class::space) || first.is(Class::other);
    if (may_lead && second.is(Class::letter)) return run(text, first.n_bytes, Class::letter);

    if (first.is(Class::digit)) return run(text, 0, Class::digit, rule.n_digits_max);
    if (rule.space_before_digits && blank && second.is(Class::digit))
        return run(text, 1, Class::digit, rule.n_digits_max);

    if (first.is(Class::other) || (blank && second.is(Class::other))) {
        const std::size_t end = run(text, blank ? 1 : 0, Class::other);
        return rule.newlines_join ? run(text, end, Class::newline) : end;
    }
    return white_word(rule, text);
}

}  // namespace hearth::model
