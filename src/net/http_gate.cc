// The scanner goes byte by byte and refuses at the first byte that cannot be right, so that a
// client that waits for an answer gets one at once.
#include "net/http_gate.h"

#include <algorithm>
#include <cctype>
#include <cstdint>

#include "base/format.h"
#include "net/limits.h"

namespace hearth::net {
namespace {

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
bool is_alpha(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_token_char(char c) {
    return is_digit(c) || is_alpha(c) || std::string_view("!#$%&'*+-.^_`|~").contains(c);
}
int hex_value(char c) {
    if (is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}
// A TLS record of type handshake begins with this byte (RFC 8446, section 5.1).
constexpr char kTlsHandshake = 0x16;

std::string_view trim(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return text;
}

std::size_t count(const Headers& headers, std::string_view name) {
    return std::size_t(std::ranges::count_if(
        headers.fields(), [&](const auto& field) { return same_header(field.first, name); }));
}

// Transfer-Encoding is absent, or exactly "chunked", once.
std::optional<GateError> check_coding(const Headers& headers) {
    const auto coding = headers.find("Transfer-Encoding");
    if (!coding) return std::nullopt;
    if (count(headers, "Transfer-Encoding") > 1)
        return GateError{400, "more than one Transfer-Encoding field"};
    if (headers.find("Content-Length"))
        return GateError{400, "Content-Length and Transfer-Encoding together"};
    if (same_header(*coding, "chunked")) return std::nullopt;
    // RFC 9112, 6.3: without chunked at the end, once, the body has no known end; 6.1: other
    // codings are not understood here.
    std::string_view rest = *coding, last;
    int n_chunked = 0;
    while (!rest.empty()) {
        const auto comma = std::min(rest.find(','), rest.size());
        last = trim(rest.substr(0, comma));
        n_chunked += same_header(last, "chunked");
        rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
    if (n_chunked != 1 || !same_header(last, "chunked"))
        return GateError{400, "Transfer-Encoding must be chunked; the body's end is unknown"};
    return GateError{501, "only the transfer coding chunked is supported"};
}

std::optional<GateError> check_length(const Headers& headers) {
    const auto length = headers.find("Content-Length");
    if (!length) return std::nullopt;
    if (count(headers, "Content-Length") > 1)
        return GateError{400, "more than one Content-Length field"};
    if (length->empty() || !std::ranges::all_of(*length, is_digit))
        return GateError{400, "Content-Length is not a number"};
    return std::nullopt;
}

// "http://host:port/path?query" → authority and the rest; nothing if it is not of that form.
std::optional<GateError> read_absolute(const HttpRequest& request, std::string_view& rest) {
    const auto scheme_end = rest.find("://");
    const std::string_view scheme = rest.substr(0, scheme_end);
    if (scheme_end == rest.npos || !(same_header(scheme, "http") || same_header(scheme, "https")))
        return GateError{400, "the request target is neither a path nor an http URL"};
    rest.remove_prefix(scheme_end + 3);
    const auto end = std::min(rest.find_first_of("/?"), rest.size());
    const std::string_view authority = rest.substr(0, end);
    if (authority.empty() || !is_authority(authority))
        return GateError{400, "the request target names no valid host"};
    const auto host = request.headers.find("Host");
    if (host && !same_header(*host, authority))
        return GateError{400, "the request target and Host name different hosts"};
    rest.remove_prefix(end);
    return std::nullopt;
}

}  // namespace

bool is_token(std::string_view text) {
    return !text.empty() && std::ranges::all_of(text, is_token_char);
}

bool is_field_value(std::string_view text) {
    return std::ranges::none_of(
        text, [](unsigned char c) { return (c < 0x20 && c != '\t') || c == 0x7f; });
}

bool is_authority(std::string_view text) {
    std::string_view port;
    if (text.starts_with('[')) {
        const auto end = text.find(']');
        if (end == text.npos || end < 3) return false;
        const auto is_address = [](char c) { return hex_value(c) >= 0 || c == ':' || c == '.'; };
        if (!std::ranges::all_of(text.substr(1, end - 1), is_address)) return false;
        port = text.substr(end + 1);
    } else {
        const auto end = std::min(text.find(':'), text.size());
        const auto is_name = [](char c) {
            return is_digit(c) || is_alpha(c) || std::string_view("-._~%").contains(c);
        };
        if (!std::ranges::all_of(text.substr(0, end), is_name)) return false;
        port = text.substr(end);
    }
    if (port.empty()) return true;
    return port.size() <= 6 && port[0] == ':' && std::ranges::all_of(port.substr(1), is_digit);
}

std::optional<std::string> percent_decode(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            out += text[i];
            continue;
        }
        if (text.size() - i < 3) return std::nullopt;
        const int high = hex_value(text[i + 1]), low = hex_value(text[i + 2]);
        if (high < 0 || low < 0 || (high == 0 && low == 0)) return std::nullopt;
        out += char(high * 16 + low);
        i += 2;
    }
    return out;
}

std::size_t HeadScanner::feed(std::string_view bytes) {
    std::size_t n = 0;
    const bool had_start_line = n_start_line_ != 0;
    while (n < bytes.size() && !complete_ && !error_ && had_start_line == (n_start_line_ != 0))
        take(bytes[n++]);
    return n;
}

bool HeadScanner::refuse(int status, std::string message) {
    error_ = GateError{status, std::move(message)};
    return false;
}

bool HeadScanner::take(char c) {
    if (!started_ && c == kTlsHandshake && kind_ == HeadKind::request)
        return refuse(400, "this port speaks plain HTTP, not TLS: use http:// instead of https://");
    started_ = true;
    if (head_.size() >= max_) {
        if (n_start_line_ == 0)
            return refuse(414, format("the request line passes {} bytes", max_));
        return refuse(431, format("the header fields pass {} bytes", max_));
    }
    if (after_cr_) {
        if (c != '\n') return refuse(400, "a carriage return without a line feed in the head");
        after_cr_ = false;
        head_ += c;
        return end_line();
    }
    const auto u = static_cast<unsigned char>(c);
    if (c == '\n') return refuse(400, "a line feed without a carriage return in the head");
    if ((u < 0x20 && c != '\t' && c != '\r') || u == 0x7f)
        return refuse(400, format("control character 0x{:02x} in the head", u));
    if (head_.size() == line_at_ && n_start_line_ != 0 && (c == ' ' || c == '\t') &&
        kind_ == HeadKind::request)
        return refuse(400, "a folded header line (it begins with a blank)");
    after_cr_ = c == '\r';
    head_ += c;
    return true;
}

bool HeadScanner::end_line() {
    const bool empty = head_.size() - line_at_ == 2;
    if (empty && n_start_line_ == 0) {
        // RFC 9112, 2.2: one empty line before a request is skipped; some clients send it after
        // a body.
        if (skipped_blank_ || kind_ == HeadKind::response)
            return refuse(400, "an empty line where a message must begin");
        skipped_blank_ = true;
        started_ = false;
        head_.clear();
        return true;
    }
    if (n_start_line_ == 0) n_start_line_ = head_.size();
    if (empty) complete_ = true;
    line_at_ = head_.size();
    return true;
}

std::optional<GateError> check_request_fields(const Headers& headers, int version) {
    const auto n_host = count(headers, "Host");
    if (n_host > 1) return GateError{400, "more than one Host field"};
    if (n_host == 0 && version >= 11) return GateError{400, "HTTP/1.1 needs a Host field"};
    if (n_host == 1 && !is_authority(*headers.find("Host")))
        return GateError{400, "the Host field is not a host name or address"};
    if (auto error = check_length(headers)) return error;
    if (version < 11 && headers.find("Transfer-Encoding"))
        return GateError{400, "HTTP/1.0 has no Transfer-Encoding"};
    if (auto error = check_coding(headers)) return error;
    const auto expect = headers.find("Expect");
    if (expect && version >= 11 && !same_header(*expect, "100-continue"))
        return GateError{417, "the only expectation that is understood is 100-continue"};
    return std::nullopt;
}

std::optional<GateError> check_response_fields(const Headers& headers) {
    if (auto error = check_length(headers)) return GateError{502, error->message};
    if (auto error = check_coding(headers)) return GateError{502, error->message};
    return std::nullopt;
}

std::optional<GateError> read_target(HttpRequest& request) {
    std::string_view rest = request.target;
    const auto is_uri_char = [](unsigned char c) { return c > 0x20 && c < 0x7f && c != '#'; };
    if (!std::ranges::all_of(rest, is_uri_char))
        return GateError{400, "the request target holds a character that must be escaped"};
    if (request.method == "CONNECT") return GateError{501, "this server is no proxy"};
    if (rest == "*") {
        if (request.method != "OPTIONS") return GateError{400, "the target * is for OPTIONS only"};
        request.path = "*";
        return std::nullopt;
    }
    if (!rest.starts_with('/'))
        if (auto error = read_absolute(request, rest)) return error;
    const auto question = std::min(rest.find('?'), rest.size());
    const std::string_view path = rest.substr(0, question);
    auto decoded = percent_decode(path.empty() ? "/" : path);
    if (!decoded) return GateError{400, "a malformed % escape, or %00, in the request path"};
    request.path = std::move(*decoded);
    if (question < rest.size()) request.query = std::string(rest.substr(question + 1));
    return std::nullopt;
}

}  // namespace hearth::net
