// Streams and whole answers of dialect_openai: what is written reads back, both ways say the same,
// and what other servers send is understood.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "base/json.h"
#include "chat/dialect.h"

namespace hearth::chat {
namespace {

const Dialect& openai() {
    return *find_dialect("openai");
}

const ResponseHead kHead{.id = "chatcmpl-1",
                         .created_s = 1700000000,
                         .model = "m",
                         .include_usage = true,
                         .system_fingerprint = ""};

// An answer, event by event, as a list of lines that do not show where deltas were cut.
struct Told {
    struct Call {
        std::string id, name, arguments;
        bool operator==(const Call&) const = default;
    };
    std::string model;
    struct Answer {
        std::string text, thinking;
        std::vector<Call> calls;
        std::vector<std::string> tokens;
        std::string reason;
    };
    std::map<std::int64_t, Answer> answers;
    std::string end;
};

Told told(const std::vector<Event>& events) {
    Told out;
    for (const Event& event : events) {
        EXPECT_TRUE(out.end.empty()) << "an event after the end";
        if (const auto* e = std::get_if<Started>(&event)) out.model = e->model;
        if (const auto* e = std::get_if<TextDelta>(&event)) {
            out.answers[e->index].text += e->text;
            for (const auto& t : e->logprobs) out.answers[e->index].tokens.push_back(t.token);
        }
        if (const auto* e = std::get_if<ThinkingDelta>(&event))
            out.answers[e->index].thinking += e->text;
        if (const auto* e = std::get_if<ToolCallStart>(&event)) {
            auto& calls = out.answers[e->index].calls;
            EXPECT_EQ(e->call, std::int64_t(calls.size()));
            calls.push_back({e->id, e->name, ""});
        }
        if (const auto* e = std::get_if<ToolCallDelta>(&event))
            out.answers[e->index].calls.at(std::size_t(e->call)).arguments += e->arguments;
        if (const auto* e = std::get_if<AnswerDone>(&event))
            out.answers[e->index].reason = name_of(e->reason);
        if (const auto* e = std::get_if<Finished>(&event))
            out.end = std::to_string(e->usage.input_tokens) + " " +
                      std::to_string(e->usage.cached_tokens) + " " +
                      std::to_string(e->usage.output_tokens) + " " +
                      std::to_string(e->usage.reasoning_tokens);
        if (const auto* e = std::get_if<Failed>(&event)) out.end = "failed: " + e->error.message;
    }
    return out;
}

// As text, so that a difference can be read.
std::string shown(const Told& all) {
    std::string out = all.model + " | " + all.end + "\n";
    for (const auto& [index, a] : all.answers) {
        out += std::to_string(index) + " text " + json_text(a.text) + " thinking " +
               json_text(a.thinking) + " reason " + a.reason + " tokens";
        for (const auto& t : a.tokens) out += " " + json_text(t) + "/" + std::to_string(t.size());
        for (const auto& c : a.calls)
            out += "\n call " + c.id + " " + c.name + " " + json_text(c.arguments);
        out += "\n";
    }
    return out;
}

std::vector<std::string> data_of(const std::string& sse) {
    std::vector<std::string> out;
    for (std::size_t at = 0; at < sse.size();) {
        const std::size_t end = sse.find("\n\n", at);
        EXPECT_NE(end, sse.npos) << "an event without its end";
        EXPECT_EQ(sse.substr(at, 6), "data: ");
        out.push_back(sse.substr(at + 6, end - at - 6));
        at = end + 2;
    }
    return out;
}

TEST(OpenAiStream, an_error_of_the_stream_quotes_nothing_of_it) {
    const auto state = openai().new_read_state();
    const auto events = openai().read_event(
        *state, "", R"({"choices":[{"index":0,"delta":{"content":"MARKER of the answer)");
    ASSERT_FALSE(events);
    EXPECT_EQ(events.error().kind, ErrorKind::upstream_failed);
    EXPECT_EQ(events.error().message.find("MARKER"), std::string::npos) << events.error().message;
}

TEST(OpenAiStream, usage_is_known_as_soon_as_the_stream_says_it) {
    const auto state = openai().new_read_state();
    ASSERT_TRUE(openai().read_event(*state, "", R"({"choices":[{"delta":{"content":"a"}}]})"));
    EXPECT_FALSE(state->usage);
    ASSERT_TRUE(openai().read_event(
        *state, "", R"({"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}})"));
    ASSERT_TRUE(state->usage);
    EXPECT_EQ(state->usage->input_tokens, 9);
    EXPECT_EQ(state->usage->output_tokens, 2);
    EXPECT_FALSE(state->usage->estimated);
}

Result<std::vector<Event>> read_back(const std::vector<std::string>& data, bool at_end = false) {
    const auto state = openai().new_read_state();
    std::vector<Event> out;
    for (const std::string& one : data) {
        auto events = openai().read_event(*state, "", one);
        if (!events) return std::unexpected(events.error());
        for (Event& e : *events) out.push_back(std::move(e));
    }
    if (!at_end) return out;
    auto events = openai().read_end(*state);
    if (!events) return std::unexpected(events.error());
    for (Event& e : *events) out.push_back(std::move(e));
    return out;
}

std::string streamed(const ChatRequest& request, const std::vector<Event>& events) {
    const auto state = openai().new_write_state(request, kHead);
    std::string out;
    for (const Event& e : events) out += openai().write_event(*state, e);
    return out;
}

std::string random_text(std::mt19937& random) {
    static constexpr const char* kPieces[] = {"a",  "ü", "世", "\n", "\"",
                                              "\\", "{", " ",  "👩", "\t"};
    std::string out;
    for (unsigned n = 1 + random() % 6; n > 0; --n) out += kPieces[random() % std::size(kPieces)];
    return out;
}

// Answers of random deltas, interleaved, each ended once.
std::vector<Event> random_events(std::mt19937& random, std::int64_t n, bool logprobs) {
    std::vector<Event> out{Started{"m"}};
    std::vector<std::int64_t> n_calls(std::size_t(n), 0);
    for (unsigned k = random() % 30; k > 0; --k) {
        const std::int64_t i = std::int64_t(random() % std::size_t(n));
        std::int64_t& calls = n_calls[std::size_t(i)];
        switch (random() % 5) {
            case 0:
                out.push_back(ThinkingDelta{i, random_text(random)});
                break;
            case 1:
                out.push_back(ToolCallStart{i, calls, "call_" + std::to_string(k),
                                            "f" + std::to_string(calls)});
                ++calls;
                break;
            case 2:
                if (calls > 0) out.push_back(ToolCallDelta{i, calls - 1, random_text(random)});
                break;
            default: {
                TextDelta delta{i, random_text(random), {}};
                if (logprobs) delta.logprobs.push_back({"\xc3", -0.5, {{"\xa9x", -1.25}}});
                out.push_back(std::move(delta));
            }
        }
    }
    for (std::int64_t i = 0; i < n; ++i)
        out.push_back(AnswerDone{i, n_calls[std::size_t(i)] > 0 ? FinishReason::tool_calls
                                    : random() % 2              ? FinishReason::length
                                                                : FinishReason::stop});
    out.push_back(Finished{{10, 4, 7, 2}, {}});
    return out;
}

TEST(OpenAiStream, what_is_written_reads_back_and_the_body_says_the_same) {
    for (unsigned seed = 0; seed < 500; ++seed) {
        std::mt19937 random(seed);
        ChatRequest request;
        request.n = 1 + std::int64_t(random() % 3);
        request.logprobs = random() % 2;
        const auto events = random_events(random, request.n, request.logprobs);
        const auto back = read_back(data_of(streamed(request, events)));
        ASSERT_TRUE(back) << "seed " << seed << ": " << back.error().message;
        EXPECT_EQ(shown(told(*back)), shown(told(events))) << "seed " << seed;

        // A body read as if it were one chunk gives the same answers.
        const std::string body = openai().write_response(request, kHead, events);
        const auto whole = read_back({body, "[DONE]"});
        ASSERT_TRUE(whole) << "seed " << seed << ": " << whole.error().message;
        EXPECT_EQ(shown(told(*whole)), shown(told(events))) << "seed " << seed << "\n" << body;
    }
}

TEST(OpenAiStream, writes_the_chunks_of_the_specification) {
    ChatRequest request;
    const std::vector<Event> events{Started{"m"},
                                    ThinkingDelta{0, "hm"},
                                    TextDelta{0, "hi", {}},
                                    ToolCallStart{0, 0, "call_1", "f"},
                                    ToolCallDelta{0, 0, "{\"a\""},
                                    ToolCallDelta{0, 0, ":1}"},
                                    AnswerDone{0, FinishReason::stop},
                                    Finished{{10, 8, 5, 3}, {}},
                                    TextDelta{0, "never", {}}};
    const std::string chunk =
        R"({"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[)";
    const auto choice = [&](const char* delta, const char* reason) {
        return chunk + R"({"index":0,"delta":)" + delta + R"(,"finish_reason":)" + reason +
               R"(}],"usage":null})";
    };
    const std::vector<std::string> expected{
        choice(R"({"role":"assistant","content":""})", "null"),
        choice(R"({"reasoning_content":"hm"})", "null"),
        choice(R"({"content":"hi"})", "null"),
        choice(
            R"({"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":""}}]})",
            "null"),
        choice(R"({"tool_calls":[{"index":0,"function":{"arguments":"{\"a\""}}]})", "null"),
        choice(R"({"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]})", "null"),
        choice("{}", R"("tool_calls")"),
        chunk +
            R"(],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":8,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":3,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}})",
        "[DONE]"};
    EXPECT_EQ(data_of(streamed(request, events)), expected);
    EXPECT_EQ(
        openai().write_response(request, kHead, std::span(events).first(8)),
        R"({"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi","refusal":null,"reasoning_content":"hm","tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},"logprobs":null,"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":8,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":3,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}})");
}

