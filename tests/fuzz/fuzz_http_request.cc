// Requests: the parser behind its gate, whole and in two pieces. The split must not change the
// verdict, and what is let through has exactly one framing.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "net/http_parser.h"

namespace {

using namespace hearth::net;

constexpr std::size_t kHeaderMax = 4096, kBodyMax = 65536;

std::size_t feed(RequestParser& parser, std::string_view bytes) {
    std::size_t n = 0;
    while (n < bytes.size() && parser.state() != ParseState::done &&
           parser.state() != ParseState::failed)
        n += parser.feed(bytes.substr(n));
    return n;
}

void require(bool condition) {
    if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::size_t split = data[0];
    const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
    RequestParser whole(kHeaderMax, kBodyMax), pieces(kHeaderMax, kBodyMax);
    const std::size_t n_whole = feed(whole, bytes);
    const std::size_t n_first = feed(pieces, bytes.substr(0, split));
    const std::size_t n_pieces = n_first + feed(pieces, bytes.substr(n_first));
    require(whole.state() == pieces.state());
    if (whole.state() == ParseState::failed) require(whole.error().status == pieces.error().status);
    if (whole.state() != ParseState::done) return 0;
    require(n_whole == n_pieces);
    const HttpRequest& request = whole.request();
    require(request.body == pieces.request().body && request.body.size() <= kBodyMax);
    require(request.path == "*" || request.path.starts_with('/'));
    require(request.path.find('\0') == request.path.npos);
    int n_host = 0, n_framing = 0;
    for (const auto& [name, value] : request.headers.fields()) {
        require(is_token(name) && is_field_value(value));
        n_host += same_header(name, "Host");
        n_framing += same_header(name, "Content-Length") || same_header(name, "Transfer-Encoding");
    }
    require(n_framing <= 1 && n_host <= 1 && (n_host == 1 || whole.version() == 10));
    return 0;
}
