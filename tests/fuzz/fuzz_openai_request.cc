// Any bytes as the body of a chat request. What reads must survive the way to an upstream and back.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "chat/dialect.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace hearth::chat;
    const Dialect& openai = *find_dialect("openai");
    const auto request =
        openai.read_request("/v1/chat/completions", {reinterpret_cast<const char*>(data), size});
    if (!request) return 0;
    const std::string body = openai.write_request(*request, "m");
    const auto again = openai.read_request("/v1/chat/completions", body);
    // Shorter forms of the wire (a bare image_url, functions) become one level deeper in the full form.
    if (!again && again.error().message.find("deeper") != std::string::npos) return 0;
    if (!again || openai.write_request(*again, "m") != body) std::abort();
    return 0;
}
