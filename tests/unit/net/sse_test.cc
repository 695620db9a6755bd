// The event stream parser against the rules and examples of the HTML Living Standard, 9.2.6.
#include "net/sse.h"

#include <gtest/gtest.h>

#include <random>

namespace hearth::net {
namespace {

using Events = std::vector<std::pair<std::string, std::string>>;  // event, data

Events feed(SseParser& parser, std::string_view bytes, std::size_t piece) {
    Events out;
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
        const auto events = parser.feed(bytes.substr(at, piece));
        EXPECT_TRUE(events);
        if (!events) break;
        for (const SseEvent& e : *events) out.emplace_back(e.event, e.data);
    }
    return out;
}

struct Case {
    std::string name, bytes;
    Events events;
    bool in_event = false;  // afterwards
};

const std::vector<Case>& cases() {
    static const std::vector<Case> all = {
        {"one", "data: x\n\n", {{"", "x"}}},
        // The standard's examples.
        {"stocks", "data: YHOO\ndata: +2\ndata: 10\n\n", {{"", "YHOO\n+2\n10"}}},
        {"four blocks",
         ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third "
         "event\n\n",
         {{"", "first event"}, {"", "second event"}, {"", " third event"}}},
        {"empty data", "data\n\ndata\ndata\n\ndata:", {{"", ""}, {"", "\n"}}, true},
        {"optional blank", "data:test\n\ndata: test\n\n", {{"", "test"}, {"", "test"}}},
        // Line ends.
        {"CR", "data: a\rdata: b\r\r", {{"", "a\nb"}}},
        {"CR LF", "data: a\r\ndata: b\r\n\r\n", {{"", "a\nb"}}},
        {"mixed", "data: a\r\ndata: b\rdata: c\n\r\n", {{"", "a\nb\nc"}}},
        {"LF CR", "data: a\n\r", {{"", "a"}}},
        {"LF CR LF", "data: a\n\r\ndata: b\n\n", {{"", "a"}, {"", "b"}}},
        {"CR CR LF", "data: a\r\r\ndata: b\n\n", {{"", "a"}, {"", "b"}}},
        // Fields.
        {"named", "event: delta\ndata: x\n\n", {{"delta", "x"}}},
        {"name is not kept", "event: a\ndata: x\n\ndata: y\n\n", {{"a", "x"}, {"", "y"}}},
        {"name without data", "event: a\n\ndata: y\n\n", {{"", "y"}}},
        {"last name counts", "event: a\nevent: b\ndata: x\n\n", {{"b", "x"}}},
        {"unknown fields", "foo: bar\nretry: 10\nid: 7\ndata: x\n\n", {{"", "x"}}},
        {"field names have case", "Data: x\n\n", {}},
        {"blank before the colon", "data : x\n\n", {}},
        {"colons in the value", "data: {\"a\":1}\n\n", {{"", "{\"a\":1}"}}},
        {"comments", ": keep-alive\n\n:\n\ndata: x\n: y\n\n", {{"", "x"}}},
        {"byte order mark",
         "\xef\xbb\xbf"
         "data: x\n\n",
         {{"", "x"}}},
        {"byte order mark later",
         "data: y\n\n\xef\xbb\xbf"
         "data: x\n\n",
         {{"", "y"}}},
        {"blank lines", "\n\n\r\n\r\n", {}},
        {"NUL and bytes above ASCII",
         std::string("data: \0\xc3\xa9\xff\n\n", 12),
         {{"", std::string("\0\xc3\xa9\xff", 4)}}},
        // Ends.
        {"cut in a line", "data: x\n\ndata: y", {{"", "x"}}, true},
        {"cut after a line", "data: x\n\ndata: y\n", {{"", "x"}}, true},
        {"cut in a comment", "data: x\n\n: y", {{"", "x"}}, false},
    };
    return all;
}

TEST(SseParser, follows_the_standard_at_every_split) {
    for (const Case& c : cases()) {
        for (std::size_t piece = 1; piece <= c.bytes.size(); ++piece) {
            SseParser parser;
            EXPECT_EQ(feed(parser, c.bytes, piece), c.events) << c.name << " by " << piece;
            EXPECT_EQ(parser.in_event(), c.in_event) << c.name << " by " << piece;
        }
    }
}

TEST(SseParser, an_event_comes_with_the_byte_that_ends_it) {
    SseParser parser;
    EXPECT_EQ(parser.feed("data: x\r\n")->size(), 0u);
    EXPECT_EQ(parser.feed("\r")->size(), 1u);
    EXPECT_EQ(parser.feed("\n")->size(), 0u);
    EXPECT_FALSE(parser.in_event());
}

TEST(SseParser, bounds_one_event_but_not_the_stream) {
    SseParser parser(100);
    for (int i = 0; i < 50; ++i)
        ASSERT_EQ(parser.feed("data: 0123456789\ndata: 0123456789\n\n")->size(), 1u);
    std::string lines;
    for (int i = 0; i < 9; ++i) lines += "data: 0123456789\n";
    const auto refused = parser.feed(lines);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::upstream_failed);
    SseParser endless(100);
    EXPECT_TRUE(endless.feed("data: " + std::string(94, 'x')));
    EXPECT_FALSE(endless.feed("x"));
    SseParser comment(100);
    EXPECT_FALSE(comment.feed(":" + std::string(100, 'x')));
}

TEST(SseParser, splits_do_not_change_what_random_bytes_mean) {
    constexpr unsigned kSeed = 7;
    SCOPED_TRACE(testing::Message() << "seed " << kSeed);
    std::mt19937 random(kSeed);
    const std::string words[] = {"data", "event", ":", " ",           "\r",
                                 "\n",   "\r\n",  "x", "\xef\xbb\xbf"};
    for (int round = 0; round < 5000; ++round) {
        std::string bytes;
        for (int i = 0; i < 30; ++i) bytes += words[random() % std::size(words)];
        SseParser whole, split;
        ASSERT_EQ(feed(whole, bytes, bytes.size()), feed(split, bytes, 1 + random() % 5)) << bytes;
        ASSERT_EQ(whole.in_event(), split.in_event());
    }
}

}  // namespace
}  // namespace hearth::net
