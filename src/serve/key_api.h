// The admin API: keys over HTTP, the same verbs as `hearth keys`, and what keys have used up.
//
//   GET  /v1/hearth/keys                    {"keys":[…],"users":[…]}
//   POST /v1/hearth/keys                    a key's wish → {"key":{…},"secret":"hk-…"}
//   POST /v1/hearth/keys/{id}/revoke        {"key":{…}}
//   POST /v1/hearth/keys/{id}/rotate        {"overlap":"24h"} → {"key":{…},"secret":"hk-…"}
//   GET  /v1/hearth/usage                   of the caller's key; of all for auditors and admins
//
// Who may is the gate's table. Thread: prep, because a change waits for a lock and the disk.
#pragma once

#include <functional>
#include <string_view>

#include "journal/journal.h"
#include "net/http.h"
#include "serve/keys.h"
#include "serve/quota.h"

namespace hearth::serve {

using OnEvent = std::function<void(journal::EventRecord)>;

// Which method a path of this API takes: "GET", "POST", "GET, POST"; nullptr for other paths.
const char* key_api_methods(std::string_view path);
net::HttpResponse key_api(KeyStore& keys, Quota& quota, const Caller& caller,
                          const net::HttpRequest& request, const OnEvent& on_event);

// What a change leaves in the journal; the CLI's too. detail: null, or further members' JSON.
journal::EventRecord key_event(const char* event, const std::string& actor, const Key& key,
                               const KeyFile* file = nullptr);
journal::EventRecord user_event(const char* event, const std::string& actor, const User& user);
// {"keys":[…],"users":[…]}
std::string keys_json(const KeyFile& file, const std::vector<KeyUsage>& usage, std::int64_t now_s);

}  // namespace hearth::serve
