// Fuzzes the control messages between the main process and the broker: no input may crash the
// decoder, and whatever it accepts must encode to the same bytes.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "egress/message.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    const auto message = hearth::egress::decode(bytes);
    if (!message) return 0;
    const auto again = hearth::egress::encode(*message);
    // The one thing encode refuses and decode cannot see is a message beyond the packet's limit.
    if (!again ? size <= 160u << 10 : *again != bytes) std::abort();
    return 0;
}
