#include "serve/key_api.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/format.h"
#include "base/json.h"
#include "serve/admission.h"
#include "serve/limits.h"

namespace hearth::serve {
namespace {

constexpr std::string_view kKeys = "/v1/hearth/keys";
constexpr std::string_view kUsagePath = "/v1/hearth/usage";

// "/v1/hearth/keys/hk-abcd2345/revoke" → the key and the verb; empty where it is no such path.
struct KeyVerb {
    std::string_view key, verb;
};
KeyVerb verb_of(std::string_view path) {
    if (!path.starts_with(kKeys) || path.size() < kKeys.size() + 2) return {};
    path.remove_prefix(kKeys.size() + 1);
    const std::size_t slash = path.rfind('/');
    if (slash == std::string_view::npos || slash == 0) return {};
    const KeyVerb found{path.substr(0, slash), path.substr(slash + 1)};
    return found.verb == "revoke" || found.verb == "rotate" ? found : KeyVerb{};
}

std::int64_t last_used_of(const std::vector<KeyUsage>& usage, const std::string& id) {
    const auto it = std::ranges::find(usage, id, &KeyUsage::key_id);
    return it == usage.end() ? 0 : it->last_used_s;
}

std::string key_json(const Key& key, const KeyFile& file, std::int64_t now_s,
                     const Secret* secret) {
    JsonWriter out;
    out.begin_object().key("key");
    write_key(out, key, file, now_s, 0);
    if (secret) out.field("secret", secret->reveal());
    return out.end_object().take();
}

void write_usage(JsonWriter& out, const KeyUsage& u) {
    out.begin_object().field("key", u.key_id);
    out.field("day", time_text(u.day * 86'400).substr(0, 10));
    out.field("requests_day", u.requests_day).field("tokens_day", u.tokens_day);
    out.field("microusd_day", u.microusd_day).field("egress_bytes_day", u.egress_bytes_day);
    out.field("month", time_text(first_day_of_month(u.month) * 86'400).substr(0, 7));
    out.field("tokens_month", u.tokens_month).field("microusd_month", u.microusd_month);
    out.key("last_used");
    u.last_used_s > 0 ? out.value(time_text(u.last_used_s)) : out.null();
    out.end_object();
}

std::string usage_json(Quota& quota, const Caller& caller) {
    JsonWriter out;
    out.begin_object().key("usage").begin_array();
    if (caller.role == Role::auditor || caller.role == Role::admin) {
        for (const KeyUsage& usage : quota.all()) write_usage(out, usage);
    } else if (caller.has_key()) {
        write_usage(out, quota.usage(caller.key_id));
    }
    return out.end_array().end_object().take();
}

Result<std::string> overlap_of(const std::string& body) {
    if (body.empty()) return "24h";
    HEARTH_TRY(const Json json, parse_json(body, {.depth = 2, .keys_per_object = 8, .nodes = 16}));
    const auto overlap = json.is_object() ? json.find("overlap") : json.end();
    if (!json.is_object() || (!json.empty() && (json.size() > 1 || overlap == json.end())))
        return fail(ErrorKind::invalid_request, "the body is {\"overlap\":\"24h\"}, or nothing");
    if (json.empty()) return "24h";
    if (!overlap->is_string())
        return fail(ErrorKind::invalid_request, "overlap must be a text such as 24h");
    return overlap->get<std::string>();
}

// The answer's body. Errors: what the store says.
Result<std::string> change(KeyStore& keys, const Caller& caller, const net::HttpRequest& request,
                           const OnEvent& on_event) {
    const std::string& actor = caller.has_key() ? caller.key_id : caller.name;
    const auto told = [&](const char* event, const Key& key, const Secret* secret) -> std::string {
        const auto now = keys.current();
        const KeyFile file = now ? (*now)->file : KeyFile{};
        if (on_event) on_event(key_event(event, actor, key, &file));
        return key_json(key, file, keys.now_s(), secret);
    };
    if (request.path == kKeys) {
        HEARTH_TRY(const KeyWish wish, parse_key_wish(request.body));
        HEARTH_TRY(const IssuedKey issued, keys.create(wish));
        return told("key.created", issued.key, &issued.token);
    }
    const KeyVerb verb = verb_of(request.path);
    if (verb.verb == "revoke") {
        HEARTH_TRY(const Key key, keys.revoke(verb.key));
        return told("key.revoked", key, nullptr);
    }
    HEARTH_TRY(const std::string overlap, overlap_of(request.body));
    HEARTH_TRY(const std::int64_t seconds, duration_s(overlap));
    HEARTH_TRY(const IssuedKey issued, keys.rotate(verb.key, seconds));
    return told("key.rotated", issued.key, &issued.token);
}

}  // namespace

const char* key_api_methods(std::string_view path) {
    if (path == kKeys) return "GET, HEAD, POST";
    if (path == kUsagePath) return "GET, HEAD";
    return verb_of(path).verb.empty() ? nullptr : "POST";
}

journal::EventRecord key_event(const char* event, const std::string& actor, const Key& key,
                               const KeyFile* file) {
    JsonWriter out;
    out.begin_object().field("key", key.id).field("name", key.name).field("owner", key.owner);
    if (file) out.field("role", name_of(role_of(key, *file)));
    out.key("expires");
    key.expires_s ? out.value(time_text(*key.expires_s)) : out.null();
    return {event, actor, out.end_object().take()};
}

journal::EventRecord user_event(const char* event, const std::string& actor, const User& user) {
    JsonWriter out;
    out.begin_object().field("user", user.name).field("role", name_of(user.role)).end_object();
    return {event, actor, out.take()};
}

std::string keys_json(const KeyFile& file, const std::vector<KeyUsage>& usage, std::int64_t now_s) {
    JsonWriter out;
    out.begin_object().key("keys").begin_array();
    for (const Key& key : file.keys) write_key(out, key, file, now_s, last_used_of(usage, key.id));
    out.end_array().key("users").begin_array();
    for (const User& user : file.users) write_user(out, user, file, now_s);
    return out.end_array().end_object().take();
}

net::HttpResponse key_api(KeyStore& keys, Quota& quota, const Caller& caller,
                          const net::HttpRequest& request, const OnEvent& on_event) {
    if (request.path == kUsagePath) return json_response(200, usage_json(quota, caller));
    if (request.method != "POST") {
        const auto now = keys.current();
        if (!now) return error_response(request.path, now.error());
        return json_response(200, keys_json((*now)->file, quota.all(), keys.now_s()));
    }
    if (request.body.size() > kKeyRequestBytesMax)
        return error_response(request.path, {.kind = ErrorKind::invalid_request,
                                             .message = format("a key's body has at most {} bytes",
                                                               kKeyRequestBytesMax)});
    auto body = change(keys, caller, request, on_event);
    if (!body) return error_response(request.path, body.error());
    auto response = json_response(200, std::move(*body));
    // A secret is shown once, and stays in no cache.
    response.headers.add("Cache-Control", "no-store");
    return response;
}

}  // namespace hearth::serve
