// bench_journal: what the journal costs a request, and how fast it is verified.
//
//   write FOLDER [N]     from append() of a decision to its callback, one after another, for each
//                        sync mode: p50, p99 and the greatest, with the chain and a signer in this
//                        process (one Ed25519 signature in some hundred entries)
//   verify FOLDER [N]    fills FOLDER with N records where it has none, then verifies it with 1
//                        thread and with one per core: records a second
//
// One JSON line a measurement. FOLDER should lie on the disk that is meant; it is not removed.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <vector>

#include "audit/folder.h"
#include "base/format.h"
#include "journal/journal.h"

namespace {

using namespace hearth;
using Clock = std::chrono::steady_clock;

double us_since(Clock::time_point begin) {
    return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
}

// About what an answer of this machine leaves: a decision with three targets.
journal::DecisionRecord decision(std::size_t i) {
    journal::DecisionRecord record;
    record.request_id = format("req-{}", i);
    record.endpoint = "/v1/chat/completions";
    record.peer = "127.0.0.1:51234";
    record.model_asked = "auto";
    record.model = "demo";
    record.route = "local";
    record.reason = "default-local";
    record.sensitivity = "internal";
    record.decision_json = R"({"refused":false,"route":"local","target":"demo","steps":[)";
    for (int k = 0; k < 8; ++k)
        record.decision_json += format(
            R"({}{{"rule":"rule-{}","input":"x","removed":["acme/big-{}"],"reason":"because"}})",
            k ? "," : "", k, k);
    record.decision_json += "]}";
    return record;
}

journal::OutcomeRecord outcome(std::size_t i) {
    journal::OutcomeRecord record;
    record.request_id = format("req-{}", i);
    record.outcome = "finished";
    record.model = "demo";
    record.route = "local";
    record.usage = {.input_tokens = 900, .output_tokens = 120};
    return record;
}

journal::JournalOptions options_of(const std::string& folder, journal::Sync sync) {
    static const SigningKey key(random_bytes(kSeedBytes));
    journal::JournalOptions options{.folder = folder, .sync = sync};
    options.signer =
        [](const journal::CheckpointRequest& request) -> Result<journal::SignedCheckpoint> {
        return audit::sign(key, request, 0, 1);
    };
    return options;
}

std::unique_ptr<journal::Journal> opened(const std::string& folder, journal::Sync sync) {
    auto journal = journal::Journal::open(options_of(folder, sync));
    if (!journal) {
        std::fprintf(stderr, "%s\n", journal.error().message.c_str());
        std::exit(1);
    }
    return std::move(*journal);
}

// The answer to one append, waited for.
class Answer {
  public:
    journal::Journal::Done done() {
        return [this](Status status) {
            const std::lock_guard lock(mutex_);
            if (!status) std::abort();
            there_ = true;
            changed_.notify_one();
        };
    }
    void wait() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return there_; });
        there_ = false;
    }

  private:
    std::mutex mutex_;  // guards there_
    std::condition_variable changed_;
    bool there_ = false;
};

void measure_write(const std::string& folder, std::size_t n, journal::Sync sync, const char* name) {
    const auto journal = opened(folder, sync);
    std::vector<double> us;
    Answer answer;
    for (std::size_t i = 0; i < n; ++i) {
        auto record = decision(i);
        const auto begin = Clock::now();
        journal->append(std::move(record), answer.done());
        answer.wait();
        us.push_back(us_since(begin));
        journal->append(outcome(i));
    }
    std::ranges::sort(us);
    std::printf(
        "{\"bench\":\"journal write\",\"sync\":\"%s\",\"n\":%zu,\"p50_us\":%.1f,"
        "\"p99_us\":%.1f,\"max_us\":%.1f}\n",
        name, n, us[n / 2], us[n * 99 / 100], us.back());
}

void fill(const std::string& folder, std::size_t n) {
    const auto journal = opened(folder, journal::Sync::none);
    for (std::size_t i = 0; i < n; i += 2) {
        journal->append(decision(i), nullptr);
        journal->append(outcome(i));
        if (i % 1000 == 0) (void)journal->flush();
    }
    (void)journal->flush();
}

void measure_verify(const std::string& folder, int n_threads, bool with_key) {
    audit::Trust trust;
    if (with_key) trust.chain_key = *audit::read_key_file(folder + "-keys/chain.key");
    for (int run = 0; run < 3; ++run) {
        const auto begin = Clock::now();
        const auto verdict = audit::verify_folder(folder, trust, {.n_threads = n_threads});
        const double seconds = us_since(begin) / 1e6;
        if (!verdict || !verdict->ok) {
            std::fprintf(
                stderr, "%s",
                verdict ? audit::to_text(*verdict).c_str() : verdict.error().message.c_str());
            std::exit(1);
        }
        std::printf(
            "{\"bench\":\"journal verify\",\"threads\":%d,\"chain_key\":%s,\"n\":%lld,"
            "\"records_per_s\":%.0f}\n",
            n_threads, with_key ? "true" : "false", static_cast<long long>(verdict->n_records),
            double(verdict->n_records) / seconds);
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 3) {
        std::fprintf(stderr, "usage: bench_journal write|verify FOLDER [N]\n");
        return 2;
    }
    const std::string folder = argv[2];
    const auto n = std::size_t(argc > 3 ? std::atoll(argv[3]) : 0);
    if (std::strcmp(argv[1], "write") == 0) {
        measure_write(folder, n ? n : 2000, journal::Sync::none, "none");
        measure_write(folder, n ? n : 2000, journal::Sync::group, "group");
        measure_write(folder, n ? n : 500, journal::Sync::each, "each");
        return 0;
    }
    auto there = audit::list_parts(folder);
    if (there && there->empty()) fill(folder, n ? n : 500'000);
    measure_verify(folder, 1, true);
    measure_verify(folder, 0, true);
    measure_verify(folder, 0, false);
}
