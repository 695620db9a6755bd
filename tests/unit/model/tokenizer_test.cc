// Both kinds of tokenizer against brute force, round trips, refusals and counted work.
//
// Vocabularies are generated here, or that of the built-in model. tests/real compares with recorded
// ids.
#include "engine/model/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "base/file.h"
#include "base/utf8.h"
#include "engine/model/limits.h"
#include "support/gguf_writer.h"

namespace hearth::model {
namespace {

using test::GgufWriter;

constexpr EncodeOptions kPlain{.add_special = false, .parse_special = false};

// A file's bytes and the tokenizer that points into them.
struct Loaded {
    std::string file;
    std::unique_ptr<Gguf> gguf;
    std::unique_ptr<Tokenizer> tokenizer;
    std::string error;
    explicit Loaded(std::string bytes) : file(std::move(bytes)) {
        auto parsed = Gguf::parse(std::as_bytes(std::span(file)));
        if (!parsed) throw std::runtime_error(parsed.error().message);
        gguf = std::make_unique<Gguf>(std::move(*parsed));
        auto made = make_tokenizer(*gguf);
        if (made)
            tokenizer = std::move(*made);
        else
            error = made.error().message;
    }
    const Tokenizer& operator*() const { return *tokenizer; }
    const Tokenizer* operator->() const { return tokenizer.get(); }
};

const Loaded& demo() {
    static const Loaded* const loaded = [] {
        auto bytes = read_file(std::string(HEARTH_SOURCE_DIR) + "/models/demo-q8_0.gguf", 1u << 26);
        return new Loaded(bytes ? *bytes : std::string());
    }();
    return *loaded;
}

std::vector<int> ids_of(const std::vector<TokenId>& tokens) {
    std::vector<int> out;
    for (const TokenId t : tokens) out.push_back(t.value);
    return out;
}

// A SentencePiece-like vocabulary over the letters a, b, c and the space mark.
struct Pieces {
    std::vector<std::string> texts = {"<unk>", "<s>", "</s>"};
    std::vector<std::int32_t> types = {2, 3, 3};
    std::vector<float> scores = {0, 0, 0};
    void add(const std::string& text, float score, int type = 1) {
        texts.push_back(text);
        scores.push_back(score);
        types.push_back(type);
    }
    void add_bytes() {
        for (int b = 0; b < 256; ++b) {
            char text[8];
            std::snprintf(text, sizeof text, "<0x%02X>", unsigned(b));
            add(text, 0, 6);
        }
    }
    GgufWriter writer() const {
        GgufWriter w;
        w.text("tokenizer.ggml.model", "llama").texts("tokenizer.ggml.tokens", texts);
        w.f32s("tokenizer.ggml.scores", scores).i32s("tokenizer.ggml.token_type", types);
        return w;
    }
};
const std::string kMark = "\xe2\x96\x81";

Pieces random_pieces(std::uint64_t seed, bool with_bytes) {
    std::mt19937_64 random(seed);
    Pieces out;
    if (with_bytes) out.add_bytes();
    std::vector<std::string> known = {"a", "b", "c", kMark};
    for (const auto& s : known) out.add(s, -100);
    for (int i = 0; i < 40; ++i) {
        const std::string joined = known[random() % known.size()] + known[random() % known.size()];
        if (std::find(known.begin(), known.end(), joined) != known.end()) continue;
        known.push_back(joined);
        out.add(joined, -float(random() % 12));  // ties on purpose
    }
    return out;
}

std::string random_text(std::mt19937_64& random, const std::string& letters, std::size_t n) {
    std::string out;
    while (out.size() < n) out += letters[random() % letters.size()];
    return out;
}

// Joins the best-scored neighbours, leftmost first, by looking at all of them each time.
std::vector<int> join_by_force(const Pieces& pieces, const std::string& text) {
    std::map<std::string, int> id_of;
    for (std::size_t i = 0; i < pieces.texts.size(); ++i)
        if (pieces.types[i] == 1) id_of[pieces.texts[i]] = int(i);
    std::vector<std::string> symbols;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t n = utf8_sequence_length(text.substr(at));
        symbols.push_back(text.substr(at, n));
        at += n;
    }
    for (;;) {
        std::size_t best = symbols.size();
        float best_score = -HUGE_VALF;
        for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
            const auto it = id_of.find(symbols[i] + symbols[i + 1]);
            if (it == id_of.end() || !(pieces.scores[std::size_t(it->second)] > best_score))
                continue;
            best = i;
            best_score = pieces.scores[std::size_t(it->second)];
        }
        if (best == symbols.size()) break;
        symbols[best] += symbols[best + 1];
        symbols.erase(symbols.begin() + std::ptrdiff_t(best) + 1);
    }
    std::vector<int> out;
    for (const auto& s : symbols) out.push_back(id_of.at(s));
    return out;
}

