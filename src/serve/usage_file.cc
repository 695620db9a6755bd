#include "serve/usage_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>

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
    std::int64_t KeyUsage::* value;
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
// The longest line: braces, the key, and nine numbers of 19 digits with their names.
static_assert(kKeyIdBytes + 9 * (19 + 22) + 32 < UsageFile::kLineBytes);

KeyUsage parse_line(std::string_view line) {
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

Result<std::string> read_at_most(const Fd& fd, const std::string& path, std::size_t n_max) {
    std::string bytes(n_max + 1, '\0');
    std::size_t n = 0;
    while (n < bytes.size()) {
        const ssize_t got = ::pread(fd.get(), bytes.data() + n, bytes.size() - n, off_t(n));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return fail(ErrorKind::internal,
                        format("cannot read {}: {}", path, std::strerror(errno)));
        if (got == 0) break;
        n += std::size_t(got);
    }
    if (n > n_max)
        return fail(ErrorKind::invalid_request,
                    format("{} is larger than {} bytes, which {} keys need; move it away, totals "
                           "of today then begin at zero",
                           path, n_max, kKeysMax));
    bytes.resize(n);
    return bytes;
}

constexpr std::size_t kFileBytesMax = std::size_t(kKeysMax) * UsageFile::kLineBytes;

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
    std::string line = out.end_object().take();
    CHECK(line.size() < UsageFile::kLineBytes);
    line.resize(UsageFile::kLineBytes - 1, ' ');
    return line + '\n';
}

std::vector<KeyUsage> parse_usage(std::string_view bytes) {
    std::vector<KeyUsage> lines;
    for (std::size_t at = 0; at < bytes.size() && lines.size() < std::size_t(kKeysMax);
         at += UsageFile::kLineBytes)
        lines.push_back(parse_line(bytes.substr(at, UsageFile::kLineBytes)));
    return lines;
}

std::vector<KeyUsage> read_usage(const std::string& path) {
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!fd) return {};
    const auto bytes = read_at_most(fd, path, kFileBytesMax);
    return bytes ? parse_usage(*bytes) : std::vector<KeyUsage>();
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
    if (::flock(file.fd_.get(), LOCK_EX | LOCK_NB) != 0)
        return fail(ErrorKind::overloaded, format("{} is in use by another server", path));
    HEARTH_TRY(const std::string bytes, read_at_most(file.fd_, path, kFileBytesMax));
    file.lines_ = parse_usage(bytes);
    for (std::size_t i = 0; i < file.lines_.size(); ++i) {
        if (file.lines_[i].key_id.empty())
            log_warn("usage_line_damaged", {{"file", path}, {"line", std::int64_t(i + 1)}});
    }
    return file;
}

void UsageFile::write(std::size_t line, const KeyUsage& usage) {
    if (!fd_ || line >= std::size_t(kKeysMax)) return;
    const std::string text = usage_line(usage);
    const ssize_t n = ::pwrite(fd_.get(), text.data(), text.size(), off_t(line * kLineBytes));
    if (n == ssize_t(text.size())) {
        failed_ = false;
        return;
    }
    if (!failed_) log_error("usage_not_written", {{"file", path_}, {"why", std::strerror(errno)}});
    failed_ = true;
}

}  // namespace hearth::serve
