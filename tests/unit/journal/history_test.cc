// The history of measurements: lines that last, whoever else writes.
#include "journal/history.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <thread>
#include <vector>

#include "base/file.h"
#include "support/data.h"

namespace hearth::journal {
namespace {

using Lines = std::vector<std::string>;

class History : public testing::Test {
  protected:
    std::string path() const { return folder_ + "/state/history/bench.jsonl"; }
    Lines lines() const {
        auto read = read_history(path());
        EXPECT_TRUE(read) << read.error().message;
        return read ? *std::move(read) : Lines();
    }
    void add_raw(const std::string& bytes) {
        std::ofstream(path(), std::ios::app | std::ios::binary) << bytes;
    }
    const std::string folder_ = test::temp_folder();
};

TEST_F(History, what_was_appended_is_read_in_order) {
    EXPECT_EQ(lines(), Lines());  // no file, no error
    ASSERT_TRUE(append_history(path(), R"({"n":1})"));
    ASSERT_TRUE(append_history(path(), R"({"n":2})"));
    EXPECT_EQ(lines(), (Lines{R"({"n":1})", R"({"n":2})"}));
}

TEST_F(History, a_torn_line_costs_only_itself) {
    ASSERT_TRUE(append_history(path(), R"({"n":1})"));
    add_raw(R"({"n":2,"results":[)");  // the power went
    EXPECT_EQ(lines(), (Lines{R"({"n":1})"}));
    ASSERT_TRUE(append_history(path(), R"({"n":3})"));
    EXPECT_EQ(lines(), (Lines{R"({"n":1})", R"({"n":3})"}));
}

TEST_F(History, what_is_no_document_is_passed_over) {
    ASSERT_TRUE(append_history(path(), R"({"n":1})"));
    add_raw(std::string("\n\0\xff[1]\n17\n[]\n{\"a\":}\n", 19));
    ASSERT_TRUE(append_history(path(), R"({"n":2})"));
    EXPECT_EQ(lines(), (Lines{R"({"n":1})", R"({"n":2})"}));
}

TEST_F(History, only_one_line_of_bounded_length_is_taken) {
    for (const std::string& text : {std::string(), std::string("{}\n{}"), std::string("{}\n"),
                                    std::string(kHistoryLineBytes + 1, ' ')}) {
        const Status refused = append_history(path(), text);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().kind, ErrorKind::invalid_request);
    }
    EXPECT_EQ(lines(), Lines());
    EXPECT_TRUE(append_history(path(), "{}" + std::string(kHistoryLineBytes - 2, ' ')));
}

TEST_F(History, writers_at_the_same_time_do_not_mix) {
    constexpr int kThreads = 4, kLines = 50;
    {
        std::vector<std::jthread> writers;
        for (int t = 0; t < kThreads; ++t)
            writers.emplace_back([&, t] {
                const std::string line = "{\"by\":\"" + std::string(3000, char('a' + t)) + "\"}";
                for (int i = 0; i < kLines; ++i) EXPECT_TRUE(append_history(path(), line));
            });
    }
    std::map<char, int> n;
    for (const std::string& line : lines()) {
        ASSERT_EQ(line.size(), 3009u);
        ++n[line[7]];
    }
    EXPECT_EQ(n, (std::map<char, int>{{'a', kLines}, {'b', kLines}, {'c', kLines}, {'d', kLines}}));
}

TEST_F(History, what_is_no_file_is_refused_and_does_not_block) {
    ASSERT_TRUE(make_folders(path()));
    EXPECT_FALSE(append_history(path(), "{}"));  // a folder
}

}  // namespace
}  // namespace hearth::journal
