// Any text through the recorded vocabularies: encode then decode is the identity, and hostile text
// costs in proportion to its length.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/utf8.h"
#include "engine/model/model.h"
#include "support/data.h"

namespace hearth::test {
namespace {

constexpr const char* kVocabularies[] = {"vocab-llama-bpe-rebuilt", "vocab-qwen2-rebuilt",
                                         "ggml-vocab-gpt-2",        "ggml-vocab-deepseek-llm",
                                         "ggml-vocab-starcoder",    "ggml-vocab-falcon",
                                         "ggml-vocab-llama-spm"};

std::unique_ptr<model::Model> open(const std::string& folder, const std::string& name) {
    const std::string path = folder + "/" + name + ".gguf";
    auto opened = model::Model::open({.name = name, .path = path, .bytes = {}});
    if (!opened) throw std::runtime_error(opened.error().message);
    return std::move(*opened);
}

model::EncodeOptions plain(std::int64_t* n_steps = nullptr) {
    return {.add_special = false, .parse_special = false, .n_steps = n_steps};
}

std::string through(const model::Tokenizer& t, const std::string& text) {
    return t.decode(t.encode(text, plain()));
}

bool is_scalar(char32_t c) {
    // U+2581 is SentencePiece's spelling of a space.
    return (c < 0xd800 || c > 0xdfff) && c != 0x2581;
}

// Which bytes the vocabulary can spell. StarCoder's and Falcon's never saw some (0xf1 and 0xf2
// begin planes that hold no letters; a few control characters), so no token has them.
std::vector<bool> known_bytes(const model::Tokenizer& t) {
    std::vector<bool> out(256);
    for (std::int32_t i = 0; i < t.n_vocab(); ++i) {
        const std::string piece = t.piece(TokenId(i), false);
        if (piece.size() == 1) out[static_cast<unsigned char>(piece[0])] = true;
    }
    return out;
}
bool spells(const std::vector<bool>& known, std::string_view text) {
    return std::all_of(text.begin(), text.end(),
                       [&](char c) { return known[static_cast<unsigned char>(c)]; });
}

TEST(TokenizerText, every_code_point_comes_back) {
    NEEDS_DATA(folder, "tokenizers");
    for (const char* name : kVocabularies) {
        const auto model = open(folder, name);
        const model::Tokenizer& t = model->tokenizer();
        const std::vector<bool> known = known_bytes(t);
        std::int64_t n_wrong = 0, n_unknown = 0;
        for (char32_t c = 0; c < 0x110000; ++c) {
            if (!is_scalar(c)) continue;
            std::string text;
            append_utf8(text, c);
            if (!spells(known, text))
                ++n_unknown;
            else if (through(t, text) != text && ++n_wrong < 5)
                ADD_FAILURE() << name << ": U+" << std::hex << std::uint32_t(c);
        }
        EXPECT_EQ(n_wrong, 0) << name;
        const std::string_view is(name);
        EXPECT_EQ(n_unknown, is.ends_with("starcoder") ? 0x40000
                             : is.ends_with("falcon")  ? 0x40000 + 14
                                                       : 0)
            << name;
    }
}

TEST(TokenizerText, random_text_comes_back) {
    NEEDS_DATA(folder, "tokenizers");
    for (const char* name : kVocabularies) {
        const auto model = open(folder, name);
        const model::Tokenizer& t = model->tokenizer();
        const std::vector<bool> known = known_bytes(t);
        const unsigned seed = 17;
        std::mt19937 random(seed);
        for (int i = 0; i < 2000; ++i) {
            std::string text;
            for (std::size_t n = random() % 40; n > 0; --n) {
                const unsigned kind = random() % 8;
                char32_t c = random() % 0x110000;
                if (kind < 3) c = random() % 128;
                if (kind == 3) c = U" \n\t\r"[random() % 4];
                if (kind == 4) c = random() % 0x3000;
                if (kind == 5) c = 0x4e00 + random() % 0x5000;
                std::string one;
                append_utf8(one, is_scalar(c) ? c : U'x');
                if (spells(known, one)) text += one;
                // Texts of real tokens, special ones too.
                if (kind == 6 && t.n_vocab() > 0) {
                    const TokenId id(std::int32_t(random() % std::uint64_t(t.n_vocab())));
                    const std::string piece = t.piece(id, false, true);
                    const bool mark = piece.find("\xe2\x96\x81") != std::string::npos;
                    if (is_utf8(piece) && !mark) text += piece;
                }
            }
            ASSERT_EQ(through(t, text), text) << name << ", text " << i << " of seed " << seed;
        }
        // Longer than a window of merging.
        std::string line;
        for (int i = 0; i < 30'000; ++i) line += char('a' + random() % 26);
        EXPECT_EQ(through(t, line), line) << name;
    }
}

std::int64_t steps(const model::Tokenizer& t, const std::string& text) {
    std::int64_t n = 0;
    t.encode(text, plain(&n));
    return n;
}

TEST(TokenizerText, hostile_repetitions_cost_in_proportion_to_their_length) {
    NEEDS_DATA(folder, "tokenizers");
    const std::string units[] = {" ",      "\n",        "a",          "1",  "1234567890",
                                 "的",     "中文汉字",  " \n",        "aB", "the",
                                 "ererin", "\xff",      "\xe4\xb8",   "<|", "<|endoftex",
                                 "<s",     "  \t\r\n ", "'s't're'LL", "=",  "a\xcc\x81"};
    for (const char* name : kVocabularies) {
        const auto model = open(folder, name);
        for (const std::string& unit : units) {
            std::string small, large;
            while (small.size() < 20'000) small += unit;
            while (large.size() < 200'000) large += unit;
            const model::Tokenizer& t = model->tokenizer();
            EXPECT_LE(steps(t, large), 12 * steps(t, small)) << name << ": " << unit;
        }
    }
}

// Characters that follow no pattern, from the sets that a pre-tokenizer does not cut, or cuts
// often.
struct Hostile {
    const char* name;
    char32_t (*next)(std::mt19937& random, std::size_t i);
};
constexpr Hostile kHostile[] = {
    {"one letter", [](std::mt19937&, std::size_t) -> char32_t { return 'a'; }},
    {"spaces", [](std::mt19937&, std::size_t) -> char32_t { return ' '; }},
    {"digits", [](std::mt19937& random, std::size_t) -> char32_t { return '0' + random() % 10; }},
    {"letters", [](std::mt19937& random, std::size_t) -> char32_t { return 'a' + random() % 26; }},
    {"bytes as code points",
     [](std::mt19937& random, std::size_t) -> char32_t { return random() % 256; }},
    {"any code points",
     [](std::mt19937& random, std::size_t) -> char32_t {
         const char32_t c = random() % 0x110000;
         return is_scalar(c) ? c : U'x';
     }},
    {"alternating scripts",
     [](std::mt19937& random, std::size_t i) -> char32_t {
         // Latin, Cyrillic, Greek, Hebrew, Arabic, Devanagari, Hiragana, Hangul
         constexpr char32_t kFirst[] = {'a', 0x430, 0x3b1, 0x5d0, 0x627, 0x905, 0x3042, 0xac00};
         return kFirst[i % 8] + random() % 20;
     }},
    {"CJK without spaces",
     [](std::mt19937& random, std::size_t) -> char32_t { return 0x4e00 + random() % 3000; }},
    {"emoji",
     [](std::mt19937& random, std::size_t) -> char32_t { return 0x1f600 + random() % 80; }},
    {"punctuation",
     [](std::mt19937& random, std::size_t) -> char32_t {
         return U"!?.,;:-_=+*/#~&%$@|^"[random() % 20];
     }},
};

TEST(TokenizerText, a_megabyte_of_hostile_text_costs_at_most_12_times_a_tenth_of_it) {
    NEEDS_DATA(folder, "tokenizers");
    for (const char* name : kVocabularies) {
        const auto model = open(folder, name);
        for (const Hostile& hostile : kHostile) {
            std::mt19937 random(23);
            std::string text;
            for (std::size_t i = 0; text.size() < 1'000'000; ++i)
                append_utf8(text, hostile.next(random, i));
            std::size_t tenth = text.size() / 10;
            while ((static_cast<unsigned char>(text[tenth]) & 0xc0) == 0x80) ++tenth;
            const model::Tokenizer& t = model->tokenizer();
            EXPECT_LE(steps(t, text), 12 * steps(t, text.substr(0, tenth)))
                << name << ": " << hostile.name;
        }
    }
}

}  // namespace
}  // namespace hearth::test
