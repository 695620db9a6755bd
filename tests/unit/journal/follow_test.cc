// Following the journal: nothing is lost and nothing comes twice, whatever the clocks say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "journal/journal.h"
#include "support/data.h"

namespace hearth::journal {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct Follow : testing::Test {
    std::unique_ptr<Journal> open(const Clock& clock) {
        auto opened = Journal::open({.folder = folder, .sync = Sync::none}, clock);
        EXPECT_TRUE(opened) << opened.error().message;
        return std::move(*opened);
    }
    void write(Journal& journal, const char* id) {
        OutcomeRecord record;
        record.request_id = id;
        journal.append(std::move(record));
        EXPECT_TRUE(journal.flush());
    }
    std::vector<std::string> next(std::int64_t n_max = 100) {
        auto entries = read_after(folder, cursor, n_max);
        EXPECT_TRUE(entries) << entries.error().message;
        std::vector<std::string> ids;
        for (const JournalEntry& entry : *entries) ids.push_back(entry.request_id);
        return ids;
    }

    const std::string folder = test::temp_folder();
    ManualClock late, early;
    Cursor cursor;
};

TEST_F(Follow, an_earlier_stamp_in_another_slot_that_is_written_later_is_seen) {
    late.now_ns = 2'000'000'000;
    early.now_ns = 1'000'000'000;
    const auto first = open(late), second = open(early);
    write(*first, "before");
    cursor = *cursor_at_end(folder);
    write(*first, "late");
    EXPECT_THAT(next(), ElementsAre("late"));
    write(*second, "early");
    EXPECT_THAT(next(), ElementsAre("early"));
    EXPECT_THAT(next(), IsEmpty());
}

TEST_F(Follow, a_clock_that_is_set_back_hides_nothing) {
    late.now_ns = 2'000'000'000;
    const auto journal = open(late);
    write(*journal, "a");
    EXPECT_THAT(next(), ElementsAre("a"));
    late.now_ns = 1'000'000'000;
    write(*journal, "b");
    EXPECT_THAT(next(), ElementsAre("b"));
}

TEST_F(Follow, more_than_is_taken_at_once_comes_in_the_next_turns) {
    const auto journal = open(late);
    for (const char* id : {"a", "b", "c"}) write(*journal, id);
    EXPECT_THAT(next(2), ElementsAre("a", "b"));
    EXPECT_THAT(next(2), ElementsAre("c"));
}

TEST_F(Follow, entries_say_their_slot) {
    const auto first = open(late), second = open(early);
    write(*first, "a");
    write(*second, "b");
    const auto tail = read_tail(folder, 10);
    ASSERT_TRUE(tail);
    ASSERT_EQ(tail->size(), 2u);
    EXPECT_NE((*tail)[0].slot, (*tail)[1].slot);
    EXPECT_EQ((*tail)[0].seq, (*tail)[1].seq);
}

TEST_F(Follow, a_file_that_was_begun_anew_is_read_from_its_start) {
    const auto journal = open(late);
    write(*journal, "a");
    ASSERT_THAT(next(), ElementsAre("a"));
    cursor.begin()->second = 1000;  // as of the file that had this name before
    EXPECT_THAT(next(), ElementsAre("a"));
}

}  // namespace
}  // namespace hearth::journal
