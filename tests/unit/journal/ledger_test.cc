#include "journal/ledger.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "support/data.h"

namespace hearth::journal {
namespace {

LedgerOptions options() {
    LedgerOptions o;
    o.settings = {.electricity_microusd_per_kwh = 360'000,
                  .hardware_microusd = 36'000'000,
                  .lifetime_hours = 1,
                  .idle_milliwatts = 0,
                  .utilisation_percent = 50};
    o.reference = route::Price{.input_picousd = 1'000'000, .output_picousd = 2'000'000};
    o.reference_label = "acme/big";
    o.powercap = test::temp_folder();
    return o;
}

route::Target place(route::Tier tier) {
    return {.model = "m",
            .upstream = tier == route::Tier::local ? "" : "acme",
            .tier = tier,
            .input_usd_per_mtok = tier == route::Tier::local ? 0.0 : 3.0,
            .output_usd_per_mtok = tier == route::Tier::local ? 0.0 : 15.0,
            .cached_input_usd_per_mtok = 0.3};
}

OutcomeRecord outcome() {
    OutcomeRecord r;
    r.usage = {.input_tokens = 1000, .cached_tokens = 900, .output_tokens = 10};
    return r;
}

TEST(LedgerEntry, of_this_machine_has_its_three_amounts_and_the_reference) {
    Ledger ledger(options());
    OutcomeRecord r = outcome();
    const route::Target here = place(route::Tier::local);
    // 10 J are 1 micro-dollar; 1 ms of 36 USD an hour 10; as much idle again.
    ledger.enter(r, &here, 0, {1'000'000, 10'000'000, route::EnergySource::rapl});
    EXPECT_EQ(r.cost_microusd, 0);
    EXPECT_EQ(r.ledger.energy_microusd, 1);
    EXPECT_EQ(r.ledger.amortisation_microusd, 10);
    EXPECT_EQ(r.ledger.idle_microusd, 10);
    EXPECT_EQ(r.ledger.other, "acme/big");
    EXPECT_EQ(r.ledger.other_microusd, 1020);
}

TEST(LedgerEntry, of_the_cloud_is_what_all_places_were_paid_with_cached_tokens_apart) {
    Ledger ledger(options());
    OutcomeRecord r = outcome();
    const route::Target there = place(route::Tier::cloud);
    ledger.enter(r, &there, 5, {});
    EXPECT_EQ(r.cost_microusd, 5 + 100 * 3 + 270 + 150);
    EXPECT_EQ(r.ledger.paid_microusd, r.cost_microusd);
    EXPECT_EQ(r.ledger.local_microusd(), 0);
    EXPECT_FALSE(r.ledger.other_microusd);
}

TEST(LedgerEntry, of_an_answer_that_failed_here_first_has_both) {
    Ledger ledger(options());
    OutcomeRecord r = outcome();
    const route::Target there = place(route::Tier::cloud);
    ledger.enter(r, &there, 0, {1'000'000, 10'000'000, route::EnergySource::estimate});
    EXPECT_EQ(r.ledger.local_microusd(), 21);
    EXPECT_EQ(r.cost_microusd, 720);
}

TEST(LedgerEntry, of_a_refusal_costs_nothing) {
    Ledger ledger(options());
    OutcomeRecord r;
    ledger.enter(r, nullptr, 0, {});
    EXPECT_EQ(r.ledger, route::LedgerRow{});
    EXPECT_EQ(r.cost_microusd, 0);
}

TEST(LedgerEntry, says_nothing_of_the_other_tier_where_that_is_not_known) {
    LedgerOptions o = options();
    o.reference.reset();
    Ledger ledger(std::move(o));
    OutcomeRecord r = outcome();
    const route::Target here = place(route::Tier::local);
    ledger.enter(r, &here, 0, {});
    EXPECT_FALSE(r.ledger.other_microusd);
    JsonWriter w;
    write_ledger(w, r.ledger);
    const auto json = parse_json(w.text());
    ASSERT_TRUE(json);
    EXPECT_FALSE(json->contains("other_microusd"));
    EXPECT_EQ(json->at("energy_source"), "");
}

}  // namespace
}  // namespace hearth::journal
