// Responses of an upstream, whole and in two pieces, with the end of the stream after them.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "net/http_parser.h"

namespace {

using namespace hearth::net;

struct Outcome {
    ParseState state;
    int status = 0;
    std::string body;
    friend bool operator==(const Outcome&, const Outcome&) = default;
};

Outcome parse(std::string_view first, std::string_view second, bool to_head) {
    std::string body;
    ResponseParser parser(4096, to_head, [&](std::string_view b) { body += b; });
    for (std::string_view bytes : {first, second})
        while (!bytes.empty() && parser.state() != ParseState::done &&
               parser.state() != ParseState::failed)
            bytes.remove_prefix(parser.feed(bytes));
    parser.feed_eof();
    if (parser.state() == ParseState::failed) return {ParseState::failed, 0, ""};
    if (parser.status() < 100 || parser.status() > 599) std::abort();
    return {parser.state(), parser.status(), std::move(body)};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) return 0;
    const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
    const std::size_t split = std::min<std::size_t>(data[0], bytes.size());
    const bool to_head = data[1] & 1;
    if (parse(bytes, "", to_head) != parse(bytes.substr(0, split), bytes.substr(split), to_head))
        std::abort();
    return 0;
}
