// The opener of model files: what it opens, what it refuses, and that the process which asks it can
// open none of them itself.
#include "egress/opener.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <map>

#include "base/format.h"
#include "egress/sandbox.h"
#include "sandbox/isolated.h"
#include "support/data.h"

namespace hearth::egress {
namespace {

using test::Ended;
using test::run_isolated;

#define NEEDS_LANDLOCK(abi)                 \
    if (protections().landlock_abi < (abi)) \
    CANNOT_RUN(                             \
        format("this kernel has Landlock ABI {}, {} is needed", protections().landlock_abi, abi))

// A models folder, a model outside it, and what nobody may have.
struct Tree {
    std::string home = test::temp_folder();
    std::string models = home + "/models", outside = home + "/downloads/m.gguf";
    std::string secret = home + "/.ssh/id";
    Tree() {
        for (const std::string& folder : {models + "/deep", home + "/downloads", home + "/.ssh"})
            (void)make_folders(folder);
        for (const std::string& file : {models + "/in.gguf", models + "/deep/x.gguf", outside,
                                        home + "/downloads/other.gguf", models + "/note.txt"})
            (void)write_file(file, "of " + file);
        (void)write_file(secret, "secret");
    }
    OpenerRules rules() const { return {.folder = models, .files = {outside}}; }
};

std::string text_of(const Fd& fd) {
    std::string text(256, '\0');
    text.resize(std::size_t(std::max<ssize_t>(0, ::pread(fd.get(), text.data(), 256, 0))));
    return text;
}
// What came of it: the file's text, or the error's kind.
std::string outcome(Opener& opener, const std::string& path) {
    const auto file = opener.open(path);
    if (file) return text_of(*file);
    return file.error().kind == ErrorKind::forbidden_by_policy ? "forbidden"
           : file.error().kind == ErrorKind::not_found         ? "not found"
                                                               : file.error().message;
}

TEST(Opener, opens_the_folders_models_and_named_files_by_their_paths) {
    const Tree tree;
    const auto opener = Opener::start(tree.rules());
    ASSERT_TRUE(opener) << opener.error().message;
    for (const std::string& path : {tree.models + "/in.gguf", tree.outside})
        EXPECT_EQ(outcome(**opener, path), "of " + path);
    EXPECT_EQ(outcome(**opener, tree.models + "/none.gguf"), "not found");
    const auto file = (*opener)->open(tree.outside);
    ASSERT_TRUE(file);
    EXPECT_EQ(::fcntl(file->get(), F_GETFL) & O_ACCMODE, O_RDONLY);
    EXPECT_EQ(::fcntl(file->get(), F_GETFD), FD_CLOEXEC);
}

TEST(Opener, refuses_every_other_path_and_goes_on) {
    const Tree tree;
    const auto opener = Opener::start(tree.rules());
    ASSERT_TRUE(opener) << opener.error().message;
    for (const std::string& path :
         {tree.secret, tree.models + "/../.ssh/id", tree.models + "/deep/x.gguf",
          tree.models + "/note.txt", tree.models, tree.home + "/downloads/other.gguf",
          tree.models + "/../downloads/other.gguf", tree.outside + "x", "./" + tree.outside,
          std::string("in.gguf"), tree.outside + std::string(1, '\0'), std::string("/"),
          tree.models + std::string(4000, 'x') + ".gguf"})
        EXPECT_EQ(outcome(**opener, path), "forbidden") << path;
    for (const std::string& path : {std::string(), std::string(4097, 'x')}) {
        const auto file = (*opener)->open(path);
        ASSERT_FALSE(file);
        EXPECT_EQ(file.error().kind, ErrorKind::invalid_request);
    }
    EXPECT_EQ(outcome(**opener, tree.outside), "of " + tree.outside);
}

TEST(Opener, opens_what_took_a_files_place_and_what_came_later) {
    const Tree tree;
    const auto opener = Opener::start(tree.rules());
    ASSERT_TRUE(opener) << opener.error().message;
    EXPECT_EQ(outcome(**opener, tree.outside), "of " + tree.outside);
    ASSERT_TRUE(write_file(tree.outside, "another"));  // renamed onto it
    ASSERT_TRUE(write_file(tree.models + "/new.gguf", "new"));
    EXPECT_EQ(outcome(**opener, tree.outside), "another");
    EXPECT_EQ(outcome(**opener, tree.models + "/new.gguf"), "new");
}

TEST(Opener, follows_links_to_models_and_opens_no_pipe_and_no_folder) {
    const Tree tree;
    ASSERT_EQ(::symlink(tree.outside.c_str(), (tree.models + "/linked.gguf").c_str()), 0);
    ASSERT_EQ(::mkfifo((tree.models + "/pipe.gguf").c_str(), 0600), 0);
    ASSERT_TRUE(make_folders(tree.models + "/folder.gguf"));
    const auto opener = Opener::start({.folder = tree.models, .files = {}});
    ASSERT_TRUE(opener) << opener.error().message;
    EXPECT_EQ(outcome(**opener, tree.models + "/linked.gguf"), "of " + tree.outside);
    EXPECT_EQ(outcome(**opener, tree.outside), "forbidden");
    for (const char* name : {"/pipe.gguf", "/folder.gguf"}) {
        const auto file = (*opener)->open(tree.models + name);
        ASSERT_FALSE(file) << name;
        EXPECT_EQ(file.error().kind, ErrorKind::invalid_request) << file.error().message;
    }
}

// A link that is put into the folder later may lead anywhere; the opener itself can read only where
// models were when it was started.
TEST(Opener, a_link_to_a_secret_leads_nowhere) {
    NEEDS_LANDLOCK(2);
    const Tree tree;
    const auto opener = Opener::start(tree.rules());
    ASSERT_TRUE(opener) << opener.error().message;
    EXPECT_EQ(outcome(**opener, tree.outside), "of " + tree.outside);  // it is confined by now
    ASSERT_EQ(::symlink(tree.secret.c_str(), (tree.models + "/s.gguf").c_str()), 0);
    const auto file = (*opener)->open(tree.models + "/s.gguf");
    ASSERT_FALSE(file);
    EXPECT_NE(file.error().message.find("Permission denied"), std::string::npos)
        << file.error().message;
}

TEST(Opener, the_process_that_asks_can_open_none_of_them) {
    if (const std::string why = test::no_namespaces(); !why.empty()) CANNOT_RUN(why);
    NEEDS_LANDLOCK(2);
    const Tree tree;
    const Ended ended = run_isolated([&]() -> std::string {
        const auto opener = Opener::start(tree.rules());
        if (!opener) return opener.error().message;
        const FileRules rules{.restrict_reads = true,
                              .restrict_writes = true,
                              .list = {tree.models},
                              .read = {"/proc"}};
        const std::string in = tree.models + "/in.gguf";
        if (!Fd(::open(in.c_str(), O_RDONLY | O_CLOEXEC))) return "the control: it is readable";
        if (const Status entered = enter_sandbox(rules); !entered) return entered.error().message;
        for (const std::string& path : {in, tree.outside, tree.secret}) {
            if (Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC))) return path + " was opened";
            if (errno != EACCES) return path + " failed otherwise";
        }
        if (!Fd(::open(tree.models.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)))
            return "the folder's names cannot be read";
        const auto file = (*opener)->open(in);
        if (!file) return file.error().message;
        if (text_of(*file) != "of " + in) return "another file came";
        const std::string again = format("/proc/self/fd/{}", file->get());
        if (Fd(::open(again.c_str(), O_RDWR | O_CLOEXEC))) return "it could be opened for writing";
        return outcome(**opener, tree.secret);
    });
    EXPECT_EQ(ended.text, "forbidden");
}

