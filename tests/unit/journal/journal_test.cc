// The journal from outside: what was appended is there, in order, whatever else happens.
#include "journal/journal.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <future>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/file.h"
#include "base/format.h"
#include "journal/limits.h"
#include "journal/schema.h"
#include "journal/slot.h"
#include "route/decide.h"
#include "support/data.h"

namespace hearth::journal {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

DecisionRecord decision(std::string id) {
    DecisionRecord r;
    r.request_id = std::move(id);
    r.endpoint = "/v1/chat/completions";
    r.peer = "127.0.0.1";
    r.model_asked = "auto";
    r.model = "demo";
    r.route = "local";
    r.reason = "default-local";
    r.sensitivity = "internal";
    r.n_prompt_tokens = 12;
    return r;
}

std::unique_ptr<Journal> opened(const std::string& folder, Sync sync = Sync::none,
                                const Clock& clock = system_clock()) {
    auto journal = Journal::open({.folder = folder, .sync = sync}, clock);
    EXPECT_TRUE(journal.has_value()) << (journal ? "" : journal.error().message);
    return journal ? std::move(*journal) : nullptr;
}

std::vector<JournalEntry> tail(const std::string& folder, std::int64_t n = 1000,
                               std::int64_t after = 0) {
    auto entries = read_tail(folder, n, after);
    EXPECT_TRUE(entries.has_value()) << (entries ? "" : entries.error().message);
    return entries ? *entries : std::vector<JournalEntry>();
}

std::vector<std::string> ids(const std::vector<JournalEntry>& entries) {
    std::vector<std::string> out;
    for (const auto& entry : entries) out.push_back(entry.request_id);
    return out;
}

// Any SQL, by another road than the code under test.
void sql(const std::string& path, const std::string& text) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
    char* message = nullptr;
    EXPECT_EQ(sqlite3_exec(db, text.c_str(), nullptr, nullptr, &message), SQLITE_OK)
        << (message ? message : "");
    sqlite3_free(message);
    sqlite3_close(db);
}
std::int64_t sql_integer(const std::string& path, const std::string& text) {
    sqlite3* db = nullptr;
    sqlite3_stmt* statement = nullptr;
    EXPECT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
    EXPECT_EQ(sqlite3_prepare_v2(db, text.c_str(), -1, &statement, nullptr), SQLITE_OK);
    EXPECT_EQ(sqlite3_step(statement), SQLITE_ROW);
    const std::int64_t value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return value;
}

std::vector<std::string> names_in(const std::string& folder) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder))
        names.push_back(entry.path().filename().string());
    return names;
}

int mode_of(const std::string& path) {
    struct stat info{};
    EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
    return int(info.st_mode & 0777);
}

TEST(Journal, keeps_the_three_kinds_of_record_in_the_order_they_came) {
    const std::string folder = test::temp_folder() + "/journal";
    {
        const auto journal = opened(folder);
        journal->append(decision("req-1"), [](Status s) { EXPECT_TRUE(s); });
        OutcomeRecord outcome;
        outcome.request_id = "req-1";
        outcome.outcome = "finished";
        outcome.usage = {.input_tokens = 12, .cached_tokens = 3, .output_tokens = 7};
        outcome.cost_microusd = 95;
        outcome.model = "big-1";
        outcome.repro_json = R"({"seed":7})";
        journal->append(outcome);
        egress::Receipt receipt;
        receipt.request_id = "req-1";
        receipt.destination = {.host = "api.example.com", .port = 443, .tls = true};
        receipt.outcome = "closed";
        receipt.bytes_out = 1234;
        journal->append(receipt);
        EXPECT_TRUE(journal->flush());
    }
    const auto entries = tail(folder);
    ASSERT_EQ(entries.size(), 3u);
    EXPECT_EQ(entries[0].event, "decision");
    EXPECT_EQ(entries[1].event, "outcome");
    EXPECT_EQ(entries[2].event, "egress");
    EXPECT_LT(entries[0].wall_ns, entries[1].wall_ns);
    EXPECT_EQ(Json::parse(entries[0].json)["model_asked"], "auto");
    EXPECT_EQ(Json::parse(entries[0].json)["n_prompt_tokens"], 12);
    EXPECT_EQ(Json::parse(entries[1].json)["usage"]["output_tokens"], 7);
    EXPECT_EQ(Json::parse(entries[1].json)["repro"]["seed"], 7);
    EXPECT_EQ(Json::parse(entries[2].json)["host"], "api.example.com");
    EXPECT_EQ(Json::parse(entries[2].json)["purpose"], "inference");
    EXPECT_EQ(Json::parse(entries[2].json)["bytes_out"], 1234);
    // The columns that reports sum are filled for outcomes only.
    const std::string path = folder + "/journal-0.db";
    EXPECT_EQ(sql_integer(path, "SELECT sum(cost_microusd) FROM entries"), 95);
    EXPECT_EQ(sql_integer(path, "SELECT count(cost_microusd) FROM entries"), 1);
    EXPECT_EQ(sql_integer(path, "SELECT input_tokens FROM entries WHERE event = 'outcome'"), 12);
}

