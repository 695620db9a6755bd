// Rendering requests and parsing tagged answers.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "base/file.h"
#include "chat/format.h"
#include "support/data.h"

namespace hearth::chat {
namespace {

Message message(Role role, const std::string& text) {
    Message m;
    m.role = role;
    m.parts.push_back(TextPart{text});
    return m;
}

ChatRequest with_tool() {
    ChatRequest r;
    r.messages.push_back(message(Role::user, "Weather?"));
    Tool tool;
    tool.name = "get_weather";
    tool.description = "Looks outside.";
    tool.parameters = {{"type", "object"}};
    r.tools.push_back(tool);
    return r;
}

const Format& jinja_format(const FormatModel& model) {
    const auto format = find_format(model);
    EXPECT_TRUE(format);
    return **format;
}

// Everything a parser says, as one line: text as it is, thinking and calls in angle marks.
std::string shown(const std::vector<Event>& events) {
    std::string out;
    for (const Event& e : events) {
        if (const auto* t = std::get_if<TextDelta>(&e)) out += t->text;
        if (const auto* t = std::get_if<ThinkingDelta>(&e)) out += "«" + t->text + "»";
        if (const auto* c = std::get_if<ToolCallStart>(&e))
            out += "«" + std::to_string(c->call) + c->name;
        if (const auto* c = std::get_if<ToolCallDelta>(&e)) out += c->arguments + "»";
    }
    std::string joined;  // pieces of one thinking text follow each other
    for (std::size_t i = 0; i < out.size(); ++i) {
        if (out.compare(i, 4, "»«") == 0 && i + 4 < out.size() && !std::isdigit(out[i + 4])) {
            i += 3;
        } else {
            joined += out[i];
        }
    }
    return joined;
}

std::string parsed(const std::string& answer, std::size_t piece, FinishReason& reason,
                   bool with_tools = true, bool thinking = false, const std::string& prompt = "") {
    FormatModel model;
    model.chat_template = thinking ? "<think>" : "x";
    ChatRequest request = with_tool();
    if (!with_tools) request.tools.clear();
    const auto parser = jinja_format(model).new_parser(model, request, prompt, 0);
    std::vector<Event> events;
    for (std::size_t at = 0; at < answer.size(); at += piece) {
        for (Event& e : parser->feed(answer.substr(at, piece))) events.push_back(std::move(e));
    }
    for (Event& e : parser->finish(reason)) events.push_back(std::move(e));
    return shown(events);
}

TEST(FormatJinja, renders_tools_calls_and_results_for_a_chatml_template) {
    NEEDS_DATA(path, "models/demo/chat_template.jinja");
    FormatModel model;
    model.chat_template = *read_file(path, 1u << 20);
    model.bos_token = "<s>";
    ChatRequest r = with_tool();
    Message call;
    call.role = Role::assistant;
    call.tool_calls.push_back({"call_1", "get_weather", R"({"city":"Oslo"})"});
    r.messages.push_back(call);
    Message result = message(Role::tool, "snow");
    result.tool_call_id = "call_1";
    r.messages.push_back(result);
    const std::string expected =
        "<|im_start|>system\nYou can call these functions:\n<tools>\n"
        R"({"type": "function", "function": {"name": "get_weather", "description": "Looks outside.", )"
        R"("parameters": {"type": "object"}}})"
        "\n</tools>\nTo call one, answer with:\n<tool_call>\n"
        R"({"name": <name>, "arguments": <arguments as a JSON object>})"
        "\n</tool_call><|im_end|>\n<|im_start|>user\nWeather?<|im_end|>\n<|im_start|>assistant\n"
        "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": "
        "\"Oslo\"}}\n</tool_call>"
        "<|im_end|>\n<|im_start|>user\n<tool_response>\nsnow\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n";
    auto text = jinja_format(model).render(model, r);
    ASSERT_TRUE(text) << text.error().message;
    EXPECT_EQ(*text, expected);
    ASSERT_TRUE(prepare(model));
    EXPECT_EQ(*jinja_format(model).render(model, r), expected);
    r.tool_choice.kind = ToolChoice::Kind::none;
    EXPECT_EQ(jinja_format(model).render(model, r)->find("get_weather\", \"desc"),
              std::string::npos);
}

TEST(FormatJinja, a_template_sees_what_transformers_gives_it) {
    FormatModel model;
    model.chat_template =
        "{{ bos_token }}{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}"
        "{{ k }}{{ messages[0]['content'] }}{{ strftime_now('%Y') }}{{ eos_token }}";
    model.bos_token = "<s>";
    model.eos_token = "</s>";
    model.now_unix_s = 1773500966;
    ChatRequest r;
    r.messages.push_back(message(Role::user, "a"));
    r.messages[0].parts.push_back(TextPart{"b"});
    r.template_kwargs["k"] = 7;
    r.template_kwargs["messages"] = "not these";
    EXPECT_EQ(*jinja_format(model).render(model, r), "<s>TrueTrueTrue7ab2026</s>");
}

TEST(FormatJinja, a_template_that_takes_only_parts_gets_parts) {
    FormatModel model;
    model.chat_template =
        "{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}";
    ASSERT_TRUE(prepare(model));
    EXPECT_TRUE(model.wants_parts);
    ChatRequest r;
    r.messages.push_back(message(Role::user, "hello"));
    EXPECT_EQ(*jinja_format(model).render(model, r), "hello");
}

TEST(FormatJinja, refusals_and_mistakes_of_a_template_are_the_callers_errors) {
    FormatModel model;
    EXPECT_FALSE(find_format(model));
    model.chat_template = "{{ raise_exception('roles must alternate') }}";
    const auto refused = jinja_format(model).render(model, with_tool());
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::invalid_request);
    EXPECT_NE(refused.error().message.find("roles must alternate"), std::string::npos);
    model.chat_template = "{% if %}";
    EXPECT_FALSE(prepare(model));
    EXPECT_FALSE(jinja_format(model).render(model, with_tool()));
}

struct AnswerCase {
    const char* answer;
    const char* shown;
    FinishReason reason;
};

TEST(TaggedParser, calls_come_out_however_the_text_is_cut) {
    const auto stop = FinishReason::stop;
    const auto calls = FinishReason::tool_calls;
    const AnswerCase cases[] = {
        {"plain", "plain", stop},
        {"<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1.0}}\n</tool_call>",
         "«0f{\"a\": 1.0}»", calls},
        {"Let me see.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>\n"
         "<tool_call>{\"arguments\": {\"x\": \"</tool_call>\"}, \"name\": \"g\"}</tool_call>",
         "Let me see.«0f{}»«1g{\"x\": \"</tool_call>\"}»", calls},
        {"<tool_call>{\"name\":\"f\"}</tool_call> bye", "«0f{}» bye", calls},
        {"<tool_call>{\"name\":\"f\",\"parameters\":{\"q\":\"\\\"\"}}</tool_call>",
         "«0f{\"q\":\"\\\"\"}»", calls},
        {"<tool_call>{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":2}\"}</tool_call>", "«0f{\"a\":2}»",
         calls},
        {"<tool_call>{\"name\": \"f\", \"arguments\": {}}", "«0f{}»", calls},
        // What is no call stays text, whole.
        {"a\n<tool_call>\nnot json\n</tool_call>\nb", "a\n<tool_call>\nnot json\n</tool_call>\nb",
         stop},
        {"<tool_call>{\"name\": 1}</tool_call>", "<tool_call>{\"name\": 1}</tool_call>", stop},
        {"<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>",
         "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>", stop},
        {"x <tool_call>{\"name\": \"f", "x <tool_call>{\"name\": \"f", stop},
        {"5 < 6 and <tool_cal", "5 < 6 and <tool_cal", stop},
        {"<tool_<tool_call>{\"name\":\"f\"}</tool_call>", "<tool_«0f{}»", calls},
        {"end\n", "end\n", stop},
        {"\n\n<tool", "\n\n<tool", stop},
        {"<think>no thinking model</think>x", "<think>no thinking model</think>x", stop},
    };
    for (const AnswerCase& c : cases) {
        for (std::size_t piece = 1; piece <= 40; ++piece) {
            FinishReason reason = FinishReason::stop;
            EXPECT_EQ(parsed(c.answer, piece, reason), c.shown)
                << c.answer << " in pieces of " << piece;
            EXPECT_EQ(reason, c.reason) << c.answer;
        }
    }
}