TEST(TokenizerLlama, joins_as_brute_force_does) {
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        const Pieces pieces = random_pieces(seed, false);
        const Loaded t(pieces.writer().bytes());
        ASSERT_TRUE(t.tokenizer) << t.error;
        std::mt19937_64 random(seed);
        for (int i = 0; i < 20; ++i) {
            const std::string text = random_text(random, "aabbcc ", 1 + random() % 40);
            std::string escaped = kMark;
            for (const char c : text) escaped += c == ' ' ? kMark : std::string(1, c);
            EXPECT_EQ(ids_of(t->encode(text, kPlain)), join_by_force(pieces, escaped))
                << "seed " << seed << ": " << text;
        }
    }
}

// What SentencePiece does with unused pieces: joins reach through them, and what is left of them is
// split where it was joined last, again and again. By force: the text alone is joined until two
// symbols are left.
void split_unused(const Pieces& pieces, const std::string& text, std::vector<int>& out) {
    std::map<std::string, int> id_of;
    for (std::size_t i = 0; i < pieces.texts.size(); ++i)
        if (pieces.types[i] == 1 || pieces.types[i] == 5) id_of[pieces.texts[i]] = int(i);
    const int id = id_of.at(text);
    if (pieces.types[std::size_t(id)] != 5) return out.push_back(id);
    std::vector<std::string> symbols;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t n = utf8_sequence_length(text.substr(at));
        symbols.push_back(text.substr(at, n));
        at += n;
    }
    while (symbols.size() > 2) {
        std::size_t best = symbols.size();
        for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
            const auto score = [&](std::size_t j) {
                return pieces.scores[std::size_t(id_of.at(symbols[j] + symbols[j + 1]))];
            };
            if (!id_of.count(symbols[i] + symbols[i + 1])) continue;
            if (best == symbols.size() || score(i) > score(best)) best = i;
        }
        ASSERT_LT(best, symbols.size()) << text;
        symbols[best] += symbols[best + 1];
        symbols.erase(symbols.begin() + std::ptrdiff_t(best) + 1);
    }
    for (const std::string& symbol : symbols) split_unused(pieces, symbol, out);
}

TEST(TokenizerLlama, unused_pieces_are_joined_through_and_taken_apart_as_brute_force_does) {
    std::int64_t n_split = 0;
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        const Pieces used = random_pieces(seed, false);
        std::mt19937_64 random(seed);
        Pieces pieces = used;
        for (std::size_t i = 0; i < pieces.texts.size(); ++i)
            if (pieces.types[i] == 1 && pieces.texts[i].size() > 1 && pieces.texts[i] != kMark &&
                random() % 3 == 0)
                pieces.types[i] = 5;
        const Loaded t(pieces.writer().bytes());
        ASSERT_TRUE(t.tokenizer) << t.error;
        for (int i = 0; i < 20; ++i) {
            const std::string text = random_text(random, "aabbcc ", 1 + random() % 40);
            std::string escaped = kMark;
            for (const char c : text) escaped += c == ' ' ? kMark : std::string(1, c);
            std::vector<int> expected;
            // As if all were in use, then what is not is split.
            for (const int id : join_by_force(used, escaped)) {
                n_split += pieces.types[std::size_t(id)] == 5;
                split_unused(pieces, pieces.texts[std::size_t(id)], expected);
            }
            EXPECT_EQ(ids_of(t->encode(text, kPlain)), expected) << "seed " << seed << ": " << text;
            EXPECT_EQ(t->decode(t->encode(text, kPlain)), text);
        }
    }
    EXPECT_GT(n_split, 1000);
}

