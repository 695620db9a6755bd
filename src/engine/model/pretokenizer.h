// Pre-tokenizers: how byte-level BPE cuts plain text into words before it merges inside each word.
//
// A rule is a row of stages. The first cuts the text, each later one cuts every piece that the one
// before it left, as if the piece were all there is: nothing looks across a cut. A stage stands for
// one published regular expression: what matches it is a piece, and so is what lies between two
// matches. GPT-2's rule is a single stage whose expression matches everywhere.
//
// Unicode classes are those of regular expressions: letter \p{L}, digit \p{N}, mark \p{P}, space \s
// (White_Space); bytes that are not UTF-8 are in none of them.
//
// Source: the expressions in the tokenizer.json of GPT-2, Llama 3, Qwen2, StarCoder, Falcon and
// DeepSeek LLM; they are written beside each stage in pretokenizer.cc.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

namespace hearth::model {

// Bytes of the first part of a piece: a match at its start, else everything before the next match.
// Requires: the piece is not empty.
using PreStage = std::size_t (*)(std::string_view piece);
inline constexpr std::size_t kPreStagesMax = 6;

struct PreRule {
    const char* name;                            // value of tokenizer.ggml.pre
    std::array<PreStage, kPreStagesMax> stages;  // null behind the last one
    // Not about words, but tied to the name in the same way:
    bool whole_words;  // a word that is a token is taken whole, whatever the merges say
    bool add_bos;      // where the file does not say
};

// All of them; the first is the default.
std::span<const PreRule> pre_rules();
// Null if no rule has that name.
const PreRule* find_pre_rule(std::string_view name);
// The rule for files that name none, or one that we do not know.
const PreRule& default_pre_rule();

// The words of a text, one after the other. Each stage reads a piece at most twice, so the whole
// takes time in proportion to the text.
class WordSplitter {
  public:
    // Requires: the text outlives the splitter.
    WordSplitter(const PreRule& rule, std::string_view text);
    // Empty at the end of the text, and only there.
    std::string_view next();

  private:
    const PreRule& rule_;
    std::string_view text_;
    std::size_t n_stages_ = 0;
    std::size_t at_ = 0;
    // ends_[0] is the text's end, ends_[i + 1] the end of stage i's piece; a falling row.
    std::array<std::size_t, kPreStagesMax + 1> ends_{};
};

}  // namespace hearth::model
