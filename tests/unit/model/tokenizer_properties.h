// Properties of tokenizers that hold for any vocabulary and any text: what the fuzzer and a unit
// test feed with bytes.
//
//   byte 0     which tokenizer: one of the pre-tokenizers, or SentencePiece with or without a space
//              in front
//   byte 1     how many tokens follow (modulo 16), two bytes each: each joins two tokens known so
//   far the rest   the text
//
// Checked: words are the text, cut and in order; ids are inside the vocabulary; no control and no
// unused token comes out of plain text; decoding gives the text back, always for byte-level BPE,
// and for SentencePiece where the text has no U+2581; the work is bounded by the text's length.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/format.h"
#include "base/utf8.h"
#include "engine/model/gguf.h"
#include "engine/model/pretokenizer.h"
#include "engine/model/tokenizer.h"

namespace hearth::test {

inline constexpr std::string_view kSpaceMark = "\xe2\x96\x81";  // U+2581

inline std::string little_endian(std::uint64_t v, int n) {
    std::string out;
    for (int i = 0; i < n; ++i) out += char(v >> (8 * i));
    return out;
}
inline std::string gguf_text(std::string_view s) {
    return little_endian(s.size(), 8) + std::string(s);
}
inline std::string gguf_array(const char* key, unsigned type, std::size_t n) {
    return gguf_text(key) + little_endian(9, 4) + little_endian(type, 4) + little_endian(n, 8);
}
inline std::string gguf_texts(const char* key, const std::vector<std::string>& v) {
    std::string out = gguf_array(key, 8, v.size());
    for (const auto& s : v) out += gguf_text(s);
    return out;
}

// A vocabulary as it grows from the input's bytes.
struct AnyVocabulary {
    bool sentencepiece = false, space_prefix = false;
    const char* pre = "";
    std::vector<std::string> tokens, merges;
    std::vector<unsigned> types;
    std::size_t n_fixed = 0;  // tokens before these are not joined

    void add(std::string text, unsigned type) {
        tokens.push_back(std::move(text));
        types.push_back(type);
    }
    void start() {
        add("<s>", 3);
        add("<e>", 3);
        add("<tool>", 4);
        if (sentencepiece) {
            for (unsigned b = 0; b < 256; ++b) {
                constexpr const char* kDigits = "0123456789ABCDEF";
                add(std::string("<0x") + kDigits[b / 16] + kDigits[b % 16] + ">", 6);
            }
            n_fixed = tokens.size();
            for (const char* s : {"\xe2\x96\x81", "a", "b", "c", "1", "\xc3\xa9", "\xe4\xb8\xad"})
                add(s, 1);
            return;
        }
        n_fixed = tokens.size();
        char32_t next = 0x100;  // the printable spelling of all bytes, in order
        for (unsigned b = 0; b < 256; ++b) {
            const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
            std::string text;
            append_utf8(text, printable ? char32_t(b) : next++);
            add(text, 1);
        }
    }
    // Two tokens become one more; a quarter of SentencePiece's is unused.
    void join(unsigned char left, unsigned char right) {
        const std::size_t n = tokens.size() - n_fixed;
        const std::string a = tokens[n_fixed + left % n], b = tokens[n_fixed + right % n];
        if (a.size() + b.size() > 512) return;
        merges.push_back(a + " " + b);
        add(a + b, sentencepiece && (left ^ right) % 4 == 0 ? 5 : 1);
    }
    std::string file() const {
        std::string out = "GGUF" + little_endian(3, 4) + little_endian(0, 8) + little_endian(5, 8);
        out += gguf_text("tokenizer.ggml.model") + little_endian(8, 4);
        out += gguf_text(sentencepiece ? "llama" : "gpt2");
        out += gguf_texts("tokenizer.ggml.tokens", tokens);
        out += gguf_array("tokenizer.ggml.token_type", 5, types.size());
        for (const unsigned type : types) out += little_endian(type, 4);
        if (sentencepiece) {
            out += gguf_text("tokenizer.ggml.add_space_prefix") + little_endian(7, 4);
            out += char(space_prefix);
            // Scores that fall in pairs, so that there are ties: small whole numbers as f32.
            out += gguf_array("tokenizer.ggml.scores", 6, tokens.size());
            for (std::size_t i = 0; i < tokens.size(); ++i) {
                const float score = -float(i / 2);
                out.append(reinterpret_cast<const char*>(&score), sizeof score);
            }
        } else {
            out += gguf_text("tokenizer.ggml.pre") + little_endian(8, 4) + gguf_text(pre);
            out += gguf_texts("tokenizer.ggml.merges", merges);
        }
        return out;
    }
};

inline std::size_t n_tokenizer_choices() {
    return model::pre_rules().size() + 2;
}

// Empty, or what went wrong.
inline std::string check_words(const model::PreRule& rule, std::string_view text) {
    model::WordSplitter words(rule, text);
    std::size_t at = 0;
    for (std::string_view word; !(word = words.next()).empty(); at += word.size())
        if (word.data() != text.data() + at) return format("{}: a word is out of place", rule.name);
    return at == text.size() ? "" : format("{}: the words end at byte {}", rule.name, at);
}

inline std::string check_text(const model::Tokenizer& t, const AnyVocabulary& v,
                              std::string_view text) {
    using model::TokenType;
    for (const bool special : {false, true}) {
        std::int64_t n_steps = 0;
        const auto ids =
            t.encode(text, {.add_special = special, .parse_special = special, .n_steps = &n_steps});
        for (const TokenId id : ids) {
            if (!t.is_valid(id)) return format("id {} is beyond the vocabulary", id.value);
            if (!special && t.type(id) == TokenType::control)
                return format("control token {} out of plain text", id.value);
            if (t.type(id) == TokenType::unused) return format("token {} is unused", id.value);
        }
        // Joins are looked at once for each of two neighbours, and popped once; an unused piece is
        // merged twice. The special texts here have at most 6 bytes.
        if (n_steps > 64 * std::int64_t(text.size() + 16))
            return format("{} steps for {} bytes", n_steps, text.size());
        // With control tokens asked for, SentencePiece puts spaces behind them.
        if (v.sentencepiece && (special || text.find(kSpaceMark) != std::string_view::npos))
            continue;
        if (t.decode(ids, true) != text) return "the text does not come back";
    }
    return "";
}

inline std::string check_tokenizer(std::span<const std::uint8_t> bytes) {
    if (bytes.size() < 2) return "";
    AnyVocabulary v;
    const auto rules = model::pre_rules();
    const std::size_t choice = bytes[0] % n_tokenizer_choices();
    v.sentencepiece = choice >= rules.size();
    v.space_prefix = choice == rules.size();
    if (!v.sentencepiece) v.pre = rules[choice].name;
    v.start();
    const std::size_t n = bytes[1] % 16;
    bytes = bytes.subspan(2);
    for (std::size_t i = 0; i < n && bytes.size() >= 2; ++i, bytes = bytes.subspan(2))
        v.join(bytes[0], bytes[1]);
    const std::string file = v.file();
    const auto gguf = model::Gguf::parse(std::as_bytes(std::span(file)));
    if (!gguf) return gguf.error().message;
    const auto t = model::make_tokenizer(*gguf);
    if (!t) return t.error().message;
    if (!(*t)->warning().empty()) return (*t)->warning();
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (!v.sentencepiece)
        if (std::string wrong = check_words(rules[choice], text); !wrong.empty()) return wrong;
    std::string wrong = check_text(**t, v, text);
    return wrong.empty() ? wrong : format("{}: {}", v.sentencepiece ? "llama" : v.pre, wrong);
}

}  // namespace hearth::test