TEST(TokenizerLlama, an_unused_piece_decodes_to_its_text_and_is_never_encoded) {
    Pieces p;
    p.add_bytes();
    const int kA = 259, kB = 260, kAb = 261, kAbb = 262, kZ = 264;
    p.add("a", 0);
    p.add("b", 0);
    p.add("ab", 1, 5);
    p.add("abb", 2);
    p.add(kMark, 0);
    p.add("z", 0, 5);
    const Loaded t(p.writer().boolean("tokenizer.ggml.add_space_prefix", false).bytes());
    ASSERT_TRUE(t.tokenizer) << t.error;
    EXPECT_EQ(ids_of(t->encode("ab", kPlain)), (std::vector<int>{kA, kB}));
    EXPECT_EQ(ids_of(t->encode("abb", kPlain)), (std::vector<int>{kAbb}));
    // A single character has no parts: its bytes' tokens.
    EXPECT_EQ(ids_of(t->encode("z", kPlain)), (std::vector<int>{3 + 'z'}));
    EXPECT_EQ(t->piece(TokenId(kAb), false), "ab");
    EXPECT_EQ(t->piece(TokenId(kZ), false), "z");
}

TEST(TokenizerLlama, no_space_is_put_behind_a_user_defined_token) {
    Pieces p = random_pieces(7, true);
    p.add("<tool>", 0, 4);
    const Loaded t(p.writer().bytes());
    ASSERT_TRUE(t.tokenizer) << t.error;
    for (const std::string text : {"<tool>", "<tool>a", "a<tool>b", " <tool> b", "<tool><tool>  "})
        EXPECT_EQ(t->decode(t->encode(text, kPlain)), text);
}

TEST(TokenizerLlama, any_bytes_come_back_through_byte_tokens) {
    const Loaded t(random_pieces(5, true).writer().bytes());
    ASSERT_TRUE(t.tokenizer) << t.error;
    std::mt19937_64 random(11);
    for (int i = 0; i < 500; ++i) {
        std::string text;
        for (std::size_t n = random() % 60; n > 0; --n)
            text += random() % 2 ? char(random() % 256) : "abc "[random() % 4];
        if (text.find(kMark) != std::string::npos) continue;  // a mark comes back as a space
        EXPECT_EQ(t->decode(t->encode(text, kPlain)), text);
    }
    EXPECT_EQ(ids_of(t->encode("\xff", kPlain)).back(), 3 + 0xff);
}

TEST(TokenizerLlama, without_byte_tokens_the_rest_is_unknown_once_a_character) {
    const Loaded t(random_pieces(5, false).writer().bytes());
    const auto ids = ids_of(t->encode("a\xe4\xb8\xad z", kPlain));
    EXPECT_EQ(std::count(ids.begin(), ids.end(), 0), 2);
}

TEST(TokenizerLlama, a_control_token_never_stands_for_what_is_unknown) {
    Pieces p;
    p.types[0] = 3;  // id 0, where SentencePiece has <unk>
    p.add("a", 0);
    const Loaded t(p.writer().boolean("tokenizer.ggml.add_space_prefix", false).bytes());
    EXPECT_EQ(ids_of(t->encode("a?a", kPlain)), (std::vector<int>{3, 3}));
}

TEST(TokenizerLlama, space_prefix_bos_and_eos_follow_the_file) {
    Pieces p;
    p.add("a", 0);
    p.add(kMark, 0);
    p.add(kMark + "a", 1);
    const Loaded plain(p.writer().bytes());
    EXPECT_EQ(ids_of(plain->encode("a", {})), (std::vector<int>{1, 5}));
    EXPECT_EQ(ids_of(plain->encode("", {})), (std::vector<int>{1}));
    EXPECT_EQ(ids_of(plain->encode("a</s>a", {})), (std::vector<int>{1, 5, 2, 5}));
    EXPECT_EQ(plain->decode(plain->encode("a a", {})), "a a");
    EXPECT_EQ(plain->piece(TokenId(5), true), "a");
    EXPECT_EQ(plain->piece(TokenId(5), false), " a");
    const Loaded bare(p.writer()
                          .boolean("tokenizer.ggml.add_space_prefix", false)
                          .boolean("tokenizer.ggml.add_bos_token", false)
                          .boolean("tokenizer.ggml.add_eos_token", true)
                          .bytes());
    EXPECT_EQ(ids_of(bare->encode("a", {})), (std::vector<int>{3, 2}));
    EXPECT_EQ(bare->piece(TokenId(5), true), " a");
}

