// A record of content.keys, 128 bytes, numbers little endian; all zero: erased.
//
//   0..7     kind        1 prompt, 2 answer
//   8..15    wall_ns
//   16..23   offset      of the ciphertext in content.bodies
//   24..31   n_bytes     of the ciphertext: nonce 12, text, tag 16
//   32..63   key
//   64..127  request id, padded with zeros
//
// The first 128 bytes are the header: 24 bytes `hearth-content-keys-v1`, padded with zeros; 24..31
// what is being erased (0 nothing, 1 a request, 2 all before a time); 32..39 that time; 64..127
// that request's id. What a body is sealed for (request id, kind) is authenticated with it, so that
// no body passes for another.
#include "journal/content.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "audit/hash.h"
#include "base/crypto.h"
#include "base/format.h"
#include "journal/limits.h"

namespace hearth::journal {
namespace {

constexpr std::int64_t kRecordSize = 128;
constexpr std::string_view kMagic("hearth-content-keys-v1\0\0", 24);
constexpr std::size_t kIdAt = 64;
static_assert(kIdAt + kBodyIdBytes < kRecordSize);  // a zero at its end
constexpr std::int64_t kRecordsRead = 512;          // 64 KiB a time

std::unexpected<Error> io_error(const char* verb, const std::string& path) {
    return fail(ErrorKind::internal, format("cannot {} {}: {}", verb, path, std::strerror(errno)));
}

void put_number(std::string& record, std::size_t at, std::int64_t value) {
    for (std::size_t i = 0; i < 8; ++i) record[at + i] = char(std::uint64_t(value) >> (8 * i));
}
std::int64_t number_at(std::string_view record, std::size_t at) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < 8; ++i)
        value |= std::uint64_t(static_cast<unsigned char>(record[at + i])) << (8 * i);
    return std::int64_t(value);
}
std::string id_at(std::string_view record) {
    const std::string_view id = record.substr(kIdAt, kBodyIdBytes);
    return std::string(id.substr(0, id.find('\0')));
}

Status write_at(const Fd& fd, std::string_view bytes, std::int64_t offset,
                const std::string& path) {
    while (!bytes.empty()) {
        const ssize_t n = ::pwrite(fd.get(), bytes.data(), bytes.size(), offset);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return io_error("write", path);
        bytes.remove_prefix(std::size_t(n));
        offset += n;
    }
    return {};
}
// Up to n bytes; fewer where the file ends.
Result<std::string> read_at(const Fd& fd, std::int64_t n, std::int64_t offset,
                            const std::string& path) {
    std::string out(std::size_t(n), '\0');
    std::size_t n_read = 0;
    while (n_read < out.size()) {
        const ssize_t got = ::pread(fd.get(), out.data() + n_read, out.size() - n_read,
                                    offset + std::int64_t(n_read));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return io_error("read", path);
        if (got == 0) break;
        n_read += std::size_t(got);
    }
    out.resize(n_read);
    return out;
}
Result<std::int64_t> size_of(const Fd& fd, const std::string& path) {
    struct stat info{};
    if (::fstat(fd.get(), &info) != 0) return io_error("look at", path);
    return std::int64_t(info.st_size);
}

// Held over a change; the kernel drops it when the process ends.
class Lock {
  public:
    static Result<Lock> take(const Fd& fd, const std::string& path) {
        while (::flock(fd.get(), LOCK_EX) != 0)
            if (errno != EINTR) return io_error("lock", path);
        return Lock(fd.get());
    }
    static std::optional<Lock> try_take(const Fd& fd) {
        if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return std::nullopt;
        return Lock(fd.get());
    }
    Lock(Lock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Lock& operator=(Lock&&) = delete;
    ~Lock() {
        if (fd_ >= 0) ::flock(fd_, LOCK_UN);
    }

  private:
    explicit Lock(int fd) : fd_(fd) {}
    int fd_;
};

// Opens a file of ours; private, also where it was not.
Result<Fd> open_file(const std::string& path, ContentStore::Mode mode) {
    const int create = mode == ContentStore::Mode::make ? O_CREAT : 0;
    Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | create, 0600));
    if (!fd && errno == ENOENT)
        return fail(ErrorKind::not_found,
                    format("no prompts or answers are kept: {} is not there", path));
    if (!fd) return io_error("open", path);
    if (::fchmod(fd.get(), 0600) != 0) return io_error("close to others", path);
    return fd;
}

