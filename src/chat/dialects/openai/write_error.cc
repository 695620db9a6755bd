// Errors as OpenAI clients expect them: {"error":{"message","type","param","code"}}.
//
// Source: the types of the OpenAI SDKs; unavailable_error and exceed_context_size_error (with
// n_prompt_tokens and n_ctx) of llama-server, forbidden_by_policy of our own.
#include "base/json.h"
#include "chat/dialects/openai/openai.h"

namespace hearth::chat::openai {
namespace {

struct ErrorName {
    const char* type;
    const char* code;  // nullptr: null
};

ErrorName name_error(const Error& error, int http_status) {
    switch (error.kind) {
        case ErrorKind::invalid_request:
            return {"invalid_request_error", nullptr};
        case ErrorKind::unauthorized:
            return {"authentication_error", "invalid_api_key"};
        case ErrorKind::forbidden_by_policy:
            return {"forbidden_by_policy", "forbidden_by_policy"};
        case ErrorKind::not_found:
            return {"not_found_error", error.param == "model" ? "model_not_found" : nullptr};
        case ErrorKind::context_overflow:
            return {"exceed_context_size_error", "context_length_exceeded"};
        case ErrorKind::overloaded:
            if (http_status == 429) return {"rate_limit_error", "rate_limit_exceeded"};
            return {"unavailable_error", "overloaded"};
        case ErrorKind::over_quota:
            return {"rate_limit_error", "rate_limit_exceeded"};
        case ErrorKind::does_not_fit:
            return {"unavailable_error", "does_not_fit"};
        case ErrorKind::timeout:
            return {"server_error", "timeout"};
        case ErrorKind::cancelled:
            return {"server_error", "cancelled"};
        case ErrorKind::upstream_failed:
            return {"server_error", "upstream_failed"};
        case ErrorKind::internal:
            return {"server_error", "internal"};
    }
    return {"server_error", nullptr};
}

}  // namespace

void write_error_fields(JsonWriter& out, const Error& error, int http_status) {
    const ErrorName name = name_error(error, http_status);
    out.field("message", error.message).field("type", name.type);
    out.key("param");
    error.param.empty() ? out.null() : out.value(error.param);
    out.key("code");
    name.code ? out.value(name.code) : out.null();
    if (error.kind == ErrorKind::context_overflow)
        out.field("n_prompt_tokens", error.n_prompt_tokens).field("n_ctx", error.n_ctx);
}

std::string write_error(const Error& error, int http_status) {
    JsonWriter out;
    out.begin_object().key("error").begin_object();
    write_error_fields(out, error, http_status);
    out.end_object().end_object();
    return out.take();
}

}  // namespace hearth::chat::openai
