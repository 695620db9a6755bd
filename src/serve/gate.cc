#include "serve/gate.h"

#include <algorithm>
#include <array>

#include "base/format.h"
#include "base/json.h"
#include "chat/dialect.h"
#include "serve/admission.h"
#include "serve/limits.h"

namespace hearth::serve {
namespace {

constexpr unsigned bit(Role role) {
    return 1u << unsigned(role);
}
constexpr unsigned kUser = bit(Role::user), kOperator = bit(Role::operator_),
                   kAuditor = bit(Role::auditor), kAdmin = bit(Role::admin);
constexpr unsigned kAll = kUser | kOperator | kAuditor | kAdmin;

struct RouteRoles {
    std::string_view method, path;  // a path that ends in '*' means all that begin so
    unsigned roles;
};
// Generation routes are the dialects' and have no row: everybody's but an auditor's.
constexpr std::array kRouteRoles{
    RouteRoles{"GET", "/", kAll},
    RouteRoles{"GET", "/health", kAll},
    RouteRoles{"GET", "/v1/health", kAll},
    RouteRoles{"GET", "/v1/models", kAll},
    RouteRoles{"GET", "/v1/models/*", kAll},
    RouteRoles{"GET", "/metrics", kOperator | kAuditor | kAdmin},
    RouteRoles{"GET", "/v1/hearth/usage", kAll},
    RouteRoles{"GET", "/v1/hearth/keys", kAuditor | kAdmin},
    RouteRoles{"POST", "/v1/hearth/keys", kAdmin},
    RouteRoles{"POST", "/v1/hearth/keys/*", kAdmin},
    RouteRoles{"GET", "/v1/hearth/taint", kOperator | kAuditor | kAdmin},
    RouteRoles{"POST", "/v1/hearth/taint/*", kOperator | kAdmin},
};

bool fits(std::string_view pattern, std::string_view path) {
    if (!pattern.ends_with('*')) return pattern == path;
    return path.starts_with(pattern.substr(0, pattern.size() - 1));
}

// The key of a head: `Authorization: Bearer`, Anthropic's x-api-key, Azure's api-key. Of several
// the first that looks like one of ours: clients send dummies beside it.
std::string_view token_of(const net::Headers& headers) {
    std::string_view first;
    for (const char* name : {"authorization", "x-api-key", "api-key"}) {
        auto value = headers.find(name);
        if (!value) continue;
        if (std::string_view(name) == "authorization") {
            constexpr std::string_view kBearer = "bearer ";
            if (value->size() < kBearer.size() ||
                !net::same_header(value->substr(0, kBearer.size()), kBearer))
                continue;
            value->remove_prefix(kBearer.size());
        }
        while (value->starts_with(' ')) value->remove_prefix(1);
        while (value->ends_with(' ')) value->remove_suffix(1);
        if (value->starts_with("hk-")) return *value;
        if (first.empty()) first = *value;
    }
    return first;
}

// Without the port: what a peer that tries again keeps. Of IPv6 a /64 is one customer's.
std::string address_of(const std::string& peer) {
    if (!peer.starts_with('[')) return peer.substr(0, peer.rfind(':'));
    std::size_t at = 0;
    for (int groups = 0; groups < 4 && at != std::string::npos; ++groups)
        at = peer.find(':', at + 1);
    return peer.substr(0, std::min(at, peer.find(']')));
}

Caller caller_of_key(const Key& key, const KeyFile& file) {
    return {.key_id = key.id,
            .name = key.name,
            .owner = key.owner,
            .role = role_of(key, file),
            .scopes = key.scopes};
}

}  // namespace

const Admitted* admitted(const net::HttpRequest& request) {
    return static_cast<const Admitted*>(request.held.get());
}

bool role_may(Role role, std::string_view method, std::string_view path) {
    if (method == "HEAD") method = "GET";
    for (const RouteRoles& row : kRouteRoles) {
        if (row.method == method && fits(row.path, path)) return (row.roles & bit(role)) != 0;
    }
    if (dialect_of(path)) return role != Role::auditor;
    return role == Role::admin;
}

Gate::Failures& Gate::failures_of(const std::string& actor, std::int64_t now_s) {
    if (const auto it = failures_.find(actor); it != failures_.end()) return it->second;
    if (failures_.size() >= kAuthPeersMax) {
        // Whoever failed longest ago is forgotten first. A walk over all, once per new stranger.
        const auto oldest = std::ranges::min_element(
            failures_, {}, [](const auto& entry) { return entry.second.newest_s; });
        failures_.erase(oldest);
    }
    Failures& failures = failures_[actor];
    failures.newest_s = now_s;
    return failures;
}

// Never near 0, which stands for "not told yet".
std::int64_t Gate::now_ns() const {
    return clock_.mono_ns() + 6000 * kNsPerS;
}

// One event per actor and minute, with how many there were since the last.
void Gate::tell(const char* event, const std::string& actor, const net::HttpRequest& head,
                const std::string& why) {
    const std::int64_t now_s = now_ns() / kNsPerS;
    Failures& failures = failures_of(actor, now_s);
    failures.newest_s = now_s;
    ++failures.n_untold;
    if (!on_event || (failures.told_s != 0 && now_s - failures.told_s < 60)) return;
    JsonWriter out;
    out.begin_object().field("peer", address_of(head.peer)).field("why", why);
    out.field("n", failures.n_untold).end_object();
    on_event({event, actor, out.take()});
    failures.told_s = now_s;
    failures.n_untold = 0;
}

Error Gate::failed(const net::HttpRequest& head, Error why) {
    ++n_failures_;
    const std::int64_t now_ns = this->now_ns(), now_s = now_ns / kNsPerS;
    const std::string address = address_of(head.peer);
    tell("auth.failed", address, head, why.message);
    Failures& failures = failures_of(address, now_s);
    if (failures.window.sum(now_s) < kAuthFailuresMinute) {
        failures.window.add(now_s, 1);
        return why;
    }
    const std::int64_t free_s = failures.window.when_at_most(kAuthFailuresMinute - 1, now_s);
    return {.kind = ErrorKind::over_quota,
            .message = format("{}; {} wrong keys came from this address within a minute",
                              why.message, kAuthFailuresMinute),
            .retry_after_s =
                std::max<std::int64_t>(1, (free_s * kNsPerS - now_ns + kNsPerS - 1) / kNsPerS)};
}

Result<Gate::Entry> Gate::caller_of(const net::HttpRequest& head) {
    if (head.from_unix_socket) return Entry{local_admin("unix"), {}};
    auto snapshot = keys_.current();
    // What is wrong with the file is in the log; strangers need not know it.
    if (!snapshot)
        return fail(Error{.kind = ErrorKind::overloaded,
                          .message = "the list of keys cannot be read, so nobody is let in; the "
                                     "server's log says why",
                          .retry_after_s = kRetryAfterS});
    ever_required_ = ever_required_ || (*snapshot)->required;
    if (!ever_required_) return Entry{local_operator(), {}};
    const std::string_view token = token_of(head.headers);
    auto key = (*snapshot)->check(token, clock_.wall_ns() / kNsPerS);
    if (!key) return fail(failed(head, std::move(key.error())));
    return Entry{caller_of_key(**key, (*snapshot)->file), (*key)->limits};
}

Status Gate::may_enter(const Caller& caller, const net::HttpRequest& head) {
    const std::string_view path = std::string_view(head.path).substr(0, 100);
    std::string why;
    if (!role_may(caller.role, head.method, head.path))
        why = format("{} {} is not for the role {}{}", head.method, path, name_of(caller.role),
                     caller.has_key() ? "" : "; make keys with `hearth keys create`");
    // A key for some routes may always ask how it stands.
    else if (!caller.scopes.allows_route(head.path) && head.path != "/v1/hearth/usage")
        why = format("key {} may not use {}: its routes do not name it", caller.key_id, path);
    if (why.empty()) return {};
    tell("auth.refused", caller.has_key() ? caller.key_id : address_of(head.peer), head, why);
    return fail(ErrorKind::forbidden_by_policy, std::move(why));
}

void Gate::print(std::string& out) const {
    out += format(
        "# HELP hearth_auth_failures_total Requests without a valid key.\n"
        "# TYPE hearth_auth_failures_total counter\nhearth_auth_failures_total {}\n",
        n_failures_.load());
    quota_.print(out);
}

}  // namespace hearth::serve
