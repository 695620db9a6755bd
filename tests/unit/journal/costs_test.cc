// Totals are sums of rows: what was appended, added up by hand, against SQL's sums, the rows read
// one by one, and the records' JSON.
#include "journal/costs.h"

#include <gtest/gtest.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <random>

#include "base/format.h"
#include "base/json.h"
#include "journal/journal.h"
#include "journal/schema.h"
#include "journal/slot.h"
#include "journal/sqlite.h"
#include "support/data.h"

namespace hearth::journal {
namespace {

constexpr int kRecords = 10'000;
constexpr std::int64_t kDayNs = 86'400 * kNsPerS;
constexpr std::int64_t kStartNs = 20'000 * kDayNs;  // 2024-10-04

struct Sample {
    std::int64_t wall_ns = 0;
    OutcomeRecord record;
};

std::vector<Sample> samples(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    const auto below = [&](std::uint64_t n) { return std::int64_t(random() % n); };
    const std::vector<std::string> tasks{"", "mail", "sql", "it's", "Übersetzung", "a\"b"};
    const std::vector<std::string> keys{"", "k1", "k2"};
    std::vector<Sample> out;
    std::int64_t wall_ns = kStartNs;
    for (int i = 0; i < kRecords; ++i) {
        Sample s;
        // Whole microseconds: the journal moves a record by nanoseconds where its own was stamped
        // at the same time.
        s.wall_ns = wall_ns += 1000 * (1 + below(kDayNs / 500'000));
        OutcomeRecord& r = s.record;
        r.request_id = format("req-{}", i);
        r.task = tasks[std::size_t(below(tasks.size()))];
        r.key_id = keys[std::size_t(below(keys.size()))];
        r.total_ns = below(1'000'000'000'000);
        const std::int64_t kind = below(10);
        r.route = kind == 0 ? "refused" : kind == 1 ? "fleet" : kind < 5 ? "cloud" : "local";
        r.outcome = kind == 0 ? "refused" : "finished";
        if (kind > 0) {
            r.model = kind % 2 ? "small" : "big";
            if (r.route != "local") r.upstream = kind == 1 ? "shed" : "acme";
            r.usage.input_tokens = below(100'000);
            r.usage.cached_tokens = below(std::uint64_t(r.usage.input_tokens) + 1);
            r.usage.output_tokens = below(5000);
            r.usage.reasoning_tokens = below(std::uint64_t(r.usage.output_tokens) + 1);
            if (below(5) > 0) {
                r.ledger.other_microusd = below(1'000'000);
                r.ledger.other = r.route == "cloud" ? "local" : "openai/gpt-5-mini";
            }
        }
        if (r.route == "cloud" || kind == 5) r.cost_microusd = below(2'000'000);
        r.ledger.paid_microusd = r.cost_microusd;
        if (r.route == "local") {
            r.ledger.busy_ns = below(100'000'000'000);
            r.ledger.idle_ns = r.ledger.busy_ns * 9;
            r.ledger.energy_uj = below(9'000'000'000);
            r.ledger.energy_source =
                below(2) ? route::EnergySource::rapl : route::EnergySource::estimate;
            r.ledger.energy_microusd = below(1000);
            r.ledger.amortisation_microusd = below(1000);
            r.ledger.idle_microusd = below(1000);
        }
        out.push_back(std::move(s));
    }
    return out;
}

// The definitions of costs.h once more, over the values that were appended.
void add(CostSums& sum, const Sample& s) {
    const OutcomeRecord& r = s.record;
    const route::LedgerRow& l = r.ledger;
    ++sum.n_requests;
    sum.n_local += r.route == "local";
    sum.n_fleet += r.route == "fleet";
    sum.n_cloud += r.route == "cloud";
    sum.n_refused += r.route == "refused";
    sum.input_tokens += r.usage.input_tokens;
    sum.cached_tokens += r.usage.cached_tokens;
    sum.output_tokens += r.usage.output_tokens;
    sum.reasoning_tokens += r.usage.reasoning_tokens;
    sum.total_ns += r.total_ns;
    sum.busy_ns += l.busy_ns;
    sum.idle_ns += l.idle_ns;
    sum.energy_uj += l.energy_uj;
    if (l.energy_source == route::EnergySource::rapl) sum.energy_rapl_uj += l.energy_uj;
    sum.energy_microusd += l.energy_microusd;
    sum.amortisation_microusd += l.amortisation_microusd;
    sum.idle_microusd += l.idle_microusd;
    sum.paid_microusd += r.cost_microusd;
    if (r.route == "cloud") {
        sum.all_cloud_microusd += r.cost_microusd;
        sum.all_local_microusd += l.other_microusd.value_or(0);
        sum.n_all_local_unknown += !l.other_microusd;
    } else if (r.route == "local") {
        sum.all_local_microusd += l.local_microusd();
        sum.all_cloud_microusd += l.other_microusd.value_or(0);
        sum.n_all_cloud_unknown += !l.other_microusd;
    } else if (r.route == "fleet") {
        sum.all_cloud_microusd += l.other_microusd.value_or(0);
        sum.n_all_cloud_unknown += !l.other_microusd;
        ++sum.n_all_local_unknown;
    }
    if (sum.first_wall_ns == 0) sum.first_wall_ns = s.wall_ns;
    sum.last_wall_ns = s.wall_ns;
}

std::string text_of(const CostSums& s) {
    return format(
        "{} {} {} {} {} | {} {} {} {} | {} {} {} | {} {} | {} {} {} {} | {} {} {} {} | {} {}",
        s.n_requests, s.n_local, s.n_fleet, s.n_cloud, s.n_refused, s.input_tokens, s.cached_tokens,
        s.output_tokens, s.reasoning_tokens, s.total_ns, s.busy_ns, s.idle_ns, s.energy_uj,
        s.energy_rapl_uj, s.energy_microusd, s.amortisation_microusd, s.idle_microusd,
        s.paid_microusd, s.all_cloud_microusd, s.n_all_cloud_unknown, s.all_local_microusd,
        s.n_all_local_unknown, s.first_wall_ns / 1000, s.last_wall_ns / 1000);
}

std::string group_of(const Sample& s, CostsBy by) {
    const OutcomeRecord& r = s.record;
    switch (by) {
        case CostsBy::nothing:
            return "";
        case CostsBy::task:
            return r.task;
        case CostsBy::key:
            return r.key_id;
        case CostsBy::model:
            return r.upstream.empty() ? r.model : r.upstream + "/" + r.model;
        case CostsBy::tier:
            return r.route;
        case CostsBy::day:
            return rfc3339(s.wall_ns).substr(0, 10);
    }
    return "";
}

constexpr CostsBy kAllWays[] = {CostsBy::nothing, CostsBy::task, CostsBy::key,
                                CostsBy::model,   CostsBy::tier, CostsBy::day};

// Written by two processes' worth of writers, in two slots.
std::string written(const std::vector<Sample>& all) {
    const std::string folder = test::temp_folder();
    // Read by the journals' threads too.
    struct : Clock {
        std::int64_t mono_ns() const override { return now_ns; }
        std::int64_t wall_ns() const override { return now_ns; }
        std::atomic<std::int64_t> now_ns = kStartNs;
    } clock;
    std::vector<std::unique_ptr<Journal>> journals;
    for (int k = 0; k < 2; ++k) {
        auto journal = Journal::open({.folder = folder, .sync = Sync::none}, clock);
        EXPECT_TRUE(journal) << journal.error().message;
        journals.push_back(std::move(*journal));
    }
    for (std::size_t i = 0; i < all.size(); ++i) {
        clock.now_ns = all[i].wall_ns;
        journals[i % 2]->append(all[i].record);
        if (i % 1000 != 999) continue;
        for (auto& journal : journals) EXPECT_TRUE(journal->flush());
    }
    return folder;
}

struct Costs : testing::Test {
    static void SetUpTestSuite() {
        all = samples(20261120);
        folder = written(all);
    }
    static inline std::vector<Sample> all;
    static inline std::string folder;
};

TEST_F(Costs, sums_of_every_group_equal_what_was_appended) {
    for (const CostsBy by : kAllWays) {
        SCOPED_TRACE(int(by));
        std::map<std::string, CostSums> expected;
        for (const Sample& s : all) add(expected[group_of(s, by)], s);
        const auto found = sum_costs(folder, 0, by);
        ASSERT_TRUE(found) << found.error().message;
        ASSERT_EQ(found->size(), expected.size());
        for (const auto& [group, sums] : expected) {
            ASSERT_TRUE(found->contains(group)) << group;
            EXPECT_EQ(text_of(found->at(group)), text_of(sums)) << group;
        }
    }
}

TEST_F(Costs, rows_one_by_one_are_what_was_appended) {
    std::map<std::string, const Sample*> by_id;
    for (const Sample& s : all) by_id[s.record.request_id] = &s;
    std::size_t n = 0;
    const Status read = each_cost(folder, 0, [&](const CostRow& row) {
        ++n;
        const Sample& s = *by_id.at(row.request_id);
        const route::LedgerRow& l = s.record.ledger;
        EXPECT_EQ(row.wall_ns / 1000, s.wall_ns / 1000);
        EXPECT_EQ(row.task, s.record.task);
        EXPECT_EQ(row.key_id, s.record.key_id);
        EXPECT_EQ(row.energy_source, route::name_of(l.energy_source));
        EXPECT_EQ(row.busy_ns, l.busy_ns);
        EXPECT_EQ(row.energy_uj, l.energy_uj);
        EXPECT_EQ(row.energy_microusd, l.energy_microusd);
        EXPECT_EQ(row.amortisation_microusd, l.amortisation_microusd);
        EXPECT_EQ(row.idle_microusd, l.idle_microusd);
        EXPECT_EQ(row.paid_microusd, s.record.cost_microusd);
        EXPECT_EQ(row.other_microusd, l.other_microusd);
        EXPECT_EQ(row.other, l.other);
    });
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(n, all.size());
}

TEST_F(Costs, the_json_of_the_records_adds_up_to_the_same) {
    Cursor cursor;
    std::int64_t n = 0, paid = 0, energy = 0, amortisation = 0, idle = 0, other = 0;
    for (;;) {
        const auto entries = read_after(folder, cursor, 100'000);
        ASSERT_TRUE(entries) << entries.error().message;
        if (entries->empty()) break;
        for (const JournalEntry& entry : *entries) {
            if (entry.event != "outcome") continue;
            const auto record = parse_json(entry.json);
            ASSERT_TRUE(record);
            const Json& ledger = record->at("ledger");
            ++n;
            paid += record->at("cost_microusd").get<std::int64_t>();
            energy += ledger.at("energy_microusd").get<std::int64_t>();
            amortisation += ledger.at("amortisation_microusd").get<std::int64_t>();
            idle += ledger.at("idle_microusd").get<std::int64_t>();
            if (ledger.contains("other_microusd"))
                other += ledger.at("other_microusd").get<std::int64_t>();
        }
    }
    const auto sums = sum_costs(folder, 0, CostsBy::nothing);
    ASSERT_TRUE(sums);
    const CostSums& total = sums->at("");
    EXPECT_EQ(n, kRecords);
    EXPECT_EQ(paid, total.paid_microusd);
    EXPECT_EQ(energy, total.energy_microusd);
    EXPECT_EQ(amortisation, total.amortisation_microusd);
    EXPECT_EQ(idle, total.idle_microusd);
    std::int64_t expected = 0;
    for (const Sample& s : all) expected += s.record.ledger.other_microusd.value_or(0);
    EXPECT_EQ(other, expected);
}

TEST_F(Costs, since_leaves_out_what_was_before_it) {
    const std::int64_t since = all[7000].wall_ns;
    CostSums expected;
    for (const Sample& s : all)
        if (s.wall_ns >= since) add(expected, s);
    const auto sums = sum_costs(folder, since, CostsBy::nothing);
    ASSERT_TRUE(sums);
    EXPECT_EQ(text_of(sums->at("")), text_of(expected));
    EXPECT_TRUE(sum_costs(folder, all.back().wall_ns + 1, CostsBy::nothing)->empty());
}

TEST(OldCosts, a_file_without_the_newer_columns_counts_what_it_has) {
    const std::string folder = test::temp_folder();
    ASSERT_TRUE(make_file(folder + "/journal-3.db"));
    {
        const auto database = Database::open(folder + "/journal-3.db", Database::Mode::write);
        ASSERT_TRUE(database);
        const std::string sql = format(
            "CREATE TABLE entries (seq INTEGER PRIMARY KEY, wall_ns INTEGER, event TEXT, "
            "request_id TEXT, json TEXT, outcome TEXT, model TEXT, upstream TEXT, route "
            "TEXT, input_tokens INTEGER, cached_tokens INTEGER, output_tokens INTEGER, "
            "reasoning_tokens INTEGER, cost_microusd INTEGER) STRICT;"
            "INSERT INTO entries VALUES (1, 5, 'outcome', 'req-1', '{{}}', 'finished', "
            "'big', 'acme', 'cloud', 10, 4, 2, 1, 77);"
            "PRAGMA application_id = {}; PRAGMA user_version = 1",
            kApplicationId);
        ASSERT_TRUE((*database)->exec(sql.c_str()));
    }
    const auto sums = sum_costs(folder, 0, CostsBy::task);
    ASSERT_TRUE(sums) << sums.error().message;
    const CostSums& total = sums->at("");
    EXPECT_EQ(total.n_requests, 1);
    EXPECT_EQ(total.paid_microusd, 77);
    EXPECT_EQ(total.all_cloud_microusd, 77);
    EXPECT_EQ(total.n_all_local_unknown, 1);
    EXPECT_EQ(total.local_microusd(), 0);
}

TEST(OldCosts, a_folder_that_is_not_there_costs_nothing) {
    const auto sums = sum_costs(test::temp_folder() + "/none", 0, CostsBy::day);
    ASSERT_TRUE(sums);
    EXPECT_TRUE(sums->empty());
}

}  // namespace
}  // namespace hearth::journal
