// Caller: who asks, and what that key may do. A plain value: made by admission from a request's
// headers, it rides in Origin to the decision and into the records, and is never looked up again,
// so that one request is judged by one state of the key.
//
// A scope only takes away. What policy keeps on this machine stays there whatever a key says:
//   tiers          the decision removes targets of every other tier
//   max_class_out  content above this class leaves for nobody who holds this key
//   may_lower_to   the lowest class that the caller may state for content in which the detectors
//                  have found more, or for content that would count as internal; nothing: what it
//                  states can raise the class only
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "chat/chat.h"
#include "route/decide.h"

namespace hearth::serve {

// user: asks models. operator: also reads metrics. auditor: reads usage and keys, asks nothing.
// admin: everything, and alone changes keys. serve/roles.h has the table of routes.
enum class Role : std::uint8_t { user, operator_, auditor, admin };
const char* name_of(Role role);  // "user", "operator", …
std::optional<Role> role_from(std::string_view name);

struct Tiers {
    bool local = true, fleet = true, cloud = true;
    bool has(route::Tier tier) const {
        if (tier == route::Tier::local) return local;
        return tier == route::Tier::fleet ? fleet : cloud;
    }
    bool all() const { return local && fleet && cloud; }
    bool allow(std::string_view name);  // false: no tier has this name
    friend bool operator==(const Tiers&, const Tiers&) = default;
};

struct Scopes {
    // Paths and names of models as a request states them; one that ends in '*' means every one that
    // begins so. Empty: all.
    std::vector<std::string> routes, models;
    Tiers tiers;
    chat::Sensitivity max_class_out = chat::Sensitivity::internal;
    std::optional<chat::Sensitivity> may_lower_to = {};
    bool allows_route(std::string_view path) const;
    bool allows_model(std::string_view name) const;
    friend bool operator==(const Scopes&, const Scopes&) = default;
};

struct Caller {
    std::string key_id = {};  // "hk-abcd2345"; empty: nobody's key
    std::string name = {};    // the key's, "laptop"; "local" without keys, "terminal", "unix"
    std::string owner = {};   // the user that the key belongs to; empty without one
    Role role = Role::operator_;
    Scopes scopes = {};
    bool has_key() const { return !key_id.empty(); }
};

// Whoever reaches a loopback port while no keys exist: what every local client is then. It may send
// what policy lets out, and lowers no class.
Caller local_operator();
// The terminal and the socket in the state folder, which only this user can open: an admin who may
// also lower classes.
Caller local_admin(std::string name);

}  // namespace hearth::serve