TEST(OpenAiStream, a_failure_in_the_middle_is_an_error_object_and_no_done) {
    const auto data =
        data_of(streamed({}, {Started{"m"}, TextDelta{0, "x", {}},
                              Failed{{.kind = ErrorKind::internal, .message = "oh"}}}));
    ASSERT_EQ(data.size(), 3u);
    EXPECT_EQ(data[2],
              R"({"error":{"message":"oh","type":"server_error","param":null,"code":"internal"}})");
    const auto back = read_back(data);
    ASSERT_TRUE(back);
    EXPECT_TRUE(std::holds_alternative<Failed>(back->back()));
}

std::string chunk_with(const std::string& choice) {
    return R"({"id":"c","model":"m","choices":[)" + choice + "]}";
}

TEST(OpenAiStream, understands_how_other_servers_stream_calls) {
    const std::vector<std::vector<std::string>> streams{
        // Name and id in turn, the name repeated, an empty name later.
        {R"({"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function"}]}})",
         R"({"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":"f"}}]}})",
         R"({"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","function":{"name":"f","arguments":"{\"a\""}}]}})",
         R"({"index":0,"delta":{"tool_calls":[{"index":0,"id":"","function":{"name":"","arguments":":1}"}}]}})",
         R"({"index":0,"delta":{"tool_calls":[{"index":1,"id":"call_2","function":{"name":"g","arguments":"{}"}}]}})",
         R"({"index":0,"delta":{},"finish_reason":"tool_calls"})"},
        // All under index 0, each with its id, and finish_reason stop.
        {R"({"delta":{"tool_calls":[{"index":0,"id":"call_1","function":{"name":"f","arguments":"{\"a\":1}"}}]}})",
         R"({"delta":{"tool_calls":[{"index":0,"id":"call_2","function":{"name":"g","arguments":"{}"}}]}})",
         R"({"delta":{"content":null},"finish_reason":"stop"})"},
        // No index, arguments before the name, arguments as an object.
        {R"({"delta":{"tool_calls":[{"id":"call_1","function":{"arguments":"{\"a\":"}}]}})",
         R"({"delta":{"tool_calls":[{"id":"call_1","function":{"name":"f","arguments":"1}"}}]}})",
         R"({"delta":{"tool_calls":[{"index":1,"id":"call_2","function":{"name":"g","arguments":{}}}]},"finish_reason":"tool_calls"})"},
    };
    for (const auto& choices : streams) {
        std::vector<std::string> data;
        for (const auto& choice : choices) data.push_back(chunk_with(choice));
        const auto back = read_back(data, true);  // none of them sends [DONE]
        ASSERT_TRUE(back) << choices[0] << back.error().message;
        const Told all = told(*back);
        ASSERT_EQ(all.answers.size(), 1u);
        const auto& answer = all.answers.at(0);
        ASSERT_EQ(answer.calls.size(), 2u) << choices[0];
        EXPECT_TRUE(answer.calls[0] == (Told::Call{"call_1", "f", R"({"a":1})"})) << choices[0];
        EXPECT_TRUE(answer.calls[1] == (Told::Call{"call_2", "g", "{}"})) << choices[0];
        EXPECT_EQ(answer.reason, "tool_calls");
    }
}

