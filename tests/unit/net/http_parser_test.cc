// The parsers and the gate without sockets: every refusal, every split, random damage.
#include "net/http_parser.h"

#include <gtest/gtest.h>

#include <random>

#include "net/limits.h"
#include "unit/net/malformed.h"

namespace hearth::net::test {
namespace {

constexpr std::size_t kBodyMax = 1 << 20;

// Feeds pieces as a connection does; returns how many bytes were taken.
std::size_t feed(RequestParser& parser, std::string_view bytes, std::size_t piece) {
    std::size_t at = 0;
    while (at < bytes.size() && parser.state() != ParseState::done &&
           parser.state() != ParseState::failed) {
        const std::string_view part = bytes.substr(at, piece);
        const std::size_t n = parser.feed(part);
        EXPECT_LE(n, part.size());
        EXPECT_TRUE(n > 0 || parser.state() == ParseState::failed);
        at += n;
        // The server refuses a length past its limit before the body; see Connection::head_read().
        if (parser.state() == ParseState::body && parser.content_length().value_or(0) > kBodyMax)
            break;
    }
    return at;
}

int verdict(const RequestParser& parser) {
    if (parser.state() == ParseState::done) return 200;
    if (parser.state() == ParseState::failed) return parser.error().status;
    if (parser.state() == ParseState::body && parser.content_length().value_or(0) > kBodyMax)
        return 413;
    return 0;  // it waits for more
}

TEST(RequestParser, judges_each_case_by_the_rfc_in_any_pieces) {
    for (const RequestCase& c : request_cases()) {
        for (const std::size_t piece : {std::size_t(1), std::size_t(7), c.bytes.size()}) {
            RequestParser parser(kHeaderBytesMax, kBodyMax);
            feed(parser, c.bytes, piece);
            EXPECT_EQ(verdict(parser), c.status)
                << c.name << " in pieces of " << piece << ": "
                << (parser.state() == ParseState::failed ? parser.error().message : "");
        }
    }
}

TEST(RequestParser, takes_no_byte_past_the_end) {
    for (const RequestCase& c : request_cases()) {
        if (c.status != 200) continue;
        const std::string next = "GET /next HTTP/1.1\r\n";
        RequestParser parser(kHeaderBytesMax, kBodyMax);
        EXPECT_EQ(feed(parser, c.bytes + next, c.bytes.size() + next.size()), c.bytes.size())
            << c.name;
    }
}

TEST(RequestParser, reads_the_same_whatever_the_split) {
    const std::string bytes =
        "POST /v1/m%20x/a%2Fb?q=%20 HTTP/1.1\r\nHost: a.test\r\nX-Twice: 1\r\nx-twice:2 \r\n"
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nT: u\r\n\r\n";
    for (std::size_t split = 0; split <= bytes.size(); ++split) {
        RequestParser parser(kHeaderBytesMax, kBodyMax);
        feed(parser, std::string_view(bytes).substr(0, split), bytes.size());
        feed(parser, std::string_view(bytes).substr(split), bytes.size());
        ASSERT_EQ(parser.state(), ParseState::done) << split;
        const HttpRequest& r = parser.request();
        EXPECT_EQ(r.method, "POST");
        EXPECT_EQ(r.target, "/v1/m%20x/a%2Fb?q=%20");
        EXPECT_EQ(r.path, "/v1/m x/a/b");
        EXPECT_EQ(r.query, "q=%20");
        EXPECT_EQ(r.body, "hello world");
        ASSERT_EQ(r.headers.fields().size(), 4u);  // the trailer is not among them
        EXPECT_EQ(r.headers.find("X-TWICE"), "1");
        EXPECT_EQ(r.headers.fields()[2].second, "2");
        EXPECT_TRUE(parser.keep_alive());
    }
}

TEST(RequestParser, stops_at_the_head_where_a_body_follows) {
    const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
    RequestParser parser(kHeaderBytesMax, kBodyMax);
    EXPECT_EQ(parser.feed(head + "abc"), head.size());
    EXPECT_EQ(parser.state(), ParseState::body);
    EXPECT_EQ(parser.content_length(), 3u);
    EXPECT_EQ(parser.feed("abcd"), 3u);
    EXPECT_EQ(parser.state(), ParseState::done);
}

TEST(RequestParser, knows_who_wants_to_stay) {
    const auto stays = [](const std::string& version, const std::string& lines) {
        RequestParser parser(kHeaderBytesMax, kBodyMax);
        parser.feed("GET / " + version + "\r\nHost: a\r\n" + lines + "\r\n");
        EXPECT_EQ(parser.state(), ParseState::done);
        return parser.keep_alive();
    };
    EXPECT_TRUE(stays("HTTP/1.1", ""));
    EXPECT_FALSE(stays("HTTP/1.1", "Connection: close\r\n"));
    EXPECT_FALSE(stays("HTTP/1.1", "Connection: TE, Close\r\n"));
    EXPECT_FALSE(stays("HTTP/1.0", ""));
    EXPECT_TRUE(stays("HTTP/1.0", "Connection: keep-alive\r\n"));
}

TEST(RequestParser, counts_a_chunked_body_against_the_limit) {
    RequestParser parser(kHeaderBytesMax, 10);
    const std::string bytes =
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        "5\r\nhello\r\n5\r\nworld\r\n1\r\n!\r\n";
    feed(parser, bytes, 1);
    ASSERT_EQ(parser.state(), ParseState::failed);
    EXPECT_EQ(parser.error().status, 413);
    EXPECT_EQ(parser.request().body, "helloworld");
    RequestParser exact(kHeaderBytesMax, 11);
    feed(exact, bytes + "0\r\n\r\n", 3);
    EXPECT_EQ(exact.state(), ParseState::done);
}

TEST(RequestParser, the_header_limit_counts_every_byte_of_the_head) {
    const std::string head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    RequestParser exact(head.size(), 0);
    exact.feed(head);
    EXPECT_EQ(exact.state(), ParseState::done);
    RequestParser less(head.size() - 1, 0);
    less.feed(head);
    ASSERT_EQ(less.state(), ParseState::failed);
    EXPECT_EQ(less.error().status, 431);
}

TEST(RequestParser, a_tls_hello_is_told_apart) {
    RequestParser parser(kHeaderBytesMax, 0);
    parser.feed("\x16\x03\x01");
    ASSERT_EQ(parser.state(), ParseState::failed);
    EXPECT_NE(parser.error().message.find("TLS"), std::string::npos);
}

// What may come out of the parser whatever went in: everything it lets through satisfies the gate.
void check_sound(RequestParser& parser, const std::string& bytes) {
    if (parser.state() != ParseState::done) return;
    const HttpRequest& r = parser.request();
    EXPECT_TRUE(is_token(r.method)) << bytes;
    EXPECT_TRUE(r.path.starts_with('/') || r.path == "*") << bytes;
    EXPECT_EQ(r.path.find('\0'), r.path.npos);
    int n_host = 0, n_length = 0, n_coding = 0;
    for (const auto& [name, value] : r.headers.fields()) {
        EXPECT_TRUE(is_token(name)) << bytes;
        EXPECT_TRUE(is_field_value(value)) << bytes;
        n_host += same_header(name, "host");
        n_length += same_header(name, "content-length");
        n_coding += same_header(name, "transfer-encoding");
    }
    EXPECT_TRUE(n_host == 1 || (n_host == 0 && parser.version() == 10)) << bytes;
    EXPECT_LE(n_length + n_coding, 1) << bytes;
    EXPECT_LE(r.body.size(), kBodyMax);
}

TEST(RequestParser, stands_random_damage_and_splits_do_not_change_its_mind) {
    constexpr unsigned kSeed = 20261120;
    SCOPED_TRACE(testing::Message() << "seed " << kSeed);
    std::mt19937 random(kSeed);
    const auto pick = [&](std::size_t n) { return std::size_t(random() % n); };
    const std::string spice("\r\n\t :;,=0fF%/\0\x16\x7f\xff", 18);
    for (int round = 0; round < 20000; ++round) {
        std::string bytes = request_cases()[pick(request_cases().size())].bytes;
        if (bytes.size() > 4000) continue;
        for (std::size_t n = 1 + pick(3); n > 0 && !bytes.empty(); --n) {
            const std::size_t at = pick(bytes.size());
            switch (pick(4)) {
                case 0:
                    bytes[at] = spice[pick(spice.size())];
                    break;
                case 1:
                    bytes.insert(at, 1, spice[pick(spice.size())]);
                    break;
                case 2:
                    bytes.erase(at, 1 + pick(4));
                    break;
                default:
                    bytes.insert(at, bytes.substr(pick(bytes.size()), pick(20)));
                    break;
            }
        }
        RequestParser whole(kHeaderBytesMax, kBodyMax), split(kHeaderBytesMax, kBodyMax);
        const std::size_t n_whole = feed(whole, bytes, bytes.size());
        const std::size_t n_split = feed(split, bytes, 1 + pick(9));
        ASSERT_EQ(verdict(whole), verdict(split)) << bytes;
        if (whole.state() == ParseState::done) {
            ASSERT_EQ(n_whole, n_split) << bytes;
            ASSERT_EQ(whole.request().body, split.request().body) << bytes;
        }
        check_sound(whole, bytes);
        ASSERT_FALSE(testing::Test::HasFailure());
    }
}

// ---- responses

struct Parsed {
    ParseState state;
    int status;
    std::string body;
    std::size_t n_used;
};

Parsed parse_response(std::string_view bytes, std::size_t piece, bool eof, bool to_head = false) {
    std::string body;
    ResponseParser parser(kUpstreamHeaderBytesMax, to_head, [&](std::string_view b) { body += b; });
    std::size_t at = 0;
    while (at < bytes.size() && parser.state() != ParseState::done &&
           parser.state() != ParseState::failed)
        at += parser.feed(bytes.substr(at, piece));
    if (eof) parser.feed_eof();
    return {parser.state(), parser.status(), std::move(body), at};
}

TEST(ResponseParser, reads_the_three_framings_at_every_split) {
    const std::string bodies[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n "
        "world\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nhello world",
    };
    for (const std::string& bytes : bodies) {
        for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
            const Parsed p = parse_response(bytes, piece, true);
            EXPECT_EQ(p.state, ParseState::done) << piece << bytes;
            EXPECT_EQ(p.status, 200);
            EXPECT_EQ(p.body, "hello world") << piece << bytes;
        }
    }
}

TEST(ResponseParser, a_response_cut_anywhere_is_not_a_whole_one) {
    const std::string bodies[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n "
        "world\r\n0\r\n\r\n",
    };
    for (const std::string& bytes : bodies)
        for (std::size_t n = 0; n < bytes.size(); ++n)
            EXPECT_EQ(
                parse_response(std::string_view(bytes).substr(0, n), bytes.size(), true).state,
                ParseState::failed)
                << bytes.substr(0, n);
}

TEST(ResponseParser, knows_responses_without_body) {
    EXPECT_EQ(parse_response("HTTP/1.1 204 No Content\r\n\r\n", 5, false).state, ParseState::done);
    EXPECT_EQ(parse_response("HTTP/1.1 304 N\r\nContent-Length: 9\r\n\r\n", 5, false).state,
              ParseState::done);
    EXPECT_EQ(parse_response("HTTP/1.1 100 Continue\r\n\r\n", 5, false).state, ParseState::done);
    EXPECT_EQ(parse_response("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 5, false, true).state,
              ParseState::done);
}

TEST(ResponseParser, takes_what_sloppy_servers_send_and_is_harmless) {
    // No reason phrase, with and without the blank before it; a folded field.
    EXPECT_EQ(parse_response("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", 3, false).state,
              ParseState::done);
    EXPECT_EQ(parse_response("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 3, false).state,
              ParseState::done);
    EXPECT_EQ(parse_response("HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n", 3, false)
                  .state,
              ParseState::done);
}

TEST(ResponseParser, refuses_what_could_be_read_in_two_ways) {
    for (const char* bytes : {
             "garbage\r\n\r\n",
             "\r\n\r\n",
             "SSH-2.0-OpenSSH_9\r\n\r\n",
             "HTTP/1.1 20 OK\r\n\r\n",
             "HTTP/1.1 2000 OK\r\n\r\n",
             "HTTP/1.1 000 OK\r\n\r\n",
             "HTTP/1.1 999 OK\r\n\r\n",
             "HTTP/3.0 200 OK\r\n\r\n",
             "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
             "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
             "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
             "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
             "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
             "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
             "HTTP/1.1 200 OK\r\nX Y: z\r\n\r\n",
             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
         })
        EXPECT_EQ(parse_response(bytes, 4, false).state, ParseState::failed) << bytes;
}

TEST(ResponseParser, bounds_the_head) {
    const std::string bytes = "HTTP/1.1 200 OK\r\nX: " + std::string(kUpstreamHeaderBytesMax, 'y');
    EXPECT_EQ(parse_response(bytes, 1000, false).state, ParseState::failed);
}

TEST(ResponseParser, stands_random_damage_and_splits_do_not_change_its_mind) {
    constexpr unsigned kSeed = 20261121;
    SCOPED_TRACE(testing::Message() << "seed " << kSeed);
    std::mt19937 random(kSeed);
    const auto pick = [&](std::size_t n) { return std::size_t(random() % n); };
    const std::string seeds[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: u\r\n\r\n",
        "HTTP/1.0 404 \r\nX: y\r\n z\r\n\r\nhello",
    };
    const std::string spice("\r\n\t :;,=0fF%/\0\x16\x7f\xff", 18);
    for (int round = 0; round < 20000; ++round) {
        std::string bytes = seeds[pick(3)];
        for (std::size_t n = 1 + pick(3); n > 0 && !bytes.empty(); --n) {
            const std::size_t at = pick(bytes.size());
            switch (pick(3)) {
                case 0:
                    bytes[at] = spice[pick(spice.size())];
                    break;
                case 1:
                    bytes.insert(at, 1, spice[pick(spice.size())]);
                    break;
                default:
                    bytes.erase(at, 1 + pick(4));
                    break;
            }
        }
        const Parsed whole = parse_response(bytes, bytes.size() + 1, true);
        const Parsed split = parse_response(bytes, 1 + pick(9), true);
        ASSERT_EQ(whole.state, split.state) << bytes;
        if (whole.state == ParseState::done) {
            ASSERT_EQ(whole.body, split.body) << bytes;
            ASSERT_EQ(whole.n_used, split.n_used) << bytes;
        }
    }
}

}  // namespace
}  // namespace hearth::net::test
