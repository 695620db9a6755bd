// llama: BPE as SentencePiece does it. Pieces have scores instead of ranks; the neighbours whose
// join is the piece with the highest score are joined, leftmost first, until no join is a piece.
//
//   text → special tokens cut out → a space in front, if the file says so → ' ' becomes U+2581
//        → one symbol per character → joins → ids; what is no piece becomes byte tokens <0xHH>
//
// Joins are looked up by text. Symbols stay contiguous in the escaped text, so a join is a longer
// view of it and nothing is copied; a join longer than the longest piece is not looked up. The heap
// and the windows work as in gpt2.cc: at most 3n entries for n characters, stale ones dropped.
//
// Control, unknown and byte tokens are not pieces: plain text cannot spell them. Unused pieces take
// part in joins, so that longer ones can be reached through them, but are never produced: one that
// is left at the end is taken apart again, join by join, down to pieces that are in use. A single
// character that is unused is treated as if it were no piece.
//
// Source: SentencePiece, arXiv:1808.06226, and its model format (scores, types, dummy prefix).
#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <span>

#include "base/format.h"
#include "base/utf8.h"
#include "engine/model/bpe_windows.h"
#include "engine/model/text_index.h"
#include "engine/model/tokenizer.h"

namespace hearth::model {
namespace {

constexpr std::string_view kSpaceMark = "\xe2\x96\x81";  // U+2581

struct Work {
    struct Symbol {
        std::size_t at = 0, n_bytes = 0;  // place in the escaped text; 0 bytes: joined to its left
        std::int32_t id = -1;
        std::int64_t prev = -1, next = -1;
    };
    struct Candidate {
        float score = 0;
        std::int32_t id = -1;
        std::int64_t left = 0;
        std::size_t n_bytes = 0;  // of both together; anything else means that one has changed
        // std heaps put the greatest on top: the highest score, then the leftmost.
        bool operator<(const Candidate& o) const {
            return score != o.score ? score < o.score : left > o.left;
        }
    };
    std::string text;        // escaped
    std::string_view piece;  // the window of it that is merged
    BpeWindows windows;
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
    std::int64_t n_steps = 0;
    // For taking an unused piece apart.
    struct Join {
        std::size_t at = 0, left_bytes = 0, n_bytes = 0;
        std::int32_t id = -1;
    };
    std::vector<Join>* joins = nullptr;  // if set, merging notes its joins here
    std::vector<Join> joins_of_piece;
    std::vector<BpeSymbol> piece_alone;
    std::vector<std::size_t> part_bytes;  // of the part that begins at a byte, or 0
};

// The byte of a token's text <0xHH>, or -1.
int byte_of(std::string_view text) {
    if (text.size() != 6 || text.substr(0, 3) != "<0x" || text[5] != '>') return -1;
    int value = 0;
    for (const char c : text.substr(3, 2)) {
        const bool digit = c >= '0' && c <= '9';
        if (!digit && (c < 'A' || c > 'F') && (c < 'a' || c > 'f')) return -1;
        value = value * 16 + (digit ? c - '0' : (c | 32) - 'a' + 10);
    }
    return value;
}

class LlamaTokenizer final : public Tokenizer {
  public:
    static Result<std::unique_ptr<Tokenizer>> make(const Gguf& gguf);
    std::vector<TokenId> encode(std::string_view text, const EncodeOptions&) const override;
    std::string piece(TokenId id, bool first, bool show_special) const override;

  private:
    Status read_scores(const Gguf& gguf);
    void index_pieces();
    void encode_plain(Work& work, std::vector<TokenId>& out) const;
    void merge(std::string_view piece, Work& work, std::vector<BpeSymbol>& out) const;
    void consider(Work& work, std::int64_t left) const;
    void emit(std::string_view bytes, std::int32_t id, Work& work, std::vector<TokenId>& out) const;
    void emit_bytes(std::string_view bytes, std::vector<TokenId>& out) const;
    void emit_parts(std::string_view piece, Work& work, std::vector<TokenId>& out) const;
    bool is_unused(std::int32_t id) const { return types_[std::size_t(id)] == TokenType::unused; }

