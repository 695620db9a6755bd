// Tokenizer: text ↔ token ids, built from a GGUF file's tokenizer.* keys alone (no tensors needed).
//
// A kind is one file of engine/model/tokenizer and exports `tokenizer_<stem>`. Immutable after
// construction; any thread.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "engine/model/gguf.h"
#include "engine/model/special_split.h"

namespace hearth::model {

enum class TokenType : std::uint8_t {
    normal = 1,
    unknown = 2,
    control = 3,
    user_defined = 4,
    unused = 5,
    byte = 6
};

struct EncodeOptions {
    bool add_special = true;    // BOS/EOS as the file says
    bool parse_special = true;  // texts of control tokens become those tokens
    // If given, the steps of work are added here: what tests of the time bound count.
    std::int64_t* n_steps = nullptr;
};

class Tokenizer {
  public:
    virtual ~Tokenizer() = default;

    // text may hold any bytes; those that are not UTF-8 are encoded as bytes where the kind has
    // byte tokens, else as the unknown token. Time grows with n log n, whatever the text.
    virtual std::vector<TokenId> encode(std::string_view text, const EncodeOptions&) const = 0;

    // The bytes that a token adds to the text (may cut a code point). Control tokens give "" unless
    // show_special. first: it is the first token of the text (SentencePiece drops a leading space).
    // An id beyond the vocabulary gives "".
    virtual std::string piece(TokenId id, bool first, bool show_special = false) const = 0;

    std::string decode(std::span<const TokenId> ids, bool show_special = false) const;

    std::int64_t n_vocab() const { return std::int64_t(texts_.size()); }
    bool is_valid(TokenId id) const { return id.value >= 0 && id.value < n_vocab(); }
    // As in the file. Requires, here and for type(): is_valid(id).
    std::string_view text(TokenId id) const { return texts_[std::size_t(id.value)]; }
    TokenType type(TokenId id) const { return types_[std::size_t(id.value)]; }
    std::optional<TokenId> bos() const { return bos_; }
    std::optional<TokenId> eos() const { return eos_; }
    bool ends_generation(TokenId id) const;  // EOS, EOT, EOM and what the file lists
    const std::vector<TokenId>& end_tokens() const { return ends_; }
    // Non-empty if the file named a pre-tokenizer we do not know and the gpt-2 rule is used.
    const std::string& warning() const { return warning_; }

  protected:
    // What a kind assumes where the file does not say.
    struct SpecialDefaults {
        std::optional<std::int64_t> bos, eos, unknown;
        bool add_bos = false;
    };
    // Fills texts_, types_ and specials_. Errors: not_found or invalid_request, naming the key.
    Status read_vocabulary(const Gguf& gguf);
    // Fills the ids, ends_, add_bos_ and add_eos_. Requires: read_vocabulary().
    Status read_special_ids(const Gguf& gguf, const SpecialDefaults& defaults);

    std::vector<std::string_view> texts_;  // into the file's bytes
    std::vector<TokenType> types_;
    std::optional<TokenId> bos_, eos_, unknown_;
    std::vector<TokenId> ends_;
    bool add_bos_ = false, add_eos_ = false;
    std::string warning_;
    SpecialSplit specials_;  // control, unknown and user-defined tokens

  private:
    Status read_specials();
    Result<std::optional<TokenId>> read_id(const Gguf& gguf, std::string_view key,
                                           std::optional<std::int64_t> fallback);
};

struct TokenizerKind {
    const char* name;  // value of tokenizer.ggml.model: "llama", "gpt2"
    Result<std::unique_ptr<Tokenizer>> (*make)(const Gguf&);
};
extern const TokenizerKind* const tokenizer_table[];
extern const std::size_t tokenizer_table_size;

// Errors: not_found without tokenizer.ggml.model; invalid_request for an unknown kind or bad keys.
// Requires: the bytes behind gguf outlive the tokenizer.
Result<std::unique_ptr<Tokenizer>> make_tokenizer(const Gguf& gguf);

}  // namespace hearth::model
