// The writer: checkpoints, syncs, a disk that refuses, a file that breaks while it is open.
#include "journal/writer.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <random>

#include "base/format.h"
#include "journal/limits.h"
#include "support/data.h"

namespace hearth::journal {
namespace {

using testing::HasSubstr;

std::unique_ptr<Writer> opened(const std::string& folder, Sync sync = Sync::none) {
    auto writer = Writer::open({.folder = folder, .sync = sync}, system_clock());
    EXPECT_TRUE(writer.has_value()) << (writer ? "" : writer.error().message);
    return writer ? std::move(*writer) : nullptr;
}

std::vector<StampedRow> rows(int n, const std::string& prefix, std::size_t n_bytes = 100) {
    std::vector<StampedRow> out;
    for (int i = 0; i < n; ++i)
        out.push_back({.wall_ns = i + 1,
                       .row = {.event = "decision",
                               .request_id = format("{}{}", prefix, i),
                               .json = "\"" + std::string(n_bytes, 'x') + "\"",
                               .sums = {}}});
    return out;
}

std::int64_t size_of(const std::string& path) {
    struct stat info{};
    return ::stat(path.c_str(), &info) == 0 ? std::int64_t(info.st_size) : -1;
}

std::size_t n_entries(const std::string& folder) {
    const auto entries = read_tail(folder, kTailMax);
    EXPECT_TRUE(entries.has_value()) << (entries ? "" : entries.error().message);
    return entries ? entries->size() : 0;
}

TEST(JournalWriter, checkpoints_reset_the_wal) {
    const std::string folder = test::temp_folder() + "/journal";
    const auto writer = opened(folder);
    ASSERT_TRUE(writer->write(rows(1000, "a")));
    EXPECT_GT(writer->wal_pages(), 10);
    ASSERT_TRUE(writer->checkpoint());
    EXPECT_EQ(writer->wal_pages(), 0);
    // The next write starts the WAL over: it holds that write only.
    ASSERT_TRUE(writer->write(rows(1, "b")));
    EXPECT_LT(writer->wal_pages(), 10);
    EXPECT_EQ(n_entries(folder), 1001u);
}

TEST(JournalWriter, a_reader_delays_a_checkpoint_and_breaks_nothing) {
    const std::string folder = test::temp_folder() + "/journal";
    const auto writer = opened(folder);
    ASSERT_TRUE(writer->write(rows(10, "a")));
    sqlite3* reader = nullptr;
    ASSERT_EQ(sqlite3_open_v2(writer->path().c_str(), &reader, SQLITE_OPEN_READONLY, nullptr),
              SQLITE_OK);
    ASSERT_EQ(
        sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM entries", nullptr, nullptr, nullptr),
        SQLITE_OK);
    ASSERT_TRUE(writer->write(rows(1000, "b")));
    ASSERT_TRUE(writer->checkpoint());
    EXPECT_GT(writer->wal_pages(), 0);  // the reader still needs its snapshot
    ASSERT_EQ(sqlite3_db_config(reader, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr), SQLITE_OK);
    sqlite3_close(reader);
    ASSERT_TRUE(writer->checkpoint());
    EXPECT_EQ(writer->wal_pages(), 0);
    EXPECT_EQ(n_entries(folder), 1010u);
}

TEST(JournalWriter, only_group_asks_to_be_synced) {
    for (const Sync sync : {Sync::none, Sync::group, Sync::each}) {
        const auto writer = opened(test::temp_folder() + "/journal", sync);
        EXPECT_FALSE(writer->needs_sync());
        ASSERT_TRUE(writer->write(rows(3, "a")));
        EXPECT_EQ(writer->needs_sync(), sync == Sync::group);
        EXPECT_TRUE(writer->sync());
        EXPECT_FALSE(writer->needs_sync());
    }
}

TEST(JournalWriter, the_last_close_leaves_one_file) {
    const std::string folder = test::temp_folder() + "/journal";
    {
        ASSERT_TRUE(opened(folder)->write(rows(50, "a")));
    }
    EXPECT_EQ(size_of(folder + "/journal-0.db-wal"), -1);
    EXPECT_EQ(size_of(folder + "/journal-0.db-shm"), -1);
    EXPECT_EQ(n_entries(folder), 50u);
    // A reader of a closed journal leaves nothing that disturbs the next writer.
    ASSERT_TRUE(opened(folder)->write(rows(1, "b")));
    EXPECT_EQ(n_entries(folder), 51u);
}

// A limit on file sizes stands for a full disk: write(2) fails in the middle of a transaction.
class FileSizeLimit {
  public:
    explicit FileSizeLimit(rlim_t n_bytes) {
        ::getrlimit(RLIMIT_FSIZE, &before_);
        old_handler_ = ::signal(SIGXFSZ, SIG_IGN);
        const rlimit limit{.rlim_cur = n_bytes, .rlim_max = before_.rlim_max};
        ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    ~FileSizeLimit() {
        ::setrlimit(RLIMIT_FSIZE, &before_);
        ::signal(SIGXFSZ, old_handler_);
    }

  private:
    rlimit before_{};
    sighandler_t old_handler_ = SIG_DFL;
};

TEST(JournalWriter, a_disk_that_refuses_fails_the_whole_batch_and_nothing_else) {
    const std::string folder = test::temp_folder() + "/journal";
    const auto writer = opened(folder);
    ASSERT_TRUE(writer->write(rows(10, "before")));
    {
        const FileSizeLimit limit(64 << 10);
        const Status refused = writer->write(rows(100, "lost", 4000));
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().kind, ErrorKind::internal);
        EXPECT_THAT(refused.error().message, HasSubstr("the disk"));
        EXPECT_EQ(n_entries(folder), 10u);
        ASSERT_FALSE(writer->write(rows(100, "lost", 4000)));
    }
    ASSERT_TRUE(writer->write(rows(10, "after")));
    EXPECT_EQ(n_entries(folder), 20u);
}

TEST(JournalWriter, a_file_that_breaks_while_it_is_open_is_set_aside) {
    const std::string folder = test::temp_folder() + "/journal";
    const std::uint64_t seed = 11;
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const auto scattered = [&](int n) {
        auto out = rows(n, "");
        for (auto& row : out) row.row.request_id = format("{:016x}-{:016x}", random(), random());
        return out;
    };
    const auto writer = opened(folder);
    // More index pages than SQLite keeps in memory (2 MB), so that the break is read.
    for (int batch = 0; batch < 60; ++batch) ASSERT_TRUE(writer->write(scattered(1000)));
    ASSERT_TRUE(writer->checkpoint());
    ASSERT_EQ(writer->wal_pages(), 0);
    const std::int64_t n_bytes = size_of(writer->path());
    ASSERT_GT(n_bytes, 8 << 20);
    {
        sqlite3* other = nullptr;  // through SQLite's own file layer, so that its locks stay
        ASSERT_EQ(sqlite3_open(writer->path().c_str(), &other), SQLITE_OK);
        sqlite3_file* file = nullptr;
        ASSERT_EQ(sqlite3_file_control(other, "main", SQLITE_FCNTL_FILE_POINTER, &file), SQLITE_OK);
        const std::string junk(4096, '\xa5');
        for (std::int64_t at = 4096; at < n_bytes; at += 4096)
            ASSERT_EQ(file->pMethods->xWrite(file, junk.data(), 4096, at), SQLITE_OK);
        sqlite3_db_config(other, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
        sqlite3_close(other);
    }
    // The batch that meets the damage goes to a new file.
    ASSERT_TRUE(writer->write(scattered(1000)));
    EXPECT_EQ(n_entries(folder), 1000u);
    EXPECT_LT(size_of(writer->path()), 8 << 20);
}

}  // namespace
}  // namespace hearth::journal
