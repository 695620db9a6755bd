// The detectors over any bytes, and a pattern and a word taken from them: spans stay inside the
// text, in order, apart from each other; the class is never below that of a span.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "route/sensitivity.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace hearth::route;
    static const Detectors builtin = Detectors::make().value();
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    const auto check = [&](const Detectors& detectors) {
        std::size_t end = 0;
        const auto findings = detectors.scan(bytes);
        const auto highest = Detectors::class_of(bytes, findings);
        for (const Finding& f : findings) {
            if (f.start < end || f.start >= f.end || f.end > size) std::abort();
            if (f.sensitivity > highest || !(f.confidence > 0 && f.confidence <= 1)) std::abort();
            end = f.end;
        }
    };
    check(builtin);
    const std::size_t cut = bytes.find('\n');
    if (cut == bytes.npos || cut > 64) return 0;
    const std::string head(bytes.substr(0, cut));
    for (const bool as_word : {true, false}) {
        UserDetector block{.name = "own"};
        if (as_word)
            block.words = {head};
        else
            block.pattern = head;
        if (const auto made = Detectors::make({block})) check(*made);
    }
    return 0;
}
