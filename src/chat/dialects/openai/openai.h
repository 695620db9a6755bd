// The parts of dialect_openai, one file each; the descriptor is in ../openai.cc.
//
// Source: the OpenAI API specification, paths /chat/completions; extensions as llama-server and
// vLLM name them.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "chat/chat.h"
#include "chat/dialect.h"

namespace hearth::chat::openai {

// Server side.
Result<ChatRequest> read_request(std::string_view path, std::string_view body);  // read_request.cc
Result<std::vector<Message>> read_messages(const Json& messages);                // read_messages.cc
std::unique_ptr<WriteState> new_write_state(const ChatRequest&, const ResponseHead&);
std::string write_event(WriteState&, const Event&);  // write_stream.cc
std::string write_response(const ChatRequest&, const ResponseHead&, std::span<const Event> events);
std::string write_error(const Error&, int http_status);  // write_error.cc

// Client side.
std::string upstream_path(const ChatRequest&);
std::string write_request(const ChatRequest&, std::string_view model);  // write_request.cc
std::unique_ptr<ReadState> new_read_state();                            // read_stream.cc
Result<std::vector<Event>> read_event(ReadState&, std::string_view event, std::string_view data);
Result<std::vector<Event>> read_end(ReadState&);
Error read_error(int http_status, std::string_view body);

// Shared by stream and body.
const char* finish_reason_of(FinishReason reason, bool made_calls);
void write_usage(JsonWriter& out, const Usage& usage);
void write_logprobs(JsonWriter& out, std::span<const TokenLogprob> logprobs);
// The members of an error object, without the object around them.
void write_error_fields(JsonWriter& out, const Error& error, int http_status);
// An `error` object of an upstream, as it came with this status (0: inside a stream).
Error error_from(const Json& error, int http_status);

}  // namespace hearth::chat::openai
