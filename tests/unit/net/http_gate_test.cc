// The pure functions of the gate.
#include "net/http_gate.h"

#include <gtest/gtest.h>

namespace hearth::net {
namespace {

TEST(HttpGate, decodes_escapes_once) {
    EXPECT_EQ(percent_decode("/a%20b"), "/a b");
    EXPECT_EQ(percent_decode("/a%2fb%2F"), "/a/b/");
    EXPECT_EQ(percent_decode("%2541"), "%41");
    EXPECT_EQ(percent_decode("%c3%A9"), "\xc3\xa9");
    EXPECT_EQ(percent_decode("+"), "+");
    EXPECT_EQ(percent_decode(""), "");
    for (const char* bad : {"%", "%4", "%4g", "%g4", "%%41", "a%", "%00", "a%0"})
        EXPECT_FALSE(percent_decode(bad)) << bad;
}

TEST(HttpGate, knows_an_authority) {
    for (const char* good : {"", "localhost", "localhost:1", "127.0.0.1:11435", "[::1]", "[::1]:80",
                             "[::ffff:1.2.3.4]:65535", "a_b.c-d:", "xn--nxa.test"})
        EXPECT_TRUE(is_authority(good)) << good;
    for (const char* bad : {"a b", "a/b", "u@h", "a,b", "a:b", "a:1:2", "[::1", "[]", "[g::]",
                            "[::1]x", "[::1]:x", "a:1234567", "a?b", "a#b", "a\\b", "<a>"})
        EXPECT_FALSE(is_authority(bad)) << bad;
}

TEST(HttpGate, headers_compare_without_case) {
    EXPECT_TRUE(same_header("Content-TYPE", "content-type"));
    EXPECT_FALSE(same_header("Content-Type", "Content-Typ"));
    // Only ASCII letters: '@' and '`' differ by the bit that makes a letter small.
    EXPECT_FALSE(same_header("@", "`"));
    Headers headers;
    headers.add("X-A", "1");
    headers.add("x-a", "2");
    EXPECT_EQ(headers.find("X-a"), "1");
    EXPECT_FALSE(headers.find("X-B"));
}

HttpRequest aimed(const std::string& target) {
    HttpRequest request;
    request.method = "GET";
    request.target = target;
    request.headers.add("Host", "h.test:80");
    return request;
}

TEST(HttpGate, splits_targets) {
    struct Case {
        const char *target, *path, *query;
    };
    for (const Case& c :
         {Case{"/", "/", ""}, Case{"/a?b", "/a", "b"}, Case{"/a?", "/a", ""},
          Case{"/a?b?c%20", "/a", "b?c%20"}, Case{"//a", "//a", ""},
          Case{"http://h.test:80", "/", ""}, Case{"http://H.test:80/x?y", "/x", "y"},
          Case{"http://h.test:80?y", "/", "y"}}) {
        HttpRequest request = aimed(c.target);
        EXPECT_FALSE(read_target(request)) << c.target;
        EXPECT_EQ(request.path, c.path) << c.target;
        EXPECT_EQ(request.query, c.query) << c.target;
        EXPECT_EQ(request.target, c.target);
    }
}

}  // namespace
}  // namespace hearth::net
