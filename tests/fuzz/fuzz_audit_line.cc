// Any bytes as an export that is verified: never a verdict of "whole" without the chain's key for
// it, and whatever is read as a line is written again to the same bytes.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "audit/line.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace hearth::audit;
    std::string_view text(reinterpret_cast<const char*>(data), size);
    Trust with_key, without;
    with_key.chain_key = std::string(32, 'k');
    with_key.from_seq = without.from_seq = 1'000'000;
    LineVerifier keyed(with_key), unkeyed(without);
    while (!text.empty()) {
        const std::size_t end = text.find('\n');
        const std::string_view one = text.substr(0, end);
        text.remove_prefix(end == text.npos ? text.size() : end + 1);
        if (const auto line = parse_line(one);
            line && render_line(line->slot, line->entry(), line->previous, line->mac) != one)
            std::abort();
        // Nobody can make a mac without the key.
        if (keyed.add(one)) std::abort();
        unkeyed.add(one);
    }
    (void)to_json(judge(unkeyed.finish(), without));
    (void)to_text(judge(keyed.finish(), with_key));
    return 0;
}
