// Any text through both kinds of tokenizer. The vocabulary is part of the input too: its first byte
// says how many of the following short strings are tokens; the rest is the text.
//
// Byte-level BPE must give back every text; no id may be outside the vocabulary; without
// parse_special no control token may appear.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model/gguf.h"
#include "engine/model/tokenizer.h"

namespace {

using namespace hearth::model;

std::string le(std::uint64_t v, int n) {
    std::string out;
    for (int i = 0; i < n; ++i) out += char(v >> (8 * i));
    return out;
}
std::string text_of(std::string_view s) {
    return le(s.size(), 8) + std::string(s);
}
std::string texts_of(const std::string& key, const std::vector<std::string>& v) {
    std::string out = text_of(key) + le(9, 4) + le(8, 4) + le(v.size(), 8);
    for (const auto& s : v) out += text_of(s);
    return out;
}
void append_code_point(std::string& out, unsigned c) {
    if (c < 0x80) {
        out += char(c);
    } else {
        out += char(0xc0 | (c >> 6));
        out += char(0x80 | (c & 0x3f));
    }
}

// The printable spelling of all bytes, in order.
std::vector<std::string> alphabet() {
    std::vector<std::string> out;
    unsigned next = 0x100;
    for (unsigned b = 0; b < 256; ++b) {
        const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        append_code_point(out.emplace_back(), printable ? b : next++);
    }
    return out;
}

void check(const std::string& kind, const std::vector<std::string>& tokens,
           const std::vector<std::string>& merges, std::string_view text) {
    std::string types =
        text_of("tokenizer.ggml.token_type") + le(9, 4) + le(5, 4) + le(tokens.size(), 8);
    // The first two are control tokens, the third is user-defined.
    for (std::size_t i = 0; i < tokens.size(); ++i) types += le(i < 2 ? 3 : i == 2 ? 4 : 1, 4);
    const std::string file = "GGUF" + le(3, 4) + le(0, 8) + le(5, 8) +
                             text_of("tokenizer.ggml.model") + le(8, 4) + text_of(kind) +
                             text_of("tokenizer.ggml.pre") + le(8, 4) + text_of("qwen2") +
                             texts_of("tokenizer.ggml.tokens", tokens) +
                             texts_of("tokenizer.ggml.merges", merges) + types;
    const auto gguf = Gguf::parse({reinterpret_cast<const std::byte*>(file.data()), file.size()});
    if (!gguf) std::abort();
    const auto tokenizer = make_tokenizer(*gguf);
    if (!tokenizer) return;  // merges without a space between two texts
    for (const bool special : {false, true}) {
        const auto ids =
            (*tokenizer)->encode(text, {.add_special = special, .parse_special = special});
        for (const auto id : ids) {
            if (!(*tokenizer)->is_valid(id)) std::abort();
            if (!special && (*tokenizer)->type(id) == TokenType::control) std::abort();
        }
        if (kind == "gpt2" && (*tokenizer)->decode(ids, true) != text) std::abort();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::string_view in(reinterpret_cast<const char*>(data), size);
    if (in.empty()) return 0;
    std::vector<std::string> tokens = {"<s>", "<e>", "<tool>"}, merges;
    for (const auto& s : alphabet()) tokens.push_back(s);
    const std::size_t n = static_cast<unsigned char>(in[0]) % 16;
    in.remove_prefix(1);
    for (std::size_t i = 0; i < n && in.size() >= 2; ++i) {
        // Two tokens known so far become one more, with a merge.
        const auto& a = tokens[3 + static_cast<unsigned char>(in[0]) % (tokens.size() - 3)];
        const auto& b = tokens[3 + static_cast<unsigned char>(in[1]) % (tokens.size() - 3)];
        merges.push_back(a + " " + b);
        tokens.push_back(a + b);
        in.remove_prefix(2);
    }
    check("gpt2", tokens, merges, in);
    check("llama", tokens, merges, in);
    return 0;
}
