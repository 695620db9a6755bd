// What of a rendered prompt is public: the template's text and the mark, and nothing else.
#include "backend/public_prefix.h"

#include <gtest/gtest.h>

namespace hearth::backend {
namespace {

constexpr const char* kChatml =
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{%- endfor %}{{- '<|im_start|>assistant\\n' }}";

Result<std::string> part_of(const std::string& chat_template, std::string_view text) {
    chat::FormatModel model;
    model.chat_template = chat_template;
    model.now_unix_s = 1'790'000'000;
    const auto format = chat::find_format(model);
    EXPECT_TRUE(format);
    EXPECT_TRUE(chat::prepare(model));
    return public_part(**format, model, text);
}

TEST(PublicPart, is_the_beginning_of_the_prompt_up_to_the_marks_end) {
    const auto part = part_of(kChatml, "You are the help desk.");
    ASSERT_TRUE(part) << part.error().message;
    EXPECT_EQ(*part, "<|im_start|>system\nYou are the help desk.");
}

TEST(PublicPart, ends_before_white_space_that_a_template_may_take_away) {
    EXPECT_EQ(*part_of(kChatml, "\nHelp. \n\n"), "<|im_start|>system\n\nHelp.");
    const std::string trims =
        "{{- messages[0].content | trim + '|' + messages[1].content | trim + '|' }}";
    EXPECT_EQ(*part_of(trims, "\nHelp. \n\n"), "Help.");
}

TEST(PublicPart, text_that_stands_in_the_template_too_is_found_at_its_place) {
    // Every word of this mark stands in the template, before the user's message or after it.
    const std::string echo =
        "{{- 'Help. ' + messages[0].content + '\\n' + messages[1].content + ' Help.' }}";
    EXPECT_EQ(*part_of(echo, "Help."), "Help. Help.");
    EXPECT_EQ(*part_of(kChatml, "1"), "<|im_start|>system\n1");
    EXPECT_EQ(*part_of(kChatml, "assistant"), "<|im_start|>system\nassistant");
}

TEST(PublicPart, nothing_that_a_user_or_the_clock_writes_can_be_in_it) {
    for (const char* refused : {
             // The user's message comes first.
             "{{- messages[1].content + '\\n' + messages[0].content }}",
             "{{- messages[1].content + messages[0].content + messages[1].content }}",
             // The time comes first.
             "{{- strftime_now('%Y-%m-%d') + messages[0].content + messages[1].content }}",
             "{{- strftime_now('%B') + messages[0].content + messages[1].content }}",
             "{{- strftime_now('%A') + messages[0].content + messages[1].content }}",
             "{{- strftime_now('%H') + messages[0].content + messages[1].content }}",
             "{{- strftime_now('%M') + messages[0].content + messages[1].content }}",
             "{{- strftime_now('%S') + messages[0].content + messages[1].content }}",
             // The text is altered, or left out.
             "{{- messages[0].content | upper + messages[1].content }}",
             "{{- messages[1].content }}",
             // The template refuses a system message.
             "{{- raise_exception('no system message') }}",
         }) {
        const auto part = part_of(refused, "You are the help desk.");
        EXPECT_FALSE(part) << refused << " gave " << *part;
    }
}

TEST(PublicPart, of_nothing_is_refused) {
    EXPECT_FALSE(part_of(kChatml, ""));
    EXPECT_FALSE(part_of(kChatml, " \n\t"));
}

}  // namespace
}  // namespace hearth::backend