std::string about(std::string_view request_id, BodyKind kind) {
    CanonicalForm form("hearth-content-v1");
    form.text(request_id).number(std::int64_t(kind));
    return form.bytes();
}

}  // namespace

struct ContentStore::Entry {
    std::int64_t kind = 0, wall_ns = 0, offset = 0, n_bytes = 0;
    std::string key, request_id;

    bool live() const { return kind != 0; }
    bool in(const ErasureRange& range) const {
        if (!live()) return false;
        return range.request_id.empty() ? wall_ns < range.before_wall_ns
                                        : request_id == range.request_id;
    }
    // Whether a body may lie there: the file is outside input.
    bool plausible() const {
        return (kind == 1 || kind == 2) && offset >= 0 &&
               n_bytes >= std::int64_t(kSealExtraBytes) &&
               n_bytes <= std::int64_t(kBodyBytes + kSealExtraBytes);
    }
};

const char* name_of(BodyKind kind) {
    return kind == BodyKind::prompt ? "prompt" : "answer";
}

Result<std::unique_ptr<ContentStore>> ContentStore::open(const std::string& folder,
                                                         const std::string& keys_folder,
                                                         Mode mode) {
    if (mode == Mode::make) HEARTH_CHECK_OK(make_folders(keys_folder));
    std::unique_ptr<ContentStore> store(new ContentStore);
    store->keys_path_ = keys_folder + "/content.keys";
    store->bodies_path_ = folder + "/content.bodies";
    HEARTH_TRY(store->keys_, open_file(store->keys_path_, mode));
    // The keys without the bodies can still be erased.
    HEARTH_TRY(store->bodies_, open_file(store->bodies_path_, Mode::make));
    HEARTH_CHECK_OK(store->prepare_keys());
    return store;
}

// The header, where the file is new. Only then under the lock: who opens the journal must not wait
// for an erasure that waits for this journal to record it.
Status ContentStore::prepare_keys() {
    HEARTH_TRY(std::string header, read_at(keys_, kRecordSize, 0, keys_path_));
    if (header.empty()) {
        HEARTH_TRY(const Lock lock, Lock::take(keys_, keys_path_));
        HEARTH_TRY(const std::int64_t n_bytes, size_of(keys_, keys_path_));
        if (n_bytes > 0) return {};  // another made it meanwhile
        header.assign(std::size_t(kRecordSize), '\0');
        header.replace(0, kMagic.size(), kMagic);
        return put(0, header);
    }
    if (!header.starts_with(kMagic) || std::int64_t(header.size()) < kRecordSize)
        return fail(ErrorKind::invalid_request,
                    format("{} is no file of content keys; move it away, then what it kept cannot "
                           "be read any more",
                           keys_path_));
    return {};
}

Status ContentStore::put(std::int64_t index, std::string_view bytes) {
    return write_at(keys_, bytes, index * kRecordSize, keys_path_);
}

// A part of a record at the end, of a write that was cut off, is none.
Status ContentStore::each(
    const std::function<Status(std::int64_t index, const Entry& entry)>& take) {
    for (std::int64_t index = 1;;) {
        HEARTH_TRY(const std::string bytes,
                   read_at(keys_, kRecordsRead * kRecordSize, index * kRecordSize, keys_path_));
        const std::int64_t n = std::int64_t(bytes.size()) / kRecordSize;
        for (std::int64_t i = 0; i < n; ++i, ++index) {
            const auto record = std::string_view(bytes).substr(std::size_t(i * kRecordSize),
                                                               std::size_t(kRecordSize));
            const Entry entry{.kind = number_at(record, 0),
                              .wall_ns = number_at(record, 8),
                              .offset = number_at(record, 16),
                              .n_bytes = number_at(record, 24),
                              .key = std::string(record.substr(32, kSealKeyBytes)),
                              .request_id = id_at(record)};
            HEARTH_CHECK_OK(take(index, entry));
        }
        if (n < kRecordsRead) return {};
    }
}

