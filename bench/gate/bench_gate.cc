// bench_gate: how long a 4 KB prompt is held up before it may leave: scan, marks, decision,
// journal, permit. Prints one line for each `journal.sync` and each kind of prompt. And how long
// the quota of a key takes for a whole request, which is four changes of its totals: by one server,
// and by two on one file that take turns.
//
//   cmake --build build/release --target bench_gate && build/release/bench/gate/bench_gate FOLDER
//
// FOLDER is on the disk that is meant; the journal is made below it. Every prompt is another, so
// that none is remembered, except in the rows `again`, where a history is sent again.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <future>
#include <string>
#include <vector>

#include "base/crypto.h"
#include "serve/exchange.h"
#include "serve/quota.h"

namespace hearth {
namespace {

using Steady = std::chrono::steady_clock;

// Ordinary words with a number that makes it another text; `card` hides a payment card in it.
std::string prompt_of(int i, bool card) {
    static const std::string kWords =
        "The committee will meet on the second Thursday of the month to look at the plans for the "
        "new library, whose roof has been leaking since the storm of last winter.\n";
    std::string text = "Request " + std::to_string(i) + "\n";
    while (text.size() < 4000) text += kWords;
    if (card) text.replace(2000, 21, " 4111 1111 1111 1111 ");
    return text;
}

void print(const char* name, std::vector<double> us) {
    std::ranges::sort(us);
    const auto at = [&](double q) { return us[std::size_t(q * double(us.size() - 1))]; };
    std::printf("%-12s n %zu  p50 %.1f us  p90 %.1f us  p99 %.1f us  max %.0f us\n", name,
                us.size(), at(0.5), at(0.9), at(0.99), us.back());
}

// admit, reserve, decided, settle.
int measure_quota(const std::string& folder, std::size_t n_servers, int n) {
    std::vector<std::unique_ptr<serve::Quota>> servers;
    for (std::size_t i = 0; i < n_servers; ++i) {
        auto quota = serve::Quota::open(folder + "/usage.jsonl");
        if (!quota) return std::puts("cannot open the usage file"), 1;
        servers.push_back(std::move(*quota));
    }
    route::Target cloud{.model = "big-1", .upstream = "acme", .tier = route::Tier::cloud};
    const std::vector<route::Target> targets{cloud};
    serve::Limits limits;
    limits.hard.fill(1'000'000'000'000);
    std::vector<double> us;
    for (int i = 0; i < n; ++i) {
        chat::ChatRequest request;
        request.max_output_tokens = 100;
        serve::Caller caller;
        const std::string id = "req-" + std::to_string(i);
        serve::Quota& quota = *servers[std::size_t(i) % n_servers];
        const auto begin = Steady::now();
        auto ticket = quota.admit("hk-aaaaaaaa", limits);
        if (!ticket || !(*ticket)->reserve(request, caller, 4000) ||
            (*ticket)->decided({}, {}, targets, id))
            return std::puts("refused"), 1;
        (*ticket)->settle({.n_tokens = 50});
        us.push_back(std::chrono::duration<double, std::micro>(Steady::now() - begin).count());
    }
    print(n_servers == 1 ? "quota" : "quota-two", std::move(us));
    return 0;
}

struct Row {
    const char* name;
    journal::Sync sync;
    bool card, again;
};

int measure(const std::string& folder, const Row& row, int n) {
    const Secret key(random_bytes(32));
    auto journal = journal::Journal::open({.folder = folder + "/" + row.name, .sync = row.sync});
    auto taint = route::TaintStore::open(folder + "/" + row.name + "-taint", key);
    auto detectors = route::Detectors::make();
    if (!journal || !taint || !detectors) return std::puts("cannot open the folder"), 1;
    serve::Inspector inspector(std::move(*detectors), std::move(*taint), key);
    // Some marks are there, as on any day.
    for (int i = 0; i < 1000; ++i) {
        std::vector<route::Mark> marks =
            route::marks_of(key, std::string(80, 'a') + std::to_string(i)).anywhere;
        inspector.mark_answer(marks, {route::new_taint_id(), chat::Sensitivity::restricted});
    }
    route::Target cloud{.model = "big-1", .upstream = "acme", .tier = route::Tier::cloud};
    cloud.destination = {.host = "api.example.com", .port = 443, .tls = true};
    route::Target local;
    local.model = "demo";
    const std::vector<route::Target> targets{local, cloud};
    const route::PolicySettings policy;
    std::vector<double> us;
    for (int i = 0; i < n; ++i) {
        chat::ChatRequest request;
        request.model = "cloud";
        request.messages.resize(1);
        request.messages[0].role = chat::Role::user;
        request.messages[0].parts.push_back(chat::TextPart{prompt_of(row.again ? 0 : i, row.card)});
        const auto begin = Steady::now();
        const serve::Inspection found = inspector.inspect(request, policy);
        route::Facts facts;
        facts.model = request.model;
        facts.detected_sensitivity = found.detected;
        facts.entities = found.entities;
        const route::Decision decision = route::decide(facts, {}, policy, targets);
        journal::DecisionRecord record;
        record.request_id = "req-" + std::to_string(i);
        record.decision_json = route::to_json(decision, facts, targets);
        std::promise<bool> written;
        (*journal)->append(std::move(record),
                           [&](Status status) { written.set_value(status.has_value()); });
        if (!written.get_future().get()) return std::puts("not written"), 1;
        const auto permit =
            route::PermitMint::mint(decision, targets, decision.target, "req-" + std::to_string(i));
        if (permit.has_value() == row.card) return std::puts("the wrong decision"), 1;
        us.push_back(std::chrono::duration<double, std::micro>(Steady::now() - begin).count());
    }
    print(row.name, std::move(us));
    return 0;
}

}  // namespace
}  // namespace hearth

int main(int argc, char** argv) {
    using hearth::journal::Sync;
    if (argc != 2) return std::puts("usage: bench_gate FOLDER"), 2;
    const std::string folder = std::string(argv[1]) + "/bench-gate";
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    for (const std::size_t n_servers : {1, 2})
        if (const int code = hearth::measure_quota(folder, n_servers, 5000)) return code;
    for (const hearth::Row& row : {hearth::Row{"group", Sync::group, false, false},
                                   {"group-again", Sync::group, false, true},
                                   {"group-card", Sync::group, true, false},
                                   {"none", Sync::none, false, false},
                                   {"each", Sync::each, false, false}})
        if (const int code = hearth::measure(folder, row, row.sync == Sync::each ? 500 : 3000))
            return code;
    std::filesystem::remove_all(folder);
    return 0;
}