    std::vector<float> scores_;
    TextIndex pieces_;
    std::array<std::int32_t, 256> byte_ids_{};  // -1 where the vocabulary lacks the byte
    bool space_prefix_ = true;
};

Status LlamaTokenizer::read_scores(const Gguf& gguf) {
    if (!gguf.find("tokenizer.ggml.scores")) {
        scores_.assign(texts_.size(), 0.0f);
        return {};
    }
    HEARTH_TRY(scores_, gguf.numbers("tokenizer.ggml.scores"));
    if (scores_.size() != texts_.size())
        return fail(ErrorKind::invalid_request,
                    format("key tokenizer.ggml.scores has {} entries for {} tokens", scores_.size(),
                           texts_.size()));
    for (std::size_t i = 0; i < scores_.size(); ++i)
        if (std::isnan(scores_[i]))
            return fail(ErrorKind::invalid_request,
                        format("entry {} of tokenizer.ggml.scores is not a number; the file is "
                               "damaged",
                               i));
    return {};
}

void LlamaTokenizer::index_pieces() {
    pieces_.reset(texts_);
    byte_ids_.fill(-1);
    for (std::size_t i = 0; i < texts_.size(); ++i) {
        const int byte = types_[i] == TokenType::byte ? byte_of(texts_[i]) : -1;
        if (byte >= 0) byte_ids_[std::size_t(byte)] = std::int32_t(i);
        if (types_[i] == TokenType::normal || types_[i] == TokenType::user_defined ||
            types_[i] == TokenType::unused)
            pieces_.add(std::int32_t(i));
    }
}

Result<std::unique_ptr<Tokenizer>> LlamaTokenizer::make(const Gguf& gguf) {
    auto out = std::make_unique<LlamaTokenizer>();
    HEARTH_CHECK_OK(out->read_vocabulary(gguf));
    HEARTH_CHECK_OK(out->read_scores(gguf));
    // SentencePiece's own defaults: <unk> 0, <s> 1, </s> 2, a BOS in front.
    HEARTH_CHECK_OK(
        out->read_special_ids(gguf, {.bos = 1, .eos = 2, .unknown = 0, .add_bos = true}));
    HEARTH_TRY(out->space_prefix_, gguf.boolean("tokenizer.ggml.add_space_prefix", true));
    out->index_pieces();
    return out;
}

// Puts the join of a symbol and its right neighbour on the heap, if it is a piece.
void LlamaTokenizer::consider(Work& work, std::int64_t left) const {
    if (left < 0) return;
    const Work::Symbol& l = work.symbols[std::size_t(left)];
    if (l.next < 0) return;
    const std::size_t n_bytes = l.n_bytes + work.symbols[std::size_t(l.next)].n_bytes;
    ++work.n_steps;
    if (n_bytes > pieces_.longest()) return;
    const std::int32_t id = pieces_.find(work.piece.substr(l.at, n_bytes));
    if (id < 0) return;
    work.heap.push_back({scores_[std::size_t(id)], id, left, n_bytes});
    std::push_heap(work.heap.begin(), work.heap.end());
}

void LlamaTokenizer::emit(std::string_view bytes, std::int32_t id, Work& work,
                          std::vector<TokenId>& out) const {
    if (id < 0)
        emit_bytes(bytes, out);
    else if (is_unused(id))
        emit_parts(bytes, work, out);
    else
        out.push_back(TokenId(id));
}

// A symbol that is no piece: its bytes' tokens; a byte without one is unknown.
void LlamaTokenizer::emit_bytes(std::string_view bytes, std::vector<TokenId>& out) const {
    bool unknown = false;
    for (const char c : bytes) {
        const std::int32_t byte = byte_ids_[static_cast<unsigned char>(c)];
        if (byte >= 0)
            out.push_back(TokenId(byte));
        else
            unknown = true;
    }
    if (unknown && unknown_) out.push_back(*unknown_);  // once for the character
}

// An unused piece: its joins undone, the last one first, wherever they made an unused piece. Merged
// alone it is joined just as it was in the text: nothing from outside had reached into it.
void LlamaTokenizer::emit_parts(std::string_view piece, Work& work,
                                std::vector<TokenId>& out) const {
    work.joins_of_piece.clear();
    work.piece_alone.clear();
    work.joins = &work.joins_of_piece;
    merge(piece, work, work.piece_alone);
    work.joins = nullptr;
    auto& bytes = work.part_bytes;
    bytes.assign(piece.size(), 0);
    bytes[0] = piece.size();
    for (std::size_t i = work.joins_of_piece.size(); i-- > 0;) {
        const Work::Join& join = work.joins_of_piece[i];
        if (bytes[join.at] != join.n_bytes || !is_unused(join.id)) continue;
        bytes[join.at] = join.left_bytes;
        bytes[join.at + join.left_bytes] = join.n_bytes - join.left_bytes;
    }
    work.n_steps += std::int64_t(piece.size());
    for (std::size_t at = 0; at < piece.size(); at += bytes[at]) {
        const std::string_view part = piece.substr(at, bytes[at]);
        const std::int32_t id = pieces_.find(part);
        if (id >= 0 && !is_unused(id))
            out.push_back(TokenId(id));
        else
            emit_bytes(part, out);
    }
}

void LlamaTokenizer::encode_plain(Work& work, std::vector<TokenId>& out) const {
    const auto n_before = std::ptrdiff_t(out.size());
    std::string_view text = work.text;
    merge_in_windows(
        work.text, work.windows,
        [&](std::string_view piece, std::vector<BpeSymbol>& symbols) {
            merge(piece, work, symbols);
        },
        [&](std::span<const BpeSymbol> symbols) {
            for (const BpeSymbol& symbol : symbols) {
                emit(text.substr(0, symbol.n_bytes), symbol.id, work, out);
                text.remove_prefix(symbol.n_bytes);
            }
        },
        [&] {
            out.erase(out.begin() + n_before, out.end());
            text = work.text;
        });
}

void LlamaTokenizer::merge(std::string_view text, Work& work, std::vector<BpeSymbol>& out) const {
    work.piece = text;
    auto& symbols = work.symbols;
    symbols.clear();
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t n = std::max<std::size_t>(1, utf8_sequence_length(text.substr(at)));
        const auto index = std::int64_t(symbols.size());
        symbols.push_back({at, n, pieces_.find(text.substr(at, n)), index - 1, index + 1});
        at += n;
    }
    if (symbols.empty()) return;
    symbols.back().next = -1;
    work.heap.clear();
    for (std::size_t i = 0; i < symbols.size(); ++i) consider(work, std::int64_t(i));
    while (!work.heap.empty()) {
        std::pop_heap(work.heap.begin(), work.heap.end());
        const Work::Candidate c = work.heap.back();
        work.heap.pop_back();
        ++work.n_steps;
        Work::Symbol& left = symbols[std::size_t(c.left)];
        if (left.n_bytes == 0 || left.next < 0) continue;
        Work::Symbol& right = symbols[std::size_t(left.next)];
        if (left.n_bytes + right.n_bytes != c.n_bytes) continue;
        if (work.joins) work.joins->push_back({left.at, left.n_bytes, c.n_bytes, c.id});
        left.n_bytes = c.n_bytes;
        left.id = c.id;
        left.next = right.next;
        right.n_bytes = 0;
        if (left.next >= 0) symbols[std::size_t(left.next)].prev = c.left;
        consider(work, left.prev);
        consider(work, c.left);
    }
    for (std::int64_t i = 0; i >= 0; i = symbols[std::size_t(i)].next) {
        const Work::Symbol& s = symbols[std::size_t(i)];
        out.push_back({std::uint32_t(s.n_bytes), s.id});
    }
}

std::vector<TokenId> LlamaTokenizer::encode(std::string_view text,
                                            const EncodeOptions& options) const {
    std::vector<TokenId> out;
    // A token has a byte at least, save for spaces that are no piece. Pages that no token reaches
    // are never touched, while a vector that grew would be copied, to memory that is new each time.
    out.reserve(text.size() + 3);
    Work work;
    if (options.add_special && add_bos_ && bos_) out.push_back(*bos_);
    // The space in front belongs to the start of the text, and to text behind a control token. A
    // user-defined token is part of the text: a space behind it would come back when it is decoded.
    bool in_front = true;
    SpecialSplit::Parts parts(specials_, text, options.parse_special, &work.n_steps);
    for (SpecialSplit::Part part; parts.next(part);) {
        if (part.token >= 0) {
            out.push_back(TokenId(part.token));
            in_front = type(TokenId(part.token)) != TokenType::user_defined;
            continue;
        }
        const auto n_spaces = std::size_t(std::count(part.text.begin(), part.text.end(), ' ')) + 1;
        work.text.clear();
        work.text.reserve(part.text.size() + n_spaces * kSpaceMark.size());
        if (space_prefix_ && in_front) work.text += kSpaceMark;
        for (const char c : part.text) {
            if (c == ' ')
                work.text += kSpaceMark;
            else
                work.text += c;
        }
        work.n_steps += std::int64_t(work.text.size());
        encode_plain(work, out);
        in_front = false;
    }
    if (options.add_special && add_eos_ && eos_) out.push_back(*eos_);
    if (options.n_steps) *options.n_steps += work.n_steps;
    return out;
}

std::string LlamaTokenizer::piece(TokenId id, bool first, bool show_special) const {
    if (!is_valid(id)) return {};
    const std::string_view spelled = text(id);
    switch (type(id)) {
        case TokenType::control:
        case TokenType::unknown:
            return show_special ? std::string(spelled) : std::string();
        case TokenType::user_defined:
            return std::string(spelled);
        case TokenType::byte:
            if (const int byte = byte_of(spelled); byte >= 0) return std::string(1, char(byte));
            break;
        default:
            break;
    }
    std::string out;
    for (std::size_t at = 0; at < spelled.size();) {
        if (spelled.substr(at, kSpaceMark.size()) == kSpaceMark) {
            if (!(first && space_prefix_ && at == 0)) out += ' ';
            at += kSpaceMark.size();
        } else {
            out += spelled[at++];
        }
    }
    return out;
}

}  // namespace

extern const TokenizerKind tokenizer_llama;
const TokenizerKind tokenizer_llama = {"llama", &LlamaTokenizer::make};

}  // namespace hearth::model
