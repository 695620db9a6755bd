// Sizes from bytes: what the estimate counts, and that the bound holds whatever the request holds.
#include "chat/estimate.h"

#include <gtest/gtest.h>

namespace hearth::chat {
namespace {

ChatRequest one_message(std::string text) {
    ChatRequest request;
    request.messages.push_back({.role = Role::user,
                                .parts = {TextPart{std::move(text)}},
                                .tool_calls = {},
                                .tool_call_id = "",
                                .name = "",
                                .thinking = ""});
    return request;
}

TEST(PromptSize, four_bytes_are_about_a_token_and_a_byte_is_at_most_one) {
    const PromptSize size = size_of_prompt(one_message(std::string(4000, 'x')));
    EXPECT_GE(size.n_tokens, 1000);
    EXPECT_LE(size.n_tokens, 1010);
    EXPECT_GE(size.n_tokens_max, 4000);
}

// A kilobyte anywhere in the request makes both figures larger by what a kilobyte is.
TEST(PromptSize, every_text_that_reaches_the_model_counts) {
    const std::string kb(1000, 'x');
    const PromptSize bare = size_of_prompt(one_message("hi"));
    const auto grows = [&](const char* what, auto&& change) {
        ChatRequest request = one_message("hi");
        change(request);
        const PromptSize size = size_of_prompt(request);
        EXPECT_GE(size.n_tokens, bare.n_tokens + 250) << what;
        EXPECT_GE(size.n_tokens_max, bare.n_tokens_max + 1000) << what;
    };
    grows("text", [&](ChatRequest& r) { r.messages[0].parts.push_back(TextPart{kb}); });
    grows("thinking", [&](ChatRequest& r) { r.messages[0].thinking = kb; });
    grows("name", [&](ChatRequest& r) { r.messages[0].name = kb; });
    grows("arguments", [&](ChatRequest& r) { r.messages[0].tool_calls.push_back({"", "", kb}); });
    grows("call's name", [&](ChatRequest& r) { r.messages[0].tool_calls.push_back({"", kb, ""}); });
    grows("tool", [&](ChatRequest& r) { r.tools.push_back({.name = "t", .description = kb}); });
    grows("schema", [&](ChatRequest& r) {
        Tool tool{.name = "t", .description = ""};
        tool.parameters["about"] = kb;
        r.tools.push_back(tool);
    });
    grows("response_format", [&](ChatRequest& r) {
        r.response_format.kind = ResponseFormat::Kind::json_schema;
        r.response_format.schema = {{"title", kb}};
    });
    grows("kwargs", [&](ChatRequest& r) { r.template_kwargs["k"] = kb; });
    grows("raw", [&](ChatRequest& r) { r.raw = RawPrompt{.text = kb, .ids = {}}; });
    grows("ids", [&](ChatRequest& r) {
        r.raw = RawPrompt{.text = "", .ids = std::vector<std::int32_t>(1000, 7)};
    });
}

TEST(PromptSize, sound_is_bounded_by_its_bytes_only) {
    ChatRequest request = one_message("hi");
    const PromptSize bare = size_of_prompt(request);
    request.messages[0].parts.push_back(AudioPart{std::string(1000, 'A'), "wav"});
    EXPECT_EQ(size_of_prompt(request).n_tokens, bare.n_tokens);
    EXPECT_EQ(size_of_prompt(request).n_tokens_max, bare.n_tokens_max + 1000);
}

TEST(AnswerBytes, text_thinking_and_calls_count_and_nothing_else) {
    EXPECT_EQ(answer_bytes(TextDelta{0, "four", {}}), 4);
    EXPECT_EQ(answer_bytes(ThinkingDelta{0, "hm"}), 2);
    EXPECT_EQ(answer_bytes(ToolCallStart{0, 0, "call_1", "f"}), 1);
    EXPECT_EQ(answer_bytes(ToolCallDelta{0, 0, "{}"}), 2);
    EXPECT_EQ(answer_bytes(Started{"m"}), 0);
    EXPECT_EQ(answer_bytes(Finished{}), 0);
    EXPECT_EQ(estimated_tokens(0), 0);
    EXPECT_EQ(estimated_tokens(1), 1);
    EXPECT_EQ(estimated_tokens(9), 3);
}

}  // namespace
}  // namespace hearth::chat
