#include "engine/model/packed_file.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <vector>

#include "base/format.h"
#include "engine/model/limits.h"

namespace hearth::model {
namespace {

namespace fs = std::filesystem;
using namespace std::literals;

// Changes with any change of what pack() of some format makes.
constexpr int kForm = 3;
constexpr std::size_t kHeaderBytes = 4096, kAlign = 64, kHexBytes = 64;
// Between two looks at `stop`, and one write. Each begins at a multiple of it: the page cache can
// then keep the file in pages of 2 MiB, which are read up to 1.45 times as fast as small ones.
constexpr std::size_t kPieceBytes = std::size_t(4) << 20;
// A process that died while it wrote left a file behind; nobody writes this long.
constexpr auto kAbandoned = std::chrono::hours(24);

std::string first_lines(const std::string& digest, std::size_t n_bytes) {
    return format("hearth packed weights, form {}\nmodel {}\nbytes {}\nsha256 ", kForm, digest,
                  n_bytes);
}

// A matrix that is only looked up row by row is not multiplied.
bool is_multiplied(const Gguf& gguf, const GgufTensor& tensor) {
    return tensor.name != "token_embd.weight" || !gguf.find_tensor("output.weight");
}

// Calls use(tensor, shape, offset) for each matrix that has a packed form; returns the file's size.
template <class Use>
std::size_t for_packed(const Gguf& gguf, const Device& device, Use&& use) {
    std::size_t at = kHeaderBytes;
    for (const GgufTensor& tensor : gguf.tensors()) {
        if (!is_multiplied(gguf, tensor)) continue;
        const PackedShape shape = device.packed_shape(tensor);
        if (shape.n_groups == 0) continue;
        use(tensor, shape, at);
        at += (shape.bytes() + kAlign - 1) / kAlign * kAlign;
    }
    return at;
}
std::size_t size_of(const Gguf& gguf, const Device& device) {
    return for_packed(gguf, device, [](const GgufTensor&, PackedShape, std::size_t) {});
}

std::string path_of(const std::string& folder, const std::string& digest) {
    return format("{}/{}.packed", folder, digest);
}
std::string identity_path(const std::string& folder, const Shards& shards) {
    return format("{}/{}.of", folder, sha256_hex(shards.identity()));
}

std::unexpected<Error> refused(const std::string& path) {
    return fail(ErrorKind::internal, format("cannot write {}: {}", path, std::strerror(errno)));
}
std::unexpected<Error> stopped() {
    return fail(ErrorKind::cancelled, "packing was stopped");
}

// A file beside its place, which is removed unless it is kept.
class NewFile {
  public:
    explicit NewFile(const std::string& path) : path_(path), temporary_(path + ".XXXXXX.part") {}
    ~NewFile() {
        if (fd_) ::unlink(temporary_.c_str());
    }
    Status open() {
        fd_ = Fd(::mkostemps(temporary_.data(), 5, O_CLOEXEC));  // mode 0600
        return fd_ ? Status() : refused(temporary_);
    }
    Status write(std::span<const std::byte> bytes) {
        while (!bytes.empty()) {
            const ssize_t n = ::write(fd_.get(), bytes.data(), bytes.size());
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) return refused(temporary_);
            bytes = bytes.subspan(std::size_t(n));
        }
        return {};
    }
    // Over what was written first.
    Status write_head(std::string_view head) {
        const ssize_t n = ::pwrite(fd_.get(), head.data(), head.size(), 0);
        return n == ssize_t(head.size()) ? Status() : refused(temporary_);
    }
    Status keep() {
        if (::fsync(fd_.get()) != 0 || ::rename(temporary_.c_str(), path_.c_str()) != 0)
            return refused(path_);
        fd_.reset();
        return {};
    }

