// KeyFile: the document keys.json as values: users and keys, and never a secret. Hostile bytes on
// the way in: the file may have been edited, damaged or put there. docs/formats/keys.md.
//
// Thread: any; plain values.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "serve/caller.h"
#include "serve/quota.h"

namespace hearth::serve {

struct KeySecret {
    std::string hash;  // hex, HMAC-SHA256 of the token under the store's secret
    std::int64_t created_s = 0;
    std::optional<std::int64_t> expires_s = {};  // of one that was rotated away
    friend bool operator==(const KeySecret&, const KeySecret&) = default;
};

struct Key {
    std::string id;                 // "hk-abcd2345", what its tokens begin with
    std::string name;               // what a person calls it; not empty
    std::string owner;              // a user's name, or empty
    std::optional<Role> role = {};  // nothing: the owner's, or user
    Scopes scopes;
    Limits limits;
    std::int64_t created_s = 0;
    std::optional<std::int64_t> expires_s = {}, revoked_s = {};
    std::vector<KeySecret> secrets;  // newest first; after a rotation two
    friend bool operator==(const Key&, const Key&) = default;
};

struct User {
    std::string name;
    Role role = Role::user;
    std::int64_t created_s = 0;
    friend bool operator==(const User&, const User&) = default;
};

struct KeyFile {
    std::int64_t changes = 0;  // how often it was changed
    std::vector<User> users;
    std::vector<Key> keys;
    const Key* find_key(std::string_view id) const;
    const User* find_user(std::string_view name) const;
    friend bool operator==(const KeyFile&, const KeyFile&) = default;
};

// A user may hold keys of its own role or of a lesser one; admin holds any, operator also user's.
bool may_hold(Role user, Role key);
// What the key may do now: its own role, but never one that its owner may not hold.
Role role_of(const Key& key, const KeyFile& file);

enum class KeyState : std::uint8_t { active, expired, revoked };
const char* name_of(KeyState state);
KeyState state_of(const Key& key, std::int64_t now_s);

// Errors: invalid_request with the member that is missing or wrong; of a newer version too.
Result<KeyFile> parse_key_file(std::string_view text);
std::string to_text(const KeyFile& file);

// One key as people and programs see it, without hashes. last_used_s: 0 for never.
void write_key(JsonWriter& out, const Key& key, const KeyFile& file, std::int64_t now_s,
               std::int64_t last_used_s);
void write_user(JsonWriter& out, const User& user, const KeyFile& file, std::int64_t now_s);

// What is asked of a new key, as text: the flags of `hearth keys create` and the members of the
// admin API's body. Empty means not stated.
struct KeyWish {
    std::string name = {}, owner = {}, role = {}, expires = {};
    std::vector<std::string> routes = {}, models = {}, tiers = {};
    std::string max_class_out = {}, may_lower_to = {};
    std::array<std::string, kBounds> limits = {};  // money in US dollars, else whole numbers
    std::string soft_percent = {};
};
// Errors: invalid_request that names the member.
Result<Key> key_of(const KeyWish& wish, std::int64_t now_s);
// The admin API's body. Errors: invalid_request; an unknown member is one.
Result<KeyWish> parse_key_wish(std::string_view json);

// "30d", "12h", "45m", "90s", "2w", "2027-01-31" or "2027-01-31T12:00:00Z" as Unix seconds after
// now. Errors: invalid_request.
Result<std::int64_t> time_after(std::string_view text, std::int64_t now_s);
// "24h" as seconds; "0" is one. Errors: invalid_request.
Result<std::int64_t> duration_s(std::string_view text);
// "2027-01-31T12:00:00Z"
std::string time_text(std::int64_t unix_s);

}  // namespace hearth::serve