TEST(TokenizerLlama, user_defined_tokens_always_match_and_control_tokens_only_when_asked) {
    Pieces p;
    for (const char* s : {"a", "<", "s", ">", "/"}) p.add(s, 0);
    p.add(kMark, 0);
    p.add("<s", 5);  // joins to the text of a control token, which is no piece
    p.add("aa", 0, 4);
    p.add("  ", 0, 4);
    const int kA = 3, kLess = 9, kTwo = 10, kSpaces = 11;
    const Loaded t(p.writer().boolean("tokenizer.ggml.add_space_prefix", false).bytes());
    EXPECT_EQ(ids_of(t->encode("aaa", kPlain)), (std::vector<int>{kTwo, kA}));
    EXPECT_EQ(ids_of(t->encode("a  a", kPlain)), (std::vector<int>{kA, kSpaces, kA}));
    EXPECT_EQ(ids_of(t->encode("<s>", kPlain)), (std::vector<int>{kLess, 6}));
    EXPECT_EQ(ids_of(t->encode("<s>", {.add_special = false})), (std::vector<int>{1}));
    EXPECT_EQ(t->piece(TokenId(kSpaces), false), "  ");
    EXPECT_EQ(t->piece(TokenId(1), false), "");
    EXPECT_EQ(t->piece(TokenId(1), false, true), "<s>");
    EXPECT_EQ(t->piece(TokenId(-1), false, true), "");
    EXPECT_EQ(t->piece(TokenId(1'000'000), false, true), "");
}

TEST(TokenizerGpt2, any_bytes_come_back) {
    const Loaded& t = demo();
    ASSERT_TRUE(t.tokenizer) << t.error;
    std::mt19937_64 random(3);
    for (int i = 0; i < 2000; ++i) {
        std::string text;
        for (std::size_t n = random() % 80; n > 0; --n) switch (random() % 4) {
                case 0:
                    text += char(random() % 256);
                    break;
                case 1:
                    append_utf8(text, char32_t(random() % 0xd800));
                    break;
                default:
                    text += " the\n\t0129'sLL.,{}\""[random() % 18];
            }
        EXPECT_EQ(t->decode(t->encode(text, kPlain)), text);
        EXPECT_EQ(t->decode(t->encode(text, {}), true), text);
    }
    for (char32_t c = 1; c < 0x110000; c += c < 0x3000 ? 1 : 37) {  // valid UTF-8 of every kind
        if (c >= 0xd800 && c < 0xe000) continue;
        std::string text;
        append_utf8(text, c);
        ASSERT_EQ(t->decode(t->encode(text, kPlain)), text) << std::uint32_t(c);
    }
}

// Merges by rank, leftmost first, looking at all neighbours each time; words are single here.
TEST(TokenizerGpt2, merges_as_brute_force_does) {
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        std::mt19937_64 random(seed);
        std::vector<std::string> texts = {"a", "b", "c"}, merges;
        std::map<std::pair<std::string, std::string>, int> ranks;
        for (int i = 0; i < 30; ++i) {
            const std::string l = texts[random() % texts.size()],
                              r = texts[random() % texts.size()];
            if (std::find(texts.begin(), texts.end(), l + r) == texts.end()) texts.push_back(l + r);
            ranks.emplace(std::pair{l, r}, int(merges.size()));
            merges.push_back(l + " " + r);
        }
        const Loaded t(GgufWriter()
                           .text("tokenizer.ggml.model", "gpt2")
                           .text("tokenizer.ggml.pre", "gpt-2")
                           .texts("tokenizer.ggml.tokens", texts)
                           .texts("tokenizer.ggml.merges", merges)
                           .bytes());
        ASSERT_TRUE(t.tokenizer) << t.error;
        for (int i = 0; i < 20; ++i) {
            const std::string text = random_text(random, "abc", 1 + random() % 40);
            std::vector<std::string> symbols;
            for (const char c : text) symbols.emplace_back(1, c);
            for (;;) {
                std::size_t best = symbols.size();
                int best_rank = 1 << 30;
                for (std::size_t s = 0; s + 1 < symbols.size(); ++s) {
                    const auto it = ranks.find({symbols[s], symbols[s + 1]});
                    if (it == ranks.end() || it->second >= best_rank) continue;
                    best = s;
                    best_rank = it->second;
                }
                if (best == symbols.size()) break;
                symbols[best] += symbols[best + 1];
                symbols.erase(symbols.begin() + std::ptrdiff_t(best) + 1);
            }
            std::vector<int> expected;
            for (const auto& s : symbols)
                expected.push_back(int(std::find(texts.begin(), texts.end(), s) - texts.begin()));
            EXPECT_EQ(ids_of(t->encode(text, kPlain)), expected) << "seed " << seed << ": " << text;
        }
    }
}

