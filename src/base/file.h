// Files: whole reads with a limit, atomic writes, read-only maps, descriptors that close
// themselves.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace hearth {

class Fd {
  public:
    Fd() = default;
    explicit Fd(int fd) : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd& operator=(Fd&& other) noexcept;
    ~Fd() { reset(); }
    int get() const { return fd_; }
    int release() { return std::exchange(fd_, -1); }
    void reset();
    explicit operator bool() const { return fd_ >= 0; }

  private:
    int fd_ = -1;
};

// All that the path gives: a regular file, or a pipe (`--file <(command)`, /dev/stdin), which is
// read to its end. Errors: not_found, or invalid_request where there is more than limit_bytes or
// nothing to read, as in a folder.
Result<std::string> read_file(const std::string& path, std::size_t limit_bytes);
// Everything that stdin holds. Errors: invalid_request past the limit.
Result<std::string> read_stdin(std::size_t limit_bytes);
// Writes beside the path, then renames: a reader sees the old file or the new one.
Status write_file(const std::string& path, std::string_view bytes, int mode = 0644);
// mkdir -p, new folders with mode 0700.
Status make_folders(const std::string& path);

// MappedFile: a file's bytes, read-only, shared with the page cache. Touching pages that vanish
// because the file is shortened raises SIGBUS.
class MappedFile {
  public:
    // Errors: not_found, or invalid_request for what is no regular file. Never waits: a pipe
    // without a writer is refused like one with.
    static Result<MappedFile> open(const std::string& path);
    // A file's descriptor, as open() makes it; for who needs both. Errors: as open().
    static Result<Fd> open_regular(const std::string& path);
    // Maps what the descriptor names; path is for messages.
    static Result<MappedFile> of(const Fd& fd, const std::string& path);
    MappedFile() = default;
    MappedFile(MappedFile&& other) noexcept;
    MappedFile& operator=(MappedFile&& other) noexcept;
    ~MappedFile();
    std::span<const std::byte> bytes() const { return {data_, size_}; }

  private:
    const std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

// How a file is opened for reading: MappedFile::open_regular, or somebody who may do what this
// process may not. Errors: as open_regular.
using OpenFile = std::function<Result<Fd>(const std::string& path)>;

// Lower-case hexadecimal.
std::string hex(std::span<const std::byte> bytes);
// SHA-256 (FIPS 180-4) of bytes that come in pieces.
class Sha256 {
  public:
    Sha256();
    ~Sha256();
    Sha256(const Sha256&) = delete;
    void add(std::span<const std::byte> bytes);
    std::string hex();  // lower-case; once, last

  private:
    void* state_;  // OpenSSL's
};
// The same of bytes that are there.
std::string sha256_hex(std::span<const std::byte> bytes);
std::string sha256_hex(std::string_view text);

}  // namespace hearth
