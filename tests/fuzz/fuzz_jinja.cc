// Any bytes as a chat template, rendered with a small conversation.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "chat/jinja/jinja.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace hearth;
    static const Json context = *parse_json(
        R"({"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"","tool_calls":[
        {"id":"c","type":"function","function":{"name":"f","arguments":{"a":1}}}]}],"tools":null,
        "bos_token":"<s>","eos_token":"</s>","add_generation_prompt":true,"n":3,"l":[1,"b",2.5]})");
    const auto parsed = chat::jinja::parse({reinterpret_cast<const char*>(data), size});
    if (!parsed) return 0;
    const auto text = chat::jinja::render(
        *parsed, context,
        {.limits = {.steps = 50'000, .output_bytes = 1u << 20, .made_bytes = 32u << 20}});
    if (text && !is_utf8(*text)) std::abort();
    return 0;
}