TEST(TokenizerGpt2, special_texts_are_tokens_only_when_asked_and_user_defined_ones_always) {
    const Loaded& t = demo();
    EXPECT_EQ(ids_of(t->encode("<|im_end|>", {})), (std::vector<int>{2}));
    const auto plain = t->encode("<|im_end|>", kPlain);
    EXPECT_GT(plain.size(), 1u);
    for (const TokenId id : plain) EXPECT_EQ(t->type(id), TokenType::normal);
    EXPECT_EQ(t->decode(plain), "<|im_end|>");
    EXPECT_EQ(ids_of(t->encode("<tool_call>", kPlain)), (std::vector<int>{6}));
    EXPECT_EQ(t->piece(TokenId(6), false), "<tool_call>");
    EXPECT_EQ(t->piece(TokenId(2), false), "");
    EXPECT_EQ(t->piece(TokenId(2), false, true), "<|im_end|>");
    EXPECT_EQ(t->piece(TokenId(4096), false, true), "");
}

TEST(Tokenizer, the_demo_model_ends_with_its_two_end_tokens) {
    EXPECT_EQ(ids_of(demo()->end_tokens()), (std::vector<int>{0, 2}));
    EXPECT_TRUE(demo()->ends_generation(TokenId(2)));
    EXPECT_FALSE(demo()->ends_generation(TokenId(1)));
    EXPECT_EQ(demo()->encode("a", {}).size(), 1u);  // no BOS in front
    EXPECT_EQ(demo()->warning(), "");
}

GgufWriter gpt2_of(const std::vector<std::string>& texts, const std::vector<std::int32_t>& types) {
    GgufWriter w;
    w.text("tokenizer.ggml.model", "gpt2").texts("tokenizer.ggml.tokens", texts);
    w.i32s("tokenizer.ggml.token_type", types).texts("tokenizer.ggml.merges", {});
    return w;
}

