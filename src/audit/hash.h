// Hash: SHA-256 and HMAC-SHA256 of short texts, fast. A HMAC keeps the states after its key's two
// pads, so that a link of the chain costs four compressions; base/crypto.h's go through OpenSSL's
// providers, which costs more than the hashing itself.
//
// Owner thread: none; an HmacSha256 is immutable and may be used by many.
// Sources: FIPS 180-4, RFC 2104.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/crypto.h"
#include "base/result.h"

namespace hearth::audit {

inline std::string_view text_of(const Digest& digest) {
    return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}
inline std::string hex_of(const Digest& digest) {
    return to_hex(text_of(digest));
}
// 64 lower-case digits; false for anything else.
bool digest_from_hex(std::string_view hex, Digest& to);

Digest sha256(std::string_view bytes);

class HmacSha256 {
  public:
    explicit HmacSha256(std::string_view key);
    Digest of(std::string_view message) const;

  private:
    // SHA-256's states after key ^ ipad and key ^ opad.
    struct State {
        alignas(8) std::array<unsigned char, 112> bytes;
    };
    State inner_, outer_;
};

// 32 secret bytes in a file of mode 0600. Errors: not_found; invalid_request for another size.
Result<std::string> read_key_file(const std::string& path);
// The same; made from the random source where it is not there. Of two processes that make it at the
// same time one wins, and both get the same key.
Result<std::string> read_or_make_key_file(const std::string& path);

}  // namespace hearth::audit
