#include "base/utf8.h"

#include <gtest/gtest.h>

namespace hearth {
namespace {

// Brute force over all code points: encode by definition, compare every function.
TEST(Utf8, every_code_point_round_trips_and_surrogates_do_not) {
    for (char32_t c = 0; c <= 0x10ffff; ++c) {
        std::string s;
        append_utf8(s, c);
        const bool scalar = c < 0xd800 || c > 0xdfff;
        ASSERT_EQ(utf8_sequence_length(s), scalar ? s.size() : 0) << std::uint32_t(c);
        if (!scalar) continue;
        std::size_t at = 0;
        ASSERT_EQ(utf8_next(s, at), c);
        ASSERT_EQ(at, s.size());
        for (std::size_t cut = 1; cut < s.size(); ++cut)
            ASSERT_EQ(utf8_complete_prefix("ab" + s.substr(0, cut)), 2u);
        ASSERT_EQ(utf8_complete_prefix("ab" + s), 2 + s.size());
    }
}

TEST(Utf8, malformed_bytes_are_shown_not_held) {
    for (const char* bad : {"\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5", "\x80", "\xff"}) {
        EXPECT_FALSE(is_utf8(bad));
        EXPECT_EQ(utf8_complete_prefix(bad), std::string_view(bad).size());
    }
    EXPECT_EQ(utf8_repaired("a\xff" "b"), "a\xef\xbf\xbd" "b");
}

TEST(Utf8, control_characters_are_written_out_and_all_else_stays) {
    EXPECT_EQ(utf8_visible("a\x1b[2Jb\n\x7f"), "a\\u001b[2Jb\\u000a\\u007f");
    EXPECT_EQ(utf8_visible("\xc2\x9b" "31m\xff"), "\\u009b31m\xef\xbf\xbd");  // CSI of eight bits
    for (const char* good : {"", "a b\\u001b", "\xc2\xa0", "\xc3\xbc", "\xf0\x9f\x94\xa5"})
        EXPECT_EQ(utf8_visible(good), good);
}

}  // namespace
}  // namespace hearth