Result<KeptBody> ContentStore::keep(BodyKind kind, std::string_view request_id,
                                    std::int64_t wall_ns, std::string_view plain,
                                    std::optional<std::int64_t> after) {
    if (plain.size() > kBodyBytes)
        return fail(ErrorKind::invalid_request,
                    format("it has {} bytes, the limit is {}", plain.size(), kBodyBytes));
    if (request_id.empty() || request_id.size() > kBodyIdBytes ||
        request_id.find('\0') != std::string_view::npos)
        return fail(ErrorKind::invalid_request,
                    format("a request id of {} bytes cannot name it, the limit is {}",
                           request_id.size(), kBodyIdBytes));
    const std::string key = random_bytes(kSealKeyBytes);
    const std::string sealed = seal(key, about(request_id, kind), plain);
    HEARTH_TRY(const Lock lock, Lock::take(keys_, keys_path_));
    if (after) {
        HEARTH_TRY(const bool there, is_there(*after, request_id));
        if (!there) return fail(ErrorKind::cancelled, "erased");
    }
    HEARTH_TRY(const std::int64_t offset, size_of(bodies_, bodies_path_));
    if (Status written = write_at(bodies_, sealed, offset, bodies_path_); !written) {
        if (::ftruncate(bodies_.get(), offset) != 0) return io_error("shorten", bodies_path_);
        return std::unexpected(std::move(written.error()));
    }
    std::string record(std::size_t(kRecordSize), '\0');
    put_number(record, 0, std::int64_t(kind));
    put_number(record, 8, wall_ns);
    put_number(record, 16, offset);
    put_number(record, 24, std::int64_t(sealed.size()));
    record.replace(32, key.size(), key);
    record.replace(kIdAt, request_id.size(), request_id);
    HEARTH_TRY(const std::int64_t n_bytes, size_of(keys_, keys_path_));
    const std::int64_t place = std::max<std::int64_t>(1, n_bytes / kRecordSize);
    HEARTH_CHECK_OK(put(place, record));
    unsynced_ = true;
    return KeptBody{audit::hex_of(audit::sha256(sealed)), std::int64_t(sealed.size()), place};
}

Status ContentStore::sync() {
    if (!unsynced_) return {};
    unsynced_ = false;  // also after a failure: it is reported once
    if (::fdatasync(bodies_.get()) != 0) return io_error("sync", bodies_path_);
    if (::fdatasync(keys_.get()) != 0) return io_error("sync", keys_path_);
    return {};
}

Result<std::vector<Body>> ContentStore::read(std::string_view request_id) {
    std::vector<Body> bodies;
    HEARTH_CHECK_OK(each([&](std::int64_t, const Entry& entry) -> Status {
        if (!entry.live() || entry.request_id != request_id) return {};
        if (!entry.plausible())
            return fail(ErrorKind::internal,
                        format("{}: the record of {} is damaged", keys_path_, entry.request_id));
        HEARTH_TRY(const std::string sealed,
                   read_at(bodies_, entry.n_bytes, entry.offset, bodies_path_));
        Body body{.kind = BodyKind(entry.kind),
                  .wall_ns = entry.wall_ns,
                  .sha256 = audit::hex_of(audit::sha256(sealed)),
                  .text = {},
                  .error = {}};
        auto plain = unseal(entry.key, about(request_id, body.kind), sealed);
        if (plain)
            body.text = std::move(*plain);
        else
            body.error = format("what lies in {} is not what was kept", bodies_path_);
        bodies.push_back(std::move(body));
        return {};
    }));
    return bodies;
}

Result<std::int64_t> ContentStore::count(const ErasureRange& range) {
    std::int64_t n = 0;
    HEARTH_CHECK_OK(each([&](std::int64_t, const Entry& entry) -> Status {
        n += entry.in(range) ? 1 : 0;
        return {};
    }));
    return n;
}

// Another request's body may have taken the place of one that was erased.
Result<bool> ContentStore::is_there(std::int64_t place, std::string_view request_id) {
    HEARTH_TRY(const std::string record,
               read_at(keys_, kRecordSize, place * kRecordSize, keys_path_));
    return std::int64_t(record.size()) == kRecordSize && number_at(record, 0) != 0 &&
           id_at(record) == request_id;
}

