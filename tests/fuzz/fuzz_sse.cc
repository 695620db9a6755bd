// Event streams, whole and in two pieces: the split must not change the events.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "net/sse.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace hearth::net;
    if (size == 0) return 0;
    const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
    const std::size_t split = std::min<std::size_t>(data[0], bytes.size());
    SseParser whole(1024), pieces(1024);
    const auto all = whole.feed(bytes);
    auto events = pieces.feed(bytes.substr(0, split));
    if (events) {
        auto rest = pieces.feed(bytes.substr(split));
        if (rest)
            for (auto& event : *rest) events->push_back(std::move(event));
        else
            events = std::unexpected(rest.error());
    }
    if (all.has_value() != events.has_value()) std::abort();
    if (!all) return 0;
    if (all->size() != events->size() || whole.in_event() != pieces.in_event()) std::abort();
    for (std::size_t i = 0; i < all->size(); ++i)
        if ((*all)[i].event != (*events)[i].event || (*all)[i].data != (*events)[i].data)
            std::abort();
    return 0;
}
