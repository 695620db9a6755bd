#include "egress/opener.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string_view>

#include "base/format.h"
#include "base/log.h"
#include "egress/limits.h"
#include "egress/message.h"
#include "egress/sandbox.h"

namespace hearth::egress {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".gguf";
constexpr char kOpened = 'o';  // first byte of an answer; else an ErrorKind, and why

void add_folders_of(std::vector<std::string>& out, const std::string& file) {
    std::error_code ignored;
    const fs::path parent = fs::path(file).parent_path();
    out.push_back(parent.empty() ? "." : parent.string());
    const fs::path target = fs::canonical(file, ignored);  // where a link leads
    if (!target.empty()) out.push_back(target.parent_path().string());
}

FileRules files_of(const OpenerRules& rules) {
    FileRules out{.restrict_reads = true, .restrict_writes = true};
    out.read = {"/proc/self/task", rules.folder};  // the sandbox lists its threads
    for (const std::string& file : rules.files) add_folders_of(out.read, file);
    std::error_code error, ignored;
    for (fs::directory_iterator it(rules.folder, error), end; !error && it != end;
         it.increment(error))
        if (it->is_symlink(ignored)) add_folders_of(out.read, it->path().string());
    std::ranges::sort(out.read);
    const auto twice = std::ranges::unique(out.read);
    out.read.erase(twice.begin(), twice.end());
    return out;
}

Result<Fd> open_by(const OpenerRules& rules, const std::string& path) {
    if (!may_open(rules, path))
        return fail(ErrorKind::forbidden_by_policy,
                    format("{} is none of the model files that this program was started with; name "
                           "it on the command line, or put it into {}",
                           path, rules.folder));
    return MappedFile::open_regular(path);
}

}  // namespace

bool may_open(const OpenerRules& rules, const std::string& path) {
    if (path.empty() || path.size() > kPathBytesMax || path.find('\0') != path.npos) return false;
    if (std::ranges::find(rules.files, path) != rules.files.end()) return true;
    const std::string prefix = rules.folder + "/";  // a name holds no other
    return !rules.folder.empty() && path.starts_with(prefix) && path.ends_with(kSuffix) &&
           path.find('/', prefix.size()) == path.npos;
}

Result<std::unique_ptr<Opener>> Opener::start(const OpenerRules& rules) {
    std::vector<std::string> arguments{rules.folder};
    arguments.insert(arguments.end(), rules.files.begin(), rules.files.end());
    HEARTH_TRY(Child child, start_child(kOpenerTask, arguments));
    return std::unique_ptr<Opener>(new Opener(std::move(child)));
}

Result<Fd> Opener::open(const std::string& path) {
    if (path.empty() || path.size() > kPathBytesMax)  // an empty packet is the channel's end
        return fail(ErrorKind::invalid_request,
                    format("a path of {} bytes; it has 1 to {}", path.size(), kPathBytesMax));
    const std::lock_guard lock(mutex_);
    const auto sent = send_packet(child_.channel.get(), path);
    auto answer = sent && *sent ? receive_packet(child_.channel.get())
                                : Result<Packet>(fail(ErrorKind::internal, "not sent"));
    if (!answer || answer->bytes.empty())
        return fail(ErrorKind::internal,
                    format("cannot open {}: the process that opens model files ended; restart "
                           "hearth",
                           path));
    if (answer->bytes[0] == kOpened && answer->fd) return std::move(answer->fd);
    return fail(ErrorKind(answer->bytes[0]), answer->bytes.substr(1));
}

int opener_main(int channel, const std::vector<std::string>& arguments) {
    if (arguments.empty() || !take_channel(channel)) {
        std::fprintf(stderr, "hearth %s is started by hearth itself, not by hand\n", kOpenerTask);
        return 2;
    }
    const Fd control(channel);
    const OpenerRules rules{.folder = arguments[0],
                            .files = {arguments.begin() + 1, arguments.end()}};
    if (const Status confined = enter_sandbox(files_of(rules)); !confined) {
        log_error("model_opener", {{"error", confined.error().message}});
        return 1;
    }
    for (;;) {
        const auto question = receive_packet(control.get());
        if (!question) return 1;
        if (question->bytes.empty()) return 0;  // the main process is gone
        const auto file = open_by(rules, question->bytes);
        const std::string answer =
            file ? std::string(1, kOpened)
                 : std::string(1, char(file.error().kind)) + file.error().message;
        const auto sent = send_packet(control.get(), answer, file ? file->get() : -1);
        if (!sent || !*sent) return 1;
    }
}

}  // namespace hearth::egress
