#include "serve/quota.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <deque>
#include <nlohmann/json.hpp>
#include <random>

#include "base/file.h"
#include "serve/limits.h"
#include "support/data.h"
#include "support/seeds.h"
#include "unit/serve/quota_support.h"

namespace hearth::serve {
namespace {

route::Target target(route::Tier tier, double usd) {
    route::Target t;
    t.model = "big";
    t.tier = tier;
    t.n_ctx = 8192;
    t.input_usd_per_mtok = t.output_usd_per_mtok = usd;
    if (tier != route::Tier::local) t.upstream = "acme";
    return t;
}

struct Rig {
    ManualClock clock;
    Quota quota{clock};
    Rig() { clock.now_ns = 20'000LL * 86'400 * kNsPerS; }
    void wait(std::int64_t seconds) { clock.now_ns += seconds * kNsPerS; }
};

TEST(Quota, a_key_without_bounds_is_never_refused) {
    Rig rig;
    for (int i = 0; i < 1000; ++i) EXPECT_TRUE(rig.quota.admit(kKey, {}));
}

TEST(Quota, who_waits_as_long_as_told_is_admitted_and_no_sooner) {
    Rig rig;
    const Limits l = limits({{Bound::requests_minute, 3}});
    EXPECT_TRUE(rig.quota.admit(kKey, l));
    rig.wait(10);
    EXPECT_TRUE(rig.quota.admit(kKey, l));
    EXPECT_TRUE(rig.quota.admit(kKey, l));
    rig.clock.now_ns += 250 * kNsPerMs;
    const auto refused = rig.quota.admit(kKey, l);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::over_quota);
    // The first left its second at 0; that second has left the window at 61.
    EXPECT_EQ(refused.error().retry_after_s, 51);
    rig.wait(refused.error().retry_after_s - 1);
    EXPECT_FALSE(rig.quota.admit(kKey, l));
    rig.wait(1);
    EXPECT_TRUE(rig.quota.admit(kKey, l));
    EXPECT_FALSE(rig.quota.admit(kKey, l));
}

TEST(Quota, keys_do_not_share_a_bound) {
    Rig rig;
    const Limits l = limits({{Bound::requests_minute, 1}});
    EXPECT_TRUE(rig.quota.admit(kKey, l));
    EXPECT_FALSE(rig.quota.admit(kKey, l));
    EXPECT_TRUE(rig.quota.admit("hk-bbbbbbbb", l));
}

TEST(Quota, a_zero_refuses_everything) {
    Rig rig;
    EXPECT_FALSE(rig.quota.admit(kKey, limits({{Bound::requests_minute, 0}})));
    EXPECT_FALSE(rig.quota.admit(kKey, limits({{Bound::tokens_day, 0}})));
}

TEST(Quota, tokens_are_booked_by_the_longest_answer_and_settled_by_what_was_used) {
    Rig rig;
    const Limits l = limits({{Bound::tokens_day, 100}});
    auto first = rig.quota.admit(kKey, l);
    ASSERT_TRUE(first);
    chat::ChatRequest r = request(80);
    Caller caller;
    EXPECT_TRUE((*first)->reserve(r, caller, 0));
    EXPECT_EQ(rig.quota.usage(kKey).tokens_day, 80);
    // 20 are left: not for a second one of 80, and for one of 20.
    auto second = rig.quota.admit(kKey, l);
    ASSERT_TRUE(second);
    const Status over = (*second)->reserve(r, caller, 0);
    ASSERT_FALSE(over);
    EXPECT_EQ(over.error().kind, ErrorKind::over_quota);
    chat::ChatRequest small = request(20);
    EXPECT_TRUE((*second)->reserve(small, caller, 0));
    EXPECT_FALSE(rig.quota.admit(kKey, l));
    (*first)->settle({.n_tokens = 7});
    EXPECT_EQ(rig.quota.usage(kKey).tokens_day, 27);
    (*first)->settle({.n_tokens = 7});  // once
    EXPECT_EQ(rig.quota.usage(kKey).tokens_day, 27);
    second->reset();  // let go without a word: nothing was used
    EXPECT_EQ(rig.quota.usage(kKey).tokens_day, 7);
}

TEST(Quota, an_answer_of_unstated_length_books_what_is_left) {
    Rig rig;
    const Limits l = limits({{Bound::tokens_minute, 50}});
    auto ticket = rig.quota.admit(kKey, l);
    chat::ChatRequest r = request();
    Caller caller;
    ASSERT_TRUE((*ticket)->reserve(r, caller, 0));
    EXPECT_EQ(rig.quota.usage(kKey).tokens_day, 50);
    (*ticket)->settle({.n_tokens = 60});  // it was longer than anybody knew
    EXPECT_EQ(rig.quota.usage(kKey).tokens_day, 60);
    const auto refused = rig.quota.admit(kKey, l);
    ASSERT_FALSE(refused);
    rig.wait(refused.error().retry_after_s);
    EXPECT_TRUE(rig.quota.admit(kKey, l));
}

TEST(Quota, a_new_day_begins_at_midnight_utc_and_a_clock_set_back_begins_none) {
    Rig rig;
    const Limits l = limits({{Bound::tokens_day, 10}});
    rig.wait(86'400 - 5);
    {
        auto ticket = rig.quota.admit(kKey, l);
        (*ticket)->settle({.n_tokens = 10});
    }
    const auto refused = rig.quota.admit(kKey, l);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().retry_after_s, 5);
    rig.clock.now_ns -= 3600 * kNsPerS;
    EXPECT_FALSE(rig.quota.admit(kKey, l));
    rig.wait(3605);
    EXPECT_TRUE(rig.quota.admit(kKey, l));
    rig.wait(-86'400);
    EXPECT_EQ(rig.quota.usage(kKey).requests_day, 1);
}

TEST(Quota, what_was_booked_yesterday_is_not_given_back_today) {
    Rig rig;
    auto ticket = rig.quota.admit(kKey, {});
    chat::ChatRequest r = request(100);
    Caller caller;
    ASSERT_TRUE((*ticket)->reserve(r, caller, 0));
    rig.wait(86'400);
    {
        auto today = rig.quota.admit(kKey, {});
    }
    (*ticket)->settle({.n_tokens = 30});
    EXPECT_EQ(rig.quota.usage(kKey).tokens_day, 0);
    EXPECT_EQ(rig.quota.usage(kKey).tokens_month, 30);
}

// 2024-10-04 is day 20'000: October ends 28 days later.
TEST(Quota, months_end_where_the_calendar_says) {
    Rig rig;
    const Limits l = limits({{Bound::microusd_month, 5}});
    auto ticket = rig.quota.admit(kKey, l);
    (*ticket)->settle({.cost_microusd = 5});
    chat::ChatRequest r = request(1);
    Caller caller;
    auto next = rig.quota.admit(kKey, l);
    ASSERT_TRUE((*next)->reserve(r, caller, 0));
    EXPECT_EQ(r.cost_microusd_max, 0);
    route::Decision decision;
    decision.refused = true;
    decision.reason = "budget";
    const auto error = (*next)->decided(decision, {}, {}, "req-1");
    ASSERT_TRUE(error);
    EXPECT_EQ(error->kind, ErrorKind::over_quota);
    EXPECT_EQ(error->retry_after_s, 28LL * 86'400);
    for (std::int64_t day = 19'000; day < 24'000; ++day) {
        const std::int64_t month = month_of_day(day);
        EXPECT_LE(first_day_of_month(month), day);
        EXPECT_LT(day, first_day_of_month(month + 1));
    }
    EXPECT_EQ(month_of_day(0), 0);
    EXPECT_EQ(month_of_day(364), 11);
    EXPECT_EQ(month_of_day(365), 12);
}

TEST(Quota, money_caps_the_decision_and_is_booked_by_its_bound) {
    Rig rig;
    const Limits l = limits({{Bound::microusd_day, 1000}});
    auto a = rig.quota.admit(kKey, l), b = rig.quota.admit(kKey, l);
    Caller caller;
    chat::ChatRequest ra = request(100), rb = request(100);
    rb.cost_microusd_max = 900;  // its own cap is lower
    ASSERT_TRUE((*a)->reserve(ra, caller, 0));
    ASSERT_TRUE((*b)->reserve(rb, caller, 0));
    EXPECT_EQ(ra.cost_microusd_max, 1000);
    EXPECT_EQ(rb.cost_microusd_max, 900);
    // 100 tokens at 6 USD per million are 600 micro-dollars, so that only one of the two fits.
    const std::vector<route::Target> targets{target(route::Tier::cloud, 6)};
    route::Facts facts;
    facts.max_output_tokens = 100;
    route::Decision decision;
    EXPECT_FALSE((*a)->decided(decision, facts, targets, "req-a"));
    EXPECT_EQ(rig.quota.usage(kKey).microusd_day, 600);
    const auto late = (*b)->decided(decision, facts, targets, "req-b");
    ASSERT_TRUE(late);
    EXPECT_EQ(late->kind, ErrorKind::over_quota);
    (*a)->settle({.cost_microusd = 123, .left_machine = true});
    EXPECT_EQ(rig.quota.usage(kKey).microusd_day, 123);
    EXPECT_FALSE((*b)->decided(decision, facts, targets, "req-b"));
}

TEST(Quota, a_decision_that_stays_here_books_neither_money_nor_bytes) {
    Rig rig;
    const Limits l = limits({{Bound::microusd_day, 0}, {Bound::egress_bytes_day, 0}});
    auto ticket = rig.quota.admit(kKey, l);
    chat::ChatRequest r = request(1);
    Caller caller;
    ASSERT_TRUE((*ticket)->reserve(r, caller, 10));
    EXPECT_FALSE(caller.scopes.tiers.cloud);
    EXPECT_TRUE(caller.scopes.tiers.local);
    EXPECT_FALSE((*ticket)->decided({}, {}, {target(route::Tier::local, 0)}, "req-1"));
    EXPECT_EQ(rig.quota.usage(kKey).egress_bytes_day, 0);
    // Had it been asked to leave, the bound would have been the reason; what is sensitive has its
    // own.
    route::Decision refused;
    refused.refused = true;
    refused.reason = "sensitive";
    EXPECT_FALSE((*ticket)->decided(refused, {}, {}, "req-2"));
    refused.reason = "caller";
    const auto error = (*ticket)->decided(refused, {}, {}, "req-2");
    ASSERT_TRUE(error);
    EXPECT_EQ(error->kind, ErrorKind::over_quota);
    EXPECT_EQ(error->retry_after_s, 86'400);
}

TEST(Quota, bytes_out_are_booked_until_the_receipt_comes) {
    Rig rig;
    const Limits l = limits({{Bound::egress_bytes_day, 10'000}});
    auto ticket = rig.quota.admit(kKey, l);
    chat::ChatRequest r = request(1);
    Caller caller;
    ASSERT_TRUE((*ticket)->reserve(r, caller, 2000));
    const std::vector<route::Target> targets{target(route::Tier::fleet, 0)};
    EXPECT_FALSE((*ticket)->decided({}, {}, targets, "req-1"));
    EXPECT_EQ(rig.quota.usage(kKey).egress_bytes_day, 2000 + kEgressHeadBytes);
    (*ticket)->settle({.left_machine = true});
    EXPECT_EQ(rig.quota.usage(kKey).egress_bytes_day, 2000 + kEgressHeadBytes);
    egress::Receipt receipt;
    receipt.request_id = "req-1";
    receipt.bytes_out = 1234;
    rig.quota.count_egress(receipt);
    EXPECT_EQ(rig.quota.usage(kKey).egress_bytes_day, 1234);
    receipt.request_id = "req-of-nobody";
    rig.quota.count_egress(receipt);
    EXPECT_EQ(rig.quota.usage(kKey).egress_bytes_day, 1234);
}

TEST(Quota, bytes_that_never_left_are_given_back) {
    Rig rig;
    auto ticket = rig.quota.admit(kKey, {});
    chat::ChatRequest r = request(1);
    Caller caller;
    ASSERT_TRUE((*ticket)->reserve(r, caller, 2000));
    EXPECT_FALSE((*ticket)->decided({}, {}, {target(route::Tier::fleet, 0)}, "req-1"));
    ticket->reset();
    EXPECT_EQ(rig.quota.usage(kKey).egress_bytes_day, 0);
}

TEST(Quota, a_soft_bound_warns_in_header_event_and_metric_once_a_minute) {
    Rig rig;
    std::vector<journal::EventRecord> events;
    rig.quota.on_event = [&](journal::EventRecord e) { events.push_back(std::move(e)); };
    Limits l = limits({{Bound::requests_minute, 10}});
    l.soft_percent = 50;
    std::shared_ptr<Ticket> newest;
    for (int i = 0; i < 4; ++i) newest = *rig.quota.admit(kKey, l);
    net::Headers headers;
    newest->add_headers(headers);
    EXPECT_FALSE(headers.find("x-hearth-quota-warning"));
    EXPECT_EQ(headers.find("x-ratelimit-limit-requests"), "10");
    EXPECT_EQ(headers.find("x-ratelimit-remaining-requests"), "6");
    EXPECT_EQ(headers.find("x-ratelimit-reset-requests"), "1m1s");
    EXPECT_TRUE(events.empty());
    for (int i = 0; i < 6; ++i) newest = *rig.quota.admit(kKey, l);
    net::Headers later;
    newest->add_headers(later);
    EXPECT_EQ(later.find("x-hearth-quota-warning"), "requests_minute 10/10");
    EXPECT_FALSE(rig.quota.admit(kKey, l));
    EXPECT_FALSE(rig.quota.admit(kKey, l));
    ASSERT_EQ(events.size(), 2u);
    EXPECT_EQ(events[0].event, "quota.warning");
    EXPECT_EQ(events[1].event, "quota.exceeded");
    EXPECT_EQ(events[1].actor, kKey);
    std::string text;
    rig.quota.print(text);
    EXPECT_NE(text.find("hearth_key_requests_total{key=\"hk-aaaaaaaa\"} 10\n"), std::string::npos);
    EXPECT_NE(text.find("hearth_key_refused_total{key=\"hk-aaaaaaaa\"} 2\n"), std::string::npos);
    EXPECT_NE(text.find("hearth_key_warnings_total{key=\"hk-aaaaaaaa\"} 1\n"), std::string::npos);
}

TEST(Quota, metrics_have_a_bounded_number_of_keys) {
    Rig rig;
    for (int i = 0; i < 150; ++i) (void)rig.quota.admit("hk-" + std::to_string(10'000'000 + i), {});
    std::string text;
    rig.quota.print(text);
    const std::string mark = "hearth_key_requests_total{";
    std::size_t n = 0;
    for (std::size_t at = 0; (at = text.find(mark, at)) != std::string::npos; ++at) ++n;
    EXPECT_EQ(n, kMetricKeysMax + 1);
    EXPECT_NE(text.find("hearth_key_requests_total{key=\"other\"} 50\n"), std::string::npos);
}

// The brute force: every request with its time, summed anew for each question.
TEST(Quota, sliding_minutes_agree_with_a_list_of_all_requests) {
    std::mt19937 random(test::test_seed());
    Rig rig;
    const Limits l = limits({{Bound::requests_minute, 20}, {Bound::tokens_minute, 500}});
    struct Request {
        std::int64_t second, n_tokens;
        std::shared_ptr<Ticket> ticket;
    };
    std::deque<Request> all;
    const auto sum = [&](std::int64_t now_s, bool tokens) {
        std::int64_t n = 0;
        for (const Request& r : all)
            if (r.second >= now_s - 60) n += tokens ? r.n_tokens : 1;
        return n;
    };
    for (int i = 0; i < 5000; ++i) {
        rig.clock.now_ns += std::int64_t(random() % 4000) * kNsPerMs;
        const std::int64_t now_s = rig.clock.now_ns / kNsPerS;
        if (random() % 3 == 0 && !all.empty()) {  // an answer ends with fewer tokens than booked
            Request& r = all[random() % all.size()];
            if (r.ticket) {
                r.n_tokens = std::int64_t(random()) % (r.n_tokens + 1);
                r.ticket->settle({.n_tokens = r.n_tokens});
                r.ticket = nullptr;
            }
        }
        const std::int64_t n_wanted = 1 + std::int64_t(random() % 100);
        const bool fits = sum(now_s, false) < 20 && sum(now_s, true) < 500;
        auto ticket = rig.quota.admit(kKey, l);
        ASSERT_EQ(bool(ticket), fits) << "step " << i;
        if (!ticket) continue;
        chat::ChatRequest r = request(n_wanted);
        Caller caller;
        const bool booked = sum(now_s, true) + n_wanted <= 500;
        ASSERT_EQ(bool((*ticket)->reserve(r, caller, 0)), booked) << "step " << i;
        all.push_back({now_s, booked ? n_wanted : 0, booked ? *ticket : nullptr});
        if (all.size() > 400) all.pop_front();
    }
}

TEST(Quota, totals_come_back_from_the_file_and_a_torn_line_costs_only_itself) {
    const std::string path = test::temp_folder() + "/usage.jsonl";
    ManualClock clock;
    clock.now_ns = 20'000LL * 86'400 * kNsPerS;
    {
        auto quota = Quota::open(path, clock);
        ASSERT_TRUE(quota) << quota.error().message;
        for (const char* key : {"hk-aaaaaaaa", "hk-bbbbbbbb"}) {
            auto ticket = (*quota)->admit(key, {});
            (*ticket)->settle({.n_tokens = 11, .cost_microusd = 22});
        }
    }
    struct stat info;
    ASSERT_EQ(::stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u);
    EXPECT_EQ(info.st_size, 2 * 512);
    auto bytes = read_file(path, 1 << 20);
    ASSERT_TRUE(bytes);
    bytes->replace(0, 5, "\xff{{{{");
    bytes->resize(bytes->size() - 3);  // the last line lost its end
    ASSERT_TRUE(write_file(path, *bytes, 0600));
    auto quota = Quota::open(path, clock);
    ASSERT_TRUE(quota) << quota.error().message;
    EXPECT_EQ((*quota)->usage("hk-aaaaaaaa").tokens_day, 0);
    EXPECT_EQ((*quota)->usage("hk-bbbbbbbb").tokens_day, 11);
    EXPECT_EQ((*quota)->usage("hk-bbbbbbbb").microusd_month, 22);
    clock.now_ns += 86'400 * kNsPerS;
    EXPECT_EQ((*quota)->usage("hk-bbbbbbbb").tokens_day, 0);
    EXPECT_EQ((*quota)->usage("hk-bbbbbbbb").microusd_month, 22);
}

TEST(Quota, a_usage_file_that_others_can_read_is_refused) {
    const std::string path = test::temp_folder() + "/usage.jsonl";
    ASSERT_TRUE(write_file(path, "", 0644));
    EXPECT_FALSE(Quota::open(path));
}

TEST(UsageFile, lines_with_hostile_numbers_are_left_out) {
    const auto line = [](std::string text) {
        text.resize(511, ' ');
        return text + "\n";
    };
    KeyUsage good{.key_id = kKey};
    good.tokens_day = kUsageMax;
    ASSERT_EQ(usage_line(good).size(), 512u);
    const auto lines = parse_usage(
        usage_line(good) + line("") + line("[]") + line(R"({"key":"hk-aaaaaaaa"})") +
        line(R"({"key":1})") +
        line(
            R"({"key":"hk-aaaaaaab","day":-1,"month":0,"requests_day":0,"tokens_day":0,"microusd_day":0,"egress_bytes_day":0,"tokens_month":0,"microusd_month":0,"last_used_s":0})") +
        line(
            R"({"key":"hk-aaaaaaab","day":1,"month":0,"requests_day":0,"tokens_day":18446744073709551615,"microusd_day":0,"egress_bytes_day":0,"tokens_month":0,"microusd_month":0,"last_used_s":0})"));
    ASSERT_EQ(lines.size(), 7u);
    EXPECT_EQ(lines[0], good);
    for (std::size_t i = 1; i < lines.size(); ++i) EXPECT_TRUE(lines[i].key_id.empty()) << i;
}

TEST(UsageFile, a_changed_byte_shows_and_a_line_without_a_check_is_read) {
    const KeyUsage usage{.key_id = kKey, .tokens_day = 12, .tokens_month = 345};
    const std::string line = usage_line(usage);
    EXPECT_EQ(parse_usage_line(line), usage);
    const std::size_t check = line.find(':') + 2;
    for (std::size_t i = check; i <= line.rfind('}'); ++i) {
        std::string changed = line;
        changed[i] ^= 1;
        EXPECT_TRUE(parse_usage_line(changed).key_id.empty()) << changed;
    }
    EXPECT_EQ(parse_usage_line("{" + line.substr(line.find("\"key\""))), usage);
}

}  // namespace
}  // namespace hearth::serve
