// The low-level SHA-256 is deprecated in favour of EVP; it is used here because its state can be
// copied.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "audit/hash.h"

#include <fcntl.h>
#include <openssl/sha.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/file.h"
#include "base/format.h"

namespace hearth::audit {
namespace {

constexpr std::size_t kBlockBytes = 64;  // of SHA-256
constexpr std::size_t kKeyBytes = 32;

Digest finish(SHA256_CTX& state, std::string_view message) {
    SHA256_Update(&state, message.data(), message.size());
    Digest digest;
    SHA256_Final(reinterpret_cast<unsigned char*>(digest.data()), &state);
    return digest;
}

void start_with(void* to, std::string_view key, unsigned char pad) {
    std::array<unsigned char, kBlockBytes> block{};
    if (!key.empty()) std::memcpy(block.data(), key.data(), key.size());
    for (unsigned char& byte : block) byte ^= pad;
    SHA256_CTX state;
    SHA256_Init(&state);
    SHA256_Update(&state, block.data(), block.size());
    std::memcpy(to, &state, sizeof state);
}

std::unexpected<Error> refused(const char* verb, const std::string& path) {
    return fail(errno == ENOENT ? ErrorKind::not_found : ErrorKind::internal,
                format("cannot {} the key {}: {}", verb, path, std::strerror(errno)));
}

// Made under another name and linked into place: nobody reads half a key.
Status make_key_file(const std::string& path) {
    const std::string fresh = path + "." + to_hex(random_bytes(8));
    const Fd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd) return refused("make", path);
    const std::string key = random_bytes(kKeyBytes);
    const bool written =
        ::write(fd.get(), key.data(), key.size()) == ssize_t(key.size()) && ::fsync(fd.get()) == 0;
    const bool there = written && (::link(fresh.c_str(), path.c_str()) == 0 || errno == EEXIST);
    const int code = errno;
    ::unlink(fresh.c_str());
    errno = code;
    if (!there) return refused("make", path);
    return {};
}

}  // namespace

bool digest_from_hex(std::string_view hex, Digest& to) {
    if (hex.size() != 2 * to.size()) return false;
    const auto value_of = [](char c) {
        if (c >= '0' && c <= '9') return c - '0';
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    };
    for (std::size_t i = 0; i < to.size(); ++i) {
        const int high = value_of(hex[2 * i]), low = value_of(hex[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        to[i] = std::byte(high << 4 | low);
    }
    return true;
}

Digest sha256(std::string_view bytes) {
    SHA256_CTX state;
    SHA256_Init(&state);
    return finish(state, bytes);
}

HmacSha256::HmacSha256(std::string_view key) {
    static_assert(sizeof(SHA256_CTX) <= sizeof(State) && alignof(SHA256_CTX) <= 8);
    const Digest hashed = sha256(key);
    const std::string_view used = key.size() > kBlockBytes ? text_of(hashed) : key;
    start_with(inner_.bytes.data(), used, 0x36);
    start_with(outer_.bytes.data(), used, 0x5c);
}

Digest HmacSha256::of(std::string_view message) const {
    SHA256_CTX state;
    std::memcpy(&state, inner_.bytes.data(), sizeof state);
    const Digest inside = finish(state, message);
    std::memcpy(&state, outer_.bytes.data(), sizeof state);
    return finish(state, text_of(inside));
}

Result<std::string> read_key_file(const std::string& path) {
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!fd) return refused("open", path);
    std::string key(kKeyBytes + 1, '\0');
    const ssize_t n = ::read(fd.get(), key.data(), key.size());
    if (n < 0) return refused("read", path);
    if (n != ssize_t(kKeyBytes))
        return fail(ErrorKind::invalid_request,
                    format("{} is no key of {} bytes; restore it from a copy, or move it away to "
                           "begin with a new one",
                           path, kKeyBytes));
    key.resize(kKeyBytes);
    return key;
}

Result<std::string> read_or_make_key_file(const std::string& path) {
    if (::access(path.c_str(), F_OK) != 0) HEARTH_CHECK_OK(make_key_file(path));
    return read_key_file(path);
}

}  // namespace hearth::audit
