// Any bytes as keys.json, as the body of the admin API, and as the usage file: refused, or read as
// values that read back the same.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "serve/key_file.h"
#include "serve/usage_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace hearth::serve;
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    if (const auto file = parse_key_file(text)) {
        const auto again = parse_key_file(to_text(*file));
        if (!again || *again != *file) std::abort();
    }
    if (const auto wish = parse_key_wish(text)) (void)key_of(*wish, 1'800'000'000);
    for (const KeyUsage& usage : parse_usage(text)) {
        if (usage.key_id.empty()) continue;
        if (parse_usage(usage_line(usage)) != std::vector{usage}) std::abort();
    }
    return 0;
}
