#include "base/crypto.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include <utility>

#include "base/check.h"
#include "base/format.h"

namespace hearth {
namespace {

const unsigned char* raw(std::string_view bytes) {
    return reinterpret_cast<const unsigned char*>(bytes.data());
}
unsigned char* raw(std::string& bytes) {
    return reinterpret_cast<unsigned char*>(bytes.data());
}

int nibble(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

// Fetched once: it takes locks and looks through the providers.
EVP_MAC* hmac_algorithm() {
    static EVP_MAC* const algorithm = ::EVP_MAC_fetch(nullptr, "HMAC", nullptr);
    CHECK(algorithm != nullptr);
    return algorithm;
}

using Key = std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)>;
using DigestState = std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)>;

}  // namespace

std::string random_bytes(std::size_t n) {
    std::string out(n, '\0');
    CHECK(::RAND_bytes(raw(out), int(n)) == 1);
    return out;
}

Result<std::string> from_hex(std::string_view hex) {
    std::string out;
    out.reserve(hex.size() / 2);
    if (hex.size() % 2 != 0)
        return fail(ErrorKind::invalid_request,
                    format("{} hexadecimal digits are no whole bytes", hex.size()));
    for (std::size_t i = 0; i < hex.size(); i += 2) {
        const int high = nibble(hex[i]), low = nibble(hex[i + 1]);
        if (high < 0 || low < 0)
            return fail(ErrorKind::invalid_request,
                        format("character {} is no hexadecimal digit", high < 0 ? i : i + 1));
        out.push_back(char(high * 16 + low));
    }
    return out;
}

std::string to_hex(std::string_view bytes) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string out;
    out.reserve(bytes.size() * 2);
    for (const char c : bytes) {
        const auto byte = static_cast<unsigned char>(c);
        out.push_back(kDigits[byte >> 4]);
        out.push_back(kDigits[byte & 15]);
    }
    return out;
}

bool same_secret(std::string_view a, std::string_view b) {
    return a.size() == b.size() && ::CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

// ---- HMAC

Hmac::Hmac(std::string_view key) : state_(::EVP_MAC_CTX_new(hmac_algorithm())) {
    CHECK(state_ != nullptr);
    char name[] = "SHA256";
    const OSSL_PARAM parameters[] = {
        ::OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0),
        ::OSSL_PARAM_construct_end()};
    // OpenSSL takes a null key for "the one of before".
    const unsigned char none = 0;
    CHECK(::EVP_MAC_init(static_cast<EVP_MAC_CTX*>(state_), key.empty() ? &none : raw(key),
                         key.size(), parameters) == 1);
}
Hmac::Hmac(Hmac&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
Hmac::~Hmac() {
    ::EVP_MAC_CTX_free(static_cast<EVP_MAC_CTX*>(state_));
}
void Hmac::add(std::string_view bytes) {
    CHECK(::EVP_MAC_update(static_cast<EVP_MAC_CTX*>(state_), raw(bytes), bytes.size()) == 1);
}
std::string Hmac::digest() {
    std::string out(kDigestBytes, '\0');
    std::size_t n = 0;
    CHECK(::EVP_MAC_final(static_cast<EVP_MAC_CTX*>(state_), raw(out), &n, out.size()) == 1);
    CHECK(n == kDigestBytes);
    return out;
}

std::string hmac_sha256(std::string_view key, std::string_view bytes) {
    Hmac hmac(key);
    hmac.add(bytes);
    return hmac.digest();
}

// ---- Ed25519

SigningKey::SigningKey(std::string_view seed)
    : key_(::EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, raw(seed), seed.size())),
      public_key_(kPublicKeyBytes, '\0') {
    CHECK(seed.size() == kSeedBytes && key_ != nullptr);
    std::size_t n = public_key_.size();
    CHECK(::EVP_PKEY_get_raw_public_key(static_cast<EVP_PKEY*>(key_), raw(public_key_), &n) == 1);
}
SigningKey::SigningKey(SigningKey&& other) noexcept
    : key_(std::exchange(other.key_, nullptr)), public_key_(std::move(other.public_key_)) {}
SigningKey::~SigningKey() {
    ::EVP_PKEY_free(static_cast<EVP_PKEY*>(key_));
}

std::string SigningKey::sign(std::string_view message) const {
    const DigestState state(::EVP_MD_CTX_new(), ::EVP_MD_CTX_free);
    std::string out(kSignatureBytes, '\0');
    std::size_t n = out.size();
    CHECK(state && ::EVP_DigestSignInit(state.get(), nullptr, nullptr, nullptr,
                                        static_cast<EVP_PKEY*>(key_)) == 1);
    CHECK(::EVP_DigestSign(state.get(), raw(out), &n, raw(message), message.size()) == 1);
    CHECK(n == kSignatureBytes);
    return out;
}

