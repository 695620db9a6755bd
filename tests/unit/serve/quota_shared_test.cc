// Several servers on one usage file: two Quotas in one process are two of them, for a lock belongs
// to the descriptor that each has opened.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <random>
#include <thread>

#include "base/file.h"
#include "serve/limits.h"
#include "support/data.h"
#include "support/seeds.h"
#include "unit/serve/quota_support.h"

namespace hearth::serve {
namespace {

constexpr std::int64_t kDayNs = 86'400 * kNsPerS;
route::Target cloud() {
    route::Target t;
    t.model = "big";
    t.tier = route::Tier::cloud;
    t.upstream = "acme";
    t.n_ctx = 8192;
    t.input_usd_per_mtok = t.output_usd_per_mtok = 6;
    return t;
}

// As the exchange goes: a decision that leaves, or the refusal of one that its scopes kept here.
std::optional<Error> ask_cloud(Ticket& ticket, const Caller& caller, std::int64_t n_tokens,
                               const std::string& request_id) {
    route::Facts facts;
    facts.max_output_tokens = n_tokens;
    route::Decision decision;
    decision.refused = !caller.scopes.tiers.cloud;
    if (decision.refused) decision.reason = "caller";
    return ticket.decided(decision, facts, {cloud()}, request_id);
}

struct Rig {
    const std::string path = test::temp_folder() + "/usage.jsonl";
    ManualClock clock;
    Rig() { clock.now_ns = 20'000 * kDayNs + 12 * 3600 * kNsPerS; }
    std::unique_ptr<Quota> open() {
        auto quota = Quota::open(path, clock);
        EXPECT_TRUE(quota) << quota.error().message;
        return quota ? std::move(*quota) : nullptr;
    }
    // Holds the lock as a process does that was stopped.
    Fd hold() {
        Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
        EXPECT_EQ(::flock(fd.get(), LOCK_EX | LOCK_NB), 0);
        return fd;
    }
    // Changes bytes of the file by hand.
    void scribble(std::size_t offset, const std::string& bytes) {
        const Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
        EXPECT_EQ(::pwrite(fd.get(), bytes.data(), bytes.size(), off_t(offset)),
                  ssize_t(bytes.size()));
    }
    std::vector<KeyUsage> lines() { return read_usage(path); }
};

void use(Quota& quota, const std::string& key, std::int64_t n_tokens) {
    auto ticket = quota.admit(key, {});
    ASSERT_TRUE(ticket) << ticket.error().message;
    (*ticket)->settle({.n_tokens = n_tokens});
}

TEST(SharedQuota, two_servers_hold_one_bound_together) {
    Rig rig;
    const auto a = rig.open(), b = rig.open();
    const Limits l = limits({{Bound::tokens_day, 100}});
    auto first = *a->admit(kKey, l), second = *b->admit(kKey, l);
    chat::ChatRequest r = request(60);
    Caller caller;
    ASSERT_TRUE(first->reserve(r, caller, 0));
    const Status over = second->reserve(r, caller, 0);
    ASSERT_FALSE(over);
    EXPECT_EQ(over.error().kind, ErrorKind::over_quota);
    first->settle({.n_tokens = 30});
    EXPECT_TRUE(second->reserve(r, caller, 0));
    EXPECT_EQ(a->usage(kKey).tokens_day, 90);
    EXPECT_EQ(a->usage(kKey).requests_day, 2);
    EXPECT_EQ(a->all(), b->all());
}

// The brute force: one Quota in memory that sees what two on a file see between them, each of which
// is at times replaced by a new one.
struct Interleaving {
    static constexpr std::array kKeys{"hk-aaaaaaaa", "hk-bbbbbbbb", "hk-cccccccc"};
    struct Open {
        std::size_t server;
        std::shared_ptr<Ticket> ticket, model;
        std::string left_as;  // its request's id
    };

    explicit Interleaving(std::uint64_t seed) : random(seed) {}

