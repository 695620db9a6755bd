#include "serve/caller.h"

#include <algorithm>
#include <array>
#include <utility>

namespace hearth::serve {
namespace {

constexpr std::array kRoleNames{"user", "operator", "auditor", "admin"};

// "auto", "acme/*"
bool matches(std::string_view pattern, std::string_view text) {
    if (!pattern.ends_with('*')) return pattern == text;
    pattern.remove_suffix(1);
    return text.starts_with(pattern);
}

bool any_matches(const std::vector<std::string>& patterns, std::string_view text) {
    return patterns.empty() ||
           std::ranges::any_of(patterns, [&](const auto& p) { return matches(p, text); });
}

}  // namespace

const char* name_of(Role role) {
    return kRoleNames.at(std::size_t(role));
}

std::optional<Role> role_from(std::string_view name) {
    for (std::size_t i = 0; i < kRoleNames.size(); ++i) {
        if (name == kRoleNames.at(i)) return Role(i);
    }
    return std::nullopt;
}

bool Tiers::allow(std::string_view name) {
    for (const auto& [tier, allowed] : {std::pair{route::Tier::local, &local},
                                        {route::Tier::fleet, &fleet},
                                        {route::Tier::cloud, &cloud}}) {
        if (name != route::name_of(tier)) continue;
        *allowed = true;
        return true;
    }
    return false;
}

bool Scopes::allows_route(std::string_view path) const {
    return any_matches(routes, path);
}

// A request that names no model means `auto`.
bool Scopes::allows_model(std::string_view name) const {
    return any_matches(models, name.empty() ? "auto" : name);
}

Caller local_operator() {
    Caller caller;
    caller.name = "local";
    caller.scopes.max_class_out = chat::Sensitivity::restricted;
    return caller;
}

Caller local_admin(std::string name) {
    Caller caller = local_operator();
    caller.name = std::move(name);
    caller.role = Role::admin;
    caller.scopes.may_lower_to = chat::Sensitivity::public_;
    return caller;
}

}  // namespace hearth::serve
