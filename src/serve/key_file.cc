#include "serve/key_file.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/format.h"
#include "base/json.h"
#include "base/suggest.h"
#include "base/utf8.h"
#include "serve/key_token.h"
#include "serve/limits.h"

namespace hearth::serve {
namespace {

// Of the file: documents of a greater one are refused.
constexpr std::int64_t kFormatVersion = 1;
// Seconds since 1970 that a file may state: up to the year 9999.
constexpr std::int64_t kTimeMaxS = 253'402'300'799;

// Reads members of one object and remembers the first that is wrong.
class Members {
  public:
    Members(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
        if (!object_.is_object()) wrong("", "must be an object");
    }

    std::string text(const char* name, std::size_t n_max) {
        const Json* value = find(name);
        if (!value || value->is_null()) return {};
        if (!value->is_string()) return wrong(name, "must be a text"), std::string();
        auto text = value->get<std::string>();
        if (text.size() > n_max)
            return wrong(name, format("has more than {} bytes", n_max)), std::string();
        return text;
    }
    std::optional<std::int64_t> number(const char* name, std::int64_t most) {
        const Json* value = find(name);
        if (!value || value->is_null()) return std::nullopt;
        const bool whole =
            value->is_number_integer() &&
            !(value->is_number_unsigned() && value->get<std::uint64_t>() > std::uint64_t(most));
        if (!whole || value->get<std::int64_t>() < 0 || value->get<std::int64_t>() > most)
            return wrong(name, format("must be a whole number from 0 to {}", most)), std::nullopt;
        return value->get<std::int64_t>();
    }
    std::int64_t needed(const char* name, std::int64_t most) {
        const auto value = number(name, most);
        if (!value) wrong(name, "is missing");
        return value.value_or(0);
    }
    std::vector<std::string> texts(const char* name) {
        std::vector<std::string> all;
        const Json* list = array(name, kScopeEntriesMax);
        for (std::size_t i = 0; list && i < list->size(); ++i) {
            const Json& entry = (*list)[i];
            if (!entry.is_string() || entry.get_ref<const std::string&>().empty() ||
                entry.get_ref<const std::string&>().size() > kScopeEntryBytesMax) {
                wrong(name, "must be texts of at most 512 bytes");
                return {};
            }
            all.push_back(entry.get<std::string>());
        }
        return all;
    }
    const Json* array(const char* name, std::size_t n_max) {
        const Json* value = find(name);
        if (!value || value->is_null()) return nullptr;
        if (!value->is_array()) return wrong(name, "must be a list"), nullptr;
        if (value->size() > n_max)
            return wrong(name, format("has more than {} entries", n_max)), nullptr;
        return value;
    }
    const Json* find(const char* name) const {
        const auto it = object_.is_object() ? object_.find(name) : object_.end();
        return object_.is_object() && it != object_.end() ? &*it : nullptr;
    }
    void wrong(const char* name, std::string_view why) {
        if (status_)
            status_ = fail(ErrorKind::invalid_request, format("{}.{} {}", where_, name, why));
    }
    const Status& status() const { return status_; }

