// Chain: how each entry of a journal attests all that came before it.
//
//   leaf_i = SHA-256(canonical form of entry i)
//   mac_i  = HMAC-SHA256(chain key, "hearth-audit-link-v1", mac_{i-1}, leaf_i)     kept in the row
//   root_i = SHA-256("hearth-audit-root-v1", root_{i-1}, mac_i, leaf_i)            kept nowhere
//
// mac_0 and root_0 are 32 zero bytes. The mac says that somebody with the chain key wrote the entry
// behind that one; it finds whoever can write the file but has not the key. The root needs no key
// to compute: a checkpoint states it under a signature, so that who has the public key alone can
// check everything up to there, and so that the chain key's holder cannot rewrite it afterwards.
//
// The canonical form is base/crypto.h's CanonicalForm over the domain "hearth-audit-entry-v1",
// slot, seq, wall_ns, event, request_id, json, the number of further columns that are not NULL, and
// of each, in the table's order, its name, "i" or "t", and its value. A column that is added later
// changes nothing for entries where it is NULL.
//
// Owner thread: none. Source: docs/formats/journal.md, section 5.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "audit/hash.h"

namespace hearth::audit {

// A column after json that is not NULL.
struct Column {
    std::string_view name;
    bool is_text = false;
    std::int64_t number = 0;
    std::string_view text = {};
};

// An entry as the chain sees it; lent for one call.
struct EntryView {
    std::int64_t seq = 0, wall_ns = 0;
    std::string_view event, request_id, json;
    std::span<const Column> columns;
};

// `scratch` is reused from call to call.
void canonical_form(std::string_view slot, const EntryView& entry, std::string& scratch);
Digest leaf_of(std::string_view slot, const EntryView& entry, std::string& scratch);
Digest link_mac(const HmacSha256& key, const Digest& previous_mac, const Digest& leaf);
Digest next_root(const Digest& previous_root, const Digest& mac, const Digest& leaf);

// Where a chain stands: after entry `seq`.
struct ChainState {
    std::string chain;  // its id: 32 hex digits
    std::int64_t seq = 0;
    Digest mac{}, root{};
    friend bool operator==(const ChainState&, const ChainState&) = default;
};

// A key's name in `audit.open`: says that a verifier holds another key, and nothing about the key.
std::string chain_key_id(std::string_view key);

// What `audit.open` and `audit.deleted` say of a place in the chain, as members of a JSON object:
// "chain", "seq", "mac", "root".
std::string to_json(const ChainState& state);

}  // namespace hearth::audit