TEST(OpenAiStream, reads_reasoning_under_both_names_and_usage_wherever_it_is) {
    const auto back = read_back(
        {chunk_with(R"({"index":0,"delta":{"role":"assistant","reasoning":"a"}})"),
         chunk_with(R"({"index":0,"delta":{"reasoning_content":"b"}})"),
         chunk_with(R"({"index":0,"delta":{"content":"c"},"finish_reason":"stop"})"),
         R"({"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"prompt_tokens_details":null}})",
         "[DONE]"});
    ASSERT_TRUE(back) << back.error().message;
    const Told all = told(*back);
    EXPECT_EQ(all.answers.at(0).thinking, "ab");
    EXPECT_EQ(all.answers.at(0).text, "c");
    EXPECT_EQ(all.end, "3 0 2 0");
}

TEST(OpenAiStream, what_is_no_stream_is_the_upstreams_failure) {
    const auto fails = [](const std::vector<std::string>& data, bool at_end = false) {
        const auto back = read_back(data, at_end);
        return !back && back.error().kind == ErrorKind::upstream_failed;
    };
    EXPECT_TRUE(fails({"hello"}));
    EXPECT_TRUE(fails({"[]"}));
    EXPECT_TRUE(fails({"[DONE]"}));
    EXPECT_TRUE(fails({R"({"choices":{}})"}));
    EXPECT_TRUE(fails({R"({"choices":[{"index":99,"delta":{}}]})"}));
    EXPECT_TRUE(fails({}, true));
    EXPECT_TRUE(fails({chunk_with(R"({"index":0,"delta":{"content":"cut"}})")}, true));
    EXPECT_TRUE(fails({chunk_with(
        R"({"index":0,"delta":{"tool_calls":[{"index":0,"id":"x"}]},"finish_reason":"stop"})")}));
    std::vector<std::string> many;
    for (int i = 0; i < 1100; ++i)
        many.push_back(chunk_with(R"({"delta":{"tool_calls":[{"index":)" + std::to_string(i) +
                                  R"(,"function":{"name":"f"}}]}})"));
    EXPECT_TRUE(fails(many));
    const auto back = read_back({R"({"error":{"message":"slow","type":"rate_limit_error"}})"});
    ASSERT_TRUE(back);
    EXPECT_EQ(std::get<Failed>(back->back()).error.kind, ErrorKind::overloaded);
}

