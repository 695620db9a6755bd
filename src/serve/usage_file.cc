#include "serve/usage_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/check.h"
#include "base/format.h"
#include "base/json.h"
#include "base/log.h"
#include "serve/key_token.h"
#include "serve/limits.h"

namespace hearth::serve {
namespace {

struct Member {
    const char* name;
    std::int64_t KeyUsage::*value;
};
constexpr std::array kMembers{Member{"day", &KeyUsage::day},
                              Member{"month", &KeyUsage::month},
                              Member{"requests_day", &KeyUsage::requests_day},
                              Member{"tokens_day", &KeyUsage::tokens_day},
                              Member{"microusd_day", &KeyUsage::microusd_day},
                              Member{"egress_bytes_day", &KeyUsage::egress_bytes_day},
                              Member{"tokens_month", &KeyUsage::tokens_month},
                              Member{"microusd_month", &KeyUsage::microusd_month},
                              Member{"last_used_s", &KeyUsage::last_used_s}};
// A line begins with this, eight hex digits, quote and comma.
constexpr std::string_view kCheckHead = "{\"check\":\"";
constexpr std::size_t kCheckBytes = kCheckHead.size() + 8 + 2;
// The longest line: the check, the key, nine numbers of 19 digits with their names, braces.
static_assert(kCheckBytes + kKeyIdBytes + 9 * (19 + 22) + 32 < UsageFile::kLineBytes);

constexpr std::size_t kFileBytesMax = std::size_t(kKeysMax) * UsageFile::kLineBytes;

// Of what follows it, up to the last brace.
std::string check_of(std::string_view rest) {
    const std::string digest = sha256_hex(rest.substr(0, rest.rfind('}') + 1));
    return format("{}{}\",", kCheckHead, digest.substr(0, 8));
}

// What has no check was not written by us.
bool is_torn(std::string_view line) {
    return line.starts_with(kCheckHead) &&
           (line.size() < kCheckBytes || !line.starts_with(check_of(line.substr(kCheckBytes))));
}

// What is there from an offset on, at most so many bytes. Nothing: errno says why.
std::optional<std::string> read_from(const Fd& fd, std::size_t offset, std::size_t n_max) {
    std::string bytes(n_max, '\0');
    std::size_t n = 0;
    while (n < bytes.size()) {
        const ssize_t got =
            ::pread(fd.get(), bytes.data() + n, bytes.size() - n, off_t(offset + n));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return std::nullopt;
        if (got == 0) break;
        n += std::size_t(got);
    }
    bytes.resize(n);
    return bytes;
}

// 0 or an errno; EWOULDBLOCK after the wait. Waits are slept in turns, the first ones as short as
// another's work on a line.
int lock_within(int fd, std::int64_t wait_ms) {
    constexpr std::int64_t kTurnUsMax = 1000;
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(wait_ms);
    for (std::int64_t turn_us = 10; ::flock(fd, LOCK_EX | LOCK_NB) != 0;) {
        if (errno == EINTR) continue;
        if (errno != EWOULDBLOCK || std::chrono::steady_clock::now() >= until) return errno;
        turn_us = std::min(2 * turn_us, kTurnUsMax);
        std::this_thread::sleep_for(std::chrono::microseconds(turn_us));
    }
    return 0;
}

}  // namespace

std::int64_t month_of_day(std::int64_t day) {
    const std::chrono::year_month_day date{std::chrono::sys_days(std::chrono::days(day))};
    return (std::int64_t(int(date.year())) - 1970) * 12 + std::int64_t(unsigned(date.month())) - 1;
}

std::int64_t first_day_of_month(std::int64_t month) {
    const std::chrono::year_month_day date{std::chrono::year(int(1970 + month / 12)),
                                           std::chrono::month(unsigned(month % 12 + 1)),
                                           std::chrono::day(1)};
    return std::chrono::sys_days(date).time_since_epoch().count();
}

std::string usage_line(const KeyUsage& usage) {
    JsonWriter out;
    out.begin_object().field("key", usage.key_id);
    for (const Member& member : kMembers) out.field(member.name, usage.*member.value);
    std::string line = out.end_object().take().substr(1);
    line = check_of(line) + line;
    CHECK(line.size() < UsageFile::kLineBytes);
    line.resize(UsageFile::kLineBytes - 1, ' ');
    return line + '\n';
}

KeyUsage parse_usage_line(std::string_view line) {
    if (is_torn(line)) return {};
    const auto json = parse_json(line, {.depth = 2, .keys_per_object = 32, .nodes = 64});
    if (!json || !json->is_object()) return {};
    const auto key = json->find("key");
    if (key == json->end() || !key->is_string()) return {};
    KeyUsage usage;
    usage.key_id = key->get<std::string>();
    if (!is_key_id(usage.key_id)) return {};
    for (const Member& member : kMembers) {
        const auto it = json->find(member.name);
        if (it == json->end() || !it->is_number_integer()) return {};
        // Numbers past the signed range read as unsigned: they are no total of ours.
        if (it->is_number_unsigned() && it->get<std::uint64_t>() > std::uint64_t(kUsageMax))
            return {};
        usage.*member.value = it->get<std::int64_t>();
        if (usage.*member.value < 0 || usage.*member.value > kUsageMax) return {};
    }
    return usage;
}

std::vector<KeyUsage> parse_usage(std::string_view bytes) {
    std::vector<KeyUsage> lines;
    for (std::size_t at = 0; at < bytes.size() && lines.size() < std::size_t(kKeysMax);
         at += UsageFile::kLineBytes)
        lines.push_back(parse_usage_line(bytes.substr(at, UsageFile::kLineBytes)));
    return lines;
}

// Without the lock: whoever stops this process must not stop all that count. A line that came half
// old and half new does not match its check, and is read again a moment later.
std::vector<KeyUsage> read_usage(const std::string& path) {
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!fd) return {};
    std::vector<KeyUsage> lines = parse_usage(read_from(fd, 0, kFileBytesMax).value_or(""));
    const auto is_damaged = [](const KeyUsage& usage) { return usage.key_id.empty(); };
    for (int n = 1; n < kUsageReadsMax && std::ranges::any_of(lines, is_damaged); ++n) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        for (std::size_t at = 0; at < lines.size(); ++at)
            if (is_damaged(lines[at]))
                lines[at] = parse_usage_line(
                    read_from(fd, at * UsageFile::kLineBytes, UsageFile::kLineBytes).value_or(""));
    }
    return lines;
}