TEST(TaggedParser, without_tools_tags_are_text_and_a_cut_answer_is_no_call) {
    FinishReason reason = FinishReason::stop;
    const std::string call = "<tool_call>{\"name\":\"f\"}</tool_call>";
    EXPECT_EQ(parsed(call, 3, reason, false), call);
    EXPECT_EQ(reason, FinishReason::stop);
    reason = FinishReason::length;
    EXPECT_EQ(parsed("<tool_call>{\"name\":\"f\"}", 3, reason), "<tool_call>{\"name\":\"f\"}");
    EXPECT_EQ(reason, FinishReason::length);
}

TEST(TaggedParser, thinking_is_apart_from_text) {
    const std::pair<const char*, const char*> cases[] = {
        {"<think>\nhm, 5 < 6\n</think>\n\nYes.", "«hm, 5 < 6»Yes."},
        {"\n<think></think>Yes.", "Yes."},
        {"Yes <think>no</think>", "Yes <think>no</think>"},
        {"<think>never ends", "«never ends»"},
        {"<think>t</think>\n<tool_call>{\"name\":\"f\"}</tool_call>", "«t»«0f{}»"},
        {"<thin", "<thin"},
    };
    for (const auto& [answer, expected] : cases) {
        for (std::size_t piece = 1; piece <= 30; ++piece) {
            FinishReason reason = FinishReason::stop;
            EXPECT_EQ(parsed(answer, piece, reason, true, true), expected) << answer << piece;
        }
    }
    FinishReason reason = FinishReason::stop;
    EXPECT_EQ(parsed("deep\n</think>\nYes", 2, reason, true, true, "<|assistant|><think>\n"),
              "«deep»Yes");
}

// Nothing is lost: with calls and thinking that never parse, the text comes out as it went in.
TEST(TaggedParser, random_text_comes_out_whole) {
    const unsigned seed = 11;
    std::mt19937 random(seed);
    static constexpr const char* kPieces[] = {
        "<tool_call>", "</tool_call>", "\n",   "{", "}", "\"", "\\",
        "<",           "tool",         "name", ":", " ", "é",  "</"};
    for (int round = 0; round < 5000; ++round) {
        std::string answer;
        for (unsigned n = random() % 20; n > 0; --n)
            answer += kPieces[random() % std::size(kPieces)];
        FinishReason reason = FinishReason::stop;
        EXPECT_EQ(parsed(answer, 1 + random() % 7, reason), answer)
            << "seed " << seed << " round " << round;
    }
}

}  // namespace
}  // namespace hearth::chat