Message random_message(std::mt19937& random) {
    Message m;
    m.role = Role(random() % 4);
    for (unsigned n = m.role == Role::assistant ? random() % 3 : 1 + random() % 2; n > 0; --n) {
        if (m.role == Role::user && random() % 4 == 0) {
            m.parts.push_back(ImagePart{"data:image/png;base64,AA==", random() % 2 ? "low" : ""});
        } else if (m.role == Role::user && random() % 6 == 0) {
            m.parts.push_back(AudioPart{"UklG", "wav"});
        } else {
            m.parts.push_back(TextPart{random_text(random)});
        }
    }
    if (m.role == Role::tool) m.tool_call_id = "call_" + std::to_string(random() % 9);
    if (m.role == Role::user && random() % 3 == 0) m.name = "ann";
    if (m.role == Role::assistant) {
        if (random() % 2) m.thinking = random_text(random);
        for (unsigned n = random() % 3; n > 0; --n)
            m.tool_calls.push_back({"call_" + std::to_string(n), "f", random_text(random)});
    }
    return m;
}

ChatRequest random_request(std::mt19937& random) {
    ChatRequest r;
    for (unsigned n = 1 + random() % 4; n > 0; --n) r.messages.push_back(random_message(random));
    for (unsigned n = random() % 3; n > 0; --n) {
        Tool tool;
        tool.name = "f" + std::to_string(n);
        tool.description = random() % 2 ? random_text(random) : "";
        tool.parameters = {{"type", "object"}, {"n", 1.5}};
        tool.strict = random() % 2;
        r.tools.push_back(tool);
    }
    if (!r.tools.empty()) {
        r.tool_choice.kind = ToolChoice::Kind(random() % 4);
        if (r.tool_choice.kind == ToolChoice::Kind::named) r.tool_choice.name = r.tools[0].name;
        r.parallel_tool_calls = random() % 2;
    }
    r.response_format.kind = ResponseFormat::Kind(random() % 3);
    if (r.response_format.kind == ResponseFormat::Kind::json_schema)
        r.response_format = {
            ResponseFormat::Kind::json_schema, "n", {{"type", "object"}}, random() % 2 == 0};
    const auto maybe = [&](auto& field, auto value) {
        if (random() % 2) field = value;
    };
    maybe(r.sampling.temperature, 0.7);
    maybe(r.sampling.top_p, 0.95);
    maybe(r.sampling.min_p, 0.05);
    maybe(r.sampling.top_k, std::int64_t(40));
    maybe(r.sampling.seed, (std::uint64_t(random()) << 32) | random());
    maybe(r.sampling.frequency_penalty, -0.5);
    maybe(r.sampling.presence_penalty, 1.5);
    maybe(r.sampling.repeat_penalty, 1.1);
    maybe(r.sampling.repeat_last_n, std::int64_t(random() % 100) - 1);
    if (random() % 2) r.sampling.logit_bias = {{5, -100}, {50256, 12.5}};
    maybe(r.max_output_tokens, std::int64_t(1 + random() % 1000));
    if (random() % 2) r.stop = {"\n", random_text(random)};
    r.n = 1 + std::int64_t(random() % 3);
    r.logprobs = random() % 2;
    if (r.logprobs) r.top_logprobs = random() % 21;
    if (random() % 2) r.template_kwargs = {{"enable_thinking", false}, {"x", {{"y", 1}}}};
    if (random() % 2) r.extensions["reasoning_effort"] = "high";
    return r;
}