TEST(Journal, a_recorded_decision_replays_to_the_same_bytes) {
    const std::string folder = test::temp_folder() + "/journal";
    const std::vector<route::Target> targets = {
        {.model = "demo", .upstream = "", .n_ctx = 2048},
        {.model = "big-1",
         .upstream = "acme",
         .tier = route::Tier::cloud,
         .destination = {.host = "api.example.com", .port = 443, .tls = true},
         .n_ctx = 200'000,
         .input_usd_per_mtok = 0.15,
         .output_usd_per_mtok = 1e-3}};
    const route::Facts facts{.model = "cloud", .n_prompt_tokens = 321};
    const route::Decision d = route::decide(facts, {}, {}, targets);
    DecisionRecord record = decision("req-1");
    record.decision_json = route::to_json(d, facts, targets);
    {
        const auto journal = opened(folder);
        journal->append(record, nullptr);
    }
    const auto entries = tail(folder);
    ASSERT_EQ(entries.size(), 1u);
    const std::string kept = Json::parse(entries[0].json)["decision"].dump();
    const auto again = route::replay(kept);
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(*again, record.decision_json);
}

TEST(Journal, text_that_is_no_json_does_not_spoil_its_entry) {
    const std::string folder = test::temp_folder() + "/journal";
    DecisionRecord record = decision("req-\"\\\n\x01\xff");
    record.decision_json = "{\"a\":1}}";
    {
        const auto journal = opened(folder);
        journal->append(record, nullptr);
    }
    const auto entries = tail(folder);
    ASSERT_EQ(entries.size(), 1u);
    const Json json = Json::parse(entries[0].json);
    EXPECT_EQ(json["decision_text"], "{\"a\":1}}");
    EXPECT_FALSE(json.contains("decision"));
}

TEST(Journal, written_means_that_a_reader_of_another_connection_sees_it) {
    for (const Sync sync : {Sync::none, Sync::group, Sync::each}) {
        const std::string folder = test::temp_folder() + "/journal";
        const auto journal = opened(folder, sync);
        std::promise<std::size_t> seen;
        journal->append(decision("req-1"), [&](Status s) {
            EXPECT_TRUE(s);
            seen.set_value(tail(folder).size());
        });
        EXPECT_EQ(seen.get_future().get(), 1u);
    }
}

TEST(Journal, calls_back_in_order_on_its_own_thread) {
    const std::string folder = test::temp_folder() + "/journal";
    const auto journal = opened(folder);
    std::vector<int> order;
    std::vector<std::thread::id> threads;
    for (int i = 0; i < 1000; ++i) {
        journal->append(decision(std::to_string(i)), [&, i](Status s) {
            EXPECT_TRUE(s);
            order.push_back(i);
            threads.push_back(std::this_thread::get_id());
        });
    }
    EXPECT_TRUE(journal->flush());
    ASSERT_EQ(order.size(), 1000u);
    EXPECT_TRUE(std::ranges::is_sorted(order));
    EXPECT_NE(threads.front(), std::this_thread::get_id());
    EXPECT_EQ(threads.front(), threads.back());
    const auto entries = tail(folder);
    ASSERT_EQ(entries.size(), 1000u);
    for (int i = 0; i < 1000; ++i) EXPECT_EQ(entries[std::size_t(i)].request_id, std::to_string(i));
}

