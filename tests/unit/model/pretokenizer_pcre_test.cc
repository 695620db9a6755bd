// Pre-tokenizers against the published expressions themselves, run by PCRE2 over random Unicode.
//
// The library is opened at run time, since nothing else here needs it; without it the test is
// skipped, and pretokenizer_test.cc remains. PCRE2's \s holds U+180E, which Unicode took out of
// White_Space in version 6.3, so \s is written out. Its tables may be older than ours: characters
// that it does not know are left out.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "base/utf8.h"
#include "engine/model/pretokenizer.h"
#include "support/data.h"

namespace hearth::model {
namespace {

using Words = std::vector<std::string>;

constexpr std::uint32_t kUtf = 0x00080000, kUcp = 0x00020000;  // PCRE2_UTF, PCRE2_UCP

// The few functions of libpcre2-8 that are needed, found by name.
struct Pcre {
    void* (*compile)(const char*, std::size_t, std::uint32_t, int*, std::size_t*, void*) = nullptr;
    void* (*new_match)(const void*, void*) = nullptr;
    int (*match)(const void*, const char*, std::size_t, std::size_t, std::uint32_t, void*,
                 void*) = nullptr;
    std::size_t* (*places)(void*) = nullptr;
    void (*free_code)(void*) = nullptr;
    void (*free_match)(void*) = nullptr;

    static std::optional<Pcre> open() {
        void* library = ::dlopen("libpcre2-8.so.0", RTLD_NOW);
        if (!library) return std::nullopt;
        Pcre out;
        const auto find = [&](auto& function, const char* name) {
            function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(
                ::dlsym(library, name));
            return function != nullptr;
        };
        const bool all = find(out.compile, "pcre2_compile_8") &&
                         find(out.new_match, "pcre2_match_data_create_from_pattern_8") &&
                         find(out.match, "pcre2_match_8") &&
                         find(out.places, "pcre2_get_ovector_pointer_8") &&
                         find(out.free_code, "pcre2_code_free_8") &&
                         find(out.free_match, "pcre2_match_data_free_8");
        return all ? std::optional(out) : std::nullopt;
    }
};

class Expression {
  public:
    Expression(const Pcre& pcre, std::string pattern) : pcre_(pcre) {
        int error = 0;
        std::size_t at = 0;
        code_ = pcre.compile(pattern.data(), pattern.size(), kUtf | kUcp, &error, &at, nullptr);
        if (!code_) throw std::runtime_error("bad pattern at " + std::to_string(at));
        match_ = pcre.new_match(code_, nullptr);
    }
    Expression(const Expression&) = delete;
    ~Expression() {
        pcre_.free_match(match_);
        pcre_.free_code(code_);
    }
    // Matches are pieces, and so is what lies between them.
    void split(const std::string& piece, Words& out) const {
        std::size_t at = 0;
        while (at < piece.size() &&
               pcre_.match(code_, piece.data(), piece.size(), at, 0, match_, nullptr) > 0) {
            const std::size_t* places = pcre_.places(match_);
            if (places[0] > at) out.push_back(piece.substr(at, places[0] - at));
            out.push_back(piece.substr(places[0], places[1] - places[0]));
            at = places[1];
        }
        if (at < piece.size()) out.push_back(piece.substr(at));
    }

  private:
    const Pcre& pcre_;
    void *code_ = nullptr, *match_ = nullptr;
};

std::string replaced(std::string text, const std::string& what, const std::string& by) {
    for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size())
        text.replace(at, what.size(), by);
    return text;
}

constexpr const char* kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^S\p{L}\p{N}]+|[S]+(?![^S])|[S]+)";
constexpr const char* kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^S\p{L}\p{N}]+[\r\n]*|)"
    R"([S]*[\r\n]+|[S]+(?![^S])|[S]+)";
// The letters as they are listed in the expression, by code point.
constexpr const char* kDeepseekLetters =
    R"([S]?[A-Za-z\x{b5}\x{c0}-\x{d6}\x{d8}-\x{f6}\x{f8}-\x{1ba}\x{1bc}-\x{1bf}\x{1c4}-\x{293})"
    R"(\x{295}-\x{2af}\x{370}-\x{373}\x{376}\x{377}\x{37b}-\x{37d}\x{37f}\x{386}\x{388}-\x{38a})"
    R"(\x{38c}\x{38e}-\x{3a1}\x{3a3}-\x{3f5}\x{3f7}-\x{481}\x{48a}-\x{52f}\x{531}-\x{556})"
    R"(\x{10a0}-\x{10c5}\x{13a0}-\x{13f5}\x{13f8}-\x{13fd}\x{1c90}-\x{1cba}\x{1cbd}-\x{1cbf})"
    R"(\x{1d00}-\x{1d2b}\x{1d6b}-\x{1d77}\x{1d79}-\x{1d9a}\x{1e00}-\x{1f15}\x{1f18}-\x{1f1d})"
    R"(\x{1f20}-\x{1f45}\x{1f48}-\x{1f4d}\x{1f50}-\x{1f57}\x{1f59}\x{1f5b}\x{1f5d})"
    R"(\x{1f5f}-\x{1f7d}\x{1f80}-\x{1fb4}\x{1fb6}-\x{1fbc}\x{1fbe}\x{1fc2}-\x{1fc4})"
    R"(\x{1fc6}-\x{1fcc}\x{1fd0}-\x{1fd3}\x{1fd6}-\x{1fdb}\x{1fe0}-\x{1fec}\x{1ff2}-\x{1ff4})"
    R"(\x{1ff6}-\x{1ffc}\x{2102}\x{2107}\x{210a}-\x{2113}\x{2115}\x{2119}-\x{211d}\x{2124})"
    R"(\x{2126}\x{2128}\x{212a}-\x{212d}\x{212f}-\x{2134}\x{2139}\x{213c}-\x{213f})"
    R"(\x{2145}-\x{2149}\x{214e}\x{2183}\x{2184}\x{2c00}-\x{2c7b}\x{2c7e}-\x{2ce4})"
    R"(\x{2ceb}-\x{2cee}\x{2cf2}\x{2cf3}\x{a640}-\x{a66d}\x{a680}-\x{a69b}\x{a722}-\x{a76f})"
    R"(\x{a771}-\x{a787}\x{a78b}-\x{a78e}\x{ab70}-\x{abbf}\x{fb00}-\x{fb06}\x{fb13}-\x{fb17})"
    R"(\x{ff21}-\x{ff3a}\x{ff41}-\x{ff5a}\x{10400}-\x{1044f}\x{104b0}-\x{104d3})"
    R"(\x{104d8}-\x{104fb}\x{10c80}-\x{10cb2}\x{10cc0}-\x{10cf2}\x{118a0}-\x{118df})"
    R"(\x{1e900}-\x{1e943}]+)";

