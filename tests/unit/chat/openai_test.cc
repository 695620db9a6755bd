// dialect_openai against the shapes of the OpenAI specification: what it reads, refuses and writes.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "chat/dialect.h"
#include "chat/limits.h"

namespace hearth::chat {
namespace {

const Dialect& openai() {
    const Dialect* dialect = find_dialect("openai");
    EXPECT_NE(dialect, nullptr);
    return *dialect;
}

Result<ChatRequest> read(const std::string& body) {
    return openai().read_request("/v1/chat/completions", body);
}
// A request with these members besides a model and a message.
Result<ChatRequest> read_with(const std::string& members) {
    return read(R"({"model":"m","messages":[{"role":"user","content":"hi"}])" +
                (members.empty() ? "" : "," + members) + "}");
}

TEST(OpenAi, reads_messages_in_every_form) {
    const auto r = read(R"({"model":"m","messages":[
        {"role":"developer","content":"be brief"},
        {"role":"user","name":"ann","content":[{"type":"text","text":"what "},
            {"type":"image_url","image_url":{"url":"data:image/png;base64,AA==","detail":"low"}},
            {"type":"image_url","image_url":"https://example.org/a.png"},
            {"type":"input_audio","input_audio":{"data":"UklG","format":"wav"}}]},
        {"role":"assistant","content":null,"reasoning_content":"hm","tool_calls":[
            {"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"a\": 1}"}}]},
        {"role":"tool","tool_call_id":"call_1","content":"2"},
        {"role":"assistant","content":null,"refusal":"no"},
        {"role":"assistant","function_call":{"name":"g","arguments":"{}"}},
        {"role":"function","name":"g","content":"3"}]})");
    ASSERT_TRUE(r) << r.error().message;
    const auto& m = r->messages;
    ASSERT_EQ(m.size(), 7u);
    EXPECT_EQ(m[0].role, Role::system);
    EXPECT_EQ(m[1].name, "ann");
    ASSERT_EQ(m[1].parts.size(), 4u);
    EXPECT_EQ(std::get<ImagePart>(m[1].parts[1]).detail, "low");
    EXPECT_EQ(std::get<ImagePart>(m[1].parts[2]).url, "https://example.org/a.png");
    EXPECT_EQ(std::get<AudioPart>(m[1].parts[3]).media_format, "wav");
    EXPECT_TRUE(m[2].parts.empty());
    EXPECT_EQ(m[2].thinking, "hm");
    ASSERT_EQ(m[2].tool_calls.size(), 1u);
    EXPECT_EQ(m[2].tool_calls[0].arguments, R"({"a": 1})");
    EXPECT_EQ(m[3].role, Role::tool);
    EXPECT_EQ(m[3].tool_call_id, "call_1");
    EXPECT_EQ(text_of(m[4]), "no");
    // The older form has no ids; call and result get the same one.
    EXPECT_EQ(m[5].tool_calls[0].id, m[6].tool_call_id);
}

TEST(OpenAi, the_name_of_a_model_is_bounded) {
    const auto named = [](std::size_t n) {
        return read(R"({"messages":[{"role":"user","content":"hi"}],"model":")" +
                    std::string(n, 'm') + "\"}");
    };
    EXPECT_TRUE(named(kModelNameBytesMax));
    const auto refused = named(kModelNameBytesMax + 1);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::invalid_request);
    EXPECT_EQ(refused.error().param, "model");
    EXPECT_LT(named(4u << 20).error().message.size(), 200u);
}

TEST(OpenAi, reads_options_and_ignores_what_it_does_not_know) {
    const auto r =
        read_with(R"("temperature":0.5,"top_p":0.9,"min_p":0.05,"top_k":40,"seed":-3,"n":2,
        "max_completion_tokens":7,"max_tokens":9,"stop":["a","b"],"stream":true,
        "stream_options":{"include_usage":true,"include_obfuscation":false},"logprobs":true,
        "top_logprobs":3,"frequency_penalty":-1,"presence_penalty":1,"repeat_penalty":1.1,
        "repeat_last_n":-1,
        "logit_bias":{"50256":-100},"chat_template_kwargs":{"enable_thinking":false},
        "user":"u","metadata":{"a":"b"},"unheard_of":[1],"parallel_tool_calls":false,"service_tier":null,
        "reasoning_effort":"low")");
    ASSERT_TRUE(r) << r.error().message;
    EXPECT_EQ(r->sampling.temperature, 0.5);
    EXPECT_EQ(r->sampling.top_k, 40);
    EXPECT_EQ(r->sampling.seed, std::uint64_t(-3));
    EXPECT_EQ(r->sampling.repeat_penalty, 1.1);
    EXPECT_EQ(r->sampling.repeat_last_n, -1);
    EXPECT_EQ(r->n, 2);
    EXPECT_EQ(r->max_output_tokens, 7);
    EXPECT_EQ(r->stop, (std::vector<std::string>{"a", "b"}));
    EXPECT_TRUE(r->stream && r->include_usage && r->logprobs);
    EXPECT_EQ(r->top_logprobs, 3);
    EXPECT_EQ(r->sampling.logit_bias.at(50256), -100);
    EXPECT_EQ(r->template_kwargs.at("enable_thinking"), false);
    EXPECT_FALSE(r->parallel_tool_calls);
    EXPECT_EQ(r->extensions.at("reasoning_effort"), "low");
}

