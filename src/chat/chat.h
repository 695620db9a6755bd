// The waist: what a request and its answer are, whatever the wire said. Plain values.
//
// A dialect reads bytes into ChatRequest; a backend answers with Events; a dialect writes them as
// bytes. Nothing here knows HTTP, JSON shapes or a model's template.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace hearth::chat {

enum class Role : std::uint8_t { system, user, assistant, tool };
const char* name_of(Role role);

struct TextPart {
    std::string text;
};
struct ImagePart {
    std::string url;  // data: or http(s):, as the caller wrote it; never fetched here
    std::string detail;
};
struct AudioPart {
    std::string data_base64;
    std::string media_format;  // "wav", "mp3"
};
using Part = std::variant<TextPart, ImagePart, AudioPart>;

struct ToolCall {
    std::string id;
    std::string name;
    std::string arguments;  // JSON text, as the model or the client wrote it
};

struct Message {
    Role role = Role::user;
    std::vector<Part> parts;           // empty: no content
    std::vector<ToolCall> tool_calls;  // assistant only
    std::string tool_call_id;          // tool only
    std::string name;                  // optional participant name
    std::string thinking;              // assistant only; past reasoning handed back
};
// The text parts of a message, joined.
std::string text_of(const Message& message);

struct Tool {
    std::string name;
    std::string description;
    Json parameters = Json::object();  // JSON Schema, validated to be an object
    bool strict = false;
};

struct ToolChoice {
    enum class Kind : std::uint8_t { automatic, none, required, named };
    Kind kind = Kind::automatic;
    std::string name;  // named only
};

struct ResponseFormat {
    enum class Kind : std::uint8_t { text, json_object, json_schema };
    Kind kind = Kind::text;
    std::string name;
    Json schema = nullptr;  // json_schema only
    bool strict = false;
};

// Sampling settings the caller stated; absent ones take the model's or the server's default.
struct SamplingRequest {
    std::optional<double> temperature;  // >= 0; 0 is greedy
    std::optional<double> top_p;        // (0, 1]
    std::optional<double> min_p;        // [0, 1]
    std::optional<std::int64_t> top_k;  // >= 0; 0 is off
    std::optional<std::uint64_t> seed;
    std::optional<double> frequency_penalty, presence_penalty, repeat_penalty;
    std::optional<std::int64_t> repeat_last_n;  // >= -1; 0 is off, -1 the whole text
    std::map<std::int32_t, double> logit_bias;  // token id -> [-100, 100]
};

// How sensitive the content is, in rising order. What a caller states can only raise the class.
enum class Sensitivity : std::uint8_t { public_, internal, confidential, restricted };
const char* name_of(Sensitivity sensitivity);  // "public", "internal", …
std::optional<Sensitivity> sensitivity_from(std::string_view name);

// A prompt that no chat template touches (completions, `run --raw`): text, or exactly these ids.
struct RawPrompt {
    std::string text;
    std::vector<std::int32_t> ids;  // used as they are where not empty
};

struct ChatRequest {
    std::string model;  // concrete name or auto | local | cloud
    std::vector<Message> messages;
    std::optional<RawPrompt> raw;  // instead of messages
    bool return_tokens = false;    // AnswerDone::tokens is wanted
    std::vector<Tool> tools;
    ToolChoice tool_choice;
    bool parallel_tool_calls = true;
    ResponseFormat response_format;
    SamplingRequest sampling;
    std::optional<std::int64_t> max_output_tokens;
    std::vector<std::string> stop;
    std::int64_t n = 1;  // answers wanted
    bool stream = false;
    bool include_usage = false;  // usage in the stream's last chunk
    bool logprobs = false;
    std::int64_t top_logprobs = 0;
    std::map<std::string, Json> template_kwargs;  // extra variables for the chat template

    // Stated by headers, filled in by serve after the dialect has read the body.
    std::optional<Sensitivity> stated_sensitivity;
    std::string task;
    std::string lane;  // interactive | batch | fim; empty: not stated
    std::optional<std::int64_t> cost_microusd_max;

    std::map<std::string, Json> extensions;  // known to one dialect only, by name
};

struct Usage {
    std::int64_t input_tokens = 0;
    std::int64_t cached_tokens = 0;  // part of input
    std::int64_t output_tokens = 0;
    std::int64_t reasoning_tokens = 0;  // part of output
    bool estimated = false;  // from bytes, because the place that answered counted nothing
};

struct Timings {
    std::int64_t queue_ns = 0;
    std::int64_t prefill_ns = 0;
    std::int64_t decode_ns = 0;
    std::int64_t ttft_ns = 0;
};

struct TokenLogprob {
    std::string token;  // its bytes; may cut a code point
    double logprob = 0;
    struct Top {
        std::string token;
        double logprob = 0;
    };
    std::vector<Top> top;
};

enum class FinishReason : std::uint8_t { stop, length, tool_calls, content_filter };
const char* name_of(FinishReason reason);

// An answer is Started, deltas, then exactly one of Finished and Failed; nothing after.
struct Started {
    std::string model;  // the concrete model that answers
};
struct TextDelta {
    std::int64_t index = 0;  // which of the n answers
    std::string text;        // whole code points
    std::vector<TokenLogprob> logprobs;
};
struct ThinkingDelta {
    std::int64_t index = 0;
    std::string text;
};
struct ToolCallStart {
    std::int64_t index = 0;
    std::int64_t call = 0;  // 0, 1, … within the answer
    std::string id, name;
};
struct ToolCallDelta {
    std::int64_t index = 0;
    std::int64_t call = 0;
    std::string arguments;  // a piece of the JSON text
};
// One of the n answers is complete.
struct AnswerDone {
    std::int64_t index = 0;
    FinishReason reason = FinishReason::stop;
    // The generated ids without the end token, where they were asked for and the backend knows
    // them.
    std::vector<std::int32_t> tokens = {};
};
struct Finished {
    Usage usage;
    Timings timings;
};
struct Failed {
    Error error;
    Usage usage = {};  // what was used up before the failure
};
using Event = std::variant<Started, TextDelta, ThinkingDelta, ToolCallStart, ToolCallDelta,
                           AnswerDone, Finished, Failed>;
bool is_delta(const Event& event);     // the client would see it: no fallback afterwards
bool is_terminal(const Event& event);  // Finished or Failed

// Where a backend puts events. Called from the backend's thread; must not block.
class EventSink {
  public:
    virtual ~EventSink() = default;
    virtual void on_event(Event event) = 0;
    // False while the reader is behind: the backend pauses this answer.
    virtual bool ready() const = 0;
    // True once nobody reads any more: the backend stops at its next step.
    virtual bool cancelled() const = 0;
};

}  // namespace hearth::chat
