// Any bytes as a recorded decision: refused, or decided again to a record that replays to itself.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "route/decide.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto again =
        hearth::route::replay(std::string_view(reinterpret_cast<const char*>(data), size));
    if (!again) return 0;
    const auto twice = hearth::route::replay(*again);
    if (!twice || *twice != *again) std::abort();
    return 0;
}
