// Beast's basic_parser is driven by hand: the start line when it is whole, the fields when the head
// is whole, then the body as it comes. What it cannot take yet (a part of a chunk header) is kept
// in rest_ and put in front of the next bytes.
//
// Beast 1.81 asserts that a last chunk that is looked at again has at least five bytes; "0\r\n\r"
// has four and is what a slow client sends. What follows the assertion copes, so it is switched off
// here.
#define BOOST_DISABLE_ASSERTS
#include "net/http_parser.h"

#include <algorithm>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>

#include "base/check.h"
#include "base/format.h"
#include "net/limits.h"

namespace hearth::net {
namespace {

namespace http = boost::beast::http;
using boost::beast::error_code;
using boost::beast::string_view;

std::string_view view(string_view text) {
    return {text.data(), text.size()};
}

// What both directions share. isRequest decides the start line only.
template <bool isRequest>
class Message : public http::basic_parser<isRequest> {
  public:
    Message(HeadKind kind, std::size_t header_bytes_max)
        : scanner(kind, header_bytes_max), header_max(header_bytes_max) {
        this->header_limit(std::uint32_t(header_bytes_max));
        this->body_limit(boost::none);  // ours is counted where the bytes are kept
    }

    std::size_t feed_head(std::string_view bytes) {
        std::size_t n = 0;
        while (n < bytes.size() && state == ParseState::head) {
            n += scanner.feed(bytes.substr(n));
            if (scanner.error()) {
                refuse(*scanner.error());
            } else if (!line_read && !scanner.start_line().empty()) {
                line_read = true;
                put_line(scanner.start_line());
            } else if (scanner.complete()) {
                end_head();
            }
        }
        return n;
    }

    std::size_t feed_body(std::string_view bytes) {
        this->eager(true);
        const std::size_t n_held = rest.size();
        std::string_view input = bytes;
        if (n_held > 0) {
            rest += bytes;
            input = rest;
        }
        std::size_t n_used = 0;
        error_code ec;
        while (n_used < input.size() && !this->is_done() && !ec)
            n_used += this->put({input.data() + n_used, input.size() - n_used}, ec);
        if (state == ParseState::failed) return bytes.size();
        if (ec && ec != http::error::need_more) return refuse(ec), bytes.size();
        if (this->is_done()) {
            state = ParseState::done;
            return n_used - n_held;
        }
        if (input.size() - n_used > header_max)
            return refuse({400, "a chunk header or trailer that does not end"}), bytes.size();
        rest = std::string(input.substr(n_used));
        return bytes.size();
    }

    void refuse(GateError e) {
        if (state == ParseState::failed) return;
        state = ParseState::failed;
        error = std::move(e);
    }
    void refuse(const error_code& ec) { refuse({400, format("malformed HTTP: {}", ec.message())}); }

    HeadScanner scanner;
    const std::size_t header_max;
    Headers headers;
    std::string rest;
    ParseState state = ParseState::head;
    GateError error;
    bool line_read = false;

  protected:
    virtual void checked_head() = 0;  // the fields are read: look at them together
    virtual void take_body(std::string_view bytes) = 0;

  private:
    void put_line(std::string_view line) {
        // "HTTP/1.1 200\r\n": servers forget the blank before an empty reason phrase.
        std::string mended;
        if (!isRequest && line.size() == std::string_view("HTTP/1.1 200\r\n").size())
            line = mended = std::string(line.substr(0, line.size() - 2)) + " \r\n";
        error_code ec;
        const std::size_t n = this->put({line.data(), line.size()}, ec);
        if (ec == http::error::need_more && n == line.size()) return;
        if (ec == http::error::bad_version && is_http_version(line))
            return refuse({505, "only HTTP/1.0 and HTTP/1.1 are spoken here"});
        refuse({400, "malformed start line"});
    }
    // "… HTTP/2.0\r\n": a version that is well-formed, only not ours.
    static bool is_http_version(std::string_view line) {
        if (isRequest && (std::ranges::count(line, ' ') != 2 || !line.ends_with("\r\n")))
            return false;
        const std::string_view v =
            isRequest ? line.substr(line.rfind(' ') + 1, line.size() - line.rfind(' ') - 3)
                      : line.substr(0, line.find(' '));
        const auto digit = [](char c) { return c >= '0' && c <= '9'; };
        return v.size() == 8 && v.starts_with("HTTP/") && digit(v[5]) && v[6] == '.' && digit(v[7]);
    }

    void end_head() {
        const std::string_view fields = scanner.fields();
        error_code ec;
        const std::size_t n = this->put({fields.data(), fields.size()}, ec);
        if (state == ParseState::failed) return;
        if (ec || n != fields.size() || !this->is_header_done())
            return refuse({400, format("malformed header fields: {}", ec.message())});
        checked_head();
        if (state == ParseState::failed) return;
        state = this->is_done() ? ParseState::done : ParseState::body;
    }

