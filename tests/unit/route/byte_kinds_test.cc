// What the scan sees of 64 bytes: the fast form against the plain one, and both against the
// definition, byte by byte.
#include "route/byte_kinds.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace hearth::route {
namespace {

ByteKinds by_definition(std::string_view text, std::size_t from) {
    ByteKinds out;
    for (std::size_t i = 0; i < ByteKinds::kBytes && from + i < text.size(); ++i) {
        const char c = text[from + i];
        const std::uint64_t bit = std::uint64_t(1) << i;
        if (is_letter(c)) out.letters |= bit;
        if (is_digit(c)) out.digits |= bit;
        if (c == '.') out.dots |= bit;
        if (c == '-') out.dashes |= bit;
        if (c == '@' || c == ':' || c == '=') out.marks |= bit;
    }
    return out;
}

TEST(ByteKinds, every_byte_is_of_its_kind_at_every_place) {
    for (int c = 0; c < 256; ++c)
        for (std::size_t at = 0; at < ByteKinds::kBytes; ++at) {
            std::string text(ByteKinds::kBytes, ' ');
            text[at] = char(c);
            EXPECT_EQ(ByteKinds::of(text, 0), by_definition(text, 0)) << c << " at " << at;
            EXPECT_EQ(ByteKinds::of_64_plain(text.data()), by_definition(text, 0)) << c;
        }
}

TEST(ByteKinds, random_bytes_are_seen_alike_up_to_the_texts_end) {
    std::mt19937 random(11);
    for (int round = 0; round < 500; ++round) {
        std::string text;
        for (std::size_t n = random() % 200; n > 0; --n) text.push_back(char(random()));
        for (std::size_t from = 0; from < text.size(); from += ByteKinds::kBytes)
            EXPECT_EQ(ByteKinds::of(text, from), by_definition(text, from));
        EXPECT_EQ(ByteKinds::of(text, text.size()), ByteKinds{});
    }
}

// A full stop counts before two or three letters that end there, whatever 64 bytes they lie in.
TEST(ByteKinds, marks_that_count_do_not_depend_on_where_they_stand) {
    struct Case {
        const char* text;
        std::size_t at;
        bool counts;
    };
    for (const Case& c :
         {Case{"foo.com ", 3, true}, Case{"foo.de.", 3, true}, Case{"foo.size ", 3, false},
          Case{"foo.c ", 3, false}, Case{" .com ", 1, false}, Case{"foo.com-x", 3, false},
          Case{"1.25 ", 1, false}, Case{"a --b", 2, true}, Case{"a --b", 3, false},
          Case{"a-b", 1, false}, Case{"a:b", 1, true}}) {
        for (std::size_t before = 1; before < 140; ++before) {
            const std::string text = std::string(before, ' ') + c.text + " x";
            const std::size_t at = before + c.at, from = at - at % ByteKinds::kBytes;
            const std::uint64_t marks =
                ByteKinds::of(text, from)
                    .marks_that_count(text, from, ByteKinds::of(text, from + ByteKinds::kBytes));
            EXPECT_EQ((marks >> (at - from) & 1) != 0, c.counts) << c.text << " at " << at;
        }
    }
}

}  // namespace
}  // namespace hearth::route
