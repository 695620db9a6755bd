// KeyToken: the text that a client sends, and that is shown once.
//
//   hk-abcd2345 ssssssssssssssssssssssssssssssss cccccc        without the blanks
//   id          160 random bits, base32           30 bits of SHA-256 of all before
//
// The id stands in lists and logs and finds the key; the check tells a mistyped key from a foreign
// one, and a key from other text, before anything is looked up. base32 is RFC 4648's in lower case:
// one double click selects all of it.
#pragma once

#include <string>
#include <string_view>

#include "base/secret.h"

namespace hearth::serve {

struct NewToken {
    std::string id;
    Secret token;
};
// A token with an id of its own, or another secret for an id.
NewToken new_token();
Secret new_token_of(const std::string& id);

bool is_key_id(std::string_view text);
// The id of a token whose form and check are right; empty for anything else.
std::string_view id_of_token(std::string_view token);

// What is stored of a token: HMAC-SHA256 under the store's secret, in hex.
std::string hash_of_token(std::string_view store_secret, std::string_view token);

}  // namespace hearth::serve
