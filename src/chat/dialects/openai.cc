// dialect_openai: OpenAI chat completions, as a server endpoint and as an upstream.
//
// The parts are in openai/: read_request and read_messages (body → waist), write_stream and
// write_response (events → bytes), write_request, read_stream and read_error for the other
// direction.
//
// Source: OpenAI API specification; error types and the fields of a too long prompt as llama-server
// has them, because clients match on those.
#include "chat/dialects/openai/openai.h"

namespace hearth::chat {

namespace {
constexpr Route kRoutes[] = {{"POST", "/v1/chat/completions"}};
}

extern const Dialect dialect_openai;
const Dialect dialect_openai = {
    .name = "openai",
    .routes = kRoutes,
    .id_prefix = "chatcmpl-",
    .read_request = openai::read_request,
    .new_write_state = openai::new_write_state,
    .write_event = openai::write_event,
    .write_response = openai::write_response,
    .write_error = openai::write_error,
    .upstream_path = openai::upstream_path,
    .write_request = openai::write_request,
    .new_read_state = openai::new_read_state,
    .read_event = openai::read_event,
    .read_error = openai::read_error,
    .read_end = openai::read_end,
};

}  // namespace hearth::chat
