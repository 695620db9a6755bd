// gpt2: byte-level BPE. Every byte has a token, so any text can be encoded and decoded exactly.
//
//   text → special tokens cut out → words (pretokenizer.h) → per word: one symbol per byte, then
//   the neighbours with the lowest merge rank are joined, leftmost first, until none is left
//
// A token's text in the file spells bytes with printable characters: bytes 33..126, 161..172 and
// 174..255 stand for themselves as code points, the other 68 are U+0100 upwards, in order.
//
// Merges are looked up by ids, not texts. The next merge comes from a heap; an entry whose symbols
// have changed since is dropped when it is popped. A piece of n bytes makes at most 3n entries;
// long words are merged in windows (bpe_windows.h), so that time grows with the text even if it is
// all one word.
//
// Control tokens never come out of plain text: they are not merged into, only split off in front.
// Source: Sennrich et al., arXiv:1508.07909; the byte alphabet is GPT-2's.
#include <algorithm>
#include <array>
#include <memory>
#include <span>

#include "base/format.h"
#include "base/utf8.h"
#include "engine/model/bpe_windows.h"
#include "engine/model/pretokenizer.h"
#include "engine/model/text_index.h"
#include "engine/model/tokenizer.h"

namespace hearth::model {
namespace {

constexpr bool spells_itself(int byte) {
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

// The code point that spells each byte.
constexpr std::array<char32_t, 256> make_alphabet() {
    std::array<char32_t, 256> out{};
    char32_t next = 0x100;
    for (int b = 0; b < 256; ++b) out[std::size_t(b)] = spells_itself(b) ? char32_t(b) : next++;
    return out;
}
constexpr auto kAlphabet = make_alphabet();
constexpr char32_t kAlphabetEnd = 0x100 + 68;

// The byte that a code point spells, or -1.
constexpr std::array<std::int16_t, kAlphabetEnd> make_bytes() {
    std::array<std::int16_t, kAlphabetEnd> out{};
    for (auto& b : out) b = -1;
    for (int b = 0; b < 256; ++b) out[kAlphabet[std::size_t(b)]] = std::int16_t(b);
    return out;
}
constexpr auto kBytes = make_bytes();

// What encoding one text needs again and again.
struct Work {
    struct Symbol {
        std::int32_t id = -1;  // -1: merged into its left neighbour, or a byte without a token
        std::int64_t prev = -1, next = -1;
    };
    struct Candidate {
        PairIndex::Merge merge;
        std::int64_t left = 0;
        std::int32_t left_id = 0, right_id = 0;
        // std heaps put the greatest on top: the lowest rank, then the leftmost.
        bool operator<(const Candidate& o) const {
            return merge.rank != o.merge.rank ? merge.rank > o.merge.rank : left > o.left;
        }
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
    BpeWindows windows;
    std::string spelled;  // a word, as the file spells tokens
    std::int64_t n_steps = 0;
};

class Gpt2Tokenizer final : public Tokenizer {
  public:
    static Result<std::unique_ptr<Tokenizer>> make(const Gguf& gguf);
    std::vector<TokenId> encode(std::string_view text, const EncodeOptions&) const override;
    std::string piece(TokenId id, bool first, bool show_special) const override;

  private:
    void read_rule(const Gguf& gguf);
    // May come out of plain text.
    bool is_plain(std::int32_t id) const {
        const TokenType type = types_[std::size_t(id)];
        return type != TokenType::control && type != TokenType::unknown;
    }
    Status read_merges(const Gguf& gguf);
    void index_plain(TextIndex& index);
    std::int32_t result_of(const std::string& joined, std::int32_t last,
                           const TextIndex& index) const;
    void encode_plain(std::string_view text, Work& work, std::vector<TokenId>& out) const;
    void encode_word(std::string_view word, Work& work, std::vector<TokenId>& out) const;
    void merge(std::string_view word, Work& work, std::vector<BpeSymbol>& out) const;
    void consider(Work& work, std::int64_t left) const;

    const PreRule* rule_ = nullptr;
    std::array<std::int32_t, 256> byte_ids_{};  // -1 where the vocabulary lacks the byte
    PairIndex merges_;
    TextIndex words_;  // only with whole_words
};

void Gpt2Tokenizer::read_rule(const Gguf& gguf) {
    const auto name = gguf.text("tokenizer.ggml.pre");
    rule_ = name ? find_pre_rule(*name) : nullptr;
    if (rule_) return;
    rule_ = &default_pre_rule();
    warning_ = name ? format(
                          "unknown pre-tokenizer \"{}\": the {} rule is used, and ids may differ "
                          "from those the model was trained with",
                          utf8_repaired(*name), rule_->name)
                    : format(
                          "the file names no pre-tokenizer: the {} rule is used, and ids may "
                          "differ from those the model was trained with",
                          rule_->name);
}

// One entry of tokenizer.ggml.merges on its way into the index.
struct MergeEntry {
    std::string_view text;
    std::size_t gap = 0;  // of the space between its parts
    std::uint64_t left_hash = 0, right_hash = 0;
    std::int32_t left = -1, right = -1, id = -1;  // -1: no such token
    std::string_view left_text() const { return text.substr(0, gap); }
    std::string_view right_text() const { return text.substr(gap + 1); }
};

// A merge whose parts or result are no plain tokens could never be used and is passed over.
//
// Three lookups for each of some 280,000 merges, in tables that no cache holds, are most of what a
// start takes. So each entry passes three stages, kAhead entries apart: what the next stage will
// read is fetched meanwhile.
Status Gpt2Tokenizer::read_merges(const Gguf& gguf) {
    TextIndex index;
    index_plain(index);
    HEARTH_TRY(const auto merges, gguf.texts("tokenizer.ggml.merges"));
    merges_.reset(merges.size());
    constexpr std::size_t kAhead = 16;
    std::array<MergeEntry, 2 * kAhead> entries;
    std::string joined;
    std::int32_t last = -1;  // result of the merge before; -1: none
    for (std::size_t i = 0; i < merges.size() + 2 * kAhead; ++i) {
        MergeEntry& entry = entries[i % entries.size()];
        if (entry.id >= 0)  // it came in 2 * kAhead ago
            merges_.add(entry.left, entry.right, {std::int32_t(i - 2 * kAhead), entry.id});
        entry = {};
        if (i < merges.size()) {
            entry.text = merges[i];
            entry.gap = entry.text.find(' ', 1);
            if (entry.gap == std::string_view::npos || entry.gap + 1 == entry.text.size())
                return fail(ErrorKind::invalid_request,
                            format("entry {} of tokenizer.ggml.merges is not two texts with a "
                                   "space between them; the file is damaged",
                                   i));
            entry.left_hash = index.ask(entry.left_text());
            entry.right_hash = index.ask(entry.right_text());
        }
        MergeEntry& next = entries[(i + kAhead) % entries.size()];  // came in kAhead ago
        if (next.text.empty()) continue;
        next.left = index.find(next.left_text(), next.left_hash);
        next.right = index.find(next.right_text(), next.right_hash);
        if (next.left < 0 || next.right < 0) continue;
        joined.assign(next.left_text());
        joined += next.right_text();
        next.id = last = result_of(joined, last, index);
        if (next.id >= 0) merges_.ask(next.left, next.right);
    }
    if (rule_->whole_words) words_ = std::move(index);
    return {};
}

void Gpt2Tokenizer::index_plain(TextIndex& index) {
    index.reset(texts_);
    for (std::size_t i = 0; i < texts_.size(); ++i)
        if (is_plain(std::int32_t(i))) index.add(std::int32_t(i));
    for (int b = 0; b < 256; ++b) {
        std::string spelled;
        append_utf8(spelled, kAlphabet[std::size_t(b)]);
        byte_ids_[std::size_t(b)] = index.find(spelled);
    }
}

// Vocabularies list the results of merges in the merges' order, nearly always.
std::int32_t Gpt2Tokenizer::result_of(const std::string& joined, std::int32_t last,
                                      const TextIndex& index) const {
    const std::int32_t next = last + 1;
    const bool in_order =
        std::size_t(next) < texts_.size() && is_plain(next) && texts_[std::size_t(next)] == joined;
    return in_order ? next : index.find(joined);
}

Result<std::unique_ptr<Tokenizer>> Gpt2Tokenizer::make(const Gguf& gguf) {
    auto out = std::make_unique<Gpt2Tokenizer>();
    out->read_rule(gguf);
    HEARTH_CHECK_OK(out->read_vocabulary(gguf));
    HEARTH_CHECK_OK(out->read_merges(gguf));
    SpecialDefaults defaults;
    defaults.add_bos = out->rule_->add_bos;
    HEARTH_CHECK_OK(out->read_special_ids(gguf, defaults));
    return out;
}

// Puts the pair of a symbol and its right neighbour on the heap, if it merges.
void Gpt2Tokenizer::consider(Work& work, std::int64_t left) const {
    if (left < 0) return;
    const Work::Symbol& l = work.symbols[std::size_t(left)];
    if (l.next < 0) return;
    const std::int32_t right_id = work.symbols[std::size_t(l.next)].id;
    const auto merge = merges_.find(l.id, right_id);
    ++work.n_steps;
    if (merge.rank < 0) return;
    work.heap.push_back({merge, left, l.id, right_id});
    std::push_heap(work.heap.begin(), work.heap.end());
}

void Gpt2Tokenizer::encode_word(std::string_view word, Work& work,
                                std::vector<TokenId>& out) const {
    const auto n_before = std::ptrdiff_t(out.size());
    merge_in_windows(
        word, work.windows,
        [&](std::string_view piece, std::vector<BpeSymbol>& symbols) {
            merge(piece, work, symbols);
        },
        [&](std::span<const BpeSymbol> symbols) {
            for (const BpeSymbol& symbol : symbols) {
                if (symbol.id >= 0)
                    out.push_back(TokenId(symbol.id));
                else if (unknown_)
                    out.push_back(*unknown_);
            }
        },
        [&] { out.erase(out.begin() + n_before, out.end()); });
}

void Gpt2Tokenizer::merge(std::string_view word, Work& work, std::vector<BpeSymbol>& out) const {
    auto& symbols = work.symbols;
    const auto n = std::int64_t(word.size());
    symbols.resize(word.size());
    for (std::int64_t i = 0; i < n; ++i)
        symbols[std::size_t(i)] = {byte_ids_[static_cast<unsigned char>(word[std::size_t(i)])],
                                   i - 1, i + 1 < n ? i + 1 : -1};
    work.heap.clear();
    for (std::int64_t i = 0; i + 1 < n; ++i) consider(work, i);
    while (!work.heap.empty()) {
        std::pop_heap(work.heap.begin(), work.heap.end());
        const Work::Candidate c = work.heap.back();
        work.heap.pop_back();
        ++work.n_steps;
        Work::Symbol& left = symbols[std::size_t(c.left)];
        if (left.id != c.left_id || left.next < 0) continue;
        Work::Symbol& right = symbols[std::size_t(left.next)];
        if (right.id != c.right_id) continue;
        left.id = c.merge.id;
        left.next = right.next;
        right.id = -1;
        if (left.next >= 0) symbols[std::size_t(left.next)].prev = c.left;
        consider(work, left.prev);
        consider(work, c.left);
    }
    for (std::int64_t i = 0; i >= 0; i = symbols[std::size_t(i)].next) {
        const Work::Symbol& symbol = symbols[std::size_t(i)];
        out.push_back({std::uint32_t((symbol.next < 0 ? n : symbol.next) - i), symbol.id});
    }
}

void Gpt2Tokenizer::encode_plain(std::string_view text, Work& work,
                                 std::vector<TokenId>& out) const {
    WordSplitter words(*rule_, text);
    for (std::string_view word; !(word = words.next()).empty();) {
        work.n_steps += std::int64_t(word.size());
        if (rule_->whole_words && word.size() <= words_.longest()) {
            std::string& spelled = work.spelled;
            spelled.clear();
            for (const char c : word)
                append_utf8(spelled, kAlphabet[static_cast<unsigned char>(c)]);
            if (const std::int32_t id = words_.find(spelled); id >= 0) {
                out.push_back(TokenId(id));
                continue;
            }
        }
        encode_word(word, work, out);
    }
}

std::vector<TokenId> Gpt2Tokenizer::encode(std::string_view text,
                                           const EncodeOptions& options) const {
    std::vector<TokenId> out;
    // A token has a byte at least, beside BOS and EOS. Pages that no token reaches are never
    // touched, while a vector that grew would be copied, to memory that is new each time.
    out.reserve(text.size() + 2);
    Work work;
    if (options.add_special && add_bos_ && bos_) out.push_back(*bos_);
    SpecialSplit::Parts parts(specials_, text, options.parse_special, &work.n_steps);
    for (SpecialSplit::Part part; parts.next(part);) {
        if (part.token >= 0)
            out.push_back(TokenId(part.token));
        else
            encode_plain(part.text, work, out);
    }
    if (options.add_special && add_eos_ && eos_) out.push_back(*eos_);
    if (options.n_steps) *options.n_steps += work.n_steps;
    return out;
}

std::string Gpt2Tokenizer::piece(TokenId id, bool, bool show_special) const {
    if (!is_valid(id)) return {};
    const std::string_view spelled = text(id);
    if (type(id) == TokenType::control || type(id) == TokenType::unknown)
        return show_special ? std::string(spelled) : std::string();
    if (type(id) == TokenType::user_defined) return std::string(spelled);
    std::string out;
    for (std::size_t at = 0; at < spelled.size();) {
        if (utf8_sequence_length(spelled.substr(at)) == 0) {  // a damaged vocabulary
            out += spelled[at++];
            continue;
        }
        const std::size_t begin = at;
        const char32_t c = utf8_next(spelled, at);
        if (c < kAlphabetEnd && kBytes[c] >= 0)
            out += char(kBytes[c]);
        else
            out += spelled.substr(begin, at - begin);
    }
    return out;
}

}  // namespace

extern const TokenizerKind tokenizer_gpt2;
const TokenizerKind tokenizer_gpt2 = {"gpt2", &Gpt2Tokenizer::make};

}  // namespace hearth::model