TEST(Journal, many_threads_lose_nothing_and_keep_their_own_order) {
    const std::string folder = test::temp_folder() + "/journal";
    constexpr int kThreads = 4, kEach = 300;
    {
        const auto journal = opened(folder, Sync::group);
        std::vector<std::jthread> threads;
        for (int t = 0; t < kThreads; ++t)
            threads.emplace_back([&, t] {
                for (int i = 0; i < kEach; ++i)
                    journal->append(decision(format("{}-{}", t, i)), nullptr);
            });
    }
    std::vector<int> next(kThreads, 0);
    const auto entries = tail(folder, 10'000);
    ASSERT_EQ(entries.size(), std::size_t(kThreads * kEach));
    for (const auto& entry : entries) {
        const int t = entry.request_id[0] - '0';
        EXPECT_EQ(entry.request_id, format("{}-{}", t, next[std::size_t(t)]++));
    }
    for (std::size_t i = 1; i < entries.size(); ++i)
        EXPECT_LT(entries[i - 1].wall_ns, entries[i].wall_ns);
}

TEST(Journal, a_full_queue_refuses_and_says_so) {
    const std::string folder = test::temp_folder() + "/journal";
    const auto journal = opened(folder);
    std::promise<void> entered, release;
    journal->append(decision("first"), [&](Status) {
        entered.set_value();
        release.get_future().wait();
    });
    entered.get_future().wait();  // the thread is busy: what follows stays in the queue
    std::mutex mutex;             // guards the counters, which the callbacks change
    std::size_t n_ok = 0, n_refused = 0;
    const auto count = [&](Status s) {
        const std::lock_guard lock(mutex);
        if (s) {
            ++n_ok;
        } else {
            ++n_refused;
            EXPECT_EQ(s.error().kind, ErrorKind::overloaded);
        }
    };
    for (std::size_t i = 0; i < kQueueDecisions + 10; ++i) journal->append(decision("x"), count);
    // Outcomes of what was decided still fit.
    OutcomeRecord outcome;
    outcome.request_id = "o";
    journal->append(outcome, [](Status s) { EXPECT_TRUE(s); });
    release.set_value();
    const Status flushed = journal->flush();
    ASSERT_FALSE(flushed);
    EXPECT_EQ(flushed.error().kind, ErrorKind::overloaded);
    EXPECT_TRUE(journal->flush());  // reported once
    EXPECT_EQ(n_ok, kQueueDecisions);
    EXPECT_EQ(n_refused, 10u);
    EXPECT_EQ(tail(folder, 10'000).size(), kQueueDecisions + 2);
}

TEST(Journal, the_queue_is_bounded_in_bytes_too) {
    const std::string folder = test::temp_folder() + "/journal";
    const auto journal = opened(folder);
    std::promise<void> entered, release;
    journal->append(decision("first"), [&](Status) {
        entered.set_value();
        release.get_future().wait();
    });
    entered.get_future().wait();
    DecisionRecord big = decision("big");
    big.decision_json.assign(kQueueBytes / 4, ' ');
    std::vector<ErrorKind> kinds;
    for (int i = 0; i < 5; ++i)
        journal->append(big, [&](Status s) { kinds.push_back(s.error().kind); });
    release.set_value();
    EXPECT_FALSE(journal->flush());
    // The ones that no longer fit are refused first; the others are too long for a record.
    ASSERT_EQ(kinds.size(), 5u);
    EXPECT_EQ(std::ranges::count(kinds, ErrorKind::overloaded), 2);
    EXPECT_EQ(std::ranges::count(kinds, ErrorKind::invalid_request), 3);
    EXPECT_EQ(tail(folder).size(), 1u);
}

TEST(Journal, an_oversized_record_fails_alone) {
    const std::string folder = test::temp_folder() + "/journal";
    const auto journal = opened(folder);
    std::vector<bool> ok;
    DecisionRecord big = decision("big");
    big.peer.assign(kRecordBytes + 1, 'x');
    for (const auto& record : {decision("a"), big, decision("b")})
        journal->append(record, [&](Status s) { ok.push_back(s.has_value()); });
    EXPECT_FALSE(journal->flush());
    EXPECT_THAT(ok, ElementsAre(true, false, true));
    EXPECT_THAT(ids(tail(folder)), ElementsAre("a", "b"));
}

// The WAL cannot be opened again for syncing once its name is gone; SQLite goes on writing to it.
TEST(Journal, a_decision_that_asks_to_be_synced_first_is_or_fails) {
    const std::string folder = test::temp_folder() + "/journal";
    const auto journal = opened(folder, Sync::none);
    const auto append = [&](std::string id, bool sync_first) {
        DecisionRecord record = decision(std::move(id));
        record.sync_first = sync_first;
        std::promise<Status> written;
        journal->append(std::move(record), [&](Status status) { written.set_value(status); });
        return written.get_future().get();
    };
    EXPECT_TRUE(append("req-1", false));
    ASSERT_EQ(::unlink((folder + "/journal-0.db-wal").c_str()), 0);
    const Status failed = append("req-2", true);
    ASSERT_FALSE(failed);
    EXPECT_THAT(failed.error().message, HasSubstr("cannot sync"));
    EXPECT_TRUE(append("req-3", false));
}

TEST(Journal, a_decision_that_asks_to_be_synced_first_is_written_in_every_mode) {
    for (const Sync sync : {Sync::none, Sync::group, Sync::each}) {
        const std::string folder = test::temp_folder() + "/journal";
        const auto journal = opened(folder, sync);
        DecisionRecord record = decision("req-1");
        record.sync_first = true;
        std::promise<Status> written;
        journal->append(std::move(record), [&](Status status) { written.set_value(status); });
        EXPECT_TRUE(written.get_future().get());
        EXPECT_THAT(ids(tail(folder)), ElementsAre("req-1"));
    }
}

TEST(Journal, folder_and_files_are_private) {
    const mode_t before = ::umask(0);
    const std::string folder = test::temp_folder() + "/state/journal";
    const auto journal = opened(folder);
    journal->append(decision("req-1"), nullptr);
    EXPECT_TRUE(journal->flush());
    ::umask(before);
    EXPECT_EQ(mode_of(folder), 0700);
    for (const char* name :
         {"journal-0.db", "journal-0.db-wal", "journal-0.db-shm", "journal-0.lock"})
        EXPECT_EQ(mode_of(folder + "/" + name), 0600) << name;
}

TEST(Journal, two_writers_take_two_slots_and_readers_merge_them_by_time) {
    const std::string folder = test::temp_folder() + "/journal";
    ManualClock clock;
    {
        const auto a = opened(folder, Sync::none, clock);
        const auto b = opened(folder, Sync::none, clock);
        for (int i = 1; i <= 6; ++i) {
            clock.now_ns = i * 1'000'000'000LL;
            (i % 2 == 1 ? a : b)->append(decision(std::to_string(i)), nullptr);
        }
        EXPECT_TRUE(a->flush());
        EXPECT_TRUE(b->flush());
        EXPECT_THAT(ids(tail(folder)), ElementsAre("1", "2", "3", "4", "5", "6"));
        EXPECT_THAT(ids(tail(folder, 3)), ElementsAre("4", "5", "6"));
        EXPECT_THAT(ids(tail(folder, 1000, 4'000'000'000)), ElementsAre("5", "6"));
        EXPECT_THAT(ids(tail(folder, 1, 4'000'000'000)), ElementsAre("6"));
    }
    EXPECT_EQ(slot_files(folder)->size(), 2u);
    // Both are free again: the first is taken.
    clock.now_ns = 7'000'000'000;
    const auto c = opened(folder, Sync::none, clock);
    c->append(decision("7"), nullptr);
    EXPECT_TRUE(c->flush());
    EXPECT_EQ(slot_files(folder)->size(), 2u);
    EXPECT_THAT(ids(tail(folder, 2)), ElementsAre("6", "7"));
}

TEST(Journal, all_slots_taken_is_overloaded) {
    const std::string folder = test::temp_folder() + "/journal";
    std::vector<Slot> slots;
    for (int k = 0; k < kSlotsMax; ++k) {
        auto slot = take_slot(folder);
        ASSERT_TRUE(slot) << slot.error().message;
        EXPECT_EQ(slot->path, format("{}/journal-{}.db", folder, k));
        slots.push_back(std::move(*slot));
    }
    const auto journal = Journal::open({.folder = folder, .sync = Sync::none});
    ASSERT_FALSE(journal);
    EXPECT_EQ(journal.error().kind, ErrorKind::overloaded);
    slots.erase(slots.begin() + 5);
    EXPECT_EQ(take_slot(folder)->path, folder + "/journal-5.db");
}

TEST(Journal, a_clock_set_back_keeps_the_order_of_writing) {
    const std::string folder = test::temp_folder() + "/journal";
    ManualClock clock;
    const auto journal = opened(folder, Sync::none, clock);
    for (const std::int64_t ns : {9'000'000'000, 9'000'000'000, 3'000'000'000, 3'000'000'001}) {
        clock.now_ns = ns;
        journal->append(decision(std::to_string(ns)), nullptr);
    }
    EXPECT_TRUE(journal->flush());
    const auto entries = tail(folder);
    ASSERT_EQ(entries.size(), 4u);
    EXPECT_EQ(entries[0].wall_ns, 9'000'000'000);
    EXPECT_EQ(entries[1].wall_ns, 9'000'000'001);  // the same instant: told apart
    EXPECT_EQ(entries[2].wall_ns, 3'000'000'000);  // set back: believed
    EXPECT_EQ(entries[3].wall_ns, 3'000'000'001);
}

TEST(Journal, refuses_a_newer_schema_and_leaves_the_file_alone) {
    const std::string folder = test::temp_folder() + "/journal";
    {
        opened(folder)->append(decision("req-1"), nullptr);
    }
    const std::string path = folder + "/journal-0.db";
    sql(path, "PRAGMA user_version = 3");
    const auto journal = Journal::open({.folder = folder, .sync = Sync::none});
    ASSERT_FALSE(journal);
    EXPECT_THAT(journal.error().message, HasSubstr("newer hearth (schema 3, this one knows 2)"));
    const auto entries = read_tail(folder, 10);
    ASSERT_FALSE(entries);
    EXPECT_THAT(entries.error().message, HasSubstr("newer hearth"));
    EXPECT_EQ(sql_integer(path, "SELECT count(*) FROM entries WHERE event = 'decision'"), 1);
}

TEST(Journal, refuses_a_database_of_another_program) {
    const std::string folder = test::temp_folder() + "/journal";
    ASSERT_TRUE(make_folders(folder));
    const std::string path = folder + "/journal-0.db";
    sql(path, "CREATE TABLE notes (text)");
    const auto journal = Journal::open({.folder = folder, .sync = Sync::none});
    ASSERT_FALSE(journal);
    EXPECT_THAT(journal.error().message, HasSubstr("of another program"));
    EXPECT_EQ(sql_integer(path, "SELECT count(*) FROM notes"), 0);
}

// Overwrites bytes of a file in place.
void scribble(const std::string& path, off_t offset, std::size_t n) {
    const Fd fd(::open(path.c_str(), O_WRONLY));
    ASSERT_TRUE(fd);
    const std::string junk(n, '\xa5');
    ASSERT_EQ(::pwrite(fd.get(), junk.data(), n, offset), ssize_t(n));
}

TEST(Journal, a_damaged_file_is_kept_aside_and_a_new_one_begun) {
    // The header; a page of the table; the file cut in the middle.
    for (const int kind : {0, 1, 2}) {
        SCOPED_TRACE(kind);
        const std::string folder = test::temp_folder() + "/journal";
        {
            const auto journal = opened(folder);
            for (int i = 0; i < 500; ++i) journal->append(decision(std::to_string(i)), nullptr);
        }
        const std::string path = folder + "/journal-0.db";
        struct stat info{};
        ASSERT_EQ(::stat(path.c_str(), &info), 0);
        if (kind == 0) scribble(path, 0, 100);
        if (kind == 1) scribble(path, 4096, 4096);
        if (kind == 2) {
            ASSERT_EQ(::truncate(path.c_str(), info.st_size / 2), 0);
        }
        const auto journal = opened(folder);
        ASSERT_TRUE(journal);
        std::promise<bool> written;
        journal->append(decision("after"), [&](Status s) { written.set_value(s.has_value()); });
        EXPECT_TRUE(written.get_future().get());
        EXPECT_THAT(ids(tail(folder)), ElementsAre("after"));
        int n_aside = 0;
        for (const auto& entry : names_in(folder))
            n_aside += entry.find(".damaged-") != std::string::npos && entry.ends_with(".db");
        EXPECT_EQ(n_aside, 1);
    }
}

TEST(Journal, a_folder_that_cannot_be_written_is_an_error) {
    const std::string folder = test::temp_folder();
    ASSERT_TRUE(write_file(folder + "/file", "x"));
    const auto journal = Journal::open({.folder = folder + "/file/journal", .sync = Sync::none});
    ASSERT_FALSE(journal);
    EXPECT_THAT(journal.error().message, HasSubstr("file"));
    EXPECT_TRUE(tail(folder + "/absent").empty());
}

}  // namespace
}  // namespace hearth::journal
