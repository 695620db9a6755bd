// Crypto: the primitives that records, receipts and kept content stand on, over OpenSSL:
// HMAC-SHA256 (RFC 2104), Ed25519 (RFC 8032), AES-256-GCM (NIST SP 800-38D), and comparison in
// constant time.
//
// Keys are raw bytes: a seed of 32 bytes is an Ed25519 private key. What is signed is always a
// canonical form that begins with a name of its own (a domain), so that a signature over one kind
// of thing is none over another; CanonicalForm makes it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace hearth {

inline constexpr std::size_t kDigestBytes = 32;     // SHA-256
inline constexpr std::size_t kSeedBytes = 32;       // Ed25519 private key
inline constexpr std::size_t kPublicKeyBytes = 32;  // Ed25519 public key
inline constexpr std::size_t kSignatureBytes = 64;  // Ed25519

using Digest = std::array<std::byte, kDigestBytes>;

// All are raw bytes in strings, which is what files, messages and JSON (as hex) take.
std::string random_bytes(std::size_t n);
// Lower- or upper-case hex to bytes. Errors: invalid_request.
Result<std::string> from_hex(std::string_view hex);
std::string to_hex(std::string_view bytes);
// Equal, in a time that depends on the lengths only.
bool same_secret(std::string_view a, std::string_view b);

// HMAC-SHA256 of bytes that come in pieces.
class Hmac {
  public:
    explicit Hmac(std::string_view key);
    ~Hmac();
    Hmac(const Hmac&) = delete;
    Hmac(Hmac&& other) noexcept;
    void add(std::string_view bytes);
    std::string digest();  // 32 bytes; once, last

  private:
    void* state_;  // OpenSSL's
};
std::string hmac_sha256(std::string_view key, std::string_view bytes);

// Ed25519. Requires: seed has kSeedBytes.
class SigningKey {
  public:
    explicit SigningKey(std::string_view seed);
    ~SigningKey();
    SigningKey(const SigningKey&) = delete;
    SigningKey(SigningKey&& other) noexcept;
    std::string sign(std::string_view message) const;  // 64 bytes
    const std::string& public_key() const { return public_key_; }

  private:
    void* key_;  // OpenSSL's
    std::string public_key_;
};
// False for anything that is not the signature of exactly this message under exactly this key, a
// key or signature of another length included.
bool verify_signature(std::string_view public_key, std::string_view message,
                      std::string_view signature);
// SubjectPublicKeyInfo in PEM (RFC 8410), which `openssl pkeyutl -verify` reads.
std::string public_key_pem(std::string_view public_key);

// AES-256-GCM. Sealed: a random nonce of 12 bytes, the ciphertext, a tag of 16. `about` is not in
// it, but must be the same again. Requires: key has kSealKeyBytes; what is sealed is shorter than 2
// GiB, and not more than 2^32 texts with one key, because nonces are random.
inline constexpr std::size_t kSealKeyBytes = 32;
inline constexpr std::size_t kSealExtraBytes = 12 + 16;
std::string seal(std::string_view key, std::string_view about, std::string_view plain);
// Nothing where any bit of key, about or sealed is another one.
std::optional<std::string> unseal(std::string_view key, std::string_view about,
                                  std::string_view sealed);

// A sequence of fields as bytes that can be read in one way only: each text is its length (u64,
// little endian) and its bytes, each number a text of 8 bytes. The domain is the first text.
class CanonicalForm {
  public:
    explicit CanonicalForm(std::string_view domain) { text(domain); }
    CanonicalForm& text(std::string_view bytes);
    CanonicalForm& number(std::uint64_t value);
    CanonicalForm& number(std::int64_t value) { return number(std::uint64_t(value)); }
    const std::string& bytes() const { return out_; }

  private:
    void length(std::uint64_t n);
    std::string out_;
};

}  // namespace hearth