TEST(Tokenizer, ends_come_from_keys_and_from_known_control_texts) {
    const Loaded t(gpt2_of({"a", "<|im_end|>", "<|eot_id|>", "x", "y", "z"}, {1, 3, 1, 1, 1, 1})
                       .u32("tokenizer.ggml.eos_token_id", 3)
                       .u32("tokenizer.ggml.eot_token_id", 4)
                       .u32("tokenizer.ggml.eom_token_id", 4'294'967'295u)  // "none"
                       .bytes());
    ASSERT_TRUE(t.tokenizer) << t.error;
    EXPECT_EQ(ids_of(t->end_tokens()), (std::vector<int>{1, 3, 4}));  // id 2 is not a control token
    EXPECT_EQ(t->eos(), TokenId(3));
    EXPECT_FALSE(t->bos());
}

TEST(Tokenizer, unknown_or_missing_pre_tokenizer_is_a_warning_and_the_gpt2_rule) {
    const std::vector<std::string> texts = {"a", "1", "2", "\xc4\xa0"};
    const std::vector<std::int32_t> types = {1, 1, 1, 1};
    const Loaded missing(gpt2_of(texts, types).bytes());
    const Loaded unknown(gpt2_of(texts, types).text("tokenizer.ggml.pre", "no-such\xff").bytes());
    const Loaded known(gpt2_of(texts, types).text("tokenizer.ggml.pre", "gpt-2").bytes());
    EXPECT_NE(missing->warning(), "");
    EXPECT_NE(unknown->warning().find("no-such"), std::string::npos);
    EXPECT_TRUE(is_utf8(unknown->warning()));
    EXPECT_EQ(known->warning(), "");
    EXPECT_EQ(unknown->encode("a 12", kPlain), known->encode("a 12", kPlain));
}

TEST(Tokenizer, bad_keys_are_refused_by_name) {
    const auto refused = [](const GgufWriter& w, const char* named) {
        const Loaded t(w.bytes());
        EXPECT_EQ(t.tokenizer, nullptr) << named;
        EXPECT_NE(t.error.find(named), std::string::npos) << t.error;
    };
    refused(GgufWriter().u32("x", 1), "tokenizer.ggml.model");
    refused(GgufWriter().text("tokenizer.ggml.model", "bert"), "known kinds: gpt2, llama");
    refused(GgufWriter().text("tokenizer.ggml.model", "gpt2"), "tokenizer.ggml.tokens");
    refused(GgufWriter().text("tokenizer.ggml.model", "gpt2").texts("tokenizer.ggml.tokens", {}),
            "tokenizer.ggml.tokens");
    refused(gpt2_of({"a", "b"}, {1}), "tokenizer.ggml.token_type");
    refused(GgufWriter()
                .text("tokenizer.ggml.model", "gpt2")
                .texts("tokenizer.ggml.tokens", {"a", "b"})
                .texts("tokenizer.ggml.merges", {"ab"}),
            "tokenizer.ggml.merges");
    refused(GgufWriter().text("tokenizer.ggml.model", "gpt2").texts("tokenizer.ggml.tokens", {"a"}),
            "tokenizer.ggml.merges");
    refused(gpt2_of({"a", std::string(5000, 'x')}, {1, 3}), "special token 1");
    Pieces p;
    p.scores.pop_back();
    refused(p.writer(), "tokenizer.ggml.scores");
    p.scores.push_back(NAN);
    refused(p.writer(), "tokenizer.ggml.scores");
}

// Steps of work for a text: merges looked at, places compared. No clock.
std::int64_t steps(const Tokenizer& t, const std::string& text) {
    std::int64_t n = 0;
    t.encode(text, {.n_steps = &n});
    return n;
}

std::vector<std::string> hostile_units() {
    return {"a",
            " ",
            "\n",
            "ab",
            "a ",
            " \n",
            "'",
            "0",
            "\xff",
            "\xe4\xb8\xad",
            "<",
            "<|im_end|",
            "<|im_end|>",
            "<tool_call",
            "aaaaaaab",
            "\xe2\x96\x81",
            "the quick brown fox "};
}

// Each by itself is short enough; together they would take a trie of gigabytes.
TEST(Tokenizer, special_texts_are_bounded_together) {
    for (const std::size_t n :
         {kSpecialBytesAllMax / kSpecialBytesMax, kSpecialBytesAllMax / kSpecialBytesMax + 1}) {
        Pieces pieces;
        pieces.texts.clear();
        // With all but the end in common, so that this test needs little memory.
        for (std::size_t i = 0; i < n; ++i)
            pieces.texts.push_back(std::string(kSpecialBytesMax - 6, 'x') +
                                   std::to_string(100'000 + i));
        pieces.types.assign(n, 3);
        pieces.scores.assign(n, 0);
        const Loaded t(pieces.writer().bytes());
        EXPECT_EQ(t.tokenizer != nullptr, n * kSpecialBytesMax <= kSpecialBytesAllMax) << t.error;
        if (t.tokenizer) continue;
        for (const std::size_t number : {n * kSpecialBytesMax, kSpecialBytesAllMax})
            EXPECT_NE(t.error.find(std::to_string(number)), std::string::npos) << t.error;
    }
}

TEST(Tokenizer, an_error_about_a_name_that_is_no_text_is_text) {
    const Loaded t(GgufWriter().text("tokenizer.ggml.model", "ll\xff\xfe").bytes());
    EXPECT_NE(t.error.find("ll\xef\xbf\xbd"), std::string::npos) << t.error;
    EXPECT_TRUE(is_utf8(t.error)) << t.error;
}

TEST(Tokenizer, work_grows_with_the_text_and_not_with_its_square) {
    Pieces spaces = random_pieces(9, true);
    for (int n = 2; n < 32; ++n) spaces.add(std::string(std::size_t(n), ' '), 0, 4);
    std::string run = "a";  // a, aa, aaaa, …: long joins
    for (int i = 0; i < 8; ++i) spaces.add(run += run, float(i));
    const Loaded llama(spaces.writer().bytes());
    ASSERT_TRUE(llama.tokenizer) << llama.error;
    for (std::size_t i = 0; i < spaces.texts.size();
         ++i)  // all that is joined is taken apart again
        if (spaces.types[i] == 1 && spaces.texts[i].size() > 1 && spaces.texts[i] != kMark)
            spaces.types[i] = 5;
    const Loaded unused(spaces.writer().bytes());
    ASSERT_TRUE(unused.tokenizer) << unused.error;
    for (const Tokenizer* t : {&*demo(), &*llama, &*unused})
        for (const std::string& unit : hostile_units()) {
            std::string small, large;
            while (small.size() < 100'000) small += unit;
            while (large.size() < 1'000'000) large += unit;
            const std::int64_t of_small = steps(*t, small), of_large = steps(*t, large);
            // Ten times the text; 12 leaves room for the logarithm.
            EXPECT_LE(of_large, 12 * of_small) << unit;
            EXPECT_LE(of_large, 64 * std::int64_t(large.size())) << unit;
        }
}

}  // namespace
}  // namespace hearth::model