  private:
    const std::string path_;
    std::string temporary_;
    Fd fd_;
};

Status check_room(const std::string& folder, std::size_t n_bytes, std::size_t n_left) {
    struct statvfs disk;
    if (::statvfs(folder.c_str(), &disk) != 0) return refused(folder);
    const std::size_t n_free = std::size_t(disk.f_bavail) * disk.f_frsize;
    if (n_free >= n_bytes && n_free - n_bytes >= n_left) return {};
    return fail(ErrorKind::does_not_fit,
                format("{} has {} bytes free; {} for packed weights would leave less than {}",
                       folder, n_free, n_bytes, n_left));
}

// The path in a packed file's header; empty where it is none of ours.
std::string source_of(const std::string& path) {
    const auto file = MappedFile::open(path);
    if (!file || file->bytes().size() < kHeaderBytes) return {};
    const std::string_view text(reinterpret_cast<const char*>(file->bytes().data()), kHeaderBytes);
    // The path may hold any byte but zero, a new line too.
    const std::size_t from = text.find("\nfrom "), end = text.find("\n\0"sv);
    if (from == text.npos || end == text.npos) return {};
    return std::string(text.substr(from + 6, end - from - 6));
}

// Forms without a model, identities without a form, and what a process left that died.
void remove_orphans(const std::string& folder) {
    std::error_code error;
    std::vector<std::string> gone;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
        const std::string path = entry.path().string(), ending = entry.path().extension().string();
        std::error_code unknown;
        if (ending == ".packed") {
            const std::string source = source_of(path);
            if (source.empty() || (!fs::exists(source, unknown) && !unknown)) gone.push_back(path);
        } else if (ending == ".part") {
            const auto written = fs::last_write_time(path, unknown);
            if (!unknown && fs::file_time_type::clock::now() - written > kAbandoned)
                gone.push_back(path);
        }
    }
    for (const std::string& path : gone) fs::remove(path, error);
    gone.clear();
    for (const auto& entry : fs::directory_iterator(folder, error)) {
        if (entry.path().extension() != ".of") continue;
        const auto digest = read_file(entry.path().string(), kHeaderBytes);
        if (digest && !fs::exists(path_of(folder, *digest), error) && !error)
            gone.push_back(entry.path().string());
    }
    for (const std::string& path : gone) fs::remove(path, error);
}

// The whole file, in order and in pieces, with zeros for a header; returns the SHA-256 of what is
// behind it.
Result<std::string> write_form(NewFile& out, const Gguf& gguf, const Device& device,
                               const std::atomic<bool>& stop) {
    Status status;
    Sha256 hash;
    std::vector<std::byte> piece(kHeaderBytes);
    std::size_t n_header = kHeaderBytes;  // of the piece
    const auto flush = [&](std::size_t n) {
        status = stop.load(std::memory_order_relaxed) ? Status(stopped())
                                                      : out.write(std::span(piece).first(n));
        hash.add(std::span(piece).first(n).subspan(n_header));
        n_header = 0;
        piece.erase(piece.begin(), piece.begin() + std::ptrdiff_t(n));
    };
    for_packed(gguf, device, [&](const GgufTensor& tensor, PackedShape shape, std::size_t) {
        for (std::int64_t group = 0; group < shape.n_groups && status; ++group) {
            piece.resize(piece.size() + shape.group_bytes);
            device.pack(piece.data() + (piece.size() - shape.group_bytes), tensor, group);
            if (piece.size() >= kPieceBytes) flush(piece.size() / kPieceBytes * kPieceBytes);
        }
        piece.resize(piece.size() + (kAlign - shape.bytes() % kAlign) % kAlign);
    });
    if (status) flush(piece.size());
    HEARTH_CHECK_OK(status);
    return hash.hex();
}

}  // namespace

std::size_t PackedFile::bytes_of(const Gguf& gguf, const Device& device) {
    return size_of(gguf, device) - kHeaderBytes;
}

