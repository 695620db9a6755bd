#include "app/content.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/crypto.h"
#include "base/file.h"
#include "base/format.h"
#include "base/log.h"

namespace hearth::app {
namespace {

// Two processes that start at once: the first links its key into place, the second finds it there.
Status make_key(const std::string& path) {
    const std::string beside = path + "." + to_hex(random_bytes(8));
    HEARTH_CHECK_OK(write_file(beside, random_bytes(kDigestBytes), 0600));
    const bool linked = ::link(beside.c_str(), path.c_str()) == 0 || errno == EEXIST;
    const int error = errno;
    ::unlink(beside.c_str());
    if (linked) return {};
    return fail(ErrorKind::internal, format("cannot make {}: {}", path, std::strerror(error)));
}

}  // namespace

Result<Secret> content_key(const Context& context) {
    const std::string path = context.folders.state + "/content.key";
    if (::access(path.c_str(), F_OK) != 0) {
        HEARTH_CHECK_OK(make_folders(context.folders.state));
        HEARTH_CHECK_OK(make_key(path));
    }
    HEARTH_TRY(std::string bytes, read_file(path, 1024));
    if (bytes.size() != kDigestBytes)
        return fail(ErrorKind::invalid_request,
                    format("{} has {} bytes, a key has {}; restore it from a backup, or move it "
                           "away to begin with a new one",
                           path, bytes.size(), kDigestBytes));
    return Secret(std::move(bytes));
}

Result<std::unique_ptr<route::TaintStore>> open_taint(const Context& context) {
    HEARTH_TRY(Secret key, content_key(context));
    return route::TaintStore::open(context.folders.state + "/taint", std::move(key));
}

Result<std::unique_ptr<serve::Inspector>> open_inspector(const Context& context, bool may_forget) {
    HEARTH_TRY(route::Detectors detectors,
               route::Detectors::make(context.settings.config().detectors));
    auto key = content_key(context);
    auto taint = open_taint(context);
    if (key && taint)
        return std::make_unique<serve::Inspector>(std::move(detectors), std::move(*taint),
                                                  std::move(*key));
    Error error = key ? std::move(taint.error()) : std::move(key.error());
    if (!may_forget) return fail(std::move(error));
    log_warn("nothing_remembered", {{"error", error.message}});
    return std::make_unique<serve::Inspector>(std::move(detectors), nullptr,
                                              Secret(random_bytes(kDigestBytes)));
}

}  // namespace hearth::app
