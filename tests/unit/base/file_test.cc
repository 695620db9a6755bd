// Files: what is read whole, what is mapped, and what is neither.
#include "base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <thread>

#include "support/data.h"

namespace hearth {
namespace {

TEST(File, a_pipe_is_refused_as_a_map_without_waiting_for_its_writer) {
    const std::string path = test::temp_folder() + "/pipe.gguf";
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0) << std::strerror(errno);
    // Who waits for a writer here waits for ever: the alarm then ends the test as failed.
    ::alarm(60);
    const auto map = MappedFile::open(path);
    ::alarm(0);
    ASSERT_FALSE(map);
    EXPECT_EQ(map.error().kind, ErrorKind::invalid_request);
    EXPECT_EQ(map.error().message,
              path + " is a pipe, not a regular file; give the path of a file");
    // With a writer as well, whose bytes nobody takes.
    const Fd both(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_EQ(::write(both.get(), "GGUF", 4), 4);
    EXPECT_FALSE(MappedFile::open(path));
    char bytes[4];
    EXPECT_EQ(::read(both.get(), bytes, 4), 4);
}

TEST(File, folders_devices_and_missing_files_are_refused_as_maps) {
    const std::string folder = test::temp_folder();
    EXPECT_EQ(MappedFile::open(folder).error().message,
              folder + " is a folder, not a regular file; give the path of a file");
    EXPECT_EQ(MappedFile::open("/dev/null").error().message,
              "/dev/null is a device, not a regular file; give the path of a file");
    EXPECT_EQ(MappedFile::open(folder + "/none").error().kind, ErrorKind::not_found);
    // A link counts as what it names.
    ASSERT_TRUE(write_file(folder + "/file", "text"));
    ASSERT_EQ(::symlink("file", (folder + "/link").c_str()), 0);
    const auto map = MappedFile::open(folder + "/link");
    ASSERT_TRUE(map) << map.error().message;
    EXPECT_EQ(map->bytes().size(), 4u);
    ASSERT_TRUE(write_file(folder + "/empty", ""));
    const auto empty = MappedFile::open(folder + "/empty");
    ASSERT_TRUE(empty);
    EXPECT_TRUE(empty->bytes().empty());
}

TEST(File, text_comes_from_files_and_from_pipes_up_to_the_limit) {
    const std::string folder = test::temp_folder();
    ASSERT_TRUE(write_file(folder + "/file", "some text"));
    EXPECT_EQ(read_file(folder + "/file", 9).value_or(""), "some text");
    EXPECT_NE(read_file(folder + "/file", 8).error().message.find("limit of 8 bytes"),
              std::string::npos);
    EXPECT_EQ(read_file(folder + "/none", 9).error().kind, ErrorKind::not_found);
    EXPECT_EQ(read_file(folder, 9).error().kind, ErrorKind::invalid_request);
    // What `--file <(command)` gives: a pipe by its name, which is read until its writer is done.
    const std::string path = folder + "/pipe";
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    const std::string text(200'000, 'x');  // more than a pipe holds
    for (const std::size_t limit : {text.size(), text.size() - 1}) {
        ::signal(SIGPIPE, SIG_IGN);  // past the limit the reader leaves
        std::thread writer([&] {
            const Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
            for (std::string_view left = text; !left.empty();) {
                const ssize_t n = ::write(fd.get(), left.data(), left.size());
                if (n <= 0) break;
                left.remove_prefix(std::size_t(n));
            }
        });
        const auto got = read_file(path, limit);
        writer.join();
        EXPECT_EQ(got.has_value(), limit == text.size());
        EXPECT_TRUE(!got || *got == text);
    }
}

TEST(File, a_written_file_is_whole_or_absent) {
    const std::string folder = test::temp_folder();
    ASSERT_TRUE(write_file(folder + "/file", "old"));
    ASSERT_TRUE(write_file(folder + "/file", "new"));
    EXPECT_EQ(read_file(folder + "/file", 9).value_or(""), "new");
    EXPECT_FALSE(write_file(folder + "/none/file", "x"));
    ASSERT_EQ(::mkdir((folder + "/taken").c_str(), 0700), 0);
    EXPECT_FALSE(write_file(folder + "/taken", "x"));
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 2);
}

}  // namespace
}  // namespace hearth
