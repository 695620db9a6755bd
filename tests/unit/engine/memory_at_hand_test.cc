#include "engine/memory_at_hand.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "support/data.h"

namespace hearth::engine {
namespace {

class Root {
  public:
    Root() : path_(test::temp_folder()) {}
    void put(const std::string& file, const std::string& text) {
        const std::filesystem::path at = path_ + file;
        std::filesystem::create_directories(at.parent_path());
        ASSERT_TRUE(write_file(at.string(), text));
    }
    std::size_t at_hand() const { return memory_at_hand(path_); }

  private:
    std::string path_;
};

constexpr const char* kMeminfo =
    "MemTotal:       24684092 kB\nMemFree:  1 kB\nMemAvailable:   1000000 kB\n";

TEST(MemoryAtHand, is_what_the_kernel_calls_available) {
    Root root;
    root.put("/proc/meminfo", kMeminfo);
    EXPECT_EQ(root.at_hand(), 1000000u * 1024);
}

TEST(MemoryAtHand, without_proc_there_is_no_limit_to_check) {
    EXPECT_EQ(Root().at_hand(), SIZE_MAX);
}

TEST(MemoryAtHand, a_cgroup_of_version_2_or_a_parent_of_it_limits_it) {
    Root root;
    root.put("/proc/meminfo", kMeminfo);
    root.put("/proc/self/cgroup", "0::/a/b\n");
    root.put("/sys/fs/cgroup/a/b/memory.max", "max\n");
    root.put("/sys/fs/cgroup/a/b/memory.current", "5000\n");
    EXPECT_EQ(root.at_hand(), 1000000u * 1024);
    root.put("/sys/fs/cgroup/a/memory.max", "100000\n");
    root.put("/sys/fs/cgroup/a/memory.current", "30000\n");
    EXPECT_EQ(root.at_hand(), 70000u);
    root.put("/sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 20000\nactive_file 3\n");
    EXPECT_EQ(root.at_hand(), 90000u);
    root.put("/sys/fs/cgroup/a/b/memory.max", "6000\n");
    EXPECT_EQ(root.at_hand(), 1000u);
    root.put("/sys/fs/cgroup/a/b/memory.max", "4000\n");  // already above its limit
    EXPECT_EQ(root.at_hand(), 0u);
}

TEST(MemoryAtHand, a_cgroup_of_version_1_limits_it) {
    Root root;
    root.put("/proc/meminfo", kMeminfo);
    root.put("/proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/docker/x\n0::/\n");
    root.put("/sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "9223372036854771712\n");
    root.put("/sys/fs/cgroup/memory/docker/x/memory.usage_in_bytes", "5000\n");
    EXPECT_EQ(root.at_hand(), 1000000u * 1024);
    // Inside a container the mount's root is the container's own group.
    root.put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "50000\n");
    root.put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "20000\n");
    root.put("/sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 7000\n");
    EXPECT_EQ(root.at_hand(), 37000u);
}

TEST(MemoryAtHand, the_last_line_counts_whole_without_a_newline) {
    for (const char* end : {"\n", ""}) {
        Root root;
        root.put("/proc/self/cgroup", std::string("1:cpu:/\n0::/group") + end);
        root.put("/sys/fs/cgroup/group/memory.max", "9000");
        root.put("/sys/fs/cgroup/group/memory.current", "2000");
        EXPECT_EQ(root.at_hand(), 7000u);
    }
}

TEST(MemoryAtHand, odd_files_are_ignored) {
    Root root;
    root.put("/proc/meminfo", "MemAvailable: many\n");
    root.put("/proc/self/cgroup", "nonsense\n0:\n\n0::/x");
    root.put("/sys/fs/cgroup/x/memory.max", "");
    EXPECT_EQ(root.at_hand(), SIZE_MAX);
}

}  // namespace
}  // namespace hearth::engine
