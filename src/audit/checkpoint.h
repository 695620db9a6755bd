// Checkpoint: what a journal's writer asks to have signed, and what comes back. The key that signs
// is held by the broker process only; whoever has its public half can check the journal up to the
// last checkpoint without any secret.
//
// The signed bytes (signed_bytes()) are a CanonicalForm (base/crypto.h: each field is its length,
// u64 little endian, and its bytes; a number is 8 bytes) with the domain
// "hearth-audit-checkpoint-v1":
//
//   slot  chain  seq  n_entries  head  root  wall_ns  n_served  n_connections  counter
//
// Owner thread: none, plain values. Source: docs/formats/journal.md, section 6.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/crypto.h"
#include "base/result.h"

namespace hearth::audit {

struct CheckpointRequest {
    std::string slot;            // "journal-0": the writer's place in the folder; [a-z0-9.-]{1,64}
    std::string chain;           // 32 hex digits, random: which chain of that slot
    std::int64_t seq = 0;        // the last entry that it covers
    std::int64_t n_entries = 0;  // entries of the chain up to that one
    Digest head{};               // that entry's mac
    Digest root{};               // unkeyed digest of all entries of the chain up to that one
    std::int64_t wall_ns = 0;    // when it was asked for
    // Requests that this process ended so far, counted apart from the journal.
    std::int64_t n_served = 0;
    friend bool operator==(const CheckpointRequest&, const CheckpointRequest&) = default;
};

struct SignedCheckpoint {
    CheckpointRequest request;
    // The signer's own count of the connections whose receipts it handed over before this answer,
    // since the writing process and its broker started.
    std::int64_t n_connections = 0;
    std::int64_t counter = 0;  // checkpoints that the key has signed, this one included
    std::string key;           // Ed25519, 32 raw bytes; empty: nobody signed
    std::string signature;     // 64 raw bytes, or empty
    friend bool operator==(const SignedCheckpoint&, const SignedCheckpoint&) = default;
};

// May take its time: the journal calls it on a thread of its own, and goes on writing meanwhile.
// Errors leave the checkpoint unsigned.
using CheckpointSigner = std::function<Result<SignedCheckpoint>(const CheckpointRequest&)>;

bool is_signed(const SignedCheckpoint& checkpoint);
// The first 16 hex digits of the SHA-256 of the public key: how people tell keys apart.
std::string key_id(std::string_view public_key);

// The bytes above, for the signer.
std::string signed_bytes(const SignedCheckpoint& checkpoint);
// For the signer: fills in its counts, key and signature. Requires: a well-formed request.
SignedCheckpoint sign(const SigningKey& key, CheckpointRequest request, std::int64_t n_connections,
                      std::int64_t counter);
// Against the key in the checkpoint; compare that one with the key you trust.
bool verify_signature(const SignedCheckpoint& checkpoint);

// A slot name, a chain id, no negative count: what a signer must check before it signs or keeps.
Status check_request(const CheckpointRequest& request);

// One JSON object on one line: the record of an `audit.checkpoint` entry, a line of an anchor file,
// and what the broker keeps. Members: slot, chain, seq, n_entries, head, root, wall_ns, n_served,
// n_connections, counter, key, signature (absent where nobody signed).
std::string to_json(const SignedCheckpoint& checkpoint);
// Errors: invalid_request for anything else than to_json() writes.
Result<SignedCheckpoint> parse_checkpoint(std::string_view json);

}  // namespace hearth::audit
