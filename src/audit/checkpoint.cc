#include "audit/checkpoint.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "audit/hash.h"
#include "base/file.h"
#include "base/format.h"
#include "base/json.h"

namespace hearth::audit {
namespace {

constexpr std::string_view kDomain = "hearth-audit-checkpoint-v1";
constexpr std::size_t kSlotChars = 64;   // "journal-63" has 10
constexpr std::size_t kChainChars = 32;  // 128 random bits
// A line of to_json() has about 700 bytes.
constexpr std::size_t kJsonBytes = 4096;

bool is_slot(std::string_view text) {
    const auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
    };
    return !text.empty() && text.size() <= kSlotChars && std::ranges::all_of(text, allowed);
}

bool is_chain(std::string_view text) {
    const auto digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
    return text.size() == kChainChars && std::ranges::all_of(text, digit);
}

std::unexpected<Error> malformed(const char* what) {
    return fail(ErrorKind::invalid_request, format("no audit checkpoint: {}", what));
}

// Exactly n bytes in hex; nothing for anything else.
std::string bytes_at(const Json& json, const char* name, std::size_t n) {
    const auto it = json.find(name);
    if (it == json.end() || !it->is_string()) return {};
    const Result<std::string> bytes = from_hex(it->get_ref<const std::string&>());
    return bytes && bytes->size() == n ? *bytes : std::string();
}
std::string text_at(const Json& json, const char* name) {
    const auto it = json.find(name);
    return it != json.end() && it->is_string() ? it->get<std::string>() : std::string();
}
std::int64_t number_at(const Json& json, const char* name) {
    const auto it = json.find(name);
    return it != json.end() && it->is_number_integer() ? it->get<std::int64_t>() : -1;
}

}  // namespace

bool is_signed(const SignedCheckpoint& checkpoint) {
    return !checkpoint.signature.empty();
}

std::string key_id(std::string_view public_key) {
    return sha256_hex(public_key).substr(0, 16);
}

std::string signed_bytes(const SignedCheckpoint& checkpoint) {
    const CheckpointRequest& r = checkpoint.request;
    CanonicalForm form(kDomain);
    form.text(r.slot).text(r.chain).number(r.seq).number(r.n_entries);
    form.text(text_of(r.head)).text(text_of(r.root)).number(r.wall_ns).number(r.n_served);
    form.number(checkpoint.n_connections).number(checkpoint.counter);
    return form.bytes();
}

SignedCheckpoint sign(const SigningKey& key, CheckpointRequest request, std::int64_t n_connections,
                      std::int64_t counter) {
    SignedCheckpoint checkpoint{.request = std::move(request),
                                .n_connections = n_connections,
                                .counter = counter,
                                .key = key.public_key(),
                                .signature = {}};
    checkpoint.signature = key.sign(signed_bytes(checkpoint));
    return checkpoint;
}

bool verify_signature(const SignedCheckpoint& checkpoint) {
    return hearth::verify_signature(checkpoint.key, signed_bytes(checkpoint), checkpoint.signature);
}

Status check_request(const CheckpointRequest& request) {
    if (!is_slot(request.slot)) return malformed("the slot is no name");
    if (!is_chain(request.chain)) return malformed("the chain is not 32 hex digits");
    for (const std::int64_t number :
         {request.seq, request.n_entries, request.wall_ns, request.n_served})
        if (number < 0) return malformed("a count is missing, negative or no whole number");
    return {};
}

std::string to_json(const SignedCheckpoint& checkpoint) {
    const CheckpointRequest& r = checkpoint.request;
    JsonWriter w;
    w.begin_object().field("slot", r.slot).field("chain", r.chain).field("seq", r.seq);
    w.field("n_entries", r.n_entries)
        .field("head", to_hex(text_of(r.head)))
        .field("root", to_hex(text_of(r.root)));
    w.field("wall_ns", r.wall_ns).field("n_served", r.n_served);
    w.field("n_connections", checkpoint.n_connections).field("counter", checkpoint.counter);
    if (is_signed(checkpoint)) {
        w.field("key", to_hex(checkpoint.key)).field("signature", to_hex(checkpoint.signature));
    }
    w.end_object();
    return w.take();
}

Result<SignedCheckpoint> parse_checkpoint(std::string_view json) {
    if (json.size() > kJsonBytes) return malformed("the line is too long");
    HEARTH_TRY(const Json object, parse_json(json));
    if (!object.is_object()) return malformed("the line is no JSON object");
    SignedCheckpoint checkpoint;
    CheckpointRequest& r = checkpoint.request;
    r.slot = text_at(object, "slot");
    r.chain = text_at(object, "chain");
    r.seq = number_at(object, "seq");
    r.n_entries = number_at(object, "n_entries");
    r.wall_ns = number_at(object, "wall_ns");
    r.n_served = number_at(object, "n_served");
    checkpoint.n_connections = number_at(object, "n_connections");
    checkpoint.counter = number_at(object, "counter");
    HEARTH_CHECK_OK(check_request(r));
    if (checkpoint.n_connections < 0 || checkpoint.counter < 0)
        return malformed("a count is missing, negative or no whole number");
    if (!digest_from_hex(text_at(object, "head"), r.head) ||
        !digest_from_hex(text_at(object, "root"), r.root))
        return malformed("head and root are 64 hex digits");
    if (object.contains("signature")) {
        checkpoint.key = bytes_at(object, "key", kPublicKeyBytes);
        checkpoint.signature = bytes_at(object, "signature", kSignatureBytes);
        if (checkpoint.key.empty() || checkpoint.signature.empty())
            return malformed("the key is 64 hex digits, the signature 128");
    }
    // One text for one checkpoint: a line that differs from ours in a byte is another line.
    if (to_json(checkpoint) != json) return malformed("the line is not in its canonical form");
    return checkpoint;
}

}  // namespace hearth::audit
