#include "serve/admission.h"

#include <algorithm>
#include <array>

#include "base/format.h"
#include "base/ids.h"
#include "net/http_server.h"
#include "serve/exchange.h"
#include "serve/key_api.h"
#include "serve/limits.h"
#include "serve/taint_api.h"

namespace hearth::serve {
namespace {

constexpr std::array kGetPaths{"/", "/health", "/v1/health", "/metrics", "/v1/models"};

bool is_get_path(std::string_view path) {
    return std::ranges::find(kGetPaths, path) != kGetPaths.end() || path.starts_with("/v1/models/");
}

// "localhost:11435" → "localhost", "[::1]:80" → "[::1]"; empty where something else follows: an
// address in brackets must not vouch for the name behind it.
std::string_view without_port(std::string_view host) {
    const std::size_t end = host.starts_with('[') ? host.find(']') + 1 : host.find(':');
    const std::string_view name = host.substr(0, end);
    std::string_view rest = host.substr(name.size());
    if (rest.empty()) return name;
    if (!rest.starts_with(':')) return {};
    rest.remove_prefix(1);
    const bool digits = std::ranges::all_of(rest, [](char c) { return c >= '0' && c <= '9'; });
    return digits ? name : std::string_view();
}

// Addresses are read as numbers: "127.evil.example" begins like one, and is a name that its owner
// may point at us (DNS rebinding).
bool is_own_name(std::string_view host, const AdmissionRules& rules) {
    const std::string_view name = without_port(host);
    if (name.empty()) return false;
    if (net::same_header(name, "localhost") || net::is_loopback(std::string(name))) return true;
    return std::ranges::any_of(rules.host_names,
                               [&](const std::string& n) { return net::same_header(n, name); });
}

// Pages of desktop applications, and pages that this machine serves itself.
bool is_allowed_origin(std::string_view origin, const AdmissionRules& rules) {
    for (const std::string_view scheme :
         {"app://", "file://", "tauri://", "vscode-webview://", "vscode-file://"}) {
        if (origin.starts_with(scheme)) return true;
    }
    for (const std::string_view scheme : {"http://", "https://"}) {
        if (origin.starts_with(scheme)) return is_own_name(origin.substr(scheme.size()), rules);
    }
    return false;
}

Error forbidden(std::string message) {
    return {.kind = ErrorKind::forbidden_by_policy, .message = std::move(message)};
}

net::HttpResponse method_refusal(std::string_view path, const char* allow) {
    auto response = error_response(
        path,
        {.kind = ErrorKind::invalid_request, .message = format("{} answers {} only", path, allow)},
        405);
    response.headers.add("Allow", allow);
    return response;
}

net::HttpResponse preflight(const net::HttpRequest& head) {
    net::HttpResponse response{.status = 204, .headers = {}, .body = {}};
    response.headers.add("Access-Control-Allow-Methods", "GET, POST, OPTIONS");
    const auto wanted = head.headers.find("access-control-request-headers");
    response.headers.add("Access-Control-Allow-Headers",
                         std::string(wanted.value_or("authorization, content-type")));
    response.headers.add("Access-Control-Max-Age", "600");
    return response;
}

const chat::Route* route_of(std::string_view path, const chat::Dialect** dialect = nullptr) {
    for (std::size_t i = 0; i < chat::dialect_table_size; ++i) {
        for (const chat::Route& route : chat::dialect_table[i]->routes) {
            if (path != route.path) continue;
            if (dialect) *dialect = chat::dialect_table[i];
            return &route;
        }
    }
    return nullptr;
}

// "GET, HEAD, POST" holds the method as a word.
bool is_among(const std::string& method, std::string_view methods) {
    const std::size_t at = methods.find(method);
    const bool whole = method == "GET" || method == "HEAD" || method == "POST";
    return whole && at != std::string_view::npos;
}

std::optional<net::HttpResponse> refusal_of_route(const net::HttpRequest& head,
                                                  const AdmissionRules& rules,
                                                  std::int64_t n_open) {
    const chat::Route* const generates = route_of(head.path);
    const bool gets = is_get_path(head.path);
    const char* api_methods = key_api_methods(head.path);
    if (!api_methods) api_methods = taint_api_methods(head.path);
    if (!generates && !gets && !api_methods)
        return error_response(head.path, {.kind = ErrorKind::not_found,
                                          .message = "there is no " + head.path.substr(0, 200) +
                                                     "; see docs/INTERFACE.md for what is served"});
    if (head.method == "OPTIONS") return preflight(head);
    if (gets && head.method != "GET" && head.method != "HEAD")
        return method_refusal(head.path, "GET, HEAD");
    if (api_methods && !is_among(head.method, api_methods))
        return method_refusal(head.path, api_methods);
    if (generates && head.method != generates->method)
        return method_refusal(head.path, generates->method);
    if (generates && n_open >= rules.n_open_max)
        return error_response(
            head.path, {.kind = ErrorKind::overloaded,
                        .message = format("{} requests are open, which is this machine's limit; "
                                          "try again shortly",
                                          n_open),
                        .retry_after_s = kRetryAfterS});
    return std::nullopt;
}

net::HttpResponse unauthorized(std::string_view path, const Error& error) {
    auto response = error_response(path, error);
    if (response.status == 401)
        response.headers.add("WWW-Authenticate", "Bearer error=\"invalid_token\"");
    return response;
}

// Health is for those who watch from outside, and a preflight never carries a key.
bool is_open(const net::HttpRequest& head) {
    return head.path == "/health" || head.path == "/v1/health" || head.method == "OPTIONS";
}

// Who asks, whether there is such a route, and what that caller may do there.
std::optional<net::HttpResponse> refusal_of_caller(const net::HttpRequest& head,
                                                   const AdmissionRules& rules, std::int64_t n_open,
                                                   Gate& gate, Admitted& admitted) {
    if (is_open(head)) return refusal_of_route(head, rules, n_open);
    auto entry = gate.caller_of(head);
    // A stranger does not even learn which routes there are.
    if (!entry) return unauthorized(head.path, entry.error());
    if (auto refusal = refusal_of_route(head, rules, n_open)) return refusal;
    if (Status ok = gate.may_enter(entry->caller, head); !ok)
        return error_response(head.path, ok.error());
    admitted.caller = std::move(entry->caller);
    if (!route_of(head.path) || !admitted.caller.has_key()) return std::nullopt;
    auto ticket = gate.quota().admit(admitted.caller.key_id, entry->limits);
    if (!ticket) return error_response(head.path, ticket.error());
    admitted.ticket = std::move(*ticket);
    return std::nullopt;
}

}  // namespace

const chat::Dialect* dialect_of(std::string_view path) {
    const chat::Dialect* dialect = nullptr;
    route_of(path, &dialect);
    return dialect;
}

net::HttpResponse json_response(int status, std::string body) {
    net::HttpResponse response{.status = status, .headers = {}, .body = std::move(body)};
    response.headers.add("Content-Type", "application/json");
    return response;
}

net::HttpResponse error_response(std::string_view path, const Error& error, int status) {
    if (status == 0) status = http_status_of(error.kind);
    const chat::Dialect* dialect = dialect_of(path);
    if (!dialect) dialect = chat::find_dialect("openai");
    auto response = json_response(status, dialect->write_error(error, status));
    if (status == 503 || status == 429)
        response.headers.add(
            "Retry-After",
            std::to_string(error.retry_after_s > 0 ? error.retry_after_s : kRetryAfterS));
    return response;
}

void add_common(const net::HttpRequest& head, const std::string& request_id,
                net::Headers& headers) {
    headers.add("x-request-id", request_id);
    headers.add("x-hearth-request-id", request_id);
    if (const auto origin = head.headers.find("origin")) {
        headers.add("Access-Control-Allow-Origin", std::string(*origin));
        headers.add("Access-Control-Expose-Headers",
                    "x-request-id, x-hearth-request-id, x-hearth-route, x-hearth-model, "
                    "x-hearth-reason, x-hearth-decision, x-hearth-quota-warning, retry-after, "
                    "x-ratelimit-limit-requests, x-ratelimit-remaining-requests, "
                    "x-ratelimit-reset-requests, x-ratelimit-limit-tokens, "
                    "x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens");
        headers.add("Vary", "Origin");
    }
}

std::optional<net::HttpResponse> admit(const net::HttpRequest& head, const AdmissionRules& rules,
                                       std::int64_t n_open, Gate* gate, Admitted* admitted) {
    const auto host = head.headers.find("host");
    const auto origin = head.headers.find("origin");
    const bool foreign_page = origin && !is_allowed_origin(*origin, rules);
    std::optional<net::HttpResponse> response;
    if (!head.from_unix_socket && !rules.any_host && host && !is_own_name(*host, rules))
        response = error_response(
            head.path, forbidden(format("host {} is not a name of this server; call it by "
                                        "127.0.0.1, localhost, or a name in serve.host_names",
                                        std::string(host->substr(0, 100)))));
    else if (foreign_page)
        response =
            error_response(head.path, forbidden("pages of this origin may not call this server"));
    else if (gate && admitted)
        response = refusal_of_caller(head, rules, n_open, *gate, *admitted);
    else
        response = refusal_of_route(head, rules, n_open);
    // A foreign page learns nothing, not even why.
    if (response)
        add_common(foreign_page ? net::HttpRequest{} : head, random_id("req-"), response->headers);
    return response;
}

}  // namespace hearth::serve