    void on_field_impl(http::field, string_view name, string_view value, error_code& ec) override {
        if (state != ParseState::head) return;  // trailers say nothing that we use
        if (headers.fields().size() >= kHeaderFieldsMax) {
            refuse({431, format("more than {} header fields", kHeaderFieldsMax)});
            ec = http::error::header_limit;
            return;
        }
        headers.add(std::string(view(name)), std::string(view(value)));
    }
    void on_header_impl(error_code&) override {}
    void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
    std::size_t on_body_impl(string_view body, error_code& ec) override {
        take_body(view(body));
        if (state == ParseState::failed) ec = http::error::body_limit;
        return body.size();
    }
    void on_chunk_header_impl(std::uint64_t, string_view, error_code&) override {}
    std::size_t on_chunk_body_impl(std::uint64_t, string_view body, error_code& ec) override {
        return on_body_impl(body, ec);
    }
    void on_finish_impl(error_code&) override {}
};

}  // namespace

struct RequestParser::Impl final : Message<true> {
    Impl(std::size_t header_bytes_max, std::size_t body_bytes_max)
        : Message(HeadKind::request, header_bytes_max), body_max(body_bytes_max) {}

    void on_request_impl(http::verb, string_view method, string_view target, int v,
                         error_code&) override {
        request.method = std::string(view(method));
        request.target = std::string(view(target));
        version = v;
    }
    void on_response_impl(int, string_view, int, error_code&) override {}
    void checked_head() override {
        request.headers = std::move(headers);
        if (auto e = check_request_fields(request.headers, version)) return refuse(std::move(*e));
        if (auto e = read_target(request)) return refuse(std::move(*e));
        alive = this->keep_alive();
    }
    void take_body(std::string_view bytes) override {
        if (bytes.size() > body_max - request.body.size())
            return refuse({413, format("the body passes {} bytes", body_max)});
        request.body += bytes;
    }

    const std::size_t body_max;
    HttpRequest request;
    int version = 11;
    bool alive = false;
};

RequestParser::RequestParser(std::size_t header_bytes_max, std::size_t body_bytes_max)
    : impl_(std::make_unique<Impl>(header_bytes_max, body_bytes_max)) {}
RequestParser::~RequestParser() = default;

std::size_t RequestParser::feed(std::string_view bytes) {
    if (impl_->state == ParseState::head) return impl_->feed_head(bytes);
    if (impl_->state == ParseState::body) return impl_->feed_body(bytes);
    return 0;
}
ParseState RequestParser::state() const {
    return impl_->state;
}
const GateError& RequestParser::error() const {
    return impl_->error;
}
bool RequestParser::started() const {
    return impl_->scanner.started();
}
HttpRequest& RequestParser::request() {
    return impl_->request;
}
bool RequestParser::keep_alive() const {
    return impl_->alive;
}
int RequestParser::version() const {
    return impl_->version;
}
bool RequestParser::expects_continue() const {
    return impl_->version >= 11 && impl_->request.headers.find("Expect");
}
std::optional<std::uint64_t> RequestParser::content_length() const {
    const auto length = impl_->content_length();
    return length ? std::optional(*length) : std::nullopt;
}

struct ResponseParser::Impl final : Message<false> {
    Impl(std::size_t header_bytes_max, bool to_head, std::function<void(std::string_view)> sink)
        : Message(HeadKind::response, header_bytes_max), on_body(std::move(sink)) {
        this->skip(to_head);
    }

    void on_request_impl(http::verb, string_view, string_view, int, error_code&) override {}
    void on_response_impl(int code, string_view, int, error_code&) override { status = code; }
    void checked_head() override {
        if (status < 100 || status > 599)
            return refuse({502, format("the status {} does not exist", status)});
        if (auto e = check_response_fields(headers)) refuse(std::move(*e));
    }
    void take_body(std::string_view bytes) override { on_body(bytes); }

    const std::function<void(std::string_view)> on_body;
    int status = 0;
};

ResponseParser::ResponseParser(std::size_t header_bytes_max, bool to_head,
                               std::function<void(std::string_view)> on_body)
    : impl_(std::make_unique<Impl>(header_bytes_max, to_head, std::move(on_body))) {}
ResponseParser::~ResponseParser() = default;

std::size_t ResponseParser::feed(std::string_view bytes) {
    if (impl_->state == ParseState::head) return impl_->feed_head(bytes);
    if (impl_->state == ParseState::body) return impl_->feed_body(bytes);
    return 0;
}

void ResponseParser::feed_eof() {
    if (impl_->state == ParseState::head)
        return impl_->refuse({502, "the connection closed before the response's head"});
    if (impl_->state != ParseState::body) return;
    error_code ec;
    if (impl_->rest.empty()) impl_->put_eof(ec);
    if (ec || !impl_->is_done())
        return impl_->refuse({502, "the connection closed in the middle of the response"});
    impl_->state = ParseState::done;
}

ParseState ResponseParser::state() const {
    return impl_->state;
}
const GateError& ResponseParser::error() const {
    return impl_->error;
}
int ResponseParser::status() const {
    return impl_->status;
}
const Headers& ResponseParser::headers() const {
    return impl_->headers;
}

}  // namespace hearth::net