  private:
    const Json& object_;
    const std::string where_;
    Status status_;
};

bool is_hash(std::string_view text) {
    return text.size() == 64 && std::ranges::all_of(text, [](char c) {
               return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
           });
}

Result<Scopes> parse_scopes(const Json& json, const std::string& where) {
    Members m(json, where);
    Scopes scopes;
    scopes.routes = m.texts("routes");
    scopes.models = m.texts("models");
    const auto tiers = m.texts("tiers");
    scopes.tiers = {false, false, false};
    for (const std::string& tier : tiers) {
        if (!scopes.tiers.allow(tier)) m.wrong("tiers", "must be of local, fleet and cloud");
    }
    if (!m.find("tiers")) m.wrong("tiers", "is missing");
    const auto out = chat::sensitivity_from(m.text("max_class_out", 16));
    if (!out) m.wrong("max_class_out", "must be a class");
    scopes.max_class_out = out.value_or(chat::Sensitivity::public_);
    if (const std::string lower = m.text("may_lower_to", 16); !lower.empty()) {
        scopes.may_lower_to = chat::sensitivity_from(lower);
        if (!scopes.may_lower_to) m.wrong("may_lower_to", "must be a class");
    }
    HEARTH_CHECK_OK(m.status());
    return scopes;
}

Result<Limits> parse_limits(const Json& json, const std::string& where) {
    Members m(json, where);
    Limits limits;
    for (std::size_t i = 0; i < kBounds; ++i)
        limits.hard.at(i) = m.number(kBoundNames.at(i), kUsageMax);
    limits.soft_percent = m.number("soft_percent", 100).value_or(limits.soft_percent);
    HEARTH_CHECK_OK(m.status());
    return limits;
}

Result<KeySecret> parse_secret(const Json& json, const std::string& where) {
    Members m(json, where);
    KeySecret secret;
    secret.hash = m.text("hmac_sha256", 64);
    if (!is_hash(secret.hash)) m.wrong("hmac_sha256", "must be 64 hex digits in lower case");
    secret.created_s = m.needed("created_s", kTimeMaxS);
    secret.expires_s = m.number("expires_s", kTimeMaxS);
    HEARTH_CHECK_OK(m.status());
    return secret;
}

Result<Key> parse_key(const Json& json, const std::string& where) {
    Members m(json, where);
    Key key;
    key.id = m.text("id", kKeyIdBytes);
    if (!is_key_id(key.id)) m.wrong("id", "must be hk- and eight characters of a-z and 2-7");
    key.name = m.text("name", kKeyNameBytesMax);
    key.owner = m.text("owner", kKeyNameBytesMax);
    if (const std::string role = m.text("role", 16); !role.empty()) {
        key.role = role_from(role);
        if (!key.role) m.wrong("role", "must be user, operator, auditor or admin");
    }
    key.created_s = m.needed("created_s", kTimeMaxS);
    key.expires_s = m.number("expires_s", kTimeMaxS);
    key.revoked_s = m.number("revoked_s", kTimeMaxS);
    const Json* scopes = m.find("scopes");
    const Json* limits = m.find("limits");
    const Json* secrets = m.array("secrets", 2);
    if (!scopes) m.wrong("scopes", "is missing");
    if (!limits) m.wrong("limits", "is missing");
    if (!secrets) m.wrong("secrets", "is missing");
    HEARTH_CHECK_OK(m.status());
    HEARTH_TRY(key.scopes, parse_scopes(*scopes, where + ".scopes"));
    HEARTH_TRY(key.limits, parse_limits(*limits, where + ".limits"));
    for (std::size_t i = 0; i < secrets->size(); ++i) {
        HEARTH_TRY(KeySecret secret,
                   parse_secret((*secrets)[i], format("{}.secrets[{}]", where, i)));
        key.secrets.push_back(std::move(secret));
    }
    return key;
}

Result<User> parse_user(const Json& json, const std::string& where) {
    Members m(json, where);
    User user;
    user.name = m.text("name", kKeyNameBytesMax);
    if (user.name.empty()) m.wrong("name", "is missing");
    const auto role = role_from(m.text("role", 16));
    if (!role) m.wrong("role", "must be user, operator, auditor or admin");
    user.role = role.value_or(Role::user);
    user.created_s = m.needed("created_s", kTimeMaxS);
    HEARTH_CHECK_OK(m.status());
    return user;
}

void optional_time(JsonWriter& out, const char* name, std::optional<std::int64_t> time_s) {
    out.key(name);
    time_s ? out.value(*time_s) : out.null();
}

void write_scopes(JsonWriter& out, const Scopes& scopes) {
    const auto list = [&](const char* name, const std::vector<std::string>& entries) {
        out.key(name).begin_array();
        for (const std::string& entry : entries) out.value(entry);
        out.end_array();
    };
    list("routes", scopes.routes);
    list("models", scopes.models);
    out.key("tiers").begin_array();
    for (const route::Tier tier : {route::Tier::local, route::Tier::fleet, route::Tier::cloud}) {
        if (scopes.tiers.has(tier)) out.value(route::name_of(tier));
    }
    out.end_array().field("max_class_out", chat::name_of(scopes.max_class_out));
    out.key("may_lower_to");
    scopes.may_lower_to ? out.value(chat::name_of(*scopes.may_lower_to)) : out.null();
}

void write_limits(JsonWriter& out, const Limits& limits) {
    out.key("limits").begin_object();
    for (std::size_t i = 0; i < kBounds; ++i) {
        out.key(kBoundNames.at(i));
        limits.hard.at(i) ? out.value(*limits.hard.at(i)) : out.null();
    }
    out.field("soft_percent", limits.soft_percent).end_object();
}

}  // namespace

const Key* KeyFile::find_key(std::string_view id) const {
    const auto it = std::ranges::find(keys, id, &Key::id);
    return it == keys.end() ? nullptr : &*it;
}

const User* KeyFile::find_user(std::string_view name) const {
    const auto it = std::ranges::find(users, name, &User::name);
    return it == users.end() ? nullptr : &*it;
}

bool may_hold(Role user, Role key) {
    return user == key || user == Role::admin || (user == Role::operator_ && key == Role::user);
}

Role role_of(const Key& key, const KeyFile& file) {
    if (key.owner.empty()) return key.role.value_or(Role::user);
    const User* owner = file.find_user(key.owner);
    const Role held = owner ? owner->role : Role::user;
    return key.role && may_hold(held, *key.role) ? *key.role : held;
}

const char* name_of(KeyState state) {
    if (state == KeyState::active) return "active";
    return state == KeyState::expired ? "expired" : "revoked";
}

KeyState state_of(const Key& key, std::int64_t now_s) {
    if (key.revoked_s) return KeyState::revoked;
    return key.expires_s && now_s >= *key.expires_s ? KeyState::expired : KeyState::active;
}

Result<KeyFile> parse_key_file(std::string_view text) {
    HEARTH_TRY(const Json json, parse_json(text, {.depth = 8, .keys_per_object = 64}));
    Members m(json, "keys.json");
    if (m.text("format", 32) != "hearth-keys") m.wrong("format", "must be hearth-keys");
    const std::int64_t version = m.needed("version", 1'000'000);
    if (version != kFormatVersion)
        m.wrong("version", format("is {}, and this hearth knows {}", version, kFormatVersion));
    KeyFile file;
    file.changes = m.needed("changes", kUsageMax);
    const Json* users = m.array("users", std::size_t(kUsersMax));
    const Json* keys = m.array("keys", std::size_t(kKeysMax));
    if (!users) m.wrong("users", "is missing");
    if (!keys) m.wrong("keys", "is missing");
    HEARTH_CHECK_OK(m.status());
    std::set<std::string> seen;
    const auto is_new = [&](const char* list, std::size_t i, const std::string& name) -> Status {
        if (seen.insert(name).second) return {};
        return fail(
            ErrorKind::invalid_request,
            format("keys.json.{}[{}] is called {} like one before it", list, i, shown_name(name)));
    };
    for (std::size_t i = 0; i < users->size(); ++i) {
        HEARTH_TRY(User user, parse_user((*users)[i], format("keys.json.users[{}]", i)));
        HEARTH_CHECK_OK(is_new("users", i, user.name));
        file.users.push_back(std::move(user));
    }
    seen.clear();
    for (std::size_t i = 0; i < keys->size(); ++i) {
        HEARTH_TRY(Key key, parse_key((*keys)[i], format("keys.json.keys[{}]", i)));
        HEARTH_CHECK_OK(is_new("keys", i, key.id));
        file.keys.push_back(std::move(key));
    }
    return file;
}

std::string to_text(const KeyFile& file) {
    JsonWriter out;
    out.begin_object().field("format", "hearth-keys").field("version", kFormatVersion);
    out.field("changes", file.changes).key("users").begin_array();
    for (const User& user : file.users) {
        out.begin_object().field("name", user.name).field("role", name_of(user.role));
        out.field("created_s", user.created_s).end_object();
    }
    out.end_array().key("keys").begin_array();
    for (const Key& key : file.keys) {
        out.begin_object().field("id", key.id).field("name", key.name).field("owner", key.owner);
        out.field("role", key.role ? name_of(*key.role) : "").field("created_s", key.created_s);
        optional_time(out, "expires_s", key.expires_s);
        optional_time(out, "revoked_s", key.revoked_s);
        out.key("scopes").begin_object();
        write_scopes(out, key.scopes);
        out.end_object();
        write_limits(out, key.limits);
        out.key("secrets").begin_array();
        for (const KeySecret& secret : key.secrets) {
            out.begin_object().field("hmac_sha256", secret.hash);
            out.field("created_s", secret.created_s);
            optional_time(out, "expires_s", secret.expires_s);
            out.end_object();
        }
        out.end_array().end_object();
    }
    out.end_array().end_object();
    return out.take() + "\n";
}

void write_key(JsonWriter& out, const Key& key, const KeyFile& file, std::int64_t now_s,
               std::int64_t last_used_s) {
    const auto time = [&](const char* name, std::optional<std::int64_t> time_s) {
        out.key(name);
        time_s ? out.value(time_text(*time_s)) : out.null();
    };
    out.begin_object().field("id", key.id).field("name", key.name).field("owner", key.owner);
    out.field("role", name_of(role_of(key, file)));
    out.field("state", name_of(state_of(key, now_s)));
    write_scopes(out, key.scopes);
    write_limits(out, key.limits);
    time("created", key.created_s);
    time("expires", key.expires_s);
    time("revoked", key.revoked_s);
    time("last_used", last_used_s > 0 ? std::optional(last_used_s) : std::nullopt);
    // Until when the secret before the last rotation is still taken.
    std::optional<std::int64_t> old_until;
    for (const KeySecret& secret : key.secrets) {
        if (secret.expires_s && *secret.expires_s > now_s) old_until = secret.expires_s;
    }
    time("old_secret_until", old_until);
    out.end_object();
}

void write_user(JsonWriter& out, const User& user, const KeyFile& file, std::int64_t now_s) {
    std::int64_t n_active = 0;
    for (const Key& key : file.keys)
        n_active += key.owner == user.name && state_of(key, now_s) == KeyState::active;
    out.begin_object().field("name", user.name).field("role", name_of(user.role));
    out.field("created", time_text(user.created_s)).field("active_keys", n_active).end_object();
}

}  // namespace hearth::serve
