// Marks: what is found again however it is sent, what is not, and that it stays so.
#include "route/taint.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <random>

#include "base/file.h"
#include "support/data.h"

namespace hearth::route {
namespace {

using chat::Sensitivity;

const Secret kKey("0123456789abcdef0123456789abcdef");
const std::string kAnswer =
    "The tumour board met on Tuesday and suggests another round of treatment in spring.\n"
    "Short line.\n"
    "Her insurer has been told, and the second opinion will be with us before the end of May.";

std::unique_ptr<TaintStore> open(const std::string& folder, const Secret& key = kKey) {
    auto store = TaintStore::open(folder, key);
    EXPECT_TRUE(store) << store.error().message;
    return std::move(*store);
}

bool meets(const std::string& marked, const std::string& other) {
    const TextMarks a = marks_of(kKey, marked), b = marks_of(kKey, other);
    return std::ranges::any_of(b.anywhere, [&](const Mark& m) {
        return std::ranges::find(a.anywhere, m) != a.anywhere.end();
    });
}

TEST(Taint, space_case_and_line_breaks_do_not_shed_it) {
    std::string loud, wrapped, spaced;
    for (const char c : kAnswer) {
        loud += char(std::toupper(c));
        wrapped += c == ' ' ? '\n' : c;
        spaced += c;
        if (c == ' ') spaced += "\t \xc2\xa0\xe2\x80\x8b";  // no-break and zero-width spaces
    }
    EXPECT_TRUE(meets(kAnswer, kAnswer));
    EXPECT_TRUE(meets(kAnswer, loud));
    EXPECT_TRUE(meets(kAnswer, wrapped));
    EXPECT_TRUE(meets(kAnswer, "\r\n" + spaced + "\n\n"));
    const std::string umlauts =
        "ÄÖÜ ÀÉ ΑΩ ЖЁ ist hier lang genug, um überall als dasselbe zu gelten, bitte";
    const std::string small =
        "äöü àé αω жё ist hier lang genug, um überall als dasselbe zu gelten, bitte";
    EXPECT_TRUE(meets(umlauts, small));
}

TEST(Taint, a_long_line_is_found_inside_another_text) {
    const std::string line = kAnswer.substr(kAnswer.rfind('\n') + 1);
    EXPECT_TRUE(meets(kAnswer, "Please translate:\n" + line + "\nThank you."));
    EXPECT_TRUE(meets(line, "1. first\n  " + line));
}

TEST(Taint, other_words_and_short_lines_are_other_texts) {
    std::string changed = kAnswer;
    for (std::size_t at; (at = changed.find("the")) != changed.npos;) changed.replace(at, 3, "a");
    EXPECT_FALSE(meets(kAnswer, changed));
    EXPECT_FALSE(meets(kAnswer, "Short line."));
    EXPECT_FALSE(meets("I am sorry, I cannot help.", "I am sorry, I cannot help."));
    EXPECT_TRUE(marks_of(kKey, " \n\t").empty);
}

TEST(Taint, another_key_or_conversation_gives_another_mark) {
    const TextMarks a = marks_of(kKey, kAnswer), b = marks_of(Secret("other"), kAnswer);
    EXPECT_NE(a.whole, b.whole);
    const Mark one = marks_of(kKey, "Hello").whole, two = marks_of(kKey, "Good day").whole;
    EXPECT_NE(bound_mark(kKey, one, a.whole), bound_mark(kKey, two, a.whole));
    EXPECT_EQ(bound_mark(kKey, one, a.whole), bound_mark(kKey, one, marks_of(kKey, kAnswer).whole));
}

TEST(Taint, pieces_of_a_stream_leave_the_marks_of_the_whole) {
    std::mt19937 random(7);
    for (int round = 0; round < 50; ++round) {
        Marker marker(kKey);
        for (std::size_t at = 0; at < kAnswer.size();) {
            const std::size_t n = 1 + random() % 9;
            marker.add(std::string_view(kAnswer).substr(at, n));
            at += n;
        }
        EXPECT_EQ(marker.finish().anywhere, marks_of(kKey, kAnswer).anywhere);
    }
}

TEST(TaintStore, marks_outlive_the_process_and_keep_the_stronger_class) {
    const std::string folder = test::temp_folder();
    const auto marks = marks_of(kKey, kAnswer).anywhere;
    const Taint weak{new_taint_id(), Sensitivity::confidential};
    const Taint strong{new_taint_id(), Sensitivity::restricted};
    {
        const auto store = open(folder);
        EXPECT_TRUE(store->empty());
        ASSERT_TRUE(store->add(marks, weak));
        EXPECT_EQ(store->find(marks)->id, weak.id);
        ASSERT_TRUE(store->add(marks, strong));
        ASSERT_TRUE(store->add(marks, weak));
        EXPECT_EQ(store->find(marks)->sensitivity, Sensitivity::restricted);
    }
    const auto store = open(folder);
    ASSERT_TRUE(store->find(marks));
    EXPECT_EQ(store->find(marks)->id, strong.id);
    EXPECT_EQ(store->find(marks)->sensitivity, Sensitivity::restricted);
    EXPECT_FALSE(store->find(marks_of(kKey, std::string(80, 'x')).anywhere));
}

TEST(TaintStore, two_processes_see_what_the_other_wrote) {
    const std::string folder = test::temp_folder();
    const auto one = open(folder), two = open(folder);
    const auto marks = marks_of(kKey, kAnswer).anywhere;
    const auto others = marks_of(kKey, std::string(100, 'z')).anywhere;
    const Taint taint{new_taint_id(), Sensitivity::restricted};
    ASSERT_TRUE(one->add(marks, taint));
    EXPECT_TRUE(two->find(marks));
    ASSERT_TRUE(two->add(others, {new_taint_id(), Sensitivity::confidential}));
    EXPECT_TRUE(one->find(others));
    EXPECT_EQ(one->list().size(), 2u);
    ASSERT_TRUE(two->release(taint.id));
    EXPECT_FALSE(one->find(marks));
    EXPECT_TRUE(one->find(others));
}

TEST(TaintStore, a_release_is_for_good_and_for_one_conversation) {
    const std::string folder = test::temp_folder();
    const auto marks = marks_of(kKey, kAnswer).anywhere;
    const Taint taint{new_taint_id(), Sensitivity::restricted};
    {
        const auto store = open(folder);
        ASSERT_TRUE(store->add(marks, taint));
        const auto refused = store->release("taint-0000000000000000");
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().kind, ErrorKind::not_found);
        EXPECT_FALSE(store->release("nonsense"));
        const auto released = store->release(taint.id);
        ASSERT_TRUE(released);
        EXPECT_EQ(*released, std::int64_t(marks.size()));
    }
    EXPECT_FALSE(open(folder)->find(marks));
}

TEST(TaintStore, a_torn_tail_and_foreign_records_are_passed_over) {
    const std::string folder = test::temp_folder();
    const std::string file = folder + "/taint.marks";
    const auto marks = marks_of(kKey, kAnswer).anywhere;
    ASSERT_TRUE(open(folder)->add(marks, {new_taint_id(), Sensitivity::restricted}));
    const std::string whole = *read_file(file, 1 << 20);
    for (std::size_t n = 1; n < 48; n += 11) {  // a writer that died
        ASSERT_TRUE(write_file(file, whole + whole.substr(16, n)));
        const auto store = open(folder);
        EXPECT_TRUE(store->find(marks));
        const auto more = marks_of(kKey, std::string(90, 'q')).anywhere;
        ASSERT_TRUE(store->add(more, {new_taint_id(), Sensitivity::restricted}));
        EXPECT_TRUE(open(folder)->find(more)) << n;
    }
    std::string altered = whole;
    altered[20] ^= 1;
    ASSERT_TRUE(write_file(file, altered));
    EXPECT_LT(open(folder)->list().empty() ? 0 : open(folder)->list()[0].n_marks,
              std::int64_t(marks.size()));
    EXPECT_TRUE(open(folder, Secret("another"))->empty());
    ASSERT_TRUE(write_file(file, "something else altogether"));
    EXPECT_FALSE(TaintStore::open(folder, kKey));
}

TEST(TaintStore, the_file_holds_no_text_and_is_for_its_user_alone) {
    const std::string folder = test::temp_folder();
    ASSERT_TRUE(open(folder)->add(marks_of(kKey, kAnswer).anywhere,
                                  {new_taint_id(), Sensitivity::restricted}));
    const std::string bytes = *read_file(folder + "/taint.marks", 1 << 20);
    EXPECT_EQ(bytes.find("tumour"), bytes.npos);
    EXPECT_EQ(bytes.size() % 48, 16u);
    struct stat info{};
    ASSERT_EQ(::stat((folder + "/taint.marks").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u);
}

}  // namespace
}  // namespace hearth::route
