// The marks' file, `taint.marks`, mode 0600 (docs/formats/taint.md): 16 bytes of head, then records
// of 48:
//
//   bytes  0..15   mark; zeros of a release
//   bytes 16..23   conversation, u64 little endian: the digits of the taint's id
//   bytes 24..31   wall_ns, i64
//   byte  32       class, 0 … 3
//   byte  33       0 a mark, 1 a release of all earlier marks of this conversation
//   bytes 34..39   zeros
//   bytes 40..47   first 8 bytes of HMAC-SHA256(key, bytes 0..39): records of another key, and torn
//                  or altered ones, are passed over
//
// A record is written by one write(2) under flock(2), so that it is whole or a torn tail, which the
// next writer cuts off. Readers look at the file's size before every search.
#include "route/taint.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <unordered_map>

#include "base/file.h"
#include "base/format.h"
#include "base/log.h"
#include "base/utf8.h"
#include "route/limits.h"

namespace hearth::route {
namespace {

// Nothing that is seen: zero-width characters, the soft hyphen, the byte order mark.
bool is_invisible(char32_t c) {
    return c == 0xad || (c >= 0x200b && c <= 0x200f) || c == 0x2060 || c == 0xfeff;
}
bool is_space(char32_t c) {
    return c == ' ' || (c >= '\t' && c <= '\r') || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}
// One to one, and only where the difference of the two cases is a constant of the block.
char32_t to_lower(char32_t c) {
    if (c >= 'A' && c <= 'Z') return c + 32;
    if (c >= 0xc0 && c <= 0xde && c != 0xd7) return c + 32;
    if (c >= 0x391 && c <= 0x3a9) return c + 32;
    if (c >= 0x410 && c <= 0x42f) return c + 32;
    if (c >= 0x400 && c <= 0x40f) return c + 80;
    return c;
}

Mark first_half(const std::string& digest) {
    Mark mark;
    std::copy_n(digest.begin(), mark.size(), mark.begin());
    return mark;
}

std::string_view view(const Mark& mark) {
    return {mark.data(), mark.size()};
}

// A line that is a whole text elsewhere has the same mark.
constexpr std::string_view kTextDomain = "taint text\n";
constexpr std::string_view kBoundDomain = "taint bound\n";

}  // namespace

Mark bound_mark(const Secret& key, const Mark& conversation, const Mark& whole) {
    Hmac hmac(key.reveal());
    hmac.add(kBoundDomain);
    hmac.add(view(conversation));
    hmac.add(view(whole));
    return first_half(hmac.digest());
}

Marker::Marker(const Secret& key) : key_(key), whole_(key.reveal()) {
    whole_.add(kTextDomain);
}

void Marker::end_line() {
    whole_.add(line_);
    n_bytes_ += line_.size();
    if (line_.size() >= kMarkedLineBytesMin && marks_.anywhere.size() < kMarksOfText) {
        Hmac hmac(key_.reveal());
        hmac.add(kTextDomain);
        hmac.add(line_);
        marks_.anywhere.push_back(first_half(hmac.digest()));
    }
    line_.clear();
}

void Marker::add(std::string_view text) {
    for (std::size_t at = 0; at < text.size();) {
        const bool ascii = (unsigned char)text[at] < 0x80;
        // Bytes that are no UTF-8 say nothing that a reader could see.
        if (!ascii && utf8_sequence_length(text.substr(at)) == 0) {
            ++at;
            continue;
        }
        const char32_t c = ascii ? char32_t(text[at++]) : utf8_next(text, at);
        if (c == '\n' || line_.size() >= kMarkedLineBytesMax) end_line();
        if (is_space(c) || is_invisible(c)) continue;
        if (c < 0x80)
            line_ += char(to_lower(c));
        else
            append_utf8(line_, to_lower(c));
    }
}

TextMarks Marker::finish() {
    end_line();
    marks_.whole = first_half(whole_.digest());
    marks_.empty = n_bytes_ == 0;
    if (n_bytes_ >= kMarkedBytesMin) marks_.anywhere.push_back(marks_.whole);
    std::ranges::sort(marks_.anywhere);
    const auto same = std::ranges::unique(marks_.anywhere);
    marks_.anywhere.erase(same.begin(), same.end());
    return std::move(marks_);
}

TextMarks marks_of(const Secret& key, std::string_view text) {
    Marker marker(key);
    marker.add(text);
    return marker.finish();
}

namespace {

constexpr std::string_view kIdPrefix = "taint-";
constexpr char kHead[] = "hearth taint 1\n";  // with its zero, 16 bytes
constexpr std::size_t kHeadBytes = sizeof kHead;
constexpr std::size_t kRecordBytes = 48, kCheckedBytes = 40;
static_assert(kHeadBytes == 16);

std::string id_of(std::uint64_t conversation) {
    return format("{}{:016x}", kIdPrefix, conversation);
}
std::optional<std::uint64_t> conversation_of(std::string_view id) {
    if (!id.starts_with(kIdPrefix) || id.size() != kIdPrefix.size() + 16) return std::nullopt;
    std::uint64_t value = 0;
    const auto [end, error] =
        std::from_chars(id.data() + kIdPrefix.size(), id.data() + id.size(), value, 16);
    if (error != std::errc() || end != id.data() + id.size()) return std::nullopt;
    return value;
}

template <class T>
void put(std::string& out, T value) {
    for (std::size_t i = 0; i < sizeof value; ++i)
        out.push_back(char(std::uint64_t(value) >> (8 * i)));
}
template <class T>
T get(std::string_view bytes) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i)
        value |= std::uint64_t((unsigned char)bytes[i]) << (8 * i);
    return T(value);
}

