// Pre-tokenizers: how byte-level BPE cuts plain text into words before it merges inside each word.
//
// The known ones are all one expression with a few parts exchanged, so each is a row of data:
//
//   contraction | lead? letter+ | ' '? digit{1,n} | ' '? other+ newline* | space* newline+
//               | space+ (not before a non-space) | space+
//
// A rule that does not fit becomes a function beside next_word(). Unicode classes are those of
// regular expressions: letter \p{L}, digit \p{N}, space \s; bytes that are not UTF-8 count as
// other. Source: the expressions published with GPT-2, Llama 3 and Qwen2 (their tokenizer.json).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace hearth::model {

struct PreRule {
    const char* name;  // value of tokenizer.ggml.pre
    enum class Contraction : std::uint8_t { exact_case, any_case } contraction;
    // What may stand before a word's letters: a space, or any character but a newline, letter,
    // digit.
    enum class Lead : std::uint8_t { space, any_mark } lead;
    std::int32_t n_digits_max;  // 0: no bound
    bool space_before_digits;   // " 12" is one word
    bool newlines_join;         // newlines stay with the mark or the spaces before them
    // Not about words, but tied to the name in the same way:
    bool whole_words;  // a word that is a token is taken whole, whatever the merges say
    bool add_bos;      // where the file does not say
};

// Null if no rule has that name.
const PreRule* find_pre_rule(std::string_view name);
// The rule for files that name none, or one that we do not know.
const PreRule& default_pre_rule();

// Bytes of the first word of text; the words of a text are found by repeating this on the rest.
// Reads at most the word and the spaces behind it. Requires: text is not empty.
std::size_t next_word(const PreRule& rule, std::string_view text);

}  // namespace hearth::model
