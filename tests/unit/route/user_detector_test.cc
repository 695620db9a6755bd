// Words and patterns of the operator's own: what is found, what is refused, and that no pattern is
// slow. Patterns are held against a plain backtracking matcher written here.
#include "route/user_detector.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <string>
#include <vector>

#include "route/limits.h"
#include "route/sensitivity.h"
#include "route/user_pattern.h"

namespace hearth::route {
namespace {

using chat::Sensitivity;
using Strings = std::vector<std::string>;

Strings found_by(std::vector<UserDetector> blocks, std::string_view text) {
    const auto made = Detectors::make(std::move(blocks));
    EXPECT_TRUE(made) << made.error().message;
    Strings out;
    for (const Finding& f : made->scan(text))
        out.push_back(f.entity + ":" + std::string(text.substr(f.start, f.end - f.start)));
    return out;
}

UserDetector words(std::string name, Strings list) {
    return {.name = std::move(name), .words = std::move(list), .pattern = {}};
}

Strings matches(const std::string& expression, std::string_view text) {
    const auto parsed = UserPattern::parse(expression);
    EXPECT_TRUE(parsed) << parsed.error().message;
    Strings out;
    if (parsed)
        parsed->scan(text, [&](std::size_t start, std::size_t end) {
            out.emplace_back(text.substr(start, end - start));
            return true;
        });
    return out;
}

std::string refusal(UserDetector block) {
    const auto made = Detectors::make({std::move(block)});
    return made ? "" : made.error().message;
}

TEST(UserDetector, words_are_found_in_either_case_and_only_whole) {
    const auto block = words("project", {"Blue Heron", "heron", "C++ core"});
    EXPECT_EQ(found_by({block}, "the BLUE heron plan"), Strings{"project:BLUE heron"});
    EXPECT_EQ(found_by({block}, "herons and a heron."), Strings{"project:heron"});
    EXPECT_EQ(found_by({block}, "our c++ core!"), Strings{"project:c++ core"});
    EXPECT_TRUE(found_by({block}, "xheron heron2 blue  heronry").empty());
}

TEST(UserDetector, a_word_that_ends_inside_another_is_found) {
    const auto block = words("w", {"he", "she", "hers", "his", "us hers"});
    EXPECT_EQ(found_by({block}, "ushers she hers"), (Strings{"w:she", "w:hers"}));
    EXPECT_EQ(found_by({block}, "us his"), Strings{"w:his"});
}

TEST(UserDetector, the_class_is_the_blocks) {
    UserDetector block = words("codename", {"Osprey"});
    block.sensitivity = Sensitivity::restricted;
    const auto made = Detectors::make({block});
    ASSERT_TRUE(made);
    const std::string_view text = "about osprey";
    EXPECT_EQ(Detectors::class_of(text, made->scan(text)), Sensitivity::restricted);
}

TEST(UserDetector, blocks_that_say_nothing_or_too_much_are_refused_by_name) {
    EXPECT_NE(refusal(words("Own", {"word"})).find("lower-case"), std::string::npos);
    EXPECT_NE(refusal(words("own", {})).find("words"), std::string::npos);
    EXPECT_NE(refusal(words("own", {"x"})).find("bytes"), std::string::npos);
    EXPECT_NE(refusal(words("own", {std::string(kUserWordBytesMax + 1, 'x')})).find("bytes"),
              std::string::npos);
    EXPECT_NE(refusal(words("own", Strings(kUserWordsBytesMax / 64 + 1, std::string(64, 'x'))))
                  .find("all words"),
              std::string::npos);
    UserDetector bad = words("own", {});
    bad.pattern = "a**";
    EXPECT_NE(refusal(bad).find("pattern, byte 3"), std::string::npos) << refusal(bad);
    const auto twice = Detectors::make({words("own", {"aa"}), words("own", {"bb"})});
    ASSERT_FALSE(twice);
    EXPECT_NE(twice.error().message.find("second"), std::string::npos);
    EXPECT_FALSE(Detectors::make(std::vector<UserDetector>(kUserDetectorsMax + 1)));
}

TEST(UserPattern, classes_groups_and_repeats_match_as_written) {
    EXPECT_EQ(matches("EMP-\\d{6}", "EMP-123456, EMP-12345, xEMP-123456"), Strings{"EMP-123456"});
    EXPECT_EQ(matches("(ab|cd)+", "ababcd x cdx"), Strings{"ababcd"});
    EXPECT_EQ(matches("[A-Z]{2,3}\\.?[0-9]+", "AB.12 ABC9 ABCD9"), (Strings{"AB.12", "ABC9"}));
    EXPECT_EQ(matches("[^a-z ]+", "ab 12;3 x"), Strings{"12;3"});
    EXPECT_EQ(matches("a{2,}", "a aa aaaaa"), (Strings{"aa", "aaaaa"}));
    EXPECT_EQ(matches("x{0,2}y", "y xy xxy xxxy"), (Strings{"y", "xy", "xxy"}));
    EXPECT_EQ(matches("\\(\\w+\\)", "(one) two"), Strings{"(one)"});
}

TEST(UserPattern, the_leftmost_match_is_taken_and_of_those_the_longest) {
    EXPECT_EQ(matches("a|ab|abc", "abc"), Strings{"abc"});
    EXPECT_EQ(matches("b+|ab+c?", "abbb"), Strings{"abbb"});
}

TEST(UserPattern, what_is_not_in_the_subset_is_refused_with_its_place) {
    for (const char* bad : {"", "a**", "(a", "a)", "[a", "[b-a]", "a{3", "a{2,1}", "{2}", "+a",
                            "^a", "a$", "\\q", "\\", "a*", "(a|b?)", "a{0}", "a{999}"}) {
        const auto parsed = UserPattern::parse(bad);
        EXPECT_FALSE(parsed) << bad;
    }
    EXPECT_FALSE(UserPattern::parse("(((a{30}){30}){30})"));
    EXPECT_FALSE(UserPattern::parse(std::string(kUserPatternBytesMax + 1, 'a')));
    EXPECT_FALSE(UserPattern::parse(std::string(40, '(') + "a" + std::string(40, ')')));
}

TEST(UserPattern, the_classic_slow_pattern_reads_a_long_text_to_its_end) {
    // Backtracking needs 2^n steps here; this test ends at all only if the matcher is linear.
    std::string text(100'000, 'a');
    EXPECT_TRUE(matches("(a|a)*(a|aa)*b", text).empty());
    text.push_back('b');
    EXPECT_EQ(matches("(a|a)*(a|aa)*b", text), Strings{text});
}

// Plain matcher of concatenations of classes with ? * +, longest first, for comparison.
struct Piece {
    std::string bytes;
    char repeat = 0;
};
std::size_t longest(const std::vector<Piece>& pieces, std::size_t p, std::string_view text,
                    std::size_t i, const std::function<bool(std::size_t)>& may_end) {
    if (p == pieces.size()) return may_end(i) ? i : std::string::npos;
    const Piece& piece = pieces[p];
    std::size_t best = std::string::npos;
    const auto take = [&](std::size_t end) {
        if (end != std::string::npos && (best == std::string::npos || end > best)) best = end;
    };
    if (piece.repeat == '?' || piece.repeat == '*') take(longest(pieces, p + 1, text, i, may_end));
    for (std::size_t k = i; k < text.size() && piece.bytes.find(text[k]) != std::string::npos;) {
        ++k;
        take(longest(pieces, p + 1, text, k, may_end));
        if (piece.repeat == 0 || piece.repeat == '?') break;
    }
    return best;
}

TEST(UserPattern, random_patterns_match_what_a_plain_matcher_matches) {
    std::mt19937 random(11);
    for (int round = 0; round < 500; ++round) {
        std::vector<Piece> pieces;
        std::string expression;
        for (std::size_t n = 1 + random() % 4; n > 0; --n) {
            Piece piece{.bytes = std::string("ab,").substr(random() % 3, 1 + random() % 2)};
            piece.repeat = "\0?*+"[random() % 4];
            expression +=
                "[" + piece.bytes + "]" + (piece.repeat ? std::string(1, piece.repeat) : "");
            pieces.push_back(std::move(piece));
        }
        const auto parsed = UserPattern::parse(expression);
        if (!parsed) continue;  // may be empty
        std::string text;
        for (int i = 0; i < 12; ++i) text.push_back("ab, "[random() % 4]);
        const auto alnum = [&](std::size_t i) {
            return i < text.size() && (text[i] == 'a' || text[i] == 'b');
        };
        Strings expected;
        for (std::size_t i = 0; i < text.size();) {
            const bool edge = i == 0 || !alnum(i) || !alnum(i - 1);
            const std::size_t end =
                edge ? longest(pieces, 0, text, i,
                               [&](std::size_t e) { return e > i && (!alnum(e - 1) || !alnum(e)); })
                     : std::string::npos;
            if (end == std::string::npos) {
                ++i;
                continue;
            }
            expected.push_back(text.substr(i, end - i));
            i = end;
        }
        EXPECT_EQ(matches(expression, text), expected) << expression << " on " << text;
    }
}

}  // namespace
}  // namespace hearth::route