    // A request at one of the servers and at the model, which must agree at every step.
    void begin(std::size_t server, const std::string& key, const std::string& id) {
        auto ticket = servers.at(server)->admit(key, bounds), model = one.admit(key, bounds);
        ASSERT_EQ(ticket ? "" : ticket.error().message, model ? "" : model.error().message);
        if (!ticket) return;
        const auto max = random() % 4 == 0 ? std::nullopt : std::optional(random() % 300);
        chat::ChatRequest r = request(max), model_r = request(max);
        Caller caller, model_caller;
        const std::size_t n_body = random() % 6000;
        const Status ok = (*ticket)->reserve(r, caller, n_body);
        const Status model_ok = (*model)->reserve(model_r, model_caller, n_body);
        ASSERT_EQ(ok ? "" : ok.error().message, model_ok ? "" : model_ok.error().message);
        if (!ok) return;
        EXPECT_EQ(r.cost_microusd_max, model_r.cost_microusd_max);
        const std::int64_t n = std::int64_t(random() % 300);
        const auto error = ask_cloud(**ticket, caller, n, id);
        const auto model_error = ask_cloud(**model, model_caller, n, id);
        ASSERT_EQ(error ? error->message : "", model_error ? model_error->message : "");
        open.push_back({server, *ticket, *model, error ? "" : id});
    }

    void end(std::size_t i) {
        const Open o = open.at(i);
        open.erase(open.begin() + std::ptrdiff_t(i));
        const Spent spent{.n_tokens = std::int64_t(random() % 400),
                          .cost_microusd = std::int64_t(random() % 500),
                          .left_machine = !o.left_as.empty()};
        o.ticket->settle(spent);
        o.model->settle(spent);
        if (o.left_as.empty()) return;
        egress::Receipt receipt;
        receipt.request_id = o.left_as;
        receipt.bytes_out = std::int64_t(random() % 3000);
        servers.at(o.server)->count_egress(receipt);
        one.count_egress(receipt);
    }

    // Every key's line is written before, so that the new one reads the periods that are known.
    void restart(std::size_t server, const std::string& id) {
        for (std::size_t at = open.size(); at-- > 0;)
            if (open[at].server == server) end(at);
        for (const std::string key : kKeys) begin(1 - server, key, id + key);
        servers.at(server).reset();
        servers.at(server) = rig.open();
    }

    void pass_time() {
        rig.clock.now_ns += std::int64_t(random() % 1000) * kNsPerS;
        if (random() % 30 == 0) rig.clock.now_ns += kDayNs;
        if (random() % 30 == 0) rig.clock.now_ns -= 3 * 3600 * kNsPerS;
    }