// Everything of a request as text, so that a difference can be read.
std::string described(const ChatRequest& r) {
    return openai().write_request(r, r.model);
}

TEST(OpenAiStream, a_request_survives_the_way_to_an_upstream) {
    for (unsigned seed = 0; seed < 500; ++seed) {
        std::mt19937 random(seed);
        const ChatRequest request = random_request(random);
        const std::string body = openai().write_request(request, "big-1");
        const auto back = openai().read_request("/v1/chat/completions", body);
        ASSERT_TRUE(back) << "seed " << seed << ": " << back.error().message << "\n" << body;
        ChatRequest expected = request;
        expected.model = "big-1";
        EXPECT_EQ(described(*back), described(expected)) << "seed " << seed;
        EXPECT_TRUE(back->stream && back->include_usage);
        // Beyond what the writer itself would show the same way twice.
        EXPECT_EQ(back->sampling.seed, request.sampling.seed) << seed;
        EXPECT_EQ(back->sampling.repeat_last_n, request.sampling.repeat_last_n) << seed;
        EXPECT_EQ(back->sampling.logit_bias, request.sampling.logit_bias) << seed;
        EXPECT_EQ(back->stop, request.stop) << seed;
        EXPECT_EQ(back->n, request.n) << seed;
        EXPECT_EQ(back->max_output_tokens, request.max_output_tokens) << seed;
        EXPECT_EQ(back->top_logprobs, request.top_logprobs) << seed;
        EXPECT_EQ(back->template_kwargs, request.template_kwargs) << seed;
        EXPECT_EQ(back->tool_choice.kind, request.tool_choice.kind) << seed;
        EXPECT_EQ(back->response_format.strict, request.response_format.strict) << seed;
        ASSERT_EQ(back->messages.size(), request.messages.size()) << seed;
        for (std::size_t i = 0; i < request.messages.size(); ++i) {
            EXPECT_EQ(back->messages[i].role, request.messages[i].role) << seed;
            EXPECT_EQ(back->messages[i].parts.size(), request.messages[i].parts.size()) << seed;
            EXPECT_EQ(text_of(back->messages[i]), text_of(request.messages[i])) << seed;
            EXPECT_EQ(back->messages[i].thinking, request.messages[i].thinking) << seed;
            EXPECT_EQ(back->messages[i].tool_call_id, request.messages[i].tool_call_id) << seed;
            EXPECT_EQ(back->messages[i].tool_calls.size(), request.messages[i].tool_calls.size());
        }
    }
}

// Whatever an upstream sends, reading ends without a crash and never continues past the end.
TEST(OpenAiStream, mutated_chunks_neither_crash_nor_continue_past_the_end) {
    const unsigned seed = 3;
    std::mt19937 random(seed);
    for (int round = 0; round < 3000; ++round) {
        ChatRequest request;
        request.n = 2;
        request.logprobs = true;
        auto data = data_of(streamed(request, random_events(random, 2, true)));
        for (unsigned edits = 1 + random() % 3; edits > 0; --edits) {
            std::string& one = data[random() % data.size()];
            if (one.empty()) continue;
            const std::size_t at = random() % one.size();
            if (random() % 2)
                one.erase(at, 1 + random() % 5);
            else
                one[at] = char(random() % 128);
        }
        const auto back = read_back(data, random() % 2);
        if (back) told(*back);
    }
}

}  // namespace
}  // namespace hearth::chat