bool verify_signature(std::string_view public_key, std::string_view message,
                      std::string_view signature) {
    if (public_key.size() != kPublicKeyBytes || signature.size() != kSignatureBytes) return false;
    const Key key(::EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, raw(public_key),
                                                public_key.size()),
                  ::EVP_PKEY_free);
    const DigestState state(::EVP_MD_CTX_new(), ::EVP_MD_CTX_free);
    if (!key || !state ||
        ::EVP_DigestVerifyInit(state.get(), nullptr, nullptr, nullptr, key.get()) != 1)
        return false;
    return ::EVP_DigestVerify(state.get(), raw(signature), signature.size(), raw(message),
                              message.size()) == 1;
}

std::string public_key_pem(std::string_view public_key) {
    // SEQUENCE { SEQUENCE { OID 1.3.101.112 } BIT STRING } is these 12 bytes, then the key: 44
    // bytes, which fill one line of base64.
    static constexpr char kHead[] = "\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21";
    CHECK(public_key.size() == kPublicKeyBytes);
    std::string der(kHead, sizeof(kHead) - 1);
    der.push_back('\0');
    der += public_key;
    std::string base64(4 * (der.size() + 2) / 3 + 1, '\0');
    const int n = ::EVP_EncodeBlock(raw(base64), raw(std::string_view(der)), int(der.size()));
    base64.resize(std::size_t(n));
    return "-----BEGIN PUBLIC KEY-----\n" + base64 + "\n-----END PUBLIC KEY-----\n";
}

// ---- AES-256-GCM

namespace {
constexpr std::size_t kNonceBytes = 12, kTagBytes = 16;
static_assert(kNonceBytes + kTagBytes == kSealExtraBytes);
constexpr std::size_t kSealedMax = 1u << 31;  // OpenSSL counts in int

using CipherState = std::unique_ptr<EVP_CIPHER_CTX, void (*)(EVP_CIPHER_CTX*)>;
}  // namespace

std::string seal(std::string_view key, std::string_view about, std::string_view plain) {
    CHECK(key.size() == kSealKeyBytes);
    CHECK(about.size() < kSealedMax && plain.size() < kSealedMax);
    const CipherState state(::EVP_CIPHER_CTX_new(), ::EVP_CIPHER_CTX_free);
    std::string out = random_bytes(kNonceBytes);
    out.resize(kNonceBytes + plain.size() + kTagBytes);
    unsigned char* const text = raw(out) + kNonceBytes;
    int n = 0;
    CHECK(state &&
          ::EVP_EncryptInit_ex(state.get(), ::EVP_aes_256_gcm(), nullptr, raw(key), raw(out)) == 1);
    CHECK(::EVP_EncryptUpdate(state.get(), nullptr, &n, raw(about), int(about.size())) == 1);
    CHECK(::EVP_EncryptUpdate(state.get(), text, &n, raw(plain), int(plain.size())) == 1);
    CHECK(std::size_t(n) == plain.size());
    CHECK(::EVP_EncryptFinal_ex(state.get(), text + n, &n) == 1 && n == 0);
    CHECK(::EVP_CIPHER_CTX_ctrl(state.get(), EVP_CTRL_GCM_GET_TAG, int(kTagBytes),
                                text + plain.size()) == 1);
    return out;
}

std::optional<std::string> unseal(std::string_view key, std::string_view about,
                                  std::string_view sealed) {
    if (key.size() != kSealKeyBytes || about.size() >= kSealedMax ||
        sealed.size() < kSealExtraBytes || sealed.size() >= kSealedMax)
        return std::nullopt;
    const std::string_view text = sealed.substr(kNonceBytes, sealed.size() - kSealExtraBytes);
    std::string tag(sealed.substr(kNonceBytes + text.size()));
    const CipherState state(::EVP_CIPHER_CTX_new(), ::EVP_CIPHER_CTX_free);
    std::string plain(text.size(), '\0');
    int n = 0;
    CHECK(state && ::EVP_DecryptInit_ex(state.get(), ::EVP_aes_256_gcm(), nullptr, raw(key),
                                        raw(sealed)) == 1);
    CHECK(::EVP_DecryptUpdate(state.get(), nullptr, &n, raw(about), int(about.size())) == 1);
    CHECK(::EVP_DecryptUpdate(state.get(), raw(plain), &n, raw(text), int(text.size())) == 1);
    CHECK(::EVP_CIPHER_CTX_ctrl(state.get(), EVP_CTRL_GCM_SET_TAG, int(kTagBytes), raw(tag)) == 1);
    if (::EVP_DecryptFinal_ex(state.get(), raw(plain) + n, &n) != 1) {
        ::OPENSSL_cleanse(plain.data(), plain.size());
        return std::nullopt;
    }
    return plain;
}

// ---- canonical form

void CanonicalForm::length(std::uint64_t n) {
    for (int i = 0; i < 8; ++i) out_.push_back(char(n >> (8 * i)));
}
CanonicalForm& CanonicalForm::text(std::string_view bytes) {
    length(bytes.size());
    out_ += bytes;
    return *this;
}
CanonicalForm& CanonicalForm::number(std::uint64_t value) {
    length(8);
    length(value);
    return *this;
}

}  // namespace hearth