TEST(Opener, is_confined_itself_and_has_no_key) {
    ::setenv("HEARTH_TEST_SECRET", "sk-of-somebody", 1);
    const Tree tree;
    const auto opener = Opener::start(tree.rules());
    ::unsetenv("HEARTH_TEST_SECRET");
    ASSERT_TRUE(opener) << opener.error().message;
    EXPECT_EQ(outcome(**opener, tree.outside), "of " + tree.outside);  // it is confined by now
    std::ifstream status(format("/proc/{}/status", (*opener)->pid()));
    std::map<std::string, std::string> fields;
    for (std::string line; std::getline(status, line);)
        if (const auto tab = line.find(":\t"); tab != std::string::npos)
            fields[line.substr(0, tab)] = line.substr(tab + 2);
    EXPECT_EQ(fields["NoNewPrivs"], "1");
    EXPECT_EQ(fields["Seccomp"], "2");  // a filter
    EXPECT_EQ(fields["CapEff"], "0000000000000000");
    std::ifstream environment(format("/proc/{}/environ", (*opener)->pid()));
    const std::string all((std::istreambuf_iterator<char>(environment)), {});
    EXPECT_EQ(all.find("sk-of-somebody"), std::string::npos);
}

TEST(Opener, its_end_is_an_error_and_no_hang) {
    const Tree tree;
    const auto opener = Opener::start(tree.rules());
    ASSERT_TRUE(opener) << opener.error().message;
    EXPECT_EQ(outcome(**opener, tree.outside), "of " + tree.outside);
    ASSERT_EQ(::kill((*opener)->pid(), SIGKILL), 0);
    for (int i = 0; i < 2; ++i) {
        const auto file = (*opener)->open(tree.outside);
        ASSERT_FALSE(file);
        EXPECT_EQ(file.error().kind, ErrorKind::internal);
        EXPECT_NE(file.error().message.find("restart"), std::string::npos);
    }
}

TEST(Opener, ends_with_the_program_that_started_it) {
    const Tree tree;
    auto opener = Opener::start(tree.rules());
    ASSERT_TRUE(opener) << opener.error().message;
    EXPECT_EQ(outcome(**opener, tree.outside), "of " + tree.outside);
    const int pid = (*opener)->pid();
    opener->reset();
    EXPECT_EQ(::kill(pid, 0), -1);
    EXPECT_EQ(errno, ESRCH);
}

}  // namespace
}  // namespace hearth::egress