Result<std::optional<ErasureRange>> ContentStore::pending() {
    HEARTH_TRY(const std::string header, read_at(keys_, kRecordSize, 0, keys_path_));
    if (std::int64_t(header.size()) < kRecordSize || number_at(header, 24) == 0)
        return std::optional<ErasureRange>();
    return std::optional(ErasureRange{id_at(header), number_at(header, 32)});
}

Result<std::int64_t> ContentStore::erase(const ErasureRange& range, const Record& record) {
    HEARTH_TRY(const Lock lock, Lock::take(keys_, keys_path_));
    return erase_locked(range, record);
}

Result<std::optional<std::int64_t>> ContentStore::erase_if_free(const ErasureRange& range,
                                                                const Record& record) {
    const auto lock = Lock::try_take(keys_);
    if (!lock) return std::optional<std::int64_t>();
    HEARTH_TRY(const std::int64_t n, erase_locked(range, record));
    return std::optional(n);
}

Result<std::int64_t> ContentStore::erase_locked(const ErasureRange& range, const Record& record) {
    HEARTH_TRY(const auto unfinished, pending());
    if (unfinished)
        return fail(ErrorKind::overloaded,
                    "an erasure that was cut off is not finished yet: run any command that writes "
                    "the journal, then try again");
    HEARTH_TRY(const std::int64_t n, count(range));
    if (n == 0) return 0;
    std::string header(std::size_t(kRecordSize), '\0');
    header.replace(0, kMagic.size(), kMagic);
    const std::string idle = header;
    put_number(header, 24, range.request_id.empty() ? 2 : 1);
    put_number(header, 32, range.before_wall_ns);
    header.replace(kIdAt, range.request_id.size(), range.request_id);
    HEARTH_CHECK_OK(put(0, header));
    if (::fdatasync(keys_.get()) != 0) return io_error("sync", keys_path_);
    if (Status recorded = record(range, n); !recorded) {
        HEARTH_CHECK_OK(put(0, idle));
        return std::unexpected(std::move(recorded.error()));
    }
    HEARTH_CHECK_OK(erase_now(range));
    return n;
}

Result<std::optional<std::int64_t>> ContentStore::finish_erasure(const Record& record) {
    using Finished = std::optional<std::int64_t>;
    const auto lock = Lock::try_take(keys_);
    if (!lock) return Finished();  // its process is at work, or another finishes it
    HEARTH_TRY(const auto range, pending());
    if (!range) return Finished();
    HEARTH_TRY(const std::int64_t n, count(*range));
    HEARTH_CHECK_OK(record(*range, n));
    HEARTH_CHECK_OK(erase_now(*range));
    return Finished(n);
}

// Zeros first, and on the disk, before the file gets shorter: what is cut off need not be
// overwritten.
Status ContentStore::erase_now(const ErasureRange& range) {
    const std::string zeros(std::size_t(kRecordSize), '\0');
    std::int64_t last_live = 0;
    std::vector<Entry> erased;
    HEARTH_CHECK_OK(each([&](std::int64_t index, const Entry& entry) -> Status {
        if (!entry.in(range)) {
            if (entry.live()) last_live = index;
            return {};
        }
        erased.push_back(entry);
        erased.back().key.clear();
        return put(index, zeros);
    }));
    if (::fdatasync(keys_.get()) != 0) return io_error("sync", keys_path_);
    for (const Entry& entry : erased) free_body(entry);
    if (::ftruncate(keys_.get(), (last_live + 1) * kRecordSize) != 0)
        return io_error("shorten", keys_path_);
    std::string header(std::size_t(kRecordSize), '\0');
    header.replace(0, kMagic.size(), kMagic);
    HEARTH_CHECK_OK(put(0, header));
    if (::fdatasync(keys_.get()) != 0) return io_error("sync", keys_path_);
    return {};
}

// Gives the room back. Not what erases: where the file system cannot, the ciphertext stays.
void ContentStore::free_body(const Entry& entry) {
    if (!entry.plausible()) return;
    (void)::fallocate(bodies_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, entry.offset,
                      entry.n_bytes);
}

}  // namespace hearth::journal
