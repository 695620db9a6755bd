// The journal's chain from the outside: what the writer says of itself, and what verification makes
// of it across files, restarts, signers and changes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <atomic>
#include <filesystem>
#include <future>
#include <thread>

#include "audit/export.h"
#include "audit/folder.h"
#include "audit/line.h"
#include "audit/run.h"
#include "base/file.h"
#include "base/format.h"
#include "journal/journal.h"
#include "support/data.h"

namespace hearth::journal {
namespace {

using audit::Completeness;
using audit::Verdict;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Chain : testing::Test {
    JournalOptions options{.folder = test::temp_folder() + "/journal", .sync = Sync::none};
    SigningKey key{std::string(kSeedBytes, 'k')};
    std::atomic<std::int64_t> n_signed{0};

    void sign_checkpoints() {
        options.signer = [this](const CheckpointRequest& r) -> Result<SignedCheckpoint> {
            return audit::sign(key, r, 0, ++n_signed);
        };
    }
    std::unique_ptr<Journal> open(const Clock& clock = system_clock()) {
        auto journal = Journal::open(options, clock);
        EXPECT_TRUE(journal) << journal.error().message;
        return std::move(*journal);
    }
    static void append(Journal& journal, int n, std::size_t n_bytes = 10) {
        for (int i = 0; i < n; ++i) {
            OutcomeRecord record;
            record.request_id = std::to_string(i);
            record.outcome = "finished";
            record.error.assign(n_bytes, 'e');
            journal.append(std::move(record));
        }
        EXPECT_TRUE(journal.flush());
    }
    // 2,080 outcomes with a checkpoint after each 130 of them, whatever the machine does besides.
    void append_sealed(Journal& journal) {
        for (int i = 1; i <= 16; ++i) {
            append(journal, 130);
            while (n_signed < i) std::this_thread::yield();
            EXPECT_TRUE(journal.flush());
        }
    }
    audit::Trust trust() const {
        audit::Trust t;
        t.chain_key = *audit::read_key_file(options.folder + "-keys/chain.key");
        return t;
    }
    Verdict verify(const audit::Trust& t, const audit::FolderOptions& how = {}) const {
        auto verdict = audit::verify_folder(options.folder, t, how);
        EXPECT_TRUE(verdict) << verdict.error().message;
        return *verdict;
    }
    Verdict verify() const { return verify(trust()); }
    std::vector<std::string> own_events() const {
        std::vector<std::string> events;
        const auto entries = *read_tail(options.folder, 100'000, 0, Shown::all);
        for (const JournalEntry& e : entries)
            if (e.event.starts_with("audit.")) events.push_back(e.event);
        return events;
    }
    void sql(const std::string& file, const std::string& statement) const {
        sqlite3* db = nullptr;
        ASSERT_EQ(sqlite3_open((options.folder + "/" + file).c_str(), &db), SQLITE_OK);
        EXPECT_EQ(sqlite3_exec(db, statement.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
            << sqlite3_errmsg(db);
        sqlite3_close(db);
    }
    std::vector<std::string> files() const {
        std::vector<std::string> names;
        const auto parts = *audit::list_parts(options.folder);
        for (const audit::Part& part : parts)
            names.push_back(std::filesystem::path(part.path).filename().string());
        return names;
    }
};

TEST_F(Chain, a_run_says_when_it_began_and_ended_and_seals_all_between) {
    sign_checkpoints();
    append(*open(), 3);
    EXPECT_THAT(own_events(), ElementsAre("audit.open", "audit.close", "audit.checkpoint"));
    const Verdict verdict = verify();
    EXPECT_TRUE(verdict.ok) << to_text(verdict);
    EXPECT_EQ(verdict.n_records, 6);
    EXPECT_EQ(verdict.n_signed, 1);
    EXPECT_EQ(verdict.n_unsigned_records, 1);
    append(*open(), 2);
    EXPECT_TRUE(verify().ok);
    EXPECT_THAT(own_events(), testing::Not(testing::Contains("audit.recovered")));
}

TEST_F(Chain, records_alone_are_shown_unless_all_is_asked_for) {
    append(*open(), 3);
    EXPECT_EQ(read_tail(options.folder, 100)->size(), 3u);
    EXPECT_EQ(read_tail(options.folder, 100, 0, Shown::all)->size(), 6u);
}

TEST_F(Chain, checkpoints_come_while_it_is_written) {
    sign_checkpoints();
    append_sealed(*open());
    EXPECT_GE(n_signed, 16);
    EXPECT_TRUE(verify().ok);
}

TEST_F(Chain, a_signer_that_fails_or_lies_leaves_checkpoints_unsigned_and_the_journal_whole) {
    for (const bool lies : {false, true}) {
        options.folder = test::temp_folder() + "/journal";
        options.signer = [&](CheckpointRequest r) -> Result<SignedCheckpoint> {
            if (!lies) return fail(ErrorKind::internal, "the broker is gone");
            r.seq -= 1;
            return audit::sign(key, r, 0, 1);
        };
        append(*open(), 5);
        const Verdict verdict = verify();
        EXPECT_TRUE(verdict.ok) << to_text(verdict);
        EXPECT_EQ(verdict.n_signed, 0);
        EXPECT_EQ(verdict.n_unsigned, 1);
    }
}

TEST_F(Chain, a_signer_that_hangs_holds_up_no_record) {
    std::promise<void> release;
    const auto released = release.get_future().share();
    options.signer = [&, released](const CheckpointRequest& r) -> Result<SignedCheckpoint> {
        released.wait();
        return audit::sign(key, r, 0, 1);
    };
    const auto journal = open();
    append(*journal, 1000);  // past many checkpoints; flush() returns
    EXPECT_EQ(read_tail(options.folder, 2000)->size(), 1000u);
    release.set_value();
}

TEST_F(Chain, the_signer_can_go_before_the_journal_does) {
    sign_checkpoints();
    auto journal = open();
    append(*journal, 5);
    journal->release_signer();
    const std::int64_t n_before = n_signed;
    EXPECT_EQ(n_before, 1);
    append(*journal, 500);
    journal.reset();
    EXPECT_EQ(n_signed, n_before);
    const Verdict verdict = verify();
    EXPECT_TRUE(verdict.ok) << to_text(verdict);
    EXPECT_GT(verdict.n_unsigned_records, 500);
}

TEST_F(Chain, a_full_file_is_continued_in_the_next_and_read_as_one) {
    sign_checkpoints();
    options.rotate_bytes = 1 << 20;
    {
        const auto journal = open();
        for (int i = 0; i < 40; ++i) append(*journal, 100, 1000);
    }
    EXPECT_GE(files().size(), 3u);
    EXPECT_THAT(own_events(), testing::Contains("audit.rotated"));
    const Verdict verdict = verify();
    EXPECT_TRUE(verdict.ok) << to_text(verdict);
    EXPECT_THAT(verdict.notes, IsEmpty());
    EXPECT_EQ(read_tail(options.folder, 10'000)->size(), 4000u);
    Cursor cursor;
    std::size_t n = 0;
    for (;;) {
        const auto some = read_after(options.folder, cursor, 700);
        ASSERT_TRUE(some);
        if (some->empty()) break;
        n += some->size();
    }
    EXPECT_EQ(n, 4000u);
    // A file taken out of the middle is missed.
    std::filesystem::remove(options.folder + "/journal-0.2.db");
    const Verdict without = verify();
    EXPECT_FALSE(without.ok);
    EXPECT_THAT(without.first_bad->what, HasSubstr("do not follow each other"));
}

TEST_F(Chain, old_files_are_deleted_after_it_was_recorded_and_the_rest_stays_whole) {
    ManualClock clock;
    clock.now_ns = 1'000 * kNsPerS;
    options.rotate_bytes = 1 << 20;
    {
        const auto journal = open(clock);
        for (int i = 0; i < 30; ++i) append(*journal, 100, 1000);
    }
    const auto before = files();
    ASSERT_GE(before.size(), 3u);
    clock.now_ns += 100 * kNsPerS;
    options.keep_ns = 50 * kNsPerS;
    append(*open(clock), 10);
    EXPECT_EQ(files().size(), 1u);
    EXPECT_EQ(files().front(), before.back());
    const Verdict verdict = verify();
    EXPECT_TRUE(verdict.ok) << to_text(verdict);
    EXPECT_NE(verdict.completeness, Completeness::incomplete);
    EXPECT_THAT(to_text(verdict), HasSubstr("deleted by their retention, as is recorded"));
}

TEST_F(Chain, a_beginning_that_is_missing_without_a_record_is_found) {
    options.rotate_bytes = 1 << 20;
    {
        const auto journal = open();
        for (int i = 0; i < 15; ++i) append(*journal, 100, 1000);
    }
    ASSERT_GE(files().size(), 2u);
    std::filesystem::remove(options.folder + "/journal-0.db");
    const Verdict verdict = verify();
    EXPECT_EQ(verdict.completeness, Completeness::incomplete);
    EXPECT_TRUE(audit::is_bad(verdict, false));
    EXPECT_THAT(to_text(verdict), HasSubstr("are missing, and no deletion is recorded"));
}

TEST_F(Chain, a_file_of_schema_1_stays_as_it_is_and_the_chain_begins_beside_it) {
    ASSERT_TRUE(make_folders(options.folder));
    sql("journal-0.db",
        "CREATE TABLE entries (seq INTEGER PRIMARY KEY, wall_ns INTEGER NOT NULL, event TEXT NOT "
        "NULL, request_id TEXT NOT NULL, json TEXT NOT NULL) STRICT;"
        "INSERT INTO entries VALUES (1, 5, 'decision', 'old', '{}');"
        "PRAGMA application_id = 1752331368; PRAGMA user_version = 1");
    const std::string before = *read_file(options.folder + "/journal-0.db", 1 << 20);
    append(*open(), 2);
    EXPECT_EQ(*read_file(options.folder + "/journal-0.db", 1 << 20), before);
    EXPECT_THAT(files(), ElementsAre("journal-0.db", "journal-0.2.db"));
    const Verdict verdict = verify();
    EXPECT_TRUE(verdict.ok) << to_text(verdict);
    EXPECT_THAT(to_text(verdict), HasSubstr("journal-0.db: 1 entries of schema 1"));
    const auto tail = read_tail(options.folder, 10);
    ASSERT_EQ(tail->size(), 3u);
    EXPECT_EQ(tail->front().request_id, "old");
}

TEST_F(Chain, a_changed_end_is_noticed_at_the_next_start_and_a_new_chain_begun) {
    append(*open(), 5);
    sql("journal-0.db",
        "UPDATE entries SET request_id = 'x' WHERE seq = 6;"
        "DELETE FROM entries WHERE event = 'audit.checkpoint'");
    append(*open(), 5);
    EXPECT_THAT(files(), ElementsAre("journal-0.db", "journal-0.2.db"));
    const Verdict verdict = verify();
    EXPECT_FALSE(verdict.ok);
    EXPECT_EQ(verdict.first_bad->seq, 6);
    const auto all = read_tail(options.folder, 100, 0, Shown::all);
    EXPECT_THAT(all->at(all->size() - 8).json, HasSubstr("\"fault\":\"journal-0.db entry 6"));
}

TEST_F(Chain, pieces_find_what_one_walk_finds) {
    sign_checkpoints();
    append_sealed(*open());
    const audit::FolderOptions pieces{.n_threads = 2, .piece_records = 200};
    const Verdict one = verify(trust(), {.n_threads = 1, .piece_records = 1'000'000});
    EXPECT_TRUE(verify(trust(), pieces).ok);
    EXPECT_EQ(to_json(verify(trust(), pieces)), to_json(one));
    for (const int seq : {2, 700, 1500, 1999}) {
        const std::string restore =
            format("UPDATE entries SET wall_ns = wall_ns {{}} 1 WHERE seq = {}", seq);
        sql("journal-0.db", fmt::format(fmt::runtime(restore), "+"));
        for (const auto& how : {pieces, audit::FolderOptions{.n_threads = 1}}) {
            const Verdict verdict = verify(trust(), how);
            ASSERT_TRUE(verdict.first_bad) << seq;
            EXPECT_EQ(verdict.first_bad->seq, seq);
        }
        sql("journal-0.db", fmt::format(fmt::runtime(restore), "-"));
    }
    sql("journal-0.db", "DELETE FROM entries WHERE seq = 900");
    EXPECT_EQ(verify(trust(), pieces).first_bad->seq, 900);
}

TEST_F(Chain, a_walk_can_begin_at_a_checkpoint) {
    sign_checkpoints();
    append_sealed(*open());
    const Verdict verdict = verify(trust(), {.n_threads = 1, .from_seq = 1500});
    EXPECT_TRUE(verdict.ok) << to_text(verdict);
    EXPECT_LT(verdict.n_records, 1000);
    EXPECT_GT(verdict.n_records, 500);
    sql("journal-0.db", "UPDATE entries SET wall_ns = 1 WHERE seq = 100");
    EXPECT_TRUE(verify(trust(), {.n_threads = 1, .from_seq = 1500}).ok);
    EXPECT_FALSE(verify().ok);
}

TEST_F(Chain, requests_that_were_counted_and_not_recorded_are_missed) {
    std::atomic<std::int64_t> n_served{0};
    options.n_served = [&] { return n_served.load(); };
    {
        const auto journal = open();
        append(*journal, 5);
        n_served = 5;
    }
    Verdict verdict = verify();
    EXPECT_EQ(verdict.n_served, 5);
    EXPECT_EQ(verdict.n_recorded, 5);
    EXPECT_EQ(verdict.completeness, Completeness::unknown);
    {
        const auto journal = open();
        append(*journal, 5);
        n_served = 6;
    }
    verdict = verify();
    EXPECT_TRUE(verdict.ok);
    EXPECT_EQ(verdict.completeness, Completeness::incomplete);
    EXPECT_THAT(to_text(verdict), HasSubstr("6 requests were counted"));
}

TEST_F(Chain, an_anchor_makes_it_complete_and_finds_a_cut_end) {
    sign_checkpoints();
    append(*open(), 5);
    audit::Trust anchored = trust();
    anchored.anchors = *audit::last_checkpoints(options.folder);
    ASSERT_EQ(anchored.anchors.size(), 1u);
    EXPECT_EQ(verify(anchored).completeness, Completeness::complete);
    append(*open(), 5);
    EXPECT_EQ(verify(anchored).completeness, Completeness::complete);
    sql("journal-0.db", "DELETE FROM entries WHERE seq > 4");
    EXPECT_EQ(verify().completeness, Completeness::unknown);
    EXPECT_EQ(verify(anchored).completeness, Completeness::incomplete);
    // A journal that is gone altogether.
    std::filesystem::remove(options.folder + "/journal-0.db");
    EXPECT_EQ(verify(anchored).completeness, Completeness::incomplete);
    // One that was written anew, in its place.
    append(*open(), 20);
    EXPECT_EQ(verify(anchored).completeness, Completeness::incomplete);
}

TEST_F(Chain, only_trusted_keys_count) {
    sign_checkpoints();
    append(*open(), 5);
    audit::Trust pinned = trust();
    pinned.public_keys = {SigningKey(std::string(kSeedBytes, 'x')).public_key()};
    const Verdict verdict = verify(pinned);
    EXPECT_FALSE(verdict.ok);
    EXPECT_THAT(verdict.first_bad->what, HasSubstr("not among those trusted"));
    pinned.public_keys.push_back(key.public_key());
    EXPECT_TRUE(verify(pinned).ok);
}

TEST_F(Chain, another_chain_key_fits_nothing) {
    append(*open(), 5);
    audit::Trust other = trust();
    other.chain_key = std::string(32, 'x');
    EXPECT_EQ(verify(other).first_bad->seq, 1);
    other.chain_key.reset();
    const Verdict verdict = verify(other);
    EXPECT_TRUE(verdict.ok);
    EXPECT_FALSE(verdict.macs_checked);
}

TEST_F(Chain, an_export_is_taken_up_where_it_ended_and_verified_by_itself) {
    sign_checkpoints();
    append(*open(), 5);
    audit::ExportCursor cursor;
    std::vector<std::string> lines;
    const auto take = [&](std::string_view line) {
        lines.emplace_back(line);
        return true;
    };
    const auto left_out = [](const std::string& part) { ADD_FAILURE() << part; };
    ASSERT_TRUE(audit::export_folder(options.folder, audit::Format::jsonl, cursor, take, left_out));
    const std::size_t n_first = lines.size();
    append(*open(), 5);
    ASSERT_TRUE(audit::export_folder(options.folder, audit::Format::jsonl, cursor, take, left_out));
    EXPECT_EQ(n_first, 8u);
    EXPECT_EQ(lines.size(), 16u);
    const audit::Trust t = trust();
    audit::LineVerifier whole(t);
    for (const std::string& line : lines) EXPECT_TRUE(whole.add(line));
    EXPECT_TRUE(judge(whole.finish(), t).ok);
    // A part that begins in the middle is none, unless it is said to be one.
    audit::Trust part = t;
    part.from_seq = std::int64_t(n_first) + 2;
    audit::LineVerifier rest(part);
    for (std::size_t i = n_first + 1; i < lines.size(); ++i) EXPECT_TRUE(rest.add(lines[i]));
    const Verdict verdict = judge(rest.finish(), part);
    EXPECT_TRUE(verdict.ok) << to_text(verdict);
    EXPECT_EQ(verdict.completeness, Completeness::unknown);
    audit::LineVerifier unsaid(t);
    EXPECT_FALSE(unsaid.add(lines[n_first + 1]));
}

TEST_F(Chain, a_prompts_digest_is_keyed) {
    const auto journal = open();
    const std::string digest = journal->prompt_digest("hello");
    EXPECT_EQ(digest.size(), 64u);
    EXPECT_EQ(journal->prompt_digest("hello"), digest);
    EXPECT_NE(journal->prompt_digest("hellp"), digest);
    options.folder = test::temp_folder() + "/journal";
    EXPECT_NE(open()->prompt_digest("hello"), digest);
}

}  // namespace
}  // namespace hearth::journal
