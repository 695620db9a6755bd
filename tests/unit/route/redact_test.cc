// Pseudonyms and the way back: the same value is the same everywhere, and however an answer is cut
// into pieces, the same text comes out.
#include "route/redact.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "base/json.h"
#include "support/seeds.h"

namespace hearth::route {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

const Secret kKey("key of this installation");

// Replaces each word in place.
std::string hide(Pseudonyms& p, std::string text, const std::string& value,
                 std::string_view entity = "email") {
    std::vector<Span> spans;
    for (std::size_t at = text.find(value); at != text.npos; at = text.find(value, at + 1))
        spans.push_back({at, at + value.size(), entity});
    return p.replace(text, spans);
}

std::string restore(const Pseudonyms& p, const std::vector<std::string>& pieces,
                    bool json = false) {
    Restorer restorer(p, json);
    std::string out;
    for (const std::string& piece : pieces) out += restorer.feed(piece);
    return out + restorer.finish();
}

TEST(Redact, one_value_has_one_pseudonym_in_all_of_a_conversation) {
    Pseudonyms first(kKey, "conversation 1"), later(kKey, "conversation 1"), other(kKey, "2");
    const std::string a = hide(first, "mail a@b.org and a@b.org", "a@b.org");
    EXPECT_THAT(a, MatchesRegex(R"(mail (\[EMAIL_[0-9A-Z]{6}\]) and \[EMAIL_[0-9A-Z]{6}\])"));
    EXPECT_EQ(a.substr(5, 14), a.substr(a.size() - 14));
    hide(later, "x@y.org came first this time", "x@y.org");
    EXPECT_THAT(a, HasSubstr(hide(later, "a@b.org", "a@b.org")));
    EXPECT_THAT(a, Not(HasSubstr(hide(other, "a@b.org", "a@b.org"))));
    EXPECT_NE(hide(first, "a@b.org", "a@b.org"), hide(first, "c@d.org", "c@d.org"));
}

TEST(Redact, what_stands_in_the_text_already_is_never_made_a_pseudonym) {
    std::string taken;
    {
        Pseudonyms p(kKey, "c");
        taken = hide(p, "a@b.org", "a@b.org");
    }
    Pseudonyms p(kKey, "c");
    p.avoid("they wrote " + taken + " into the prompt");
    const std::string made = hide(p, "a@b.org", "a@b.org");
    EXPECT_NE(made, taken);
    EXPECT_EQ(restore(p, {taken + " is not " + made}), taken + " is not a@b.org");
}

TEST(Redact, spans_that_overlap_become_one) {
    Pseudonyms p(kKey, "c");
    const std::string out = p.replace("0123456789", {{2, 5, "x"}, {4, 7, "y"}, {8, 9, "z"}});
    EXPECT_THAT(out, MatchesRegex(R"(01\[X_.{6}\]7\[Z_.{6}\]9)"));
    EXPECT_EQ(restore(p, {out}), "0123456789");
}

TEST(Redact, every_cut_of_an_answer_gives_the_same_text) {
    Pseudonyms p(kKey, "c");
    const std::string jane = hide(p, "jane@example.org", "jane@example.org");
    const std::string card = hide(p, "4111 1111 1111 1111", "4111 1111 1111 1111", "credit_card");
    const std::string answer = "[[" + jane + "], [EMAIL_ " + card + card + "[" + jane.substr(0, 9) +
                               " [x] [EMAIL_BCDFGH] é" + jane + "[";
    const std::string whole = restore(p, {answer});
    EXPECT_THAT(whole, HasSubstr("[[jane@example.org], [EMAIL_ 4111 1111 1111 11114111"));
    for (std::size_t i = 0; i <= answer.size(); ++i) {
        for (std::size_t k = i; k <= answer.size(); ++k)
            ASSERT_EQ(restore(p, {answer.substr(0, i), answer.substr(i, k - i), answer.substr(k)}),
                      whole)
                << i << " " << k;
    }
    std::vector<std::string> bytes;
    for (const char c : answer) bytes.emplace_back(1, c);
    EXPECT_EQ(restore(p, bytes), whole);
}

TEST(Redact, random_answers_in_random_pieces) {
    std::mt19937 random(test::test_seed());
    for (int round = 0; round < 300; ++round) {
        Pseudonyms p(kKey, std::to_string(round));
        std::vector<std::string> words{"[", "]", "_", "a", "\n", "[EMAIL", "é"};
        std::vector<std::string> plain = words;
        for (int i = 0; i < 4; ++i) {
            const std::string value = "v\"\\" + std::to_string(random() % 1000) + "\n";
            words.push_back(hide(p, value, value, i % 2 ? "email" : "secret_github"));
            plain.push_back(value);
        }
        std::string answer, expected;
        for (int i = 0; i < 30; ++i) {
            const std::size_t k = random() % words.size();
            answer += words[k];
            expected += plain[k];
        }
        std::vector<std::string> pieces;
        for (std::size_t at = 0; at < answer.size();) {
            const std::size_t n = 1 + random() % 12;
            pieces.push_back(answer.substr(at, n));
            at += n;
        }
        // A random "[EMAIL" beside "_" and more may not spell a pseudonym, so both readings agree.
        ASSERT_EQ(restore(p, pieces), expected);
    }
}

TEST(Redact, no_more_is_held_back_than_could_become_a_pseudonym) {
    Pseudonyms p(kKey, "c");
    const std::string jane = hide(p, "j@e.org", "j@e.org");
    Restorer r(p, false);
    EXPECT_EQ(r.feed("see ["), "see ");
    EXPECT_EQ(r.feed("1"), "[1");
    EXPECT_EQ(r.feed("] " + jane.substr(0, 8)), "] ");
    EXPECT_EQ(r.feed(jane.substr(8)), "j@e.org");
    EXPECT_EQ(r.feed("[E"), "");
    EXPECT_EQ(r.finish(), "[E");
}

TEST(Redact, in_json_a_value_comes_back_escaped) {
    Pseudonyms p(kKey, "c");
    const std::string value = "a \"quoted\"\n\\ é value";
    const std::string name = hide(p, value, value, "secret");
    const std::string arguments = restore(p, {R"({"text":"say )" + name + R"( twice"})"}, true);
    const auto json = parse_json(arguments);
    ASSERT_TRUE(json) << arguments;
    EXPECT_EQ((*json)["text"].get<std::string>(), "say " + value + " twice");
}

TEST(Redact, what_a_model_altered_is_counted_and_left_as_it_is) {
    Pseudonyms p(kKey, "c");
    const std::string jane = hide(p, "j@e.org", "j@e.org");
    const std::string bare = jane.substr(1, jane.size() - 2);  // EMAIL_XXXXXX
    std::string lower = jane;
    for (char& c : lower) c = char(std::tolower(c));
    const std::string answer = jane + " " + bare + " " + lower + " [EMAIL_BBBBBB] email address " +
                               jane + " EMAIL-" + bare.substr(6);
    for (std::size_t n = 1; n <= answer.size(); n += 3) {
        Restorer r(p, false);
        std::string out;
        for (std::size_t at = 0; at < answer.size(); at += n) out += r.feed(answer.substr(at, n));
        out += r.finish();
        EXPECT_EQ(r.n_restored(), 2) << n;
        EXPECT_EQ(r.n_altered(), 4) << n << " " << out;
    }
}

}  // namespace
}  // namespace hearth::route
