#include "serve/gate.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "serve/admission.h"
#include "serve/key_api.h"
#include "serve/limits.h"
#include "support/data.h"

namespace hearth::serve {
namespace {

constexpr const char* kChat = "/v1/chat/completions";

struct Rig {
    ManualClock clock;
    KeyStore store{test::temp_folder(), clock};
    Quota quota{clock};
    Gate gate{store, quota, clock};
    std::vector<journal::EventRecord> events;
    Rig() {
        clock.now_ns = 1'800'000'000LL * kNsPerS;
        gate.on_event = [this](journal::EventRecord e) { events.push_back(std::move(e)); };
    }
    std::string make(const KeyWish& wish) {
        auto issued = store.create(wish);
        EXPECT_TRUE(issued) << issued.error().message;
        return issued ? issued->token.reveal() : "";
    }
    struct Answer {
        int status = 0;
        net::HttpResponse response = {};
        Admitted who = {};
    };
    Answer ask(const std::string& method, const std::string& path, const std::string& header = "",
               const std::string& value = "", const std::string& peer = "10.0.0.1:99",
               bool from_unix = false) {
        net::HttpRequest head{.method = method, .target = path, .path = path};
        head.headers.add("Host", "localhost");
        if (!header.empty()) head.headers.add(header, value);
        head.peer = peer;
        head.from_unix_socket = from_unix;
        Answer answer;
        auto refusal = admit(head, {}, 0, &gate, &answer.who);
        if (refusal) answer.status = refusal->status;
        if (refusal) answer.response = std::move(*refusal);
        return answer;
    }
    int bearer(const std::string& method, const std::string& path, const std::string& token) {
        return ask(method, path, "Authorization", "Bearer " + token).status;
    }
};

TEST(Gate, without_keys_any_key_will_do_and_makes_the_local_operator) {
    Rig rig;
    const auto answer = rig.ask("POST", kChat, "Authorization", "Bearer sk-no-key-required");
    EXPECT_EQ(answer.status, 0);
    EXPECT_EQ(answer.who.caller.role, Role::operator_);
    EXPECT_FALSE(answer.who.caller.has_key());
    EXPECT_FALSE(answer.who.caller.scopes.may_lower_to);
    EXPECT_EQ(rig.ask("GET", "/metrics").status, 0);
    // Whoever reaches the port may not make the first key, or it would be the admin.
    EXPECT_EQ(rig.ask("POST", "/v1/hearth/keys").status, 403);
    EXPECT_EQ(rig.ask("POST", "/v1/hearth/keys", "", "", "unix", true).status, 0);
}

TEST(Gate, with_keys_everything_but_health_needs_one_and_the_socket_does_not) {
    Rig rig;
    const std::string token = rig.make({.name = "k"});
    for (const char* path : {"/", "/metrics", "/v1/models", "/v1/nothing", "/v1/hearth/keys"})
        EXPECT_EQ(rig.ask("GET", path).status, 401) << path;
    const auto refused = rig.ask("POST", kChat);
    EXPECT_EQ(refused.status, 401);
    EXPECT_EQ(refused.response.headers.find("www-authenticate"), "Bearer error=\"invalid_token\"");
    EXPECT_NE(refused.response.body.find("authentication_error"), std::string::npos);
    EXPECT_EQ(rig.ask("GET", "/health").status, 0);
    EXPECT_EQ(rig.ask("OPTIONS", kChat).status, 204);
    EXPECT_EQ(rig.ask("POST", kChat, "", "", "unix", true).status, 0);
    for (const char* name : {"x-api-key", "api-key", "X-API-Key"})
        EXPECT_EQ(rig.ask("POST", kChat, name, token).status, 0) << name;
    EXPECT_EQ(rig.ask("POST", kChat, "authorization", "bearer  " + token).status, 0);
    EXPECT_EQ(rig.ask("POST", kChat, "authorization", "Basic " + token).status, 401);
    EXPECT_EQ(rig.ask("POST", kChat, "authorization", token).status, 401);
}

TEST(Gate, a_revoked_key_is_refused_at_its_very_next_request) {
    Rig rig;
    const std::string token = rig.make({.name = "k"});
    EXPECT_EQ(rig.bearer("POST", kChat, token), 0);
    KeyStore other(rig.store.usage_path().substr(0, rig.store.usage_path().rfind('/')), rig.clock);
    ASSERT_TRUE(other.revoke("k"));
    EXPECT_EQ(rig.bearer("POST", kChat, token), 401);
    // The last key is gone, and still nobody comes in without one.
    EXPECT_EQ(rig.ask("POST", kChat).status, 401);
}

TEST(Gate, roles_open_the_routes_of_the_table_and_no_others) {
    Rig rig;
    std::map<std::string, std::string> tokens;
    for (const char* role : {"user", "operator", "auditor", "admin"})
        tokens[role] = rig.make({.name = role, .role = role});
    const auto allowed = [&](const char* method, const char* path) {
        std::string roles;
        for (const char* role : {"user", "operator", "auditor", "admin"}) {
            if (rig.bearer(method, path, tokens[role]) == 0) roles += std::string(role) + " ";
        }
        return roles;
    };
    EXPECT_EQ(allowed("POST", kChat), "user operator admin ");
    EXPECT_EQ(allowed("GET", "/v1/models"), "user operator auditor admin ");
    EXPECT_EQ(allowed("GET", "/v1/hearth/usage"), "user operator auditor admin ");
    EXPECT_EQ(allowed("GET", "/metrics"), "operator auditor admin ");
    EXPECT_EQ(allowed("GET", "/v1/hearth/keys"), "auditor admin ");
    EXPECT_EQ(allowed("HEAD", "/v1/hearth/keys"), "auditor admin ");
    EXPECT_EQ(allowed("POST", "/v1/hearth/keys"), "admin ");
    EXPECT_EQ(allowed("POST", "/v1/hearth/keys/hk-aaaaaaaa/revoke"), "admin ");
    EXPECT_EQ(allowed("GET", "/v1/hearth/keys/hk-aaaaaaaa/revoke"), "");
    // A route that nobody has put into the table.
    EXPECT_FALSE(role_may(Role::auditor, "GET", "/v1/hearth/anything"));
    EXPECT_TRUE(role_may(Role::admin, "GET", "/v1/hearth/anything"));
}

TEST(Gate, a_scope_of_routes_is_refused_by_name) {
    Rig rig;
    const std::string token = rig.make({.name = "k", .routes = {"/v1/models*"}});
    EXPECT_EQ(rig.bearer("GET", "/v1/models", token), 0);
    EXPECT_EQ(rig.bearer("GET", "/v1/models/demo", token), 0);
    EXPECT_EQ(rig.bearer("GET", "/v1/hearth/usage", token), 0);
    const auto refused = rig.ask("POST", kChat, "Authorization", "Bearer " + token);
    EXPECT_EQ(refused.status, 403);
    EXPECT_NE(refused.response.body.find("its routes do not name it"), std::string::npos);
}

TEST(Gate, a_refused_caller_is_on_record_once_a_minute) {
    Rig rig;
    const std::string token = rig.make({.name = "k", .routes = {"/v1/models*"}});
    EXPECT_EQ(rig.bearer("GET", "/v1/models", token), 0);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(rig.bearer("POST", kChat, token), 403);
    EXPECT_EQ(rig.bearer("GET", "/metrics", token), 403);
    ASSERT_EQ(rig.events.size(), 1u);
    EXPECT_EQ(rig.events[0].event, "auth.refused");
    EXPECT_EQ(rig.events[0].actor, rig.store.current().value()->file.keys[0].id);
    rig.clock.now_ns += 61 * kNsPerS;
    EXPECT_EQ(rig.bearer("GET", "/metrics", token), 403);
    ASSERT_EQ(rig.events.size(), 2u);
    const Json detail = parse_json(rig.events[1].json).value();
    EXPECT_EQ(detail["n"], 4);  // three that were not told, and this one
    EXPECT_EQ(detail["why"], "GET /metrics is not for the role user");
}

TEST(Gate, what_a_key_has_used_up_is_429_with_the_seconds_to_wait) {
    Rig rig;
    const std::string token = rig.make({.name = "k", .limits = {"2"}});
    EXPECT_EQ(rig.bearer("POST", kChat, token), 0);
    EXPECT_EQ(rig.bearer("GET", "/v1/models", token), 0);  // costs nothing, counts nothing
    EXPECT_EQ(rig.bearer("POST", kChat, token), 0);
    const auto refused = rig.ask("POST", kChat, "Authorization", "Bearer " + token);
    EXPECT_EQ(refused.status, 429);
    EXPECT_NE(refused.response.body.find("rate_limit_error"), std::string::npos);
    EXPECT_EQ(refused.response.headers.find("retry-after"), "61");
    rig.clock.now_ns += 61 * kNsPerS;
    EXPECT_EQ(rig.bearer("POST", kChat, token), 0);
}

TEST(Gate, guessing_is_slowed_per_address_and_a_right_key_passes_all_the_same) {
    Rig rig;
    const std::string token = rig.make({.name = "k"});
    const auto guess = [&](const std::string& peer) {
        return rig.ask("POST", kChat, "x-api-key", "hk-guess", peer).status;
    };
    for (std::int64_t i = 0; i < kAuthFailuresMinute; ++i)
        EXPECT_EQ(guess("10.0.0.1:" + std::to_string(1000 + i)), 401);
    EXPECT_EQ(guess("10.0.0.1:7"), 429);
    EXPECT_EQ(guess("10.0.0.2:7"), 401);
    EXPECT_EQ(rig.bearer("POST", kChat, token), 0);
    for (std::int64_t i = 0; i < kAuthFailuresMinute; ++i)
        EXPECT_EQ(guess("[2001:db8:1:2::" + std::to_string(i + 1) + "]:80"), 401);
    EXPECT_EQ(guess("[2001:db8:1:2:ffff::9]:80"), 429);
    EXPECT_EQ(guess("[2001:db8:1:3::1]:80"), 401);
    rig.clock.now_ns += 61 * kNsPerS;
    EXPECT_EQ(guess("10.0.0.1:7"), 401);
    // One event per address and minute.
    ASSERT_GE(rig.events.size(), 4u);
    EXPECT_EQ(rig.events.size(), 5u);
    EXPECT_EQ(rig.events[0].event, "auth.failed");
    EXPECT_EQ(rig.events[0].actor, "10.0.0.1");
}

net::HttpRequest post(const std::string& path, const std::string& body) {
    return {.method = "POST", .target = path, .path = path, .body = body};
}

TEST(KeyApi, makes_rotates_and_revokes_and_each_change_is_an_event) {
    Rig rig;
    const OnEvent on_event = rig.gate.on_event;
    const Caller admin = local_admin("unix");
    const auto call = [&](const std::string& path, const std::string& body) {
        return key_api(rig.store, rig.quota, admin, post(path, body), on_event);
    };
    const auto made = call("/v1/hearth/keys",
                           R"({"name":"api","models":["demo"],"limits":{"microusd_day":2500000}})");
    ASSERT_EQ(made.status, 200) << made.body;
    EXPECT_EQ(made.headers.find("cache-control"), "no-store");
    const Json key = parse_json(made.body).value();
    const auto token = key["secret"].get<std::string>(), id = key["key"]["id"].get<std::string>();
    EXPECT_EQ(key["key"]["limits"]["microusd_day"], 2'500'000);
    EXPECT_EQ(rig.bearer("POST", kChat, token), 0);
    const auto rotated = call("/v1/hearth/keys/" + id + "/rotate", R"({"overlap":"0"})");
    ASSERT_EQ(rotated.status, 200) << rotated.body;
    EXPECT_EQ(rig.bearer("POST", kChat, token), 401);
    const auto next = parse_json(rotated.body).value()["secret"].get<std::string>();
    EXPECT_EQ(rig.bearer("POST", kChat, next), 0);
    EXPECT_EQ(call("/v1/hearth/keys/" + id + "/revoke", "").status, 200);
    EXPECT_EQ(rig.bearer("POST", kChat, next), 401);
    EXPECT_EQ(call("/v1/hearth/keys/hk-aaaaaaaa/revoke", "").status, 404);
    for (const char* body :
         {"", "[]", "{", R"({"nam":"x"})", R"({"name":1})", R"({"limits":{"moons":1}})",
          R"({"limits":{"tokens_day":"1"}})", R"({"limits":{"tokens_day":-1}})"})
        EXPECT_EQ(call("/v1/hearth/keys", body).status, 400) << body;
    std::vector<std::string> names;
    for (const auto& event : rig.events) {
        if (event.event == "auth.failed") continue;
        names.push_back(event.event);
        EXPECT_EQ(event.json.find(token), std::string::npos);
    }
    EXPECT_EQ(names, (std::vector<std::string>{"key.created", "key.rotated", "key.revoked"}));
    net::HttpRequest list{.method = "GET", .target = "", .path = "/v1/hearth/keys"};
    const auto listed = key_api(rig.store, rig.quota, admin, list, nullptr);
    EXPECT_EQ(listed.body.find("hmac"), std::string::npos);
    EXPECT_NE(listed.body.find("\"state\":\"revoked\""), std::string::npos);
}

TEST(KeyApi, usage_is_ones_own_but_for_those_who_audit) {
    Rig rig;
    (void)rig.quota.admit("hk-aaaaaaaa", {});
    (void)rig.quota.admit("hk-bbbbbbbb", {});
    net::HttpRequest get{.method = "GET", .target = "", .path = "/v1/hearth/usage"};
    const auto keys_for = [&](Role role, const std::string& id) {
        Caller caller;
        caller.key_id = id;
        caller.role = role;
        return parse_json(key_api(rig.store, rig.quota, caller, get, nullptr).body)
            .value()["usage"]
            .size();
    };
    EXPECT_EQ(keys_for(Role::user, "hk-aaaaaaaa"), 1u);
    EXPECT_EQ(keys_for(Role::operator_, "hk-aaaaaaaa"), 1u);
    EXPECT_EQ(keys_for(Role::auditor, "hk-cccccccc"), 2u);
    EXPECT_EQ(keys_for(Role::operator_, ""), 0u);
}

}  // namespace
}  // namespace hearth::serve