// S stands for the characters of \s.
std::vector<std::string> published(std::string_view name) {
    if (name == "gpt-2") return {kGpt2};
    if (name == "qwen2") return {kQwen2};
    if (name == "llama-bpe") return {replaced(kQwen2, R"(|\p{N}|)", R"(|\p{N}{1,3}|)")};
    if (name == "starcoder") return {R"(\p{N})", kGpt2};
    if (name == "falcon") return {R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2, "[0-9][0-9][0-9]"};
    return {R"([\r\n])",
            kDeepseekLetters,
            R"([S]?[!-/:-~\x{ff01}-\x{ff0f}\x{ff1a}-\x{ff5e}\x{2018}-\x{201f}\x{3000}-\x{3002}]+)",
            R"([S]+\z)",
            R"([\x{4e00}-\x{9fa5}\x{800}-\x{4e00}\x{ac00}-\x{d7ff}]+)",
            R"(\p{N}+)"};
}

// Text in which what the expressions tell apart meets often.
std::string random_text(std::mt19937_64& random, const std::vector<char32_t>& known) {
    static const std::u32string near =
        U"   \t\n\n\r\v''sStTrReEvVlLdDmM\u017fxX0123456789.,!<|-`$^\u0001\u001f\u0085\u00a0"
        U"\u3000\u2028\u200b\u180e\u0301\u00e9\u4e2d\u6587\u3002\uff01\u2019\u00b2\u2167\uac00"
        U"\U0001f600\U00010400\u01bb\u0294\u0378\ufe0f\u200d";
    std::string out;
    for (std::size_t n = random() % 24; n > 0; --n)
        append_utf8(out,
                    random() % 4 ? near[random() % near.size()] : known[random() % known.size()]);
    return out;
}

TEST(PreTokenizer, cuts_unicode_as_the_published_expressions_do) {
    const auto pcre = Pcre::open();
    if (!pcre) CANNOT_RUN("libpcre2-8.so.0 is not here");
    const Expression assigned(*pcre, R"(\A\P{Cn})");
    std::vector<char32_t> known;
    for (char32_t c = 1; c < 0x110000; ++c) {
        if (c >= 0xd800 && c < 0xe000) continue;
        std::string text;
        append_utf8(text, c);
        Words pieces;
        assigned.split(text + " ", pieces);
        if (pieces.size() == 2) known.push_back(c);
    }
    ASSERT_GT(known.size(), 140'000u);
    for (const char* name :
         {"gpt-2", "qwen2", "llama-bpe", "starcoder", "falcon", "deepseek-llm"}) {
        const PreRule* rule = find_pre_rule(name);
        ASSERT_NE(rule, nullptr);
        std::vector<std::unique_ptr<Expression>> stages;
        for (const std::string& pattern : published(name))
            stages.push_back(std::make_unique<Expression>(
                *pcre, replaced(pattern, "S", R"(\t-\r \x{85}\p{Z})")));
        const auto check = [&](const std::string& text) {
            Words expected{text};
            for (const auto& stage : stages) {
                Words next;
                for (const std::string& piece : expected) stage->split(piece, next);
                expected = std::move(next);
            }
            if (text.empty()) expected.clear();
            Words got;
            WordSplitter splitter(*rule, text);
            for (std::string_view w; !(w = splitter.next()).empty();) got.emplace_back(w);
            ASSERT_EQ(got, expected) << name << ": " << text;
        };
        const unsigned seed = 11;
        std::mt19937_64 random(seed);
        for (int i = 0; i < 6000 && !::testing::Test::HasFailure(); ++i)
            check(random_text(random, known));
        // Characters, all of those that differ much, beside a letter, a digit, a mark and a space.
        for (std::size_t i = 0; i < known.size(); i += known[i] < 0x3400 ? 1 : 61) {
            const char32_t c = known[i];
            std::string text = "a";
            append_utf8(text, c);
            text += "1";
            append_utf8(text, c);
            text += "! ";
            append_utf8(text, c);
            text += "  ";
            append_utf8(text, c);
            append_utf8(text, c);
            check(text);
            if (::testing::Test::HasFailure()) break;
        }
    }
}

}  // namespace
}  // namespace hearth::model
