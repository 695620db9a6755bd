#include "route/prices.h"

#include <gtest/gtest.h>

#include "route/ledger.h"

namespace hearth::route {
namespace {

PriceTable table_of_two() {
    PriceTable table{.source = "test", .date = "2026-01-02", .providers = {}, .prices = {}};
    table.providers = {{"acme", {"api.acme.example", "eu.acme.example"}}};
    EXPECT_TRUE(add_price(table, "acme", "big", "2.5", "0.25", "10", 1000));
    EXPECT_TRUE(add_price(table, "acme", "org/small", "0.05", "", "0.1", 0));
    return table;
}

Target cloud(const std::string& host, const std::string& model) {
    return {.model = model,
            .upstream = "u",
            .tier = Tier::cloud,
            .destination = {.host = host, .port = 443, .tls = true}};
}

TEST(Prices, are_found_by_label_and_by_host) {
    const PriceTable table = table_of_two();
    ASSERT_TRUE(table.find("acme/org/small"));
    EXPECT_EQ(table.find("acme/org/small")->price.input_picousd, 50'000);
    EXPECT_EQ(table.find_at("eu.acme.example", "big"), table.find("acme/big"));
    for (const char* label : {"", "acme", "acme/", "big", "acme-big", "acme/bi", "acme/bigger"})
        EXPECT_FALSE(table.find(label)) << label;
    EXPECT_FALSE(table.find_at("api.other.example", "big"));
    EXPECT_FALSE(table.find_at("api.acme.example.evil.example", "big"));
}

TEST(Prices, a_cloud_target_takes_its_providers_price) {
    Target target = cloud("api.acme.example", "big");
    take_price(target, table_of_two());
    EXPECT_EQ(target.price_source, "price table of 2026-01-02 (test)");
    EXPECT_EQ(price_of(target), table_of_two().find("acme/big")->price);
}

TEST(Prices, of_the_configuration_and_of_own_servers_are_left_alone) {
    const PriceTable table = table_of_two();
    Target stated = cloud("api.acme.example", "big");
    stated.input_usd_per_mtok = 1;
    stated.price_source = "configuration";
    take_price(stated, table);
    EXPECT_EQ(price_of(stated)->input_picousd, 1'000'000);
    Target fleet = cloud("api.acme.example", "big");
    fleet.tier = Tier::fleet;
    take_price(fleet, table);
    EXPECT_EQ(fleet.price_source, "");
    Target unknown = cloud("api.acme.example", "newest");
    take_price(unknown, table);
    EXPECT_EQ(unknown.price_source, "");
}

TEST(Prices, entries_that_are_none_or_come_twice_are_refused) {
    PriceTable table = table_of_two();
    EXPECT_FALSE(add_price(table, "acme", "big", "1", "", "1", 0));
    EXPECT_FALSE(add_price(table, "acme", "x", "", "", "1", 0));
    EXPECT_FALSE(add_price(table, "acme", "x", "1", "free", "1", 0));
    EXPECT_FALSE(add_price(table, "acme", "x", "1", "", "-1", 0));
    EXPECT_FALSE(add_price(table, "acme", "x", "1000001", "", "1", 0));
    EXPECT_FALSE(add_price(table, "acme", "x", "0.0000001", "", "1", 0));
    EXPECT_FALSE(add_price(table, "a/b", "x", "1", "", "1", 0));
    EXPECT_FALSE(add_price(table, "acme", "", "1", "", "1", 0));
    EXPECT_EQ(table.prices.size(), 2u);
    const auto refused = add_price(table, "acme", "x", "1e3", "", "1", 0);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("acme/x: input = 1e3"), std::string::npos);
}

TEST(Prices, every_price_survives_the_form_that_targets_have) {
    const PriceTable& table = built_in_prices();
    ASSERT_GT(table.prices.size(), 80u);
    for (const ListedPrice& listed : table.prices) {
        const auto host = [&] {
            for (const Provider& provider : table.providers)
                if (provider.name == listed.provider) return provider.hosts.at(0);
            return std::string();
        }();
        ASSERT_NE(host, "") << listed.label();
        Target target = cloud(host, listed.model);
        take_price(target, table);
        EXPECT_EQ(price_of(target), listed.price) << listed.label();
    }
}

TEST(Prices, the_reference_is_what_a_target_really_pays_or_the_tables) {
    const PriceTable table = table_of_two();
    Target own = cloud("api.acme.example", "big");
    own.upstream = "acme";
    own.input_usd_per_mtok = 7;
    own.price_source = "configuration";
    EXPECT_EQ(reference_price("acme/big", {own}, table)->input_picousd, 7'000'000);
    EXPECT_EQ(reference_price("acme/big", {}, table)->input_picousd, 2'500'000);
    EXPECT_FALSE(reference_price("acme/none", {own}, table));
}

}  // namespace
}  // namespace hearth::route
