// Any lines as the data of an upstream's stream; what comes out keeps the order that events
// promise.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "chat/dialect.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace hearth::chat;
    const Dialect& openai = *find_dialect("openai");
    std::string_view rest(reinterpret_cast<const char*>(data), size);
    openai.read_error(400, rest);
    const auto state = openai.new_read_state();
    bool ended = false;
    const auto check = [&](const auto& events) {
        for (const Event& e : *events) {
            if (ended) std::abort();
            ended = is_terminal(e);
        }
    };
    while (!rest.empty()) {
        const std::size_t end = rest.find('\n');
        const auto events = openai.read_event(*state, "", rest.substr(0, end));
        if (!events) return 0;
        check(events);
        rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
    }
    if (const auto events = openai.read_end(*state)) check(events);
    return 0;
}
