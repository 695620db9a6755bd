// Receipt: what the broker signs of a connection, and how anybody checks it later from the journal
// alone.
//
// The signed bytes are base/crypto.h's canonical form: the domain "hearth-egress-receipt-v1", then
//   number  request_id  rule  purpose (its name)  host  port  tls (0, 1)  who  address
//   tls_spki_sha256  outcome  digest_out  bytes_out  bytes_in  wire_bytes_out  wire_bytes_in
//   opened_wall_ns  closed_wall_ns
//
// Owner thread: none, plain values. Source: docs/formats/journal.md, section 4.
#pragma once

#include <string>
#include <string_view>

#include "base/crypto.h"
#include "base/result.h"
#include "egress/permit.h"

namespace hearth::audit {

std::string signed_bytes(const egress::Receipt& receipt);
// For the broker: fills in key_id and signature. Requires: number is set.
void sign(const SigningKey& key, egress::Receipt& receipt);
// False also for a receipt that nobody signed, or whose key_id names another key.
bool verify_receipt(const egress::Receipt& receipt, std::string_view public_key);

// One JSON object: the record of an `egress` entry.
std::string to_json(const egress::Receipt& receipt);
// Errors: invalid_request for what to_json() does not write. Records from before receipts were
// signed lack `who`, `digest_out`, `number`, `key_id` and `signature`.
Result<egress::Receipt> parse_receipt(std::string_view json);

}  // namespace hearth::audit
