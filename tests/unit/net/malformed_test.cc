#include "unit/net/malformed.h"

#include <string_view>

namespace hearth::net::test {
namespace {

using namespace std::string_literals;

// A request with these lines between Host and the empty line, and this after it.
std::string with(const std::string& lines, const std::string& body = "") {
    return "POST /x HTTP/1.1\r\nHost: a.test\r\n" + lines + "\r\n" + body;
}
std::string target(const std::string& t, const std::string& method = "GET") {
    return method + " " + t + " HTTP/1.1\r\nHost: a.test\r\n\r\n";
}
std::string host(const std::string& line) {
    return "GET / HTTP/1.1\r\n" + line + "\r\n";
}
std::string chunked(const std::string& body) {
    return with("Transfer-Encoding: chunked\r\n", body);
}

std::vector<RequestCase> start_lines() {
    return {
        {"plain", target("/"), 200},
        {"unknown method is the handler's business", target("/", "BREW"), 200},
        {"one empty line before", "\r\n" + target("/"), 200},
        {"two empty lines before", "\r\n\r\n" + target("/"), 400},
        {"bare LF ends a line", "GET / HTTP/1.1\nHost: a\n\n", 400},
        {"bare LF within CR LF", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400},
        {"two blanks", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"blank in target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"blank first", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"blank last", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
        {"tab as blank", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"no version", "GET /\r\n\r\n", 400},
        {"no target", "GET HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"method no token", "G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"version in lower case", "GET / http/1.1\r\nHost: a\r\n\r\n", 400},
        {"version cut", "GET / HTTP/1\r\nHost: a\r\n\r\n", 400},
        {"version cut shorter", "GET / HT\r\nHost: a\r\n\r\n", 400},
        {"version too long", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400},
        {"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
        {"HTTP/0.9", "GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505},
        {"control character", "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"s, 400},
        {"garbage", "\xff\xfe\xfd\r\n\r\n", 400},
    };
}

std::vector<RequestCase> targets() {
    return {
        {"escaped slash stays", target("/v1/models/a%2Fb"), 200},
        {"absolute", target("http://a.test/p?q"), 200},
        {"absolute, https", target("https://A.TEST"), 200},
        {"absolute, other host", target("http://b.test/p"), 400},
        {"absolute, user", target("http://u@a.test/p"), 400},
        {"absolute, no host", target("http:///p"), 400},
        {"absolute, other scheme", target("ftp://a.test/p"), 400},
        {"neither path nor URL", target("v1/models"), 400},
        {"asterisk", target("*", "OPTIONS"), 200},
        {"asterisk for GET", target("*"), 400},
        {"CONNECT", target("a.test:443", "CONNECT"), 501},
        {"escape cut", target("/a%2"), 400},
        {"escape not hexadecimal", target("/a%zz"), 400},
        {"NUL escaped", target("/a%00b"), 400},
        {"fragment", target("/a#b"), 400},
        {"bytes above ASCII", target("/\xc3\xa9"), 400},
    };
}

std::vector<RequestCase> hosts() {
    return {
        {"no host", host(""), 400},
        {"no host in HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", 200},
        {"host empty", host("Host:\r\n"), 200},
        {"host with port", host("Host: a.test:80\r\n"), 200},
        {"host an IPv6 address", host("Host: [::1]:8080\r\n"), 200},
        {"two hosts", host("Host: a\r\nHost: a\r\n"), 400},
        {"two hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400},
        {"host with blank", host("Host: a b\r\n"), 400},
        {"host with path", host("Host: a/b\r\n"), 400},
        {"host with user", host("Host: u@a\r\n"), 400},
        {"host list", host("Host: a, b\r\n"), 400},
        {"host with letters as port", host("Host: a:x\r\n"), 400},
        {"host bracket open", host("Host: [::1\r\n"), 400},
    };
}

std::vector<RequestCase> fields() {
    std::string many;
    for (int i = 0; i < 200; ++i) many += "X-" + std::to_string(i) + ": y\r\n";
    return {
        {"blank before colon", with("X : y\r\n"), 400},
        {"tab before colon", with("X\t: y\r\n"), 400},
        {"folded", with("X: y\r\n z\r\n"), 400},
        {"folded by tab", with("X: y\r\n\tz\r\n"), 400},
        {"first field folded", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
        {"no name", with(": y\r\n"), 400},
        {"no colon", with("Xy\r\n"), 400},
        {"name no token", with("X(y): z\r\n"), 400},
        {"NUL in name", with("X\0Y: z\r\n"s), 400},
        {"NUL in value", with("X: y\0z\r\n"s), 400},
        {"DEL in value", with("X: y\x7f\r\n"), 400},
        {"bare CR in value", with("X: y\rz\r\n"), 400},
        {"empty value", with("X:\r\nContent-Length: 0\r\n"), 200},
        {"bytes above ASCII in value", with("X: \xc3\xa9\r\n"), 200},
        {"too many fields", with(many), 431},
        {"fields too long", with("X: " + std::string(40000, 'y') + "\r\n"), 431},
        {"request line too long", target("/" + std::string(40000, 'y')), 414},
        {"other expectation", with("Expect: 200-ok\r\nContent-Length: 0\r\n"), 417},
    };
}

std::vector<RequestCase> lengths() {
    const auto length = [](const std::string& value) {
        return with("Content-Length: " + value + "\r\n", "hello");
    };
    return {
        {"length", length("5"), 200},
        {"length with zeros", length("0005"), 200},
        {"length of letters", length("abc"), 400},
        {"length negative", length("-1"), 400},
        {"length with plus", length("+5"), 400},
        {"length with blank", length("5 5"), 400},
        {"length list", length("5, 5"), 400},
        {"length empty", length(""), 400},
        {"length hexadecimal", length("0x5"), 400},
        {"length past 64 bits", length("18446744073709551616"), 400},
        {"length past the limit", length("18446744073709551615"), 413},
        {"two lengths, equal", with("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), 400},
        {"two lengths", with("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"), 400},
    };
}

std::vector<RequestCase> codings() {
    const std::string end = "0\r\n\r\n";
    const auto coding = [&](const std::string& value) {
        return with("Transfer-Encoding: " + value + "\r\n", end);
    };
    return {
        {"chunked", coding("chunked"), 200},
        {"chunked in capitals", coding("CHUNKED"), 200},
        {"chunked with blanks", coding(" \tchunked \t"), 200},
        {"xchunked", coding("xchunked"), 400},
        {"chunked, gzip", coding("chunked, gzip"), 400},
        {"gzip, chunked", coding("gzip, chunked"), 501},
        {"chunked twice in one field", coding("chunked, chunked"), 400},
        {"identity", coding("identity"), 400},
        {"coding empty", coding(""), 400},
        {"coding quoted", coding("\"chunked\""), 400},
        {"coding with vertical tab",
         coding("\x0b"
                "chunked"),
         400},
        {"coding with parameter", coding("chunked;q=1"), 400},
        {"two codings", with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", end),
         400},
        {"two codings, first unknown",
         with("Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n", end), 400},
        {"length, then coding", with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", end),
         400},
        {"coding, then length", with("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", end),
         400},
        {"length and unknown coding", with("Content-Length: 5\r\nTransfer-Encoding: x\r\n", end),
         400},
        {"coding in HTTP/1.0",
         "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + end, 400},
    };
}

std::vector<RequestCase> chunks() {
    return {
        {"chunks", chunked("5\r\nhello\r\n3;a=b\r\nabc\r\n0\r\nTrailer: x\r\n\r\n"), 200},
        {"chunk in capitals", chunked("A\r\n0123456789\r\n0\r\n\r\n"), 200},
        {"chunk quoted extension", chunked("5;a=\"b\\\"c\"\r\nhello\r\n0\r\n\r\n"), 200},
        {"chunk size no number", chunked("g\r\nhello\r\n0\r\n\r\n"), 400},
        {"chunk size negative", chunked("-5\r\nhello\r\n0\r\n\r\n"), 400},
        {"chunk size with 0x", chunked("0x5\r\nhello\r\n0\r\n\r\n"), 400},
        {"chunk size empty", chunked("\r\nhello\r\n0\r\n\r\n"), 400},
        {"chunk size after a blank", chunked(" 5\r\nhello\r\n0\r\n\r\n"), 400},
        {"chunk size past 64 bits", chunked("fffffffffffffffff\r\nhello\r\n0\r\n\r\n"), 400},
        {"chunk longer than said", chunked("4\r\nhello\r\n0\r\n\r\n"), 400},
        {"chunk shorter than said", chunked("6\r\nhello\r\n0\r\n\r\n"), 400},
        {"chunk ended by LF", chunked("5\nhello\r\n0\r\n\r\n"), 400},
        {"LF in a chunk extension", chunked("5;a\nb\r\nhello\r\n0\r\n\r\n"), 400},
        {"NUL in a chunk extension", chunked("5;a=\0\r\nhello\r\n0\r\n\r\n"s), 400},
        {"chunk data ended by LF", chunked("5\r\nhello\n0\r\n\r\n"), 400},
        {"chunk header endless", chunked("5;" + std::string(50000, 'a')), 400},
        {"length as trailer", chunked("0\r\nContent-Length: 5\r\n\r\n"), 400},
        {"coding as trailer", chunked("0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400},
        {"trailer no field", chunked("0\r\nnonsense\r\n\r\n"), 400},
    };
}

}  // namespace

const std::vector<RequestCase>& request_cases() {
    static const std::vector<RequestCase> all = [] {
        std::vector<RequestCase> out;
        for (const auto& part :
             {start_lines(), targets(), hosts(), fields(), lengths(), codings(), chunks()})
            out.insert(out.end(), part.begin(), part.end());
        return out;
    }();
    return all;
}

}  // namespace hearth::net::test