std::optional<PackedFile> PackedFile::find(const std::string& folder, const Shards& shards,
                                           const Device& device) {
    const auto digest = read_file(identity_path(folder, shards), kHeaderBytes);
    if (!digest) return std::nullopt;
    auto file = ModelFile::open(path_of(folder, *digest));
    if (!file) return std::nullopt;
    const std::size_t n_bytes = size_of(shards.gguf(), device);
    const std::string lines = first_lines(*digest, n_bytes);
    if (file->bytes().size() != n_bytes || lines.size() + kHexBytes > kHeaderBytes ||
        std::memcmp(file->bytes().data(), lines.data(), lines.size()) != 0)
        return std::nullopt;
    PackedFile out(std::move(*file));
    out.digest_.assign(reinterpret_cast<const char*>(out.file_.bytes().data()) + lines.size(),
                       kHexBytes);
    if (!out.is_of(shards.gguf(), device)) return std::nullopt;
    return out;
}

bool PackedFile::is_of(const Gguf& gguf, const Device& device) const {
    bool same = true;
    std::vector<std::byte> expected;
    for_packed(gguf, device, [&](const GgufTensor& tensor, PackedShape shape, std::size_t at) {
        expected.resize(shape.group_bytes);
        for (const std::int64_t group : {std::int64_t(0), shape.n_groups - 1}) {
            device.pack(expected.data(), tensor, group);
            same = same &&
                   std::memcmp(expected.data(),
                               file_.bytes().data() + at + std::size_t(group) * shape.group_bytes,
                               shape.group_bytes) == 0;
        }
    });
    return same;
}

Status PackedFile::check(const std::atomic<bool>& stop) const {
    Sha256 hash;
    for (auto rest = file_.bytes().subspan(kHeaderBytes); !rest.empty();) {
        if (stop.load(std::memory_order_relaxed)) return stopped();
        const std::size_t n = std::min(kPieceBytes, rest.size());
        hash.add(rest.first(n));
        rest = rest.subspan(n);
    }
    if (hash.hex() == digest_) return {};
    return fail(ErrorKind::invalid_request,
                format("{} has other bytes than were written; check the disk", file_.path()));
}

Status PackedFile::make(const std::string& folder, const Shards& shards, const Device& device,
                        const std::atomic<bool>& stop, std::size_t n_left) {
    HEARTH_CHECK_OK(make_folders(folder));
    const std::string identity = identity_path(folder, shards);
    const std::string digest = shards.sha256(&stop);
    if (digest.empty()) return stopped();
    const std::string path = path_of(folder, digest);
    std::error_code error;
    // A form that this identity named already was refused by find() or check(), or nobody would
    // ask.
    if (!fs::exists(path, error) || fs::exists(identity, error)) {
        remove_orphans(folder);
        const std::size_t n_bytes = size_of(shards.gguf(), device);
        HEARTH_CHECK_OK(check_room(folder, n_bytes, n_left));
        const std::string source = fs::absolute(shards.path(), error).string();
        const std::string lines = first_lines(digest, n_bytes), from = "\nfrom " + source + "\n";
        if (lines.size() + kHexBytes + from.size() >= kHeaderBytes)
            return fail(ErrorKind::invalid_request,
                        format("the model's path of {} bytes is too long for a packed form; move "
                               "the model to a shorter one",
                               source.size()));
        NewFile file(path);
        HEARTH_CHECK_OK(file.open());
        HEARTH_TRY(const std::string hex, write_form(file, shards.gguf(), device, stop));
        HEARTH_CHECK_OK(file.write_head(lines + hex + from));
        HEARTH_CHECK_OK(shards.unchanged());
        HEARTH_CHECK_OK(file.keep());
    }
    HEARTH_CHECK_OK(shards.unchanged());
    return write_file(identity, digest, 0600);
}

void PackedFile::give(const Gguf& gguf, Device& device) const {
    for_packed(gguf, device, [&](const GgufTensor& tensor, PackedShape, std::size_t at) {
        device.use_packed(tensor, file_.bytes().data() + at);
    });
}

void PackedFile::take_back(const Gguf& gguf, Device& device) {
    for_packed(gguf, device, [&](const GgufTensor& tensor, PackedShape, std::size_t) {
        device.use_packed(tensor, nullptr);
    });
}

}  // namespace hearth::model
