#include "serve/admission.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "serve/exchange.h"
#include "serve/limits.h"

namespace hearth::serve {
namespace {

net::HttpRequest request(std::string method, std::string path,
                         std::vector<std::pair<std::string, std::string>> headers = {}) {
    net::HttpRequest r;
    r.method = std::move(method);
    r.path = r.target = std::move(path);
    r.headers.add("Host", "127.0.0.1:11435");
    net::HttpRequest with_headers = r;
    with_headers.headers = {};
    bool has_host = false;
    for (auto& [name, value] : headers) {
        has_host |= name == "Host";
        with_headers.headers.add(name, value);
    }
    if (!has_host) with_headers.headers.add("Host", "127.0.0.1:11435");
    return with_headers;
}

int status(const std::optional<net::HttpResponse>& response) {
    return response ? response->status : 0;
}

constexpr const char* kChat = "/v1/chat/completions";

TEST(Admission, what_is_served_is_admitted) {
    EXPECT_EQ(status(admit(request("POST", kChat), {}, 0)), 0);
    for (const char* path : {"/", "/health", "/v1/health", "/metrics", "/v1/models", "/v1/models/a/b"}) {
        EXPECT_EQ(status(admit(request("GET", path), {}, 0)), 0) << path;
        EXPECT_EQ(status(admit(request("HEAD", path), {}, 0)), 0) << path;
    }
}

TEST(Admission, unknown_routes_and_methods_are_refused_with_what_is_allowed) {
    EXPECT_EQ(status(admit(request("GET", "/v1/nothing"), {}, 0)), 404);
    const auto get = admit(request("GET", kChat), {}, 0);
    ASSERT_EQ(status(get), 405);
    EXPECT_EQ(get->headers.find("allow"), "POST");
    EXPECT_EQ(status(admit(request("DELETE", "/health"), {}, 0)), 405);
}

// DNS rebinding: a page of evil.example whose name now points to 127.0.0.1 sends its own Host.
TEST(Admission, only_own_names_may_be_called) {
    for (const char* host : {"localhost", "localhost:1", "LOCALHOST:80", "127.0.0.1", "127.1.2.3:9",
                             "[::1]", "[::1]:11435"})
        EXPECT_EQ(status(admit(request("GET", "/health", {{"Host", host}}), {}, 0)), 0) << host;
    for (const char* host : {"evil.example", "localhost.evil.example", "evil.example:11435",
                             "192.168.1.5", "", "[::2]", "127.evil.example",
                             "127.0.0.1.evil.example", "127.evil.example:11435",
                             "[::1].evil.example", "[::1]evil.example:80", "127.0.0.1:80.evil.example",
                             "127.0.0.1@evil.example", "1127.0.0.1", "127.0.0.1.", "[127.evil]"})
        EXPECT_EQ(status(admit(request("GET", "/health", {{"Host", host}}), {}, 0)), 403) << host;
    const AdmissionRules rules{.host_names = {"box.lan"}};
    EXPECT_EQ(status(admit(request("GET", "/health", {{"Host", "Box.lan:80"}}), rules, 0)), 0);
    net::HttpRequest local = request("GET", "/health", {{"Host", "anything"}});
    local.from_unix_socket = true;
    EXPECT_EQ(status(admit(local, {}, 0)), 0);
}

TEST(Admission, pages_of_other_origins_are_refused_and_own_ones_answered) {
    for (const char* origin :
         {"https://evil.example", "null", "http://localhost.evil.example", "http://127.evil.example",
          "http://127.0.0.1.evil.example", "https://127.evil.example:8443",
          "http://[::1].evil.example"})
        EXPECT_EQ(status(admit(request("POST", kChat, {{"Origin", origin}}), {}, 0)), 403) << origin;
    for (const char* origin :
         {"http://localhost:3000", "https://127.0.0.1", "http://127.1.2.3:5173", "http://[::1]:80",
          "http://[::1]", "app://obsidian.md", "vscode-webview://abc"})
        EXPECT_EQ(status(admit(request("POST", kChat, {{"Origin", origin}}), {}, 0)), 0) << origin;
    const auto preflight =
        admit(request("OPTIONS", kChat, {{"Origin", "http://localhost:3000"},
                                         {"Access-Control-Request-Headers", "x-a, content-type"}}),
              {}, 0);
    ASSERT_EQ(status(preflight), 204);
    EXPECT_EQ(preflight->headers.find("access-control-allow-origin"), "http://localhost:3000");
    EXPECT_EQ(preflight->headers.find("access-control-allow-headers"), "x-a, content-type");
}

TEST(Admission, refusals_have_an_id_and_are_readable_for_pages_that_may_call) {
    const std::pair<std::string, std::string> page{"Origin", "http://localhost:3000"};
    const auto not_there = admit(request("GET", "/v1/nothing", {page}), {}, 0);
    ASSERT_EQ(status(not_there), 404);
    EXPECT_TRUE(not_there->headers.find("x-hearth-request-id").value_or("").starts_with("req-"));
    EXPECT_EQ(not_there->headers.find("x-request-id"),
              not_there->headers.find("x-hearth-request-id"));
    EXPECT_EQ(not_there->headers.find("access-control-allow-origin"), "http://localhost:3000");
    EXPECT_NE(not_there->headers.find("access-control-expose-headers")
                  .value_or("")
                  .find("x-hearth-reason"),
              std::string_view::npos);
    for (const char* host : {"localhost", "evil.example"}) {
        const auto foreign = admit(
            request("GET", "/health", {{"Host", host}, {"Origin", "https://evil.example"}}), {}, 0);
        ASSERT_EQ(status(foreign), 403);
        EXPECT_TRUE(foreign->headers.find("x-hearth-request-id"));
        EXPECT_FALSE(foreign->headers.find("access-control-allow-origin")) << host;
    }
}

TEST(Admission, a_full_machine_answers_503_with_retry_after) {
    EXPECT_EQ(status(admit(request("POST", kChat), {}, kOpenRequestsMax - 1)), 0);
    const auto full = admit(request("POST", kChat), {}, kOpenRequestsMax);
    ASSERT_EQ(status(full), 503);
    EXPECT_TRUE(full->headers.find("retry-after"));
    EXPECT_TRUE(parse_json(full->body));
    EXPECT_EQ(status(admit(request("GET", "/health"), {}, kOpenRequestsMax)), 0);
    const AdmissionRules small{.host_names = {}, .n_open_max = 3};
    EXPECT_EQ(status(admit(request("POST", kChat), small, 2)), 0);
    EXPECT_EQ(status(admit(request("POST", kChat), small, 3)), 503);
}

TEST(Admission, every_error_kind_has_one_status) {
    EXPECT_EQ(http_status_of(ErrorKind::invalid_request), 400);
    EXPECT_EQ(http_status_of(ErrorKind::context_overflow), 400);
    EXPECT_EQ(http_status_of(ErrorKind::forbidden_by_policy), 403);
    EXPECT_EQ(http_status_of(ErrorKind::not_found), 404);
    EXPECT_EQ(http_status_of(ErrorKind::overloaded), 503);
    EXPECT_EQ(http_status_of(ErrorKind::upstream_failed), 502);
    EXPECT_EQ(http_status_of(ErrorKind::timeout), 504);
}

}  // namespace
}  // namespace hearth::serve
