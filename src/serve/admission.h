// Admission: what can be said from the headers alone, before a body is read. Pure but for one
// count, and the id that a refusal gets.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "chat/dialect.h"
#include "net/http.h"
#include "serve/limits.h"

namespace hearth::serve {

struct AdmissionRules {
    // Host names a browser may use for us besides loopback's (DNS rebinding: any other is refused).
    std::vector<std::string> host_names;
    std::int64_t n_open_max = kOpenRequestsMax;
};

// A refusal, or nothing: 403 for foreign hosts and origins, 404, 405, 503 when n_open is at the
// limit.
std::optional<net::HttpResponse> admit(const net::HttpRequest& head, const AdmissionRules& rules,
                                       std::int64_t n_open);

// The generation route of a path; nullptr if it is none.
const chat::Dialect* dialect_of(std::string_view path);
// Errors in the dialect of the path (OpenAI's shape where none speaks).
net::HttpResponse error_response(std::string_view path, const Error& error, int status = 0);
net::HttpResponse json_response(int status, std::string body);
// What every answer carries: its request's id and, for a page of an origin that admission has let
// pass, what the browser needs to show it the answer.
void add_common(const net::HttpRequest& head, const std::string& request_id, net::Headers& headers);

}  // namespace hearth::serve
