#include "journal/history.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/format.h"
#include "base/json.h"

namespace hearth::journal {
namespace {

std::unexpected<Error> refused(const std::string& path, const char* what) {
    return fail(ErrorKind::internal, format("cannot {} {}: {}", what, path, std::strerror(errno)));
}

}  // namespace

Status append_history(const std::string& path, std::string_view json) {
    if (json.empty() || json.size() > kHistoryLineBytes || json.find('\n') != json.npos)
        return fail(ErrorKind::invalid_request,
                    format("a line of {} has {} bytes, expected one line of 1 to {}", path,
                           json.size(), kHistoryLineBytes));
    HEARTH_CHECK_OK(make_folders(std::filesystem::path(path).parent_path().string()));
    const Fd file(open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0600));
    if (!file) return refused(path, "open");
    struct stat info{};
    if (fstat(file.get(), &info) != 0) return refused(path, "look at");
    if (!S_ISREG(info.st_mode))
        return fail(ErrorKind::invalid_request, format("{} is no regular file", path));
    while (flock(file.get(), LOCK_EX) != 0)
        if (errno != EINTR) return refused(path, "lock");
    if (fstat(file.get(), &info) != 0) return refused(path, "look at");
    std::string text;
    char last = '\n';
    if (info.st_size > 0 && pread(file.get(), &last, 1, info.st_size - 1) != 1)
        return refused(path, "read");
    if (last != '\n') text += '\n';
    text.append(json);
    text += '\n';
    const ssize_t n = write(file.get(), text.data(), text.size());
    if (n != ssize_t(text.size())) {
        // What a full disk took in part would read as a line of its own.
        if (n > 0 && ftruncate(file.get(), info.st_size) != 0) return refused(path, "repair");
        return refused(path, "write to");
    }
    if (fdatasync(file.get()) != 0) return refused(path, "save");
    return {};
}

Result<std::vector<std::string>> read_history(const std::string& path) {
    auto text = read_file(path, kHistoryBytes);
    if (!text && text.error().kind == ErrorKind::not_found) return std::vector<std::string>();
    if (!text) return std::unexpected(text.error());
    std::vector<std::string> lines;
    for (std::string_view rest = *text; !rest.empty();) {
        const std::size_t end = rest.find('\n');
        if (end == rest.npos) break;  // torn
        const std::string_view line = rest.substr(0, end);
        rest.remove_prefix(end + 1);
        if (const auto document = parse_json(line); document && document->is_object())
            lines.emplace_back(line);
    }
    return lines;
}

}  // namespace hearth::journal
