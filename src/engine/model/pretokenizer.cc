#include "engine/model/pretokenizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "base/utf8.h"

namespace hearth::model {
namespace {

enum class Class : std::uint8_t { letter, digit, newline, space, other, end };

struct Char {
    Class kind = Class::end;
    std::size_t n_bytes = 0;
    char32_t code = kNoCode;
    static constexpr char32_t kNoCode = 0xffffffff;  // a byte that is not UTF-8, or the end
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
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 128) return {class_of(byte), 1, byte};
    if (utf8_sequence_length(text.substr(at)) == 0) return {Class::other, 1};
    std::size_t end = at;
    const char32_t c = utf8_next(text, end);
    return {class_of(c), end - at, c};
}

// End of the run of characters from `at` that are in a set.
template <typename In>
std::size_t run_of(std::string_view text, std::size_t at, In in) {
    for (Char c; (c = char_at(text, at)).n_bytes > 0 && in(c);) at += c.n_bytes;
    return at;
}

// End of the run of a class from `at`, of at most n_max characters (0: no bound).
std::size_t run(std::string_view text, std::size_t at, Class kind, int n_max = 0) {
    int n = 0;
    return run_of(text, at,
                  [&](const Char& c) { return c.is(kind) && (n_max == 0 || n++ < n_max); });
}

// ---- the expression of GPT-2 and its kin, which matches everywhere ----

// contraction | lead? \p{L}+ | ' '? \p{N}{1,n} | ' '? other+ newline* | \s* newline+
//             | \s+ (not before a non-space) | \s+
struct Expression {
    bool any_case;             // contractions
    bool any_lead;             // any character but a newline may lead letters, not only a space
    int n_digits_max;          // 0: no bound
    bool space_before_digits;  // " 12" is one word
    bool newlines_join;        // newlines stay with the marks or the spaces before them
};

// Bytes of a contraction ('s 't 'm 'd 're 've 'll) at the start of text, or 0.
std::size_t contraction(std::string_view text, bool any_case) {
    if (text.size() < 2 || text[0] != '\'') return 0;
    const auto letter = [&](std::size_t i) {
        const char c = i < text.size() ? text[i] : '\0';
        return any_case && c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c;
    };
    const char a = letter(1), b = letter(2);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    // U+017F, the long s, is an s in another case: Unicode folds it so.
    if (any_case && text.substr(1, 2) == "\xc5\xbf") return 3;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

// A run of white space that no other part of the expression took.
std::size_t white_word(const Expression& e, std::string_view text) {
    std::size_t end = 0, last = 0, after_newline = 0;
    Char c;
    while ((c = char_at(text, end)).is_white()) {
        last = end;
        end += c.n_bytes;
        if (c.is(Class::newline)) after_newline = end;
    }
    if (e.newlines_join && after_newline > 0) return after_newline;
    // The last space before a word is left to it, if there are others.
    return c.is(Class::end) || last == 0 ? end : last;
}

std::size_t match(const Expression& e, std::string_view text) {
    if (const std::size_t n = contraction(text, e.any_case)) return n;
    const Char first = char_at(text, 0);
    const bool blank = text[0] == ' ';
    const Char second = char_at(text, first.n_bytes);

    if (first.is(Class::letter)) return run(text, 0, Class::letter);
    const bool may_lead = e.any_lead ? first.is(Class::space) || first.is(Class::other) : blank;
    if (may_lead && second.is(Class::letter)) return run(text, first.n_bytes, Class::letter);

    if (first.is(Class::digit)) return run(text, 0, Class::digit, e.n_digits_max);
    if (e.space_before_digits && blank && second.is(Class::digit))
        return run(text, 1, Class::digit, e.n_digits_max);

    if (first.is(Class::other) || (blank && second.is(Class::other))) {
        const std::size_t end = run(text, blank ? 1 : 0, Class::other);
        return e.newlines_join ? run(text, end, Class::newline) : end;
    }
    return white_word(e, text);
}

// '(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
std::size_t gpt2_word(std::string_view piece) {
    return match({false, false, 0, true, false}, piece);
}

// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|
// \s*[\r\n]+|\s+(?!\S)|\s+
std::size_t llama3_word(std::string_view piece) {
    return match({true, true, 3, false, true}, piece);
}

// As Llama 3's, with \p{N} for \p{N}{1,3}.
std::size_t qwen2_word(std::string_view piece) {
    return match({true, true, 1, false, true}, piece);
}

// ---- expressions that match here and there ----

// set+ (or one of the set): a run of it, or the run of what is not in it.
template <typename In>
std::size_t runs(std::string_view piece, In in) {
    const bool inside = in(char_at(piece, 0));
    return run_of(piece, 0, [&](const Char& c) { return in(c) == inside; });
}
template <typename In>
std::size_t singles(std::string_view piece, In in) {
    const Char first = char_at(piece, 0);
    if (in(first)) return first.n_bytes;
    return run_of(piece, 0, [&](const Char& c) { return !in(c); });
}

// \s?set+
template <typename In>
std::size_t led_runs(std::string_view piece, In in) {
    std::size_t at = 0;
    for (Char c; (c = char_at(piece, at)).n_bytes > 0; at += c.n_bytes) {
        const std::size_t begin = !in(c) && c.is_white() ? at + c.n_bytes : at;
        const std::size_t end = run_of(piece, begin, in);
        if (end > begin) return at > 0 ? at : end;  // a match: the part before it comes first
    }
    return at;
}

// \p{N}
std::size_t starcoder_digits(std::string_view piece) {
    return singles(piece, [](const Char& c) { return c.is(Class::digit); });
}

// [\p{P}\$\+<=>\^~\|`]+
std::size_t falcon_marks(std::string_view piece) {
    return runs(piece, [](const Char& c) {
        if (!c.is(Class::other) || c.code == Char::kNoCode) return false;
        // Every other mark of ASCII that can be seen is either in \p{P} or in the list.
        if (c.code < 128) return c.code > 32 && c.code < 127;
        const utf8proc_category_t category = utf8proc_category(utf8proc_int32_t(c.code));
        return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
    });
}

// [0-9][0-9][0-9]
std::size_t falcon_digits(std::string_view piece) {
    std::size_t n = 0;  // digits in a row
    for (std::size_t i = 0; i < piece.size(); ++i) {
        n = piece[i] >= '0' && piece[i] <= '9' ? n + 1 : 0;
        if (n == 3) return i == 2 ? 3 : i - 2;
    }
    return piece.size();
}

struct Range {
    char32_t first, last;
};

template <std::size_t N>
bool in_ranges(const Range (&ranges)[N], char32_t c) {
    const auto* at =
        std::lower_bound(std::begin(ranges), std::end(ranges), c,
                         [](const Range& range, char32_t code) { return range.last < code; });
    return at != std::end(ranges) && c >= at->first;
}

// The letters that DeepSeek LLM's expression lists: those with two cases, as of Unicode 11, but for
// some blocks that nobody writes words in.
constexpr Range kDeepseekLetters[] = {
    {0x41, 0x5a},       {0x61, 0x7a},       {0xb5, 0xb5},       {0xc0, 0xd6},
    {0xd8, 0xf6},       {0xf8, 0x1ba},      {0x1bc, 0x1bf},     {0x1c4, 0x293},
    {0x295, 0x2af},     {0x370, 0x373},     {0x376, 0x377},     {0x37b, 0x37d},
    {0x37f, 0x37f},     {0x386, 0x386},     {0x388, 0x38a},     {0x38c, 0x38c},
    {0x38e, 0x3a1},     {0x3a3, 0x3f5},     {0x3f7, 0x481},     {0x48a, 0x52f},
    {0x531, 0x556},     {0x10a0, 0x10c5},   {0x13a0, 0x13f5},   {0x13f8, 0x13fd},
    {0x1c90, 0x1cba},   {0x1cbd, 0x1cbf},   {0x1d00, 0x1d2b},   {0x1d6b, 0x1d77},
    {0x1d79, 0x1d9a},   {0x1e00, 0x1f15},   {0x1f18, 0x1f1d},   {0x1f20, 0x1f45},
    {0x1f48, 0x1f4d},   {0x1f50, 0x1f57},   {0x1f59, 0x1f59},   {0x1f5b, 0x1f5b},
    {0x1f5d, 0x1f5d},   {0x1f5f, 0x1f7d},   {0x1f80, 0x1fb4},   {0x1fb6, 0x1fbc},
    {0x1fbe, 0x1fbe},   {0x1fc2, 0x1fc4},   {0x1fc6, 0x1fcc},   {0x1fd0, 0x1fd3},
    {0x1fd6, 0x1fdb},   {0x1fe0, 0x1fec},   {0x1ff2, 0x1ff4},   {0x1ff6, 0x1ffc},
    {0x2102, 0x2102},   {0x2107, 0x2107},   {0x210a, 0x2113},   {0x2115, 0x2115},
    {0x2119, 0x211d},   {0x2124, 0x2124},   {0x2126, 0x2126},   {0x2128, 0x2128},
    {0x212a, 0x212d},   {0x212f, 0x2134},   {0x2139, 0x2139},   {0x213c, 0x213f},
    {0x2145, 0x2149},   {0x214e, 0x214e},   {0x2183, 0x2184},   {0x2c00, 0x2c7b},
    {0x2c7e, 0x2ce4},   {0x2ceb, 0x2cee},   {0x2cf2, 0x2cf3},   {0xa640, 0xa66d},
    {0xa680, 0xa69b},   {0xa722, 0xa76f},   {0xa771, 0xa787},   {0xa78b, 0xa78e},
    {0xab70, 0xabbf},   {0xfb00, 0xfb06},   {0xfb13, 0xfb17},   {0xff21, 0xff3a},
    {0xff41, 0xff5a},   {0x10400, 0x1044f}, {0x104b0, 0x104d3}, {0x104d8, 0x104fb},
    {0x10c80, 0x10cb2}, {0x10cc0, 0x10cf2}, {0x118a0, 0x118df}, {0x1e900, 0x1e943},
};
// [!-/:-~！-／：-～‘-‟　-。]: of ASCII everything but the digits, letters too.
constexpr Range kDeepseekMarks[] = {{0x21, 0x2f},     {0x3a, 0x7e},     {0x2018, 0x201f},
                                    {0x3000, 0x3002}, {0xff01, 0xff0f}, {0xff1a, 0xff5e}};
// [一-龥ࠀ-一가-퟿]
constexpr Range kDeepseekScripts[] = {{0x800, 0x9fa5}, {0xac00, 0xd7ff}};

// [\r\n]
std::size_t deepseek_newlines(std::string_view piece) {
    return singles(piece, [](const Char& c) { return c.is(Class::newline); });
}
// \s?[letters]+
std::size_t deepseek_letters(std::string_view piece) {
    return led_runs(piece, [](const Char& c) { return in_ranges(kDeepseekLetters, c.code); });
}
// \s?[marks]+
std::size_t deepseek_marks(std::string_view piece) {
    return led_runs(piece, [](const Char& c) { return in_ranges(kDeepseekMarks, c.code); });
}
// \s+$
std::size_t deepseek_tail(std::string_view piece) {
    std::size_t at = 0, tail = 0;  // where the spaces that reach up to here began
    for (Char c; (c = char_at(piece, at)).n_bytes > 0;) {
        at += c.n_bytes;
        if (!c.is_white()) tail = at;
    }
    return tail > 0 ? tail : at;
}
// [scripts]+
std::size_t deepseek_scripts(std::string_view piece) {
    return runs(piece, [](const Char& c) { return in_ranges(kDeepseekScripts, c.code); });
}
// \p{N}+
std::size_t deepseek_digits(std::string_view piece) {
    return runs(piece, [](const Char& c) { return c.is(Class::digit); });
}

constexpr PreRule kRules[] = {
    {"gpt-2", {gpt2_word}, false, false},
    {"qwen2", {qwen2_word}, false, false},
    {"deepseek-r1-qwen", {qwen2_word}, false, false},
    {"llama-bpe", {llama3_word}, true, true},
    {"starcoder", {starcoder_digits, gpt2_word}, false, false},
    {"smollm", {starcoder_digits, gpt2_word}, false, false},
    {"falcon", {falcon_marks, gpt2_word, falcon_digits}, false, false},
    {"deepseek-llm",
     {deepseek_newlines, deepseek_letters, deepseek_marks, deepseek_tail, deepseek_scripts,
      deepseek_digits},
     false,
     false},
};

}  // namespace

std::span<const PreRule> pre_rules() {
    return kRules;
}

const PreRule* find_pre_rule(std::string_view name) {
    for (const PreRule& rule : kRules)
        if (name == rule.name) return &rule;
    return nullptr;
}

const PreRule& default_pre_rule() {
    return kRules[0];
}

WordSplitter::WordSplitter(const PreRule& rule, std::string_view text) : rule_(rule), text_(text) {
    while (n_stages_ < kPreStagesMax && rule.stages[n_stages_]) ++n_stages_;
    ends_[0] = text.size();
}

std::string_view WordSplitter::next() {
    if (at_ == text_.size()) return {};
    std::size_t stage = n_stages_;  // the last whose piece has not ended
    while (ends_[stage] <= at_) --stage;
    for (; stage < n_stages_; ++stage)
        ends_[stage + 1] = at_ + rule_.stages[stage](text_.substr(at_, ends_[stage] - at_));
    const std::string_view word = text_.substr(at_, ends_[n_stages_] - at_);
    at_ = ends_[n_stages_];
    return word;
}

}  // namespace hearth::model
