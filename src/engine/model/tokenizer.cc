// What the kinds of tokenizer share: the vocabulary's keys, the tokens that end an answer,
// decoding.
#include "engine/model/tokenizer.h"

#include <algorithm>
#include <cstddef>

#include "base/format.h"
#include "base/suggest.h"
#include "engine/model/limits.h"

namespace hearth::model {
namespace {

// Texts that end an answer in the formats of known models, where they are control tokens. A file
// names one end; a model tuned for chat often has a second one that the file does not name.
constexpr std::string_view kEndTexts[] = {
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|endoftext|>",
    "<|end|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<|eot|>",
    "<|return|>",
    "<|call|>",
    "<|end_of_turn|>",
    "<|END_OF_TURN_TOKEN|>",
    "<EOT>",
    "<eos>",
    "</s>",
    "<｜end▁of▁sentence｜>",
};

}  // namespace

Status Tokenizer::read_vocabulary(const Gguf& gguf) {
    HEARTH_TRY(texts_, gguf.texts("tokenizer.ggml.tokens"));
    if (texts_.empty() || texts_.size() > kVocabMax)
        return fail(ErrorKind::invalid_request,
                    format("key tokenizer.ggml.tokens has {} tokens, expected 1 to {}",
                           texts_.size(), kVocabMax));
    types_.assign(texts_.size(), TokenType::normal);
    if (gguf.find("tokenizer.ggml.token_type")) {
        HEARTH_TRY(const auto types, gguf.integers("tokenizer.ggml.token_type"));
        if (types.size() != texts_.size())
            return fail(ErrorKind::invalid_request,
                        format("key tokenizer.ggml.token_type has {} entries for {} tokens",
                               types.size(), texts_.size()));
        for (std::size_t i = 0; i < types.size(); ++i)
            if (types[i] >= 1 && types[i] <= 6) types_[i] = TokenType(types[i]);
    }
    return read_specials();
}

Status Tokenizer::read_specials() {
    const auto is_special = [&](std::size_t i) {
        const TokenType type = types_[i];
        return type == TokenType::control || type == TokenType::user_defined ||
               type == TokenType::unknown;
    };
    std::size_t n_bytes = 0;
    for (std::size_t i = 0; i < texts_.size(); ++i) {
        if (!is_special(i)) continue;
        if (texts_[i].size() > kSpecialBytesMax)
            return fail(ErrorKind::invalid_request,
                        format("special token {} has {} bytes, the limit is {}", i,
                               texts_[i].size(), kSpecialBytesMax));
        n_bytes += texts_[i].size();
    }
    if (n_bytes > kSpecialBytesAllMax)
        return fail(ErrorKind::invalid_request,
                    format("the special tokens of tokenizer.ggml.tokens have {} bytes together, "
                           "the limit is {}; the file is damaged",
                           n_bytes, kSpecialBytesAllMax));
    for (std::size_t i = 0; i < texts_.size(); ++i)
        if (is_special(i) && !texts_[i].empty())  // an empty one matches nothing
            specials_.add(texts_[i], std::int32_t(i), types_[i] == TokenType::user_defined);
    specials_.finish();
    return {};
}

Result<std::optional<TokenId>> Tokenizer::read_id(const Gguf& gguf, std::string_view key,
                                                  std::optional<std::int64_t> fallback) {
    if (!gguf.find(key)) {
        if (!fallback || *fallback >= n_vocab()) return std::nullopt;
        return TokenId(std::int32_t(*fallback));
    }
    HEARTH_TRY(const auto id, gguf.integer(key, INT64_MIN, INT64_MAX));
    // Some converters write -1 or 2^32 - 1 for "there is none".
    if (id < 0 || id >= n_vocab()) return std::nullopt;
    return TokenId(std::int32_t(id));
}

Status Tokenizer::read_special_ids(const Gguf& gguf, const SpecialDefaults& defaults) {
    HEARTH_TRY(bos_, read_id(gguf, "tokenizer.ggml.bos_token_id", defaults.bos));
    HEARTH_TRY(eos_, read_id(gguf, "tokenizer.ggml.eos_token_id", defaults.eos));
    HEARTH_TRY(unknown_, read_id(gguf, "tokenizer.ggml.unknown_token_id", defaults.unknown));
    // Plain text must not turn into a control token because a file numbers its tokens differently.
    if (unknown_ && !gguf.find("tokenizer.ggml.unknown_token_id") &&
        type(*unknown_) == TokenType::control)
        unknown_.reset();
    HEARTH_TRY(add_bos_, gguf.boolean("tokenizer.ggml.add_bos_token", defaults.add_bos));
    HEARTH_TRY(add_eos_, gguf.boolean("tokenizer.ggml.add_eos_token", false));

    std::vector<TokenId> ends;
    if (eos_) ends.push_back(*eos_);
    for (const char* key : {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
        HEARTH_TRY(const auto id, read_id(gguf, key, std::nullopt));
        if (id) ends.push_back(*id);
    }
    if (gguf.find("tokenizer.ggml.eos_token_ids")) {
        HEARTH_TRY(const auto ids, gguf.integers("tokenizer.ggml.eos_token_ids"));
        for (const std::int64_t id : ids)
            if (id >= 0 && id < n_vocab()) ends.push_back(TokenId(std::int32_t(id)));
    }
    for (std::size_t i = 0; i < texts_.size(); ++i)
        if (types_[i] == TokenType::control &&
            std::find(std::begin(kEndTexts), std::end(kEndTexts), texts_[i]) != std::end(kEndTexts))
            ends.push_back(TokenId(std::int32_t(i)));
    std::sort(ends.begin(), ends.end());
    ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
    ends_ = std::move(ends);
    return {};
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool show_special) const {
    std::string out;
    bool first = true;
    for (const TokenId id : ids) {
        out += piece(id, first, show_special);
        // A BOS in front does not make the next token any less the text's first one.
        if (is_valid(id) && type(id) != TokenType::control) first = false;
    }
    return out;
}

bool Tokenizer::ends_generation(TokenId id) const {
    return std::binary_search(ends_.begin(), ends_.end(), id);
}

Result<std::unique_ptr<Tokenizer>> make_tokenizer(const Gguf& gguf) {
    HEARTH_TRY(const auto name, gguf.text("tokenizer.ggml.model"));
    std::string known;
    for (std::size_t i = 0; i < tokenizer_table_size; ++i) {
        if (name == tokenizer_table[i]->name) return tokenizer_table[i]->make(gguf);
        append_name(known, tokenizer_table[i]->name);
    }
    return fail(
        ErrorKind::invalid_request,
        format("key tokenizer.ggml.model is \"{}\", which is not supported; known kinds: {}",
               shown_name(name), known));
}

}  // namespace hearth::model
