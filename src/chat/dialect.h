// Dialect: one wire protocol, in both directions. Pure functions over bytes and the waist; no I/O.
//
// Each file of chat/dialects exports one descriptor named after itself (`dialect_openai`). The same
// file makes a server endpoint (read_request, write_*) and an upstream (write_request, read_event),
// so round trips test it.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "chat/chat.h"

namespace hearth::chat {

// What a response repeats in every piece.
struct ResponseHead {
    std::string id;              // already in the dialect's form, e.g. "chatcmpl-…"
    std::int64_t created_s = 0;  // Unix seconds
    std::string model;
    bool include_usage = false;
    std::string system_fingerprint;
};

// The state of writing one stream: made by the dialect, kept by the exchange.
struct WriteState {
    virtual ~WriteState() = default;
};
// The state of reading one stream.
struct ReadState {
    virtual ~ReadState() = default;
    // What the stream has said so far that was used up; nothing where it has not.
    std::optional<Usage> usage;
};

struct Route {
    const char* method;  // "POST"
    const char* path;    // "/v1/chat/completions"
};

struct Dialect {
    const char* name;               // "openai"; the file's stem
    std::span<const Route> routes;  // generation endpoints that read_request understands
    const char* id_prefix;          // "chatcmpl-"

    // Server side. body is one JSON document, already within the size limit.
    Result<ChatRequest> (*read_request)(std::string_view path, std::string_view body);
    // The bytes that show this event to a streaming client (SSE), possibly none. After a terminal
    // event this includes the end-of-stream marker.
    std::unique_ptr<WriteState> (*new_write_state)(const ChatRequest&, const ResponseHead&);
    std::string (*write_event)(WriteState&, const Event&);
    // The whole answer as one body, from the complete list of events.
    // Requires: events end with Finished.
    std::string (*write_response)(const ChatRequest&, const ResponseHead&,
                                  std::span<const Event> events);
    std::string (*write_error)(const Error&, int http_status);

    // Client side.
    std::string (*upstream_path)(const ChatRequest&);  // appended to base_url
    // model: the upstream's own name for it. The body always asks for a stream with usage.
    std::string (*write_request)(const ChatRequest&, std::string_view model);
    std::unique_ptr<ReadState> (*new_read_state)();
    // One SSE event (its `event:` name, may be empty, and its `data:`) to events; a terminal event
    // ends the stream. Errors: upstream_failed for text this dialect does not allow.
    Result<std::vector<Event>> (*read_event)(ReadState&, std::string_view event,
                                             std::string_view data);
    // A non-2xx answer's status and body as an error (message trimmed, never echoing the request).
    Error (*read_error)(int http_status, std::string_view body);
    // The stream's bytes ended without a terminal event: what is still to be reported. An answer
    // that said why it stopped is complete (Finished); otherwise the error is upstream_failed.
    Result<std::vector<Event>> (*read_end)(ReadState&);
};

extern const Dialect* const dialect_table[];
extern const std::size_t dialect_table_size;
// nullptr if no dialect has that name.
const Dialect* find_dialect(std::string_view name);

}  // namespace hearth::chat
