// Admission: what can be said from the headers alone, before a body is read: host and origin, then
// who asks (gate.h), then the route, then what that caller may do there and has left.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "chat/dialect.h"
#include "net/http.h"
#include "serve/gate.h"
#include "serve/limits.h"

namespace hearth::serve {

struct AdmissionRules {
    // Host names a browser may use for us besides loopback's (DNS rebinding: any other is refused).
    std::vector<std::string> host_names;
    bool any_host = false;  // callers may use any name; pages may not
    std::int64_t n_open_max = kOpenRequestsMax;
};

// A refusal, or nothing: 403 for foreign hosts and origins, 401, 404, 405, 403 for what the caller
// may not do, 503 when n_open is at the limit, 429 for the key's. What is admitted is in
// `admitted`. gate: nullptr where everybody is the local operator.
std::optional<net::HttpResponse> admit(const net::HttpRequest& head, const AdmissionRules& rules,
                                       std::int64_t n_open, Gate* gate = nullptr,
                                       Admitted* admitted = nullptr);

// The generation route of a path; nullptr if it is none.
const chat::Dialect* dialect_of(std::string_view path);
// Errors in the dialect of the path (OpenAI's shape where none speaks).
net::HttpResponse error_response(std::string_view path, const Error& error, int status = 0);
net::HttpResponse json_response(int status, std::string body);
// What every answer carries: its request's id and, for a page of an origin that admission has let
// pass, what the browser needs to show it the answer.
void add_common(const net::HttpRequest& head, const std::string& request_id, net::Headers& headers);

}  // namespace hearth::serve