struct MarkHash {
    std::size_t operator()(const Mark& mark) const {
        std::size_t h = 0;
        std::memcpy(&h, mark.data(), sizeof h);
        return h;
    }
};

class FileStore final : public TaintStore {
  public:
    FileStore(std::string path, Secret key, const Clock& clock)
        : path_(std::move(path)), key_(std::move(key)), clock_(clock) {}
    // Reads what is there. Errors: the file cannot be opened, or is not ours.
    Status load();

    const Secret& key() const override { return key_; }
    bool empty() override;
    std::optional<Taint> find(std::span<const Mark> marks) override;
    Status add(std::span<const Mark> marks, const Taint& taint) override;
    std::vector<Summary> list() override;
    Result<std::int64_t> release(const std::string& id) override;

  private:
    struct Entry {
        std::uint64_t conversation = 0;
        std::int64_t wall_ns = 0;
        chat::Sensitivity sensitivity = chat::Sensitivity::restricted;
    };
    // All with the mutex held.
    void refresh();
    Status read_new();
    void take(std::string_view record);
    void remember(const Mark& mark, const Entry& entry);
    std::int64_t forget(std::uint64_t conversation);
    std::string record(const Mark& mark, const Entry& entry, bool release) const;
    Status append(const std::string& records);

    const std::string path_;
    const Secret key_;
    const Clock& clock_;
    std::mutex mutex_;  // guards what follows; held for reads and writes of the file
    Fd file_;
    std::int64_t n_read_bytes_ = 0;
    std::unordered_map<Mark, Entry, MarkHash> marks_;
    std::deque<Mark> order_;  // oldest first; may name some that are gone
};

