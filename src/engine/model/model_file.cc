#include "engine/model/model_file.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "base/format.h"
#include "engine/model/limits.h"

namespace hearth::model {
namespace {

// What the handler may read at any moment: no lock, no allocation. An entry is written before its
// size is, and is free while its size is 0.
struct Guarded {
    std::atomic<bool> taken{false};
    std::atomic<std::byte*> begin{nullptr};
    std::atomic<std::size_t> size{0};
    std::atomic<bool> lost{false};  // pages of it are zeros now
};
// Two models of the most parts there can be; a map beyond that is not guarded.
constexpr std::size_t kGuardedMax = 2 * std::size_t(kShardMax);
std::array<Guarded, kGuardedMax> guarded;
struct sigaction previous;
const auto page_bytes = std::size_t(::sysconf(_SC_PAGESIZE));

// Zeros from the page at `at` to the end of the map: a file that was shortened has no page behind
// the first that is gone.
bool fill_with_zeros(const Guarded& g, std::uintptr_t at) {
    const std::size_t size = g.size.load(std::memory_order_acquire);
    std::byte* const begin = g.begin.load(std::memory_order_relaxed);
    const std::uintptr_t offset = at - reinterpret_cast<std::uintptr_t>(begin);  // wraps below
    if (offset >= size) return false;
    const std::size_t from = offset - offset % page_bytes;  // maps begin at pages
    return ::mmap(begin + from, size - from, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                  0) != MAP_FAILED;
}

// The instruction runs again after this.
void on_bus_error(int, siginfo_t* info, void*) {
    const int saved_errno = errno;
    const auto at = reinterpret_cast<std::uintptr_t>(info->si_addr);
    for (Guarded& g : guarded) {
        if (!fill_with_zeros(g, at)) continue;
        g.lost.store(true, std::memory_order_release);
        errno = saved_errno;
        return;
    }
    // Not ours: the signal goes to whom it went before.
    ::sigaction(SIGBUS, &previous, nullptr);
}

void install_handler() {
    struct sigaction action = {};
    action.sa_sigaction = &on_bus_error;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    ::sigaction(SIGBUS, &action, &previous);
}

// Place in the table; -1 when it is full.
int guard(std::span<const std::byte> bytes) {
    static const bool installed = (install_handler(), true);
    (void)installed;
    for (std::size_t i = 0; i < kGuardedMax; ++i) {
        Guarded& g = guarded[i];
        if (g.taken.exchange(true, std::memory_order_acquire)) continue;
        g.lost.store(false, std::memory_order_relaxed);
        g.begin.store(const_cast<std::byte*>(bytes.data()), std::memory_order_relaxed);
        g.size.store(bytes.size(), std::memory_order_release);
        return int(i);
    }
    return -1;
}

void unguard(int place) {
    if (place < 0) return;
    Guarded& g = guarded[std::size_t(place)];
    g.size.store(0, std::memory_order_release);
    g.taken.store(false, std::memory_order_release);
}

bool lost_pages(int place) {
    return place >= 0 && guarded[std::size_t(place)].lost.load(std::memory_order_acquire);
}

}  // namespace

Result<ModelFile::Stamp> ModelFile::stamp_of(const Fd& fd, const std::string& path) {
    struct stat info;
    if (::fstat(fd.get(), &info) != 0)
        return fail(ErrorKind::internal, format("cannot read {}: {}", path, std::strerror(errno)));
    return Stamp{.device = info.st_dev,
                 .inode = info.st_ino,
                 .size = info.st_size,
                 .changed_s = info.st_mtim.tv_sec,
                 .changed_ns = info.st_mtim.tv_nsec,
                 .inode_changed_s = info.st_ctim.tv_sec,
                 .inode_changed_ns = info.st_ctim.tv_nsec};
}

std::string ModelFile::identity() const {
    const Stamp& s = stamp_;
    return format("{} {} {} {}.{:09} {}.{:09}", s.device, s.inode, s.size, s.changed_s,
                  s.changed_ns, s.inode_changed_s, s.inode_changed_ns);
}

void ModelFile::forget_pages() const {
    if (!bytes().empty())
        ::madvise(const_cast<std::byte*>(bytes().data()), bytes().size(), MADV_DONTNEED);
}

Result<ModelFile> ModelFile::open(const std::string& path, const OpenFile& open_file) {
    ModelFile out;
    out.path_ = path;
    // Stamp and map of one open file: another may get the name at any moment.
    HEARTH_TRY(out.fd_, open_file(path));
    HEARTH_TRY(out.map_, MappedFile::of(out.fd_, path));
    HEARTH_TRY(out.stamp_, stamp_of(out.fd_, path));
    if (std::size_t(out.stamp_.size) != out.map_.bytes().size())
        return fail(ErrorKind::invalid_request,
                    format("{} changed while it was opened; try again once it is whole", path));
    if (out.map_.bytes().empty()) return out;
    // A wish: where the file system can (ext4 since Linux 6.16, XFS), what is read from the disk
    // gets pages of 2 MiB. Weights are read from end to end for every token, and looking up small
    // pages takes a third of that time in a virtual machine.
    ::madvise(const_cast<std::byte*>(out.map_.bytes().data()), out.map_.bytes().size(),
              MADV_HUGEPAGE);
    out.guard_ = guard(out.map_.bytes());
    return out;
}

ModelFile::ModelFile(ModelFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::move(other.fd_)),
      stamp_(other.stamp_),
      map_(std::move(other.map_)),
      guard_(std::exchange(other.guard_, -1)) {}

ModelFile& ModelFile::operator=(ModelFile&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(fd_, other.fd_);
    std::swap(stamp_, other.stamp_);
    std::swap(map_, other.map_);
    std::swap(guard_, other.guard_);
    return *this;
}

ModelFile::~ModelFile() {
    unguard(guard_);
}

Status ModelFile::unchanged() const {
    if (!fd_) return {};
    HEARTH_TRY(const Stamp now, stamp_of(fd_, path_));
    if (now.same_bytes(stamp_) && !lost_pages(guard_)) return {};
    return fail(
        ErrorKind::invalid_request,
        format("the model file {} was changed after it was opened ({} bytes then, {} now), or its "
               "disk failed; load it again once it is whole, and replace models by "
               "renaming the new file onto the old one",
               path_, stamp_.size, now.size));
}

}  // namespace hearth::model
