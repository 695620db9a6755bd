// Any bytes as JSON: what parses is written as text that parses to the same text again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "base/json.h"
#include "base/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace hearth;
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto value = parse_json(text);
    if (value) {
        const std::string written = to_text(*value);
        const auto again = parse_json(written);
        if (!again || to_text(*again) != written) std::abort();
    }
    if (!is_utf8(json_text(text))) std::abort();
    return 0;
}
