#include "serve/key_token.h"

#include <algorithm>

#include "base/crypto.h"
#include "base/file.h"
#include "serve/limits.h"

namespace hearth::serve {
namespace {

constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz234567";
constexpr std::string_view kPrefix = "hk-";
constexpr std::size_t kSecretChars = 32;  // 160 bits
constexpr std::size_t kCheckChars = 6;    // 30 bits
constexpr std::size_t kTokenBytes = kKeyIdBytes + kSecretChars + kCheckChars;
// Keyed hashes and the check are of this domain: a digest of other text is none of a token.
constexpr std::string_view kDomain = "hearth key 1\n";

// Five bits a character; rest bits that make no whole character are left out.
std::string base32(std::string_view bytes, std::size_t n_chars) {
    std::string out;
    std::uint32_t bits = 0;
    int n_bits = 0;
    for (const char byte : bytes) {
        bits = bits << 8 | std::uint8_t(byte);
        for (n_bits += 8; n_bits >= 5 && out.size() < n_chars; n_bits -= 5)
            out += kAlphabet[bits >> (n_bits - 5) & 31];
    }
    return out;
}

bool is_base32(std::string_view text) {
    return std::ranges::all_of(
        text, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '2' && c <= '7'); });
}

std::string check_of(std::string_view text) {
    Sha256 hash;
    hash.add(std::as_bytes(std::span(kDomain)));
    hash.add(std::as_bytes(std::span(text)));
    return base32(from_hex(hash.hex()).value(), kCheckChars);
}

}  // namespace

Secret new_token_of(const std::string& id) {
    std::string token = id + base32(random_bytes(20), kSecretChars);
    token += check_of(token);
    return Secret(std::move(token));
}

NewToken new_token() {
    std::string id = std::string(kPrefix) + base32(random_bytes(5), kKeyIdBytes - kPrefix.size());
    Secret token = new_token_of(id);
    return {std::move(id), std::move(token)};
}

bool is_key_id(std::string_view text) {
    return text.size() == kKeyIdBytes && text.starts_with(kPrefix) &&
           is_base32(text.substr(kPrefix.size()));
}

std::string_view id_of_token(std::string_view token) {
    if (token.size() != kTokenBytes) return {};
    const std::string_view id = token.substr(0, kKeyIdBytes);
    if (!is_key_id(id) || !is_base32(token.substr(kKeyIdBytes))) return {};
    const std::string_view body = token.substr(0, kTokenBytes - kCheckChars);
    return check_of(body) == token.substr(body.size()) ? id : std::string_view();
}

std::string hash_of_token(std::string_view store_secret, std::string_view token) {
    Hmac hmac(store_secret);
    hmac.add(kDomain);
    hmac.add(token);
    return to_hex(hmac.digest());
}

}  // namespace hearth::serve
