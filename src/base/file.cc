#include "base/file.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/format.h"
#include "base/ids.h"

namespace hearth {
namespace {

std::unexpected<Error> io_error(const char* verb, const std::string& path) {
    const int code = errno;
    const auto kind = code == ENOENT ? ErrorKind::not_found : ErrorKind::invalid_request;
    return fail(kind, format("cannot {} {}: {}", verb, path, std::strerror(code)));
}

const char* kind_of(mode_t mode) {
    if (S_ISDIR(mode)) return "a folder";
    if (S_ISFIFO(mode)) return "a pipe";
    if (S_ISSOCK(mode)) return "a socket";
    return "a device";
}

Result<std::string> read_all(int fd, const std::string& name, std::size_t limit_bytes) {
    std::string text;
    std::array<char, 65536> chunk;
    for (;;) {
        const ssize_t n = ::read(fd, chunk.data(), chunk.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return io_error("read", name);
        if (n == 0) return text;
        if (text.size() + std::size_t(n) > limit_bytes)
            return fail(ErrorKind::invalid_request,
                        format("{} is larger than the limit of {} bytes", name, limit_bytes));
        text.append(chunk.data(), std::size_t(n));
    }
}

}  // namespace

Fd& Fd::operator=(Fd&& other) noexcept {
    if (this != &other) {
        reset();
        fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
}

void Fd::reset() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
}

Result<std::string> read_file(const std::string& path, std::size_t limit_bytes) {
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return io_error("open", path);
    return read_all(fd.get(), path, limit_bytes);
}

Result<std::string> read_stdin(std::size_t limit_bytes) {
    return read_all(STDIN_FILENO, "standard input", limit_bytes);
}

Status write_file(const std::string& path, std::string_view bytes, int mode) {
    const std::string beside = path + random_id(".new-");
    Fd fd(::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode_t(mode)));
    if (!fd) return io_error("create", beside);
    while (!bytes.empty()) {
        const ssize_t n = ::write(fd.get(), bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            auto error = io_error("write", beside);
            ::unlink(beside.c_str());
            return error;
        }
        bytes.remove_prefix(std::size_t(n));
    }
    if (::fsync(fd.get()) != 0 || ::rename(beside.c_str(), path.c_str()) != 0) {
        auto error = io_error("finish", path);
        ::unlink(beside.c_str());
        return error;
    }
    return {};
}

Status make_folders(const std::string& path) {
    for (std::size_t at = 1; at != std::string::npos;) {
        at = path.find('/', at);
        const std::string part = path.substr(0, at);
        if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) return io_error("create", part);
        if (at != std::string::npos) ++at;
    }
    return {};
}

// O_NONBLOCK: opening a pipe for reading otherwise waits for a writer, and only the open file can
// say that it is one. For regular files the flag means nothing.
Result<Fd> MappedFile::open_regular(const std::string& path) {
    Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!fd) return io_error("open", path);
    struct stat info;
    if (::fstat(fd.get(), &info) != 0) return io_error("read", path);
    if (!S_ISREG(info.st_mode))
        return fail(ErrorKind::invalid_request,
                    format("{} is {}, not a regular file; give the path of a file", path,
                           kind_of(info.st_mode)));
    return fd;
}

Result<MappedFile> MappedFile::open(const std::string& path) {
    HEARTH_TRY(const Fd fd, open_regular(path));
    return of(fd, path);
}

Result<MappedFile> MappedFile::of(const Fd& fd, const std::string& path) {
    struct stat info;
    if (::fstat(fd.get(), &info) != 0) return io_error("read", path);
    MappedFile map;
    map.size_ = std::size_t(info.st_size);
    if (map.size_ == 0) return map;
    void* at = ::mmap(nullptr, map.size_, PROT_READ, MAP_SHARED, fd.get(), 0);
    if (at == MAP_FAILED) return io_error("map", path);
    map.data_ = static_cast<const std::byte*>(at);
    return map;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
}

MappedFile::~MappedFile() {
    if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

std::string hex(std::span<const std::byte> bytes) {
    static constexpr char kHex[] = "0123456789abcdef";
    std::string out;
    for (const std::byte b : bytes) {
        out += kHex[std::to_integer<int>(b) >> 4];
        out += kHex[std::to_integer<int>(b) & 15];
    }
    return out;
}

Sha256::Sha256() : state_(EVP_MD_CTX_new()) {
    CHECK(state_ &&
          EVP_DigestInit_ex(static_cast<EVP_MD_CTX*>(state_), EVP_sha256(), nullptr) == 1);
}
Sha256::~Sha256() {
    EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(state_));
}
void Sha256::add(std::span<const std::byte> bytes) {
    CHECK(EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(state_), bytes.data(), bytes.size()) == 1);
}
std::string Sha256::hex() {
    std::array<std::byte, 32> digest;
    CHECK(EVP_DigestFinal_ex(static_cast<EVP_MD_CTX*>(state_),
                             reinterpret_cast<unsigned char*>(digest.data()), nullptr) == 1);
    return hearth::hex(digest);
}

std::string sha256_hex(std::span<const std::byte> bytes) {
    Sha256 hash;
    hash.add(bytes);
    return hash.hex();
}

std::string sha256_hex(std::string_view text) {
    return sha256_hex(std::as_bytes(std::span(text)));
}

}  // namespace hearth
