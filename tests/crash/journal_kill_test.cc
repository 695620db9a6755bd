// kill -9 loses no acknowledged record.
//
// The parent starts this same program as a child, which appends numbered records and writes each
// acknowledged number to a pipe as soon as the journal calls back. At a random moment the parent
// kills it with SIGKILL, reads what is left in the pipe, and reads the journal: every acknowledged
// record is there, in order, none twice, and nothing but records that were appended. All rounds
// share one folder, so that each child opens what the last one left: a WAL in the middle of
// anything.
//
// A number in the pipe was acknowledged, since the child writes it after the callback; a record may
// be in the journal without its number in the pipe, when the kill fell between. After every round
// the chain is verified from the folder's first entry to its last, and the recovery is in it.
//
// HEARTH_KILL_ROUNDS sets the number of rounds.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "audit/folder.h"
#include "audit/run.h"
#include "base/file.h"
#include "base/format.h"
#include "journal/journal.h"
#include "support/data.h"
#include "support/seeds.h"

extern char** environ;

namespace hearth::journal {
namespace {

constexpr const char* kWriterFlag = "--journal-writer";
// A twentieth of what `./test` may take; the measure of the house is 1,000.
constexpr int kRounds = 200;
int n_rounds_wanted() {
    const char* const given = std::getenv("HEARTH_KILL_ROUNDS");
    return given ? std::atoi(given) : kRounds;
}

// ---- the child ----

void write_number(int fd, std::int32_t number) {
    // Below PIPE_BUF: whole or not at all.
    while (::write(fd, &number, sizeof number) < 0 && errno == EINTR) {
    }
}

Sync sync_from(std::string_view name) {
    return name == "each" ? Sync::each : name == "group" ? Sync::group : Sync::none;
}

// Appends "<round>.<number>" until it is killed, with at most kInFlight records unacknowledged.
int run_writer(const std::string& folder, const std::string& round, const std::string& sync,
               int fd) {
    constexpr int kInFlight = 64;
    const SigningKey key(std::string(kSeedBytes, 'k'));
    JournalOptions options{.folder = folder, .sync = sync_from(sync)};
    options.signer = [&](const CheckpointRequest& request) -> Result<SignedCheckpoint> {
        return audit::sign(key, request, 0, 1);
    };
    auto journal = Journal::open(options);
    if (!journal) {
        std::fprintf(stderr, "%s\n", journal.error().message.c_str());
        return 2;
    }
    std::atomic<std::int32_t> n_written{0};
    write_number(fd, -1);  // open
    for (std::int32_t i = 0;; ++i) {
        while (i - n_written.load() >= kInFlight) std::this_thread::yield();
        const auto acknowledge = [&, i](Status written) {
            if (!written) {
                std::fprintf(stderr, "%s\n", written.error().message.c_str());
                std::_Exit(3);
            }
            write_number(fd, i);
            n_written.store(i + 1);
        };
        // Sizes differ, so that pages fill and split at different records.
        const std::string id = format("{}.{}", round, i);
        if (i % 3 == 0) {
            OutcomeRecord record;
            record.request_id = id;
            record.outcome = "finished";
            record.error.assign(std::size_t(i % 977), 'e');
            (*journal)->append(std::move(record), acknowledge);
        } else {
            DecisionRecord record;
            record.request_id = id;
            record.peer.assign(std::size_t(i % 131) * (i % 50 == 1 ? 80 : 1), 'p');
            (*journal)->append(std::move(record), acknowledge);
        }
    }
}

// ---- the parent ----

struct Child {
    pid_t pid = -1;
    Fd numbers;
};

Child start_writer(const std::string& folder, int round, const char* sync) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    Child child{.pid = -1, .numbers = Fd(ends[0])};
    const Fd write_end(ends[1]);
    constexpr int kChildFd = 3;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    // dup2 onto itself clears close-on-exec too.
    posix_spawn_file_actions_adddup2(&actions, write_end.get(), kChildFd);
    std::string program = "/proc/self/exe", flag = kWriterFlag, name = std::to_string(round);
    std::string where = folder, how = sync;
    char* argv[] = {program.data(), flag.data(), where.data(), name.data(), how.data(), nullptr};
    EXPECT_EQ(::posix_spawn(&child.pid, program.c_str(), &actions, nullptr, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    return child;
}

// The next number in the pipe; nothing at its end.
std::optional<std::int32_t> read_number(const Fd& fd) {
    std::int32_t number = 0;
    std::size_t n = 0;
    while (n < sizeof number) {
        const ssize_t got =
            ::read(fd.get(), reinterpret_cast<char*>(&number) + n, sizeof number - n);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return std::nullopt;
        n += std::size_t(got);
    }
    return number;
}

struct RecordId {
    int round = 0;
    std::int32_t number = 0;
};
RecordId parse_id(const std::string& text) {
    RecordId id;
    const char* const end = text.data() + text.size();
    const auto [dot, error] = std::from_chars(text.data(), end, id.round);
    EXPECT_TRUE(error == std::errc() && dot != end && *dot == '.') << text;
    const auto [last, error2] = std::from_chars(dot + 1, end, id.number);
    EXPECT_TRUE(error2 == std::errc() && last == end) << text;
    return id;
}

// Numbers of one round are 0, 1, 2, … in the order of the journal, and reach what was acknowledged.
void expect_whole(const std::vector<JournalEntry>& entries, const std::map<int, int>& n_known) {
    std::map<int, int> n_seen;
    int round = -1;
    for (const auto& entry : entries) {
        const RecordId id = parse_id(entry.request_id);
        EXPECT_GE(id.round, round) << "rounds mix";
        round = id.round;
        ASSERT_EQ(id.number, n_seen[id.round]++) << "record " << entry.request_id;
    }
    for (const auto& [known_round, n] : n_known)
        EXPECT_GE(n_seen[known_round], n) << "acknowledged records of round " << known_round;
}

// The chain from the first entry to the last; signed checkpoints whose key the log itself names.
void expect_chained(const std::string& folder, int n_kills) {
    audit::Trust trust;
    const auto key = audit::read_key_file(folder + "-keys/chain.key");
    if (!key) return;  // killed before it was made: nothing is written either
    trust.chain_key = *key;
    const auto verdict = audit::verify_folder(folder, trust);
    ASSERT_TRUE(verdict.has_value()) << verdict.error().message;
    EXPECT_TRUE(verdict->ok) << audit::to_text(*verdict);
    EXPECT_EQ(verdict->n_served, 0);
    EXPECT_FALSE(audit::is_bad(*verdict, false)) << audit::to_text(*verdict);
    const auto own = read_tail(folder, 100'000, 0, Shown::all);
    ASSERT_TRUE(own.has_value());
    int n_opened = 0, n_recovered = 0;
    for (const JournalEntry& entry : *own) {
        n_opened += entry.event == "audit.open";
        n_recovered += entry.event == "audit.recovered";
    }
    // Every opening but the first follows a writer that was killed.
    EXPECT_EQ(n_recovered, std::max(n_opened - 1, 0));
    EXPECT_LE(n_opened, n_kills);
}

// Kills a writer at a random moment, `rounds` times in one folder. Returns how many were
// acknowledged.
int kill_in_a_loop(const std::string& folder, const char* sync, int n_rounds, int first_round,
                   std::mt19937_64& random) {
    std::map<int, int> n_known;  // round → acknowledged records
    int n_all = 0;
    for (int round = first_round; round < first_round + n_rounds; ++round) {
        SCOPED_TRACE(format("round {}", round));
        Child child = start_writer(folder, round, sync);
        // Every tenth is killed at any time from its start on, while it opens or repairs the file;
        // the others some records or microseconds after the first acknowledgement.
        if (round % 10 == 9) {
            std::this_thread::sleep_for(std::chrono::microseconds(random() % 6000));
        } else {
            // Some live long enough to checkpoint, which starts at 1,000 pages of WAL.
            const auto n_wait = std::int32_t(random() % (round % 8 == 7 ? 6000 : 300));
            std::optional<std::int32_t> number;
            do {
                number = read_number(child.numbers);
                if (number && *number >= 0) n_known[round] = *number + 1;
            } while (number && *number < n_wait);
            EXPECT_TRUE(number) << "the writer ended by itself";
            std::this_thread::sleep_for(std::chrono::microseconds(random() % 2000));
        }
        EXPECT_EQ(::kill(child.pid, SIGKILL), 0);
        int status = 0;
        EXPECT_EQ(::waitpid(child.pid, &status, 0), child.pid);
        EXPECT_TRUE(WIFSIGNALED(status)) << "the writer ended by itself with status " << status;
        std::int32_t expected = n_known[round];
        while (const auto number = read_number(child.numbers))
            if (*number >= 0) {
                EXPECT_EQ(*number, expected++) << "acknowledged out of order";
            }
        n_known[round] = expected;
        n_all += expected;
        // The tail that this round and its neighbour can have written.
        const auto entries = read_tail(folder, 100'000);
        EXPECT_TRUE(entries.has_value()) << entries.error().message;
        if (!entries) return n_all;
        expect_whole(*entries, n_known);
        expect_chained(folder, round - first_round + 1);
        if (testing::Test::HasFailure()) return n_all;
    }
    return n_all;
}

TEST(JournalKill, kills_lose_no_acknowledged_record_and_break_no_chain) {
    std::mt19937_64 random(test::test_seed());
    int n_all = 0;
    // A fresh folder now and then keeps the whole journal readable in one go.
    constexpr int kRoundsPerFolder = 25;
    const int n_rounds = n_rounds_wanted();
    for (int round = 0; round < n_rounds && !HasFailure(); round += kRoundsPerFolder) {
        const char* const sync = round % 3 == 0 ? "group" : round % 3 == 1 ? "none" : "each";
        n_all +=
            kill_in_a_loop(test::temp_folder() + "/journal", sync, kRoundsPerFolder, round, random);
    }
    std::printf("%d acknowledged records in %d rounds\n", n_all, n_rounds);
    EXPECT_GT(n_all, 10 * n_rounds);
}

// Tails the folder the whole time, as `audit tail` beside a server would: what it sees only grows,
// and it never makes the writers fail.
TEST(JournalKill, a_reader_beside_the_writers_sees_a_growing_prefix) {
    std::mt19937_64 random(test::test_seed());
    const std::string folder = test::temp_folder() + "/journal";
    std::atomic<bool> stop{false};
    std::atomic<int> n_reads{0};
    std::jthread reader([&] {
        std::size_t n_before = 0;
        while (!stop.load()) {
            const auto entries = read_tail(folder, 100'000);
            ASSERT_TRUE(entries.has_value()) << entries.error().message;
            EXPECT_GE(entries->size(), n_before);
            n_before = entries->size();
            expect_whole(*entries, {});
            ++n_reads;
        }
    });
    kill_in_a_loop(folder, "group", 20, 0, random);
    stop.store(true);
    reader.join();
    EXPECT_GT(n_reads.load(), 10);
}

}  // namespace
}  // namespace hearth::journal

int main(int argc, char** argv) {
    if (argc == 5 && std::string_view(argv[1]) == hearth::journal::kWriterFlag)
        return hearth::journal::run_writer(argv[2], argv[3], argv[4], 3);
    testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
}