    std::mt19937 random;
    Rig rig;
    Quota one{rig.clock};
    std::array<std::unique_ptr<Quota>, 2> servers{rig.open(), rig.open()};
    const Limits bounds = limits({{Bound::tokens_day, 2000},
                                  {Bound::microusd_day, 5000},
                                  {Bound::microusd_month, 12'000},
                                  {Bound::egress_bytes_day, 60'000}});
    std::vector<Open> open;
};

TEST(SharedQuota, any_interleaving_is_as_one_server_would_count) {
    Interleaving all(test::test_seed());
    int n_refused = 0;
    for (int i = 0; i < 3000 && !HasFatalFailure(); ++i) {
        all.pass_time();
        const std::size_t server = all.random() % 2, n_open = all.open.size();
        if (all.random() % 100 == 0) {
            all.restart(server, std::to_string(i));
        } else if (all.random() % 2 == 0 && n_open > 0) {
            all.end(all.random() % n_open);
        } else {
            all.begin(server, all.kKeys.at(all.random() % all.kKeys.size()), std::to_string(i));
            n_refused += all.open.size() == n_open;
        }
        for (const std::string key : all.kKeys) {
            const KeyUsage expected = all.one.usage(key);
            ASSERT_EQ(all.servers[0]->usage(key), expected) << "step " << i;
            ASSERT_EQ(all.servers[1]->usage(key), expected) << "step " << i;
        }
    }
    EXPECT_GT(n_refused, 10);
    EXPECT_EQ(all.rig.lines().size(), all.kKeys.size());
}

TEST(SharedQuota, servers_that_count_at_the_same_time_lose_nothing) {
    Rig rig;
    const auto a = rig.open(), b = rig.open();
    std::atomic<int> n_ready = 0;
    const auto work = [&](Quota& quota) {
        ++n_ready;
        while (n_ready < 2) std::this_thread::yield();
        for (int i = 0; i < 10'000; ++i) use(quota, i % 2 == 0 ? kKey : "hk-bbbbbbbb", 3);
    };
    std::thread other([&] { work(*b); });
    work(*a);
    other.join();
    for (const KeyUsage& usage : rig.lines()) {
        EXPECT_EQ(usage.requests_day, 10'000);
        EXPECT_EQ(usage.tokens_day, 30'000);
    }
    EXPECT_EQ(rig.lines().size(), 2u);
}

TEST(SharedQuota, new_keys_of_two_servers_get_lines_of_their_own) {
    Rig rig;
    const auto a = rig.open(), b = rig.open();
    const auto key_of = [](int i) { return "hk-" + std::string(7, 'a') + char('a' + i); };
    for (int i = 0; i < 20; ++i) use(i % 2 == 0 ? *a : *b, key_of(i), i + 1);
    for (int i = 0; i < 20; ++i) use(i % 2 == 0 ? *b : *a, key_of(i), 100);
    const std::vector<KeyUsage> lines = rig.lines();
    ASSERT_EQ(lines.size(), 20u);
    for (int i = 0; i < 20; ++i) {
        EXPECT_EQ(lines[std::size_t(i)].key_id, key_of(i));
        EXPECT_EQ(lines[std::size_t(i)].tokens_day, i + 101);
    }
    // Shown are also keys that only the other server has met; a look gives nobody a line.
    use(*a, "hk-zzzzzzzz", 5);
    EXPECT_EQ(b->usage("hk-zzzzzzzz").tokens_day, 5);
    EXPECT_EQ(b->all().size(), 21u);
    EXPECT_EQ(b->usage("hk-yyyyyyyy").tokens_day, 0);
    EXPECT_EQ(rig.lines().size(), 21u);
}

TEST(SharedQuota, what_a_killed_server_had_booked_stays_booked_and_blocks_nobody) {
    Rig rig;
    const auto a = rig.open();
    const pid_t child = ::fork();
    if (child == 0) {
        auto quota = Quota::open(rig.path, rig.clock);
        auto ticket = (*quota)->admit(kKey, {});
        chat::ChatRequest r = request(80);
        Caller caller;
        (void)(*ticket)->reserve(r, caller, 0);
        const Fd lock = rig.hold();
        ::raise(SIGKILL);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    const Limits l = limits({{Bound::tokens_day, 100}});
    const auto begin = std::chrono::steady_clock::now();
    auto ticket = a->admit(kKey, l);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
    ASSERT_TRUE(ticket);
    chat::ChatRequest r = request(21);
    Caller caller;
    EXPECT_FALSE((*ticket)->reserve(r, caller, 0));
    r = request(20);
    EXPECT_TRUE((*ticket)->reserve(r, caller, 0));
    EXPECT_EQ(rig.open()->usage(kKey).tokens_day, 100);
}

TEST(SharedQuota, while_a_stopped_process_holds_the_lock_nothing_leaves_and_local_answers_go_on) {
    Rig rig;
    const auto a = rig.open(), b = rig.open();
    const Limits l = limits({{Bound::tokens_day, 1000}, {Bound::microusd_day, 5000}});
    use(*a, kKey, 100);
    std::optional<Fd> stopped(rig.hold());
    const auto begin = std::chrono::steady_clock::now();
    const auto waited = [&] { return std::chrono::steady_clock::now() - begin; };
    auto ticket = *a->admit(kKey, l);
    EXPECT_GE(waited(), std::chrono::milliseconds(kUsageLockWaitMs));
    EXPECT_LT(waited(), std::chrono::milliseconds(10 * kUsageLockWaitMs));
    // The wait is over for all that comes now.
    const auto later = std::chrono::steady_clock::now();
    chat::ChatRequest r = request(50);
    Caller caller;
    ASSERT_TRUE(ticket->reserve(r, caller, 0));
    EXPECT_TRUE(caller.scopes.tiers.local);
    EXPECT_FALSE(caller.scopes.tiers.cloud);
    EXPECT_FALSE(caller.scopes.tiers.fleet);
    const auto error = ask_cloud(*ticket, caller, 1, "req-1");
    ASSERT_TRUE(error);
    EXPECT_EQ(error->kind, ErrorKind::overloaded);
    EXPECT_GT(error->retry_after_s, 0);
    EXPECT_NE(error->message.find("the server's log says what to do"), std::string::npos);
    EXPECT_FALSE(ticket->decided({}, {}, {route::Target{}}, "req-1"));  // here
    // One that was reserved before the lock was gone is stopped at its decision.
    Caller earlier;
    EXPECT_TRUE(ask_cloud(*ticket, earlier, 1, "req-2"));
    // Of a key without bounds of a day or a month nothing is at stake.
    auto free = *a->admit("hk-bbbbbbbb", limits({{Bound::requests_minute, 5}}));
    Caller unbound;
    ASSERT_TRUE(free->reserve(r, unbound, 0));
    EXPECT_FALSE(ask_cloud(*free, unbound, 1, "req-3"));
    free->settle({.n_tokens = 7, .left_machine = true});
    // By the tokens as last seen: 100 and 50 of its own.
    auto big = *a->admit(kKey, l);
    r = request(851);
    Caller again;
    EXPECT_FALSE(big->reserve(r, again, 0));
    EXPECT_LT(std::chrono::steady_clock::now() - later,
              std::chrono::milliseconds(kUsageLockWaitMs / 2));
    const std::vector<KeyUsage> lines = rig.lines();
    ASSERT_EQ(lines.size(), 1u);
    EXPECT_EQ(lines[0].tokens_day, 100);
    stopped.reset();
    // What was not written is added to what others wrote meanwhile.
    use(*b, kKey, 11);
    EXPECT_EQ(b->usage(kKey).tokens_day, 111);
    ticket->settle({.n_tokens = 33});
    EXPECT_EQ(b->usage(kKey).tokens_day, 144);
    EXPECT_EQ(b->usage(kKey).microusd_day, 0);
    EXPECT_EQ(b->usage(kKey).requests_day, 4);
    r = request(1);
    Caller whole;
    ASSERT_TRUE(big->reserve(r, whole, 0));
    EXPECT_TRUE(whole.scopes.tiers.cloud);
    EXPECT_FALSE(ask_cloud(*big, whole, 1, "req-4"));
    EXPECT_EQ(b->usage("hk-bbbbbbbb").tokens_day, 0);
    EXPECT_EQ(a->usage("hk-bbbbbbbb").tokens_day, 7);
    use(*a, "hk-bbbbbbbb", 1);
    EXPECT_EQ(b->usage("hk-bbbbbbbb").tokens_day, 8);
}

TEST(SharedQuota, who_lists_waits_for_nobody_and_is_waited_for_by_nobody) {
    Rig rig;
    const auto a = rig.open();
    use(*a, kKey, 100);
    const Fd stopped = rig.hold();
    const auto begin = std::chrono::steady_clock::now();
    ASSERT_EQ(rig.lines().size(), 1u);
    EXPECT_EQ(rig.lines()[0].tokens_day, 100);
    EXPECT_LT(std::chrono::steady_clock::now() - begin,
              std::chrono::milliseconds(kUsageLockWaitMs / 2));
}

TEST(SharedQuota, a_line_that_is_read_while_it_is_written_is_the_old_or_the_new_one) {
    Rig rig;
    ASSERT_TRUE(rig.open());
    const auto text = [](std::int64_t n) {
        return usage_line({.key_id = kKey, .tokens_day = n, .tokens_month = n});
    };
    const std::size_t half = text(1).find("\"tokens_month\"");
    rig.scribble(0, text(1));
    std::atomic<bool> is_over = false;
    std::thread writer([&] {
        for (std::int64_t n = 2; !is_over; n = 3 - n) {
            rig.scribble(0, text(n).substr(0, half));
            std::this_thread::sleep_for(std::chrono::microseconds(100));
            rig.scribble(half, text(n).substr(half));
            std::this_thread::sleep_for(std::chrono::microseconds(100));
        }
    });
    int n_whole = 0;
    for (int i = 0; i < 200; ++i) {
        const std::vector<KeyUsage> lines = rig.lines();
        ASSERT_EQ(lines.size(), 1u);
        if (lines[0].key_id.empty()) continue;  // torn ten times in a row
        ++n_whole;
        EXPECT_EQ(lines[0].tokens_day, lines[0].tokens_month);
    }
    is_over = true;
    writer.join();
    EXPECT_GT(n_whole, 100);
}

TEST(SharedQuota, a_day_that_another_server_began_is_not_begun_again) {
    Rig rig;
    const auto a = rig.open(), b = rig.open();
    auto yesterday = *a->admit(kKey, {});
    chat::ChatRequest r = request(100);
    Caller caller;
    ASSERT_TRUE(yesterday->reserve(r, caller, 0));
    rig.clock.now_ns += kDayNs;
    use(*b, kKey, 7);
    EXPECT_EQ(rig.lines()[0].day, 20'001);
    yesterday->settle({.n_tokens = 30});
    EXPECT_EQ(a->usage(kKey).tokens_day, 7);
    EXPECT_EQ(a->usage(kKey).tokens_month, 37);
    rig.clock.now_ns -= kDayNs / 2;  // back in yesterday
    use(*a, kKey, 1);
    EXPECT_EQ(b->usage(kKey).tokens_day, 8);
    EXPECT_EQ(b->usage(kKey).day, 20'001);
}

TEST(SharedQuota, what_could_not_be_written_ends_with_its_day) {
    Rig rig;
    const auto a = rig.open(), b = rig.open();
    use(*a, kKey, 1);
    {
        const Fd stopped = rig.hold();
        use(*a, kKey, 5);
    }
    rig.clock.now_ns += kDayNs;
    use(*b, kKey, 7);
    rig.clock.now_ns -= kDayNs;
    use(*a, kKey, 0);
    EXPECT_EQ(b->usage(kKey).tokens_day, 7);
    EXPECT_EQ(b->usage(kKey).tokens_month, 13);
}

TEST(SharedQuota, a_clock_that_was_far_ahead_loses_no_totals) {
    Rig rig;
    rig.clock.now_ns += 400 * kDayNs;
    const auto a = rig.open();
    auto ticket = *a->admit(kKey, {});
    use(*a, kKey, 70);
    rig.clock.now_ns -= 400 * kDayNs;
    use(*a, kKey, 1);
    EXPECT_EQ(a->usage(kKey).day, 20'400);
    // Who starts now counts the totals for today, and who runs follows.
    const auto b = rig.open();
    EXPECT_EQ(rig.lines()[0].day, 20'000);
    EXPECT_EQ(rig.lines()[0].month, month_of_day(20'000));
    use(*a, kKey, 2);
    ticket->settle({.n_tokens = 4});
    EXPECT_EQ(b->usage(kKey).tokens_day, 77);
    EXPECT_EQ(b->usage(kKey).tokens_month, 77);
    EXPECT_EQ(b->usage(kKey).day, 20'000);
    EXPECT_EQ(a->usage(kKey), b->usage(kKey));
}

TEST(SharedQuota, a_damaged_line_is_mended_by_who_knows_it_and_given_to_nobody_else) {
    Rig rig;
    const auto a = rig.open();
    use(*a, kKey, 10);
    use(*a, "hk-bbbbbbbb", 20);
    rig.scribble(0, "\xff{{{");
    const auto b = rig.open();
    use(*b, "hk-cccccccc", 30);
    use(*a, kKey, 1);
    EXPECT_EQ(rig.lines()[0].tokens_day, 11);
    EXPECT_EQ(rig.lines()[2].key_id, "hk-cccccccc");
    use(*b, kKey, 1);  // it has found the line again
    EXPECT_EQ(a->usage(kKey).tokens_day, 12);
    // Who does not know the key begins anew elsewhere, and who knows it follows.
    rig.scribble(512, "\xff{{{");
    const auto c = rig.open();
    use(*c, "hk-bbbbbbbb", 5);
    use(*a, "hk-bbbbbbbb", 1);
    ASSERT_EQ(rig.lines().size(), 4u);
    EXPECT_TRUE(rig.lines()[1].key_id.empty());
    EXPECT_EQ(rig.lines()[3].key_id, "hk-bbbbbbbb");
    EXPECT_EQ(rig.lines()[3].tokens_day, 6);
    // A line that another key has now is left alone; a file that lost its end grows again.
    rig.scribble(0, usage_line({.key_id = "hk-dddddddd", .tokens_month = 1}));
    use(*a, kKey, 1);
    EXPECT_EQ(rig.lines()[0].key_id, "hk-dddddddd");
    EXPECT_EQ(rig.lines()[4].tokens_day, 13);
    ASSERT_EQ(::truncate(rig.path.c_str(), 0), 0);
    use(*a, kKey, 1);
    EXPECT_EQ(rig.lines()[4].tokens_day, 14);
    EXPECT_EQ(c->usage(kKey).tokens_day, 14);
}

}  // namespace
}  // namespace hearth::serve