Status FileStore::load() {
    const std::lock_guard lock(mutex_);
    file_ = Fd(::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    if (!file_)
        return fail(ErrorKind::internal, format("cannot open {}: {}", path_, std::strerror(errno)));
    if (::flock(file_.get(), LOCK_EX) != 0)
        return fail(ErrorKind::internal, format("cannot lock {}: {}", path_, std::strerror(errno)));
    struct stat info{};
    Status done;
    if (::fstat(file_.get(), &info) != 0 ||
        (info.st_size < std::int64_t(kHeadBytes) &&
         (::ftruncate(file_.get(), 0) != 0 ||
          ::write(file_.get(), kHead, kHeadBytes) != ssize_t(kHeadBytes))))
        done =
            fail(ErrorKind::internal, format("cannot begin {}: {}", path_, std::strerror(errno)));
    char head[kHeadBytes] = {};
    if (done && (::pread(file_.get(), head, kHeadBytes, 0) != ssize_t(kHeadBytes) ||
                 std::memcmp(head, kHead, kHeadBytes) != 0))
        done = fail(ErrorKind::invalid_request,
                    format("{} is not a file of taint marks of this version; move it away", path_));
    n_read_bytes_ = kHeadBytes;
    if (done) done = read_new();
    (void)::flock(file_.get(), LOCK_UN);
    return done;
}

Status FileStore::read_new() {
    struct stat info{};
    if (::fstat(file_.get(), &info) != 0)
        return fail(ErrorKind::internal, format("cannot read {}: {}", path_, std::strerror(errno)));
    std::string piece;
    while (info.st_size - n_read_bytes_ >= std::int64_t(kRecordBytes)) {
        const std::int64_t n_left = (info.st_size - n_read_bytes_) / std::int64_t(kRecordBytes);
        piece.resize(std::size_t(std::min<std::int64_t>(n_left, 4096)) * kRecordBytes);
        const ssize_t n = ::pread(file_.get(), piece.data(), piece.size(), n_read_bytes_);
        if (n < ssize_t(kRecordBytes))
            return fail(ErrorKind::internal,
                        format("cannot read {}: {}", path_, std::strerror(errno)));
        const std::size_t n_whole = std::size_t(n) / kRecordBytes * kRecordBytes;
        for (std::size_t at = 0; at < n_whole; at += kRecordBytes)
            take(std::string_view(piece).substr(at, kRecordBytes));
        n_read_bytes_ += std::int64_t(n_whole);
    }
    return {};
}

void FileStore::refresh() {
    struct stat info{};
    if (::fstat(file_.get(), &info) == 0 &&
        info.st_size < n_read_bytes_ + std::int64_t(kRecordBytes))
        return;
    if (const Status read = read_new(); !read)
        log_error("taint_unread", {{"error", read.error().message}});
}

void FileStore::take(std::string_view record) {
    const std::string check = hmac_sha256(key_.reveal(), record.substr(0, kCheckedBytes));
    if (!same_secret(std::string_view(check).substr(0, 8), record.substr(kCheckedBytes))) return;
    const auto level = (unsigned char)record[32];
    if (level > std::uint8_t(chat::Sensitivity::restricted)) return;
    Mark mark;
    std::copy_n(record.begin(), mark.size(), mark.begin());
    const Entry entry{get<std::uint64_t>(record.substr(16)), get<std::int64_t>(record.substr(24)),
                      chat::Sensitivity(level)};
    if (record[33] == 1)
        forget(entry.conversation);
    else
        remember(mark, entry);
}

void FileStore::remember(const Mark& mark, const Entry& entry) {
    const auto [it, is_new] = marks_.try_emplace(mark, entry);
    if (!is_new) {
        // The stronger class stays, and the conversation that had it.
        if (entry.sensitivity > it->second.sensitivity) it->second = entry;
        return;
    }
    order_.push_back(mark);
    while (marks_.size() > kMarksMax && !order_.empty()) {
        marks_.erase(order_.front());
        order_.pop_front();
    }
}

std::int64_t FileStore::forget(std::uint64_t conversation) {
    const auto n = std::erase_if(
        marks_, [&](const auto& item) { return item.second.conversation == conversation; });
    std::erase_if(order_, [&](const Mark& mark) { return !marks_.contains(mark); });
    return std::int64_t(n);
}

std::string FileStore::record(const Mark& mark, const Entry& entry, bool release) const {
    std::string out(mark.begin(), mark.end());
    put(out, entry.conversation);
    put(out, entry.wall_ns);
    out.push_back(char(entry.sensitivity));
    out.push_back(release ? 1 : 0);
    out.append(kCheckedBytes - out.size(), '\0');
    out += hmac_sha256(key_.reveal(), out).substr(0, 8);
    return out;
}

Status FileStore::append(const std::string& records) {
    const auto failed = [&](const char* what) {
        Error error{.kind = ErrorKind::internal,
                    .message = format("cannot {} {}: {}", what, path_, std::strerror(errno))};
        (void)::flock(file_.get(), LOCK_UN);
        return fail(std::move(error));
    };
    if (::flock(file_.get(), LOCK_EX) != 0) return failed("lock");
    // Others may have written meanwhile; of one that died in between the tail is cut off.
    if (const Status read = read_new(); !read) return failed("read");
    if (::ftruncate(file_.get(), n_read_bytes_) != 0) return failed("write");
    const ssize_t n = ::write(file_.get(), records.data(), records.size());
    if (n != ssize_t(records.size())) {
        (void)!::ftruncate(file_.get(), n_read_bytes_);
        return failed("write");
    }
    n_read_bytes_ += n;
    (void)::flock(file_.get(), LOCK_UN);
    return {};
}

bool FileStore::empty() {
    const std::lock_guard lock(mutex_);
    refresh();
    return marks_.empty();
}

std::optional<Taint> FileStore::find(std::span<const Mark> marks) {
    const std::lock_guard lock(mutex_);
    refresh();
    std::optional<Taint> found;
    for (const Mark& mark : marks) {
        const auto it = marks_.find(mark);
        if (it == marks_.end()) continue;
        if (!found || it->second.sensitivity > found->sensitivity)
            found = Taint{id_of(it->second.conversation), it->second.sensitivity};
    }
    return found;
}

Status FileStore::add(std::span<const Mark> marks, const Taint& taint) {
    const std::lock_guard lock(mutex_);
    const Entry entry{conversation_of(taint.id).value_or(0), clock_.wall_ns(), taint.sensitivity};
    std::string records;
    for (const Mark& mark : marks) {
        const auto it = marks_.find(mark);
        if (it != marks_.end() && it->second.sensitivity >= taint.sensitivity) continue;
        remember(mark, entry);
        records += record(mark, entry, false);
    }
    return records.empty() ? Status() : append(records);
}

std::vector<TaintStore::Summary> FileStore::list() {
    const std::lock_guard lock(mutex_);
    refresh();
    std::map<std::uint64_t, Summary> by_conversation;
    for (const auto& [mark, entry] : marks_) {
        Summary& s =
            by_conversation
                .try_emplace(entry.conversation, Summary{id_of(entry.conversation),
                                                         entry.sensitivity, 0, entry.wall_ns})
                .first->second;
        s.sensitivity = std::max(s.sensitivity, entry.sensitivity);
        s.first_wall_ns = std::min(s.first_wall_ns, entry.wall_ns);
        ++s.n_marks;
    }
    std::vector<Summary> all;
    for (auto& [id, summary] : by_conversation) all.push_back(std::move(summary));
    std::ranges::sort(all, {}, &Summary::first_wall_ns);
    return all;
}

Result<std::int64_t> FileStore::release(const std::string& id) {
    const std::lock_guard lock(mutex_);
    refresh();
    const auto conversation = conversation_of(id);
    const auto is_of = [&](const auto& item) { return item.second.conversation == *conversation; };
    if (!conversation || std::ranges::none_of(marks_, is_of))
        return fail(ErrorKind::not_found,
                    format("no conversation is marked as \"{}\"; `hearth taint list` shows what is",
                           id.substr(0, 80)));
    // Written first: a release that is not, would come back with the next start.
    const Entry entry{*conversation, clock_.wall_ns(), chat::Sensitivity::public_};
    HEARTH_CHECK_OK(append(record(Mark{}, entry, true)));
    return forget(*conversation);
}

}  // namespace

std::string new_taint_id() {
    const std::string bytes = random_bytes(8);
    return id_of(get<std::uint64_t>(bytes));
}

Result<std::unique_ptr<TaintStore>> TaintStore::open(const std::string& folder, Secret key,
                                                     const Clock& clock) {
    HEARTH_CHECK_OK(make_folders(folder));
    auto store = std::make_unique<FileStore>(folder + "/taint.marks", std::move(key), clock);
    HEARTH_CHECK_OK(store->load());
    return store;
}

}  // namespace hearth::route