Result<UsageFile> UsageFile::open(const std::string& path) {
    UsageFile file;
    file.path_ = path;
    file.fd_ =
        Fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
    struct stat info;
    if (!file.fd_ || ::fstat(file.fd_.get(), &info) != 0)
        return fail(ErrorKind::internal, format("cannot open {}: {}", path, std::strerror(errno)));
    if (!S_ISREG(info.st_mode) || (info.st_mode & 077) != 0 || info.st_uid != ::geteuid())
        return fail(ErrorKind::invalid_request,
                    format("{} must be a file of mode 0600 that belongs to this user", path));
    if (info.st_size > off_t(kFileBytesMax))
        return fail(ErrorKind::invalid_request,
                    format("{} is larger than {} bytes, which {} keys need; end all servers and "
                           "move it away, totals of today then begin at zero",
                           path, kFileBytesMax, kKeysMax));
    return file;
}

bool UsageFile::lock() {
    const int error = lock_within(fd_.get(), is_stuck_ ? kUsageLockLookMs : kUsageLockWaitMs);
    if (error == 0 && is_stuck_) log_info("usage_lock_free", {{"file", path_}});
    if (error != 0 && !is_stuck_) {
        const char* const why =
            error == EWOULDBLOCK
                ? "another process keeps it locked; lslocks names it: let it go on (kill -CONT) or "
                  "end it. Until then nothing leaves for keys with bounds of a day or a month"
                : std::strerror(error);
        log_error("usage_lock_stuck", {{"file", path_}, {"why", why}});
    }
    is_stuck_ = error != 0;
    return error == 0;
}

void UsageFile::unlock() {
    (void)::flock(fd_.get(), LOCK_UN);
}

std::optional<std::vector<UsageFile::Line>> UsageFile::news() {
    std::vector<Line> lines;
    const auto look = [&](std::size_t at, std::string text) {
        KeyUsage usage = parse_usage_line(text);
        if (!usage.key_id.empty()) {
            damaged_.erase(at);
            lines.push_back({at, std::move(text), std::move(usage)});
        } else if (damaged_.insert(at).second) {
            log_warn("usage_line_damaged", {{"file", path_}, {"line", std::int64_t(at + 1)}});
        }
    };
    for (const std::size_t at : std::set(damaged_)) look(at, read(at).value_or(""));
    struct stat info;
    if (::fstat(fd_.get(), &info) != 0) return std::nullopt;
    const std::size_t n_there =
        std::min((std::size_t(info.st_size) + kLineBytes - 1) / kLineBytes, std::size_t(kKeysMax));
    if (n_there <= n_lines_) return lines;
    const auto tail = read(n_lines_, n_there - n_lines_);
    if (!tail) return std::nullopt;
    for (std::size_t at = 0; at < tail->size(); at += kLineBytes)
        look(n_lines_++, tail->substr(at, kLineBytes));
    return lines;
}

std::optional<std::string> UsageFile::read(std::size_t line, std::size_t n) {
    auto bytes = read_from(fd_, line * kLineBytes, n * kLineBytes);
    if (!bytes && !read_failed_)
        log_error("usage_not_read", {{"file", path_}, {"why", std::strerror(errno)}});
    read_failed_ = !bytes;
    return bytes;
}

bool UsageFile::write(std::size_t line, const std::string& text) {
    const bool fits = line < std::size_t(kKeysMax);
    const ssize_t n =
        fits ? ::pwrite(fd_.get(), text.data(), text.size(), off_t(line * kLineBytes)) : 0;
    const bool ok = n == ssize_t(text.size());
    if (!ok && !write_failed_)
        log_error("usage_not_written",
                  {{"file", path_},
                   {"why",
                    fits ? std::strerror(errno) : "it is full; end all servers and move it away"}});
    write_failed_ = !ok;
    if (ok) n_lines_ = std::max(n_lines_, line + 1);
    return ok;
}

}  // namespace hearth::serve