TEST(OpenAi, null_is_absent_and_single_values_are_lists) {
    const auto r = read_with(
        R"("temperature":null,"repeat_last_n":null,"stop":"x","tools":null,"max_tokens":-1,"n":null,
        "response_format":null,"tool_choice":null,"stream":null,"seed":18446744073709551615,"top_p":0)");
    ASSERT_TRUE(r) << r.error().message;
    EXPECT_FALSE(r->sampling.temperature);
    EXPECT_FALSE(r->sampling.repeat_last_n);
    EXPECT_EQ(r->stop, std::vector<std::string>{"x"});
    EXPECT_FALSE(r->max_output_tokens);
    EXPECT_EQ(r->sampling.seed, UINT64_MAX);
    EXPECT_GT(*r->sampling.top_p, 0);  // the waist has (0, 1]
}

TEST(OpenAi, reads_tools_choices_and_formats) {
    const std::string tools =
        R"("tools":[{"type":"function","function":{"name":"f","description":"d",
        "parameters":{"type":"object"},"strict":true}},{"type":"function","function":{"name":"g"}}])";
    auto r = read_with(tools + R"(,"tool_choice":{"type":"function","function":{"name":"g"}})");
    ASSERT_TRUE(r) << r.error().message;
    EXPECT_EQ(r->tools[0].description, "d");
    EXPECT_TRUE(r->tools[0].strict);
    EXPECT_EQ(r->tools[1].parameters, Json::object());
    EXPECT_EQ(r->tool_choice.kind, ToolChoice::Kind::named);
    r = read_with(tools +
                  R"(,"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required",
        "tools":[{"type":"function","function":{"name":"g"}}]}})");
    ASSERT_TRUE(r) << r.error().message;
    EXPECT_EQ(r->tools.size(), 1u);
    EXPECT_EQ(r->tool_choice.kind, ToolChoice::Kind::required);
    r = read_with(R"("functions":[{"name":"old"}],"function_call":{"name":"old"})");
    ASSERT_TRUE(r) << r.error().message;
    EXPECT_EQ(r->tool_choice.name, "old");
    for (const char* format :
         {R"({"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"}}})",
          R"({"type":"json_schema","schema":{"type":"object"}})",
          R"({"type":"json_object","schema":{"type":"object"}})"}) {
        r = read_with(std::string(R"("response_format":)") + format);
        ASSERT_TRUE(r) << format << r.error().message;
        EXPECT_EQ(r->response_format.kind, ResponseFormat::Kind::json_schema) << format;
        EXPECT_EQ(to_text(r->response_format.schema), R"({"type":"object"})");
    }
}

TEST(OpenAi, refuses_wrong_types_and_ranges_and_names_the_field) {
    const std::pair<const char*, const char*> wrong[] = {
        {R"("temperature":"hot")", "temperature"},
        {R"("temperature":2.1)", "temperature"},
        {R"("top_p":-0.1)", "top_p"},
        {R"("repeat_penalty":0)", "repeat_penalty"},
        {R"("repeat_last_n":-2)", "repeat_last_n"},
        {R"("repeat_last_n":2147483648)", "repeat_last_n"},
        {R"("repeat_last_n":64.5)", "repeat_last_n"},
        {R"("repeat_last_n":"all")", "repeat_last_n"},
        {R"("n":0)", "n"},
        {R"("n":1000)", "n"},
        {R"("max_tokens":0)", "max_tokens"},
        {R"("max_tokens":1.5)", "max_tokens"},
        {R"("stop":[1])", "stop"},
        {R"("stop":["1","2","3","4","5","6","7","8","9","10","11","12","13","14","15","16","17"])",
         "stop"},
        {R"("stream":"yes")", "stream"},
        {R"("stream":true,"stream_options":{"include_usage":1})", "stream_options.include_usage"},
        {R"("seed":"x")", "seed"},
        {R"("seed":1e30)", "seed"},
        {R"("top_logprobs":21,"logprobs":true)", "top_logprobs"},
        {R"("top_logprobs":2)", "top_logprobs"},
        {R"("logit_bias":{"a":1})", "logit_bias"},
        {R"("logit_bias":{"1":101})", "logit_bias.1"},
        {R"("tools":[{"type":"custom","custom":{"name":"x"}}])", "tools[0].type"},
        {R"("tools":[{"type":"function","function":{"name":"x","parameters":[]}}])",
         "tools[0].function.parameters"},
        {R"("tools":[{"type":"function","function":{}}])", "tools[0].function.name"},
        {R"("tool_choice":"required")", "tool_choice"},
        {R"("tool_choice":{"type":"function","function":{"name":"zz"}})",
         "tool_choice.function.name"},
        {R"("response_format":{"type":"xml"})", "response_format.type"},
        {R"("response_format":{"type":"json_schema"})", "response_format.json_schema.schema"},
        {R"("chat_template_kwargs":[])", "chat_template_kwargs"},
    };
    for (const auto& [members, param] : wrong) {
        const auto r = read_with(members);
        ASSERT_FALSE(r) << members;
        EXPECT_EQ(r.error().kind, ErrorKind::invalid_request);
        EXPECT_EQ(r.error().param, param) << members << ": " << r.error().message;
    }
    const std::pair<const char*, const char*> bodies[] = {
        {"[]", ""},
        {"{", ""},
        {R"({"messages":[{"role":"user","content":"x"}]})", "model"},
        {R"({"model":"m"})", "messages"},
        {R"({"model":"m","messages":[]})", "messages"},
        {R"({"model":"m","messages":["x"]})", "messages[0]"},
        {R"({"model":"m","messages":[{"role":"robot","content":"x"}]})", "messages[0].role"},
        {R"({"model":"m","messages":[{"role":"user"}]})", "messages[0].content"},
        {R"({"model":"m","messages":[{"role":"user","content":5}]})", "messages[0].content"},
        {R"({"model":"m","messages":[{"role":"user","content":[{"type":"file"}]}]})",
         "messages[0].content[0].type"},
        {R"({"model":"m","messages":[{"role":"user","content":[{"type":"image_url"}]}]})",
         "messages[0].content[0].image_url"},
        {R"({"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"1"}]}]})",
         "messages[0].tool_calls[0].function"},
    };
    for (const auto& [body, param] : bodies) {
        const auto r = read(body);
        ASSERT_FALSE(r) << body;
        EXPECT_EQ(r.error().param, param) << body << ": " << r.error().message;
    }
}

