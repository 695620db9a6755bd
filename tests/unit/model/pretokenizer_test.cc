// Pre-tokenizers against the published expressions: std::regex runs them on ASCII text, where its
// classes are the same; cases beyond ASCII are written out.
#include "engine/model/pretokenizer.h"

#include <gtest/gtest.h>

#include <random>
#include <regex>
#include <string>
#include <vector>

namespace hearth::model {
namespace {

using Words = std::vector<std::string>;

Words words(const PreRule& rule, std::string_view text) {
    Words out;
    WordSplitter splitter(rule, text);
    std::size_t n_bytes = 0;
    for (std::string_view word; !(word = splitter.next()).empty();) {
        out.emplace_back(word);
        n_bytes += word.size();
    }
    EXPECT_EQ(n_bytes, text.size());
    return out;
}

// \p{L} as A-Za-z, \p{N} as 0-9; (?i:…) written out. \s is the same on ASCII.
const char* published(std::string_view name) {
    if (name == "gpt-2")
        return "'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\\sA-Za-z0-9]+|\\s+(?!\\S)|\\s+";
    if (name == "qwen2")
        return "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\\r\\nA-Za-z0-9]?[A-Za-z]+|"
               "[0-9]| ?[^\\sA-Za-z0-9]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    return "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\\r\\nA-Za-z0-9]?[A-Za-z]+|"
           "[0-9]{1,3}| ?[^\\sA-Za-z0-9]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
}

TEST(PreTokenizer, cuts_ascii_as_the_published_expression_does) {
    for (const char* name : {"gpt-2", "qwen2", "llama-bpe"}) {
        const PreRule* rule = find_pre_rule(name);
        ASSERT_NE(rule, nullptr);
        const std::regex expression(published(name), std::regex::ECMAScript);
        std::mt19937_64 random(4);
        for (int i = 0; i < 4000; ++i) {
            const std::string letters = "   \t\n\n\r\v''sStTrReEvVlLdDmMxX0123.,!<|-\x01\x1f";
            std::string text;
            for (std::size_t n = random() % 24; n > 0; --n)
                text += letters[random() % letters.size()];
            Words expected;
            for (std::sregex_iterator it(text.begin(), text.end(), expression), end; it != end;
                 ++it)
                expected.push_back(it->str());
            ASSERT_EQ(words(*rule, text), expected) << name << " " << i;
        }
    }
}

TEST(PreTokenizer, letters_digits_and_spaces_are_those_of_unicode) {
    const PreRule& qwen2 = *find_pre_rule("qwen2");
    EXPECT_EQ(words(qwen2, "na\xc3\xafve caf\xc3\xa9"), (Words{"na\xc3\xafve", " caf\xc3\xa9"}));
    EXPECT_EQ(words(qwen2, "\xe4\xb8\xad\xe6\x96\x87\xe3\x80\x82"),  // two ideographs, a full stop
              (Words{"\xe4\xb8\xad\xe6\x96\x87", "\xe3\x80\x82"}));
    EXPECT_EQ(words(qwen2, "x\xc2\xb2\xc2\xbd"),
              (Words{"x", "\xc2\xb2", "\xc2\xbd"}));                         // ² ½: digits
    EXPECT_EQ(words(qwen2, "\xe2\x85\xa7"), (Words{"\xe2\x85\xa7"}));        // Ⅷ
    EXPECT_EQ(words(qwen2, "a\xc2\xa0 b"), (Words{"a", "\xc2\xa0", " b"}));  // no-break space
    EXPECT_EQ(words(qwen2,
                    "a\xe3\x80\x80"
                    "b"),
              (Words{"a",
                     "\xe3\x80\x80"
                     "b"}));
    EXPECT_EQ(words(qwen2,
                    "e\xcc\x81"
                    "a"),
              (Words{"e",
                     "\xcc\x81"
                     "a"}));  // a mark leads a word
    EXPECT_EQ(words(default_pre_rule(), "a\xc2\xa0 b"), (Words{"a", "\xc2\xa0", " b"}));
}

TEST(PreTokenizer, stages_cut_what_the_ones_before_them_left) {
    const auto cut = [](const char* name, std::string_view text) {
        return words(*find_pre_rule(name), text);
    };
    EXPECT_EQ(cut("starcoder", "a  12b"), (Words{"a", "  ", "1", "2", "b"}));
    EXPECT_EQ(cut("gpt-2", "a  12b"), (Words{"a", " ", " 12", "b"}));
    EXPECT_EQ(cut("smollm", "x\xc2\xb2 y"), (Words{"x", "\xc2\xb2", " y"}));
    EXPECT_EQ(cut("falcon", "it's $1234 =>x"),
              (Words{"it", "'", "s", " ", "$", "123", "4", " ", "=>", "x"}));
    EXPECT_EQ(cut("falcon", " 123456 7"), (Words{" ", "123", "456", " 7"}));
    EXPECT_EQ(cut("deepseek-llm", "a\n\nb"), (Words{"a", "\n", "\n", "b"}));
    EXPECT_EQ(cut("deepseek-llm", " don't, 12  "), (Words{" don", "'", "t", ",", " ", "12", "  "}));
    // The second set of the expression has the letters of ASCII in it.
    EXPECT_EQ(cut("deepseek-llm", " abc\xc3\xa9"), (Words{" abc", "\xc3\xa9"}));
    EXPECT_EQ(cut("deepseek-llm", "x\xe4\xb8\xad\xe6\x96\x87 y"),
              (Words{"x", "\xe4\xb8\xad\xe6\x96\x87", " y"}));
}

TEST(PreTokenizer, a_contraction_in_any_case_knows_the_long_s) {
    EXPECT_EQ(words(*find_pre_rule("llama-bpe"), "x'\xc5\xbfy"), (Words{"x", "'\xc5\xbf", "y"}));
    EXPECT_EQ(words(*find_pre_rule("gpt-2"), "x'\xc5\xbfy"), (Words{"x", "'", "\xc5\xbfy"}));
}

TEST(PreTokenizer, bytes_that_are_not_utf8_are_marks) {
    const PreRule& qwen2 = *find_pre_rule("qwen2");
    EXPECT_EQ(words(qwen2,
                    "a\xff\xfe"
                    "b"),
              (Words{"a", "\xff\xfe", "b"}));
    EXPECT_EQ(words(qwen2, "\xe4\xb8"), (Words{"\xe4\xb8"}));
    EXPECT_EQ(find_pre_rule("no-such-rule"), nullptr);
}

}  // namespace
}  // namespace hearth::model
