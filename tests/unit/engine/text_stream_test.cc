#include "engine/text_stream.h"

#include <gtest/gtest.h>

#include "engine/limits.h"

namespace hearth::engine {
namespace {

struct Shown {
    std::vector<std::string> parts;  // what each push gave
    std::string end;                 // what finish gave
    bool stopped = false;
    std::string all() const {
        std::string text;
        for (const auto& p : parts) text += p;
        return text + end;
    }
};

Shown stream(std::vector<std::string> stops, const std::vector<std::string>& tokens) {
    TextStream text(std::move(stops));
    Shown shown;
    for (const std::string& bytes : tokens) {
        shown.stopped = text.push(bytes, shown.parts.emplace_back());
        if (shown.stopped) return shown;
    }
    shown.stopped = text.finish(shown.end);
    return shown;
}

using Parts = std::vector<std::string>;

TEST(TextStream, plain_text_is_shown_at_once) {
    const Shown s = stream({}, {"Hello", " ", "", "world"});
    EXPECT_EQ(s.parts, (Parts{"Hello", " ", "", "world"}));
    EXPECT_EQ(s.end, "");
}

TEST(TextStream, a_code_point_cut_between_tokens_waits_for_its_rest) {
    const Shown s = stream({}, {"a\xf0", "\x9f\x98", "\x80z"});
    EXPECT_EQ(s.parts, (Parts{"a", "", "\xf0\x9f\x98\x80z"}));
}

TEST(TextStream, bytes_that_cannot_be_utf8_become_replacements) {
    EXPECT_EQ(stream({}, {"a\xff", "b"}).parts, (Parts{"a\xef\xbf\xbd", "b"}));
    // The rest of a code point never comes.
    EXPECT_EQ(stream({}, {"\xe2\x82", "x"}).all(), "\xef\xbf\xbd\xef\xbf\xbdx");
    // A surrogate, and an overlong slash.
    EXPECT_EQ(stream({}, {"\xed\xa0\x80"}).all(), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    EXPECT_EQ(stream({}, {"\xc0\xaf"}).all(), "\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(TextStream, an_incomplete_code_point_at_the_end_becomes_a_replacement) {
    const Shown s = stream({}, {"ok\xc3"});
    EXPECT_EQ(s.parts, (Parts{"ok"}));
    EXPECT_EQ(s.end, "\xef\xbf\xbd");
}

TEST(TextStream, a_stop_string_within_one_token_ends_the_text_where_it_begins) {
    const Shown s = stream({"END"}, {"one END two"});
    EXPECT_TRUE(s.stopped);
    EXPECT_EQ(s.all(), "one ");
}

TEST(TextStream, a_stop_string_over_many_tokens_never_leaks) {
    const Shown s = stream({"\n\nUser:"}, {"fine.\n", "\n", "Us", "er", ": hello"});
    EXPECT_TRUE(s.stopped);
    EXPECT_EQ(s.parts, (Parts{"fine.", "", "", "", ""}));
}

TEST(TextStream, a_partial_match_that_comes_to_nothing_is_shown_as_soon_as_that_is_known) {
    const Shown s = stream({"abcabd"}, {"abcab", "c", "x"});
    // "abcabc" still ends with "abc", which may begin the stop string.
    EXPECT_EQ(s.parts, (Parts{"", "abc", "abcx"}));
    EXPECT_FALSE(s.stopped);
}

TEST(TextStream, what_is_held_at_the_end_is_text) {
    const Shown s = stream({"STOP"}, {"do not ST"});
    EXPECT_EQ(s.parts, (Parts{"do not "}));
    EXPECT_EQ(s.end, "ST");
    EXPECT_FALSE(s.stopped);
}

TEST(TextStream, of_overlapping_stop_strings_the_first_complete_one_counts) {
    EXPECT_EQ(stream({"abcd", "bc"}, {"xab", "cd"}).all(), "xa");
    EXPECT_EQ(stream({"abcd", "bc"}, {"xabcd"}).all(), "xa");
    // Both are complete at the same byte: the longer one begins earlier.
    EXPECT_EQ(stream({"c", "abc"}, {"xa", "bc"}).all(), "x");
    EXPECT_EQ(stream({"abc", "c"}, {"xabc"}).all(), "x");
}

TEST(TextStream, a_stop_string_that_overlaps_itself_is_found) {
    EXPECT_EQ(stream({"aab"}, {"a", "a", "a", "b"}).all(), "a");
    EXPECT_EQ(stream({"abab"}, {"aba", "abab"}).all(), "aba");
}

TEST(TextStream, stop_strings_of_several_bytes_a_character_are_matched_whole) {
    const Shown s = stream({"é!"}, {"caf\xc3", "\xa9", "!"});
    EXPECT_TRUE(s.stopped);
    EXPECT_EQ(s.parts, (Parts{"caf", "", ""}));
    // The first byte alone holds nothing back but itself.
    EXPECT_EQ(stream({"é"}, {"\xc3", "\xa8"}).all(), "è");
}

TEST(TextStream, a_stop_string_of_replacements_matches_repaired_bytes) {
    const Shown s = stream({"\xef\xbf\xbd"}, {"a\xff", "b"});
    EXPECT_TRUE(s.stopped);
    EXPECT_EQ(s.all(), "a");
    EXPECT_TRUE(stream({"\xef\xbf\xbd"}, {"a\xc3"}).stopped);  // only the end makes it one
}

TEST(TextStream, refuses_stop_strings_it_cannot_keep_its_promise_for) {
    const auto error = [](std::vector<std::string> stops) {
        const Status status = check_stops(stops);
        EXPECT_TRUE(status || status.error().param == "stop");
        return status ? std::string() : status.error().message;
    };
    EXPECT_EQ(error({"a", "bb"}), "");
    EXPECT_NE(error({"a", ""}).find("stop[1] is empty"), std::string::npos);
    EXPECT_NE(error({"\xff"}).find("stop[0] is not UTF-8"), std::string::npos);
    EXPECT_EQ(error({std::string(kMaxStopBytes, 'x')}), "");
    EXPECT_NE(error({std::string(kMaxStopBytes + 1, 'x')}), "");
    EXPECT_EQ(error(std::vector<std::string>(kMaxStops, "x")), "");
    EXPECT_NE(error(std::vector<std::string>(kMaxStops + 1, "x")), "");
}

}  // namespace
}  // namespace hearth::engine