TEST(OpenAi, an_error_has_the_shape_that_clients_match_on) {
    EXPECT_EQ(
        openai().write_error({.kind = ErrorKind::invalid_request, .message = "no", .param = "n"},
                             400),
        R"({"error":{"message":"no","type":"invalid_request_error","param":"n","code":null}})");
    EXPECT_EQ(openai().write_error({.kind = ErrorKind::context_overflow,
                                    .message = "too long",
                                    .n_prompt_tokens = 70,
                                    .n_ctx = 64},
                                   400),
              R"({"error":{"message":"too long","type":"exceed_context_size_error","param":null,)"
              R"("code":"context_length_exceeded","n_prompt_tokens":70,"n_ctx":64}})");
    const auto type = [](ErrorKind kind, int status) {
        return (*parse_json(
            openai().write_error({.kind = kind, .message = "x"}, status)))["error"]["type"]
            .get<std::string>();
    };
    EXPECT_EQ(type(ErrorKind::unauthorized, 401), "authentication_error");
    EXPECT_EQ(type(ErrorKind::forbidden_by_policy, 403), "forbidden_by_policy");
    EXPECT_EQ(type(ErrorKind::not_found, 404), "not_found_error");
    EXPECT_EQ(type(ErrorKind::overloaded, 429), "rate_limit_error");
    EXPECT_EQ(type(ErrorKind::overloaded, 503), "unavailable_error");
    EXPECT_EQ(type(ErrorKind::internal, 500), "server_error");
}

TEST(OpenAi, reads_an_upstreams_refusal_without_what_it_quotes) {
    const auto error = [](int status, const char* body) {
        return openai().read_error(status, body);
    };
    EXPECT_EQ(error(429, R"({"error":{"message":"slow down","type":"rate_limit_error"}})").kind,
              ErrorKind::overloaded);
    EXPECT_EQ(error(503, "busy").kind, ErrorKind::overloaded);
    EXPECT_EQ(error(504, "").kind, ErrorKind::timeout);
    EXPECT_EQ(error(500, "<html>").kind, ErrorKind::upstream_failed);
    const Error key =
        error(401, R"({"error":{"message":"Incorrect API key provided: sk-abc123."}})");
    EXPECT_EQ(key.kind, ErrorKind::upstream_failed);
    EXPECT_EQ(key.message.find("abc"), std::string::npos) << key.message;
    const Error bad = error(
        400,
        R"({"error":{"message":"Invalid value: 'my secret words' in 'messages[0].role', key sk-live_1","param":"messages[0].role"}})");
    EXPECT_EQ(bad.kind, ErrorKind::invalid_request);
    EXPECT_EQ(bad.param, "messages[0].role");
    EXPECT_NE(bad.message.find("messages[0].role"), std::string::npos) << bad.message;
    EXPECT_EQ(bad.message.find("secret"), std::string::npos) << bad.message;
    EXPECT_EQ(bad.message.find("live_1"), std::string::npos) << bad.message;
    EXPECT_LT(
        error(500, (R"({"error":")" + std::string(100'000, 'x') + "\"}").c_str()).message.size(),
        600u);
    const Error full = error(
        400,
        R"({"error":{"code":400,"message":"too long","type":"exceed_context_size_error","n_prompt_tokens":70,"n_ctx":64}})");
    EXPECT_EQ(full.kind, ErrorKind::context_overflow);
    EXPECT_EQ(full.n_prompt_tokens, 70);
    EXPECT_EQ(full.n_ctx, 64);
}

}  // namespace
}  // namespace hearth::chat
