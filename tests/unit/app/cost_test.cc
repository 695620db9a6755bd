// What the cost commands take from settings, price files, data sheets and benchmarks.
#include <gtest/gtest.h>

#include <filesystem>

#include "app/cost_setup.h"
#include "app/hardware_file.h"
#include "app/prices_file.h"
#include "base/file.h"
#include "support/data.h"

namespace hearth::app {
namespace {

Environment nothing() {
    return [](const std::string&) { return std::nullopt; };
}

Result<Settings> resolved(const std::string& config,
                          std::map<std::string, std::string> flags = {}) {
    auto parsed = parse_config(config, "config.toml");
    if (!parsed) return std::unexpected(parsed.error());
    return Settings::resolve(flags, nothing(), std::move(*parsed));
}

TEST(CostSettings, decimals_of_the_file_are_exact) {
    const auto s = resolved(
        "[cost]\nelectricity_usd_per_kwh = 0.1\nhardware_usd = 1234.567891\nlifetime_years = 3\n"
        "active_watts = \"130.5\"\nidle_watts = 0.001\n");
    ASSERT_TRUE(s) << s.error().message;
    const route::CostSettings c = cost_settings(*s);
    EXPECT_EQ(c.electricity_microusd_per_kwh, 100'000);
    EXPECT_EQ(c.hardware_microusd, 1'234'567'891);
    EXPECT_EQ(c.lifetime_hours, 3 * 8760);
    EXPECT_EQ(c.active_milliwatts, 130'500);
    EXPECT_EQ(c.idle_milliwatts, 1);
    EXPECT_EQ(c.utilisation_percent, 10);
    EXPECT_EQ(s->source("cost.hardware_usd"), "config.toml");
    EXPECT_EQ(s->source("cost.reference"), "default");
}

TEST(CostSettings, what_is_no_decimal_or_out_of_bounds_is_refused) {
    for (const char* value : {"-1", "1e3", "\"ten\"", "\"\"", "101", "nan", "0.1234567", "true"}) {
        const auto s = resolved(std::string("[cost]\nelectricity_usd_per_kwh = ") + value);
        ASSERT_FALSE(s && s->millionths("cost.electricity_usd_per_kwh") != 1'000'000'000) << value;
    }
    const auto s = resolved("", {{"cost.utilisation_percent", "0"}});
    EXPECT_FALSE(s);
}

TEST(CostSettings, a_price_of_an_upstream_says_where_it_is_from) {
    const auto s = resolved(
        "[[upstream]]\nname = \"a\"\nbase_url = \"https://api.openai.com/v1\"\nmodels = [ { name = "
        "\"gpt-5-mini\" }, { name = \"gpt-4o\", input_usd_per_mtok = 9, "
        "cached_input_usd_per_mtok = 0.5 }, { name = \"new\" } ]\n");
    ASSERT_TRUE(s) << s.error().message;
    Settings settings = *s;
    take_prices(settings, route::built_in_prices());
    const auto& models = settings.upstreams().at(0).models;
    EXPECT_EQ(route::price_of(models[0]),
              route::built_in_prices().find("openai/gpt-5-mini")->price);
    EXPECT_EQ(models[1].price_source, "configuration");
    EXPECT_EQ(
        route::price_of(models[1]),
        (route::Price{.input_picousd = 9'000'000, .output_picousd = 0, .cached_picousd = 500'000}));
    EXPECT_EQ(models[2].price_source, "");
}

TEST(PricesFile, what_the_program_prints_it_reads_again) {
    const route::PriceTable& table = route::built_in_prices();
    const auto again = parse_prices(to_toml(table), "prices.toml");
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(again->date, table.date);
    EXPECT_EQ(again->source, "prices.toml");
    ASSERT_EQ(again->prices.size(), table.prices.size());
    for (std::size_t i = 0; i < table.prices.size(); ++i) {
        EXPECT_EQ(again->prices[i].label(), table.prices[i].label());
        EXPECT_EQ(again->prices[i].price, table.prices[i].price) << table.prices[i].label();
        EXPECT_EQ(again->prices[i].n_ctx, table.prices[i].n_ctx);
    }
    ASSERT_EQ(again->providers.size(), table.providers.size());
    EXPECT_EQ(again->providers.back().hosts, table.providers.back().hosts);
}

TEST(PricesFile, numbers_are_the_digits_that_were_written) {
    const auto table = parse_prices(
        "date = \"2026-11-01\"\n[[model]]\nprovider = \"acme\"\nname = \"x\"\n"
        "input_usd_per_mtok = 0.0028\ncached_input_usd_per_mtok = 0.000001\n"
        "output_usd_per_mtok = 3\n",
        "p.toml");
    ASSERT_TRUE(table) << table.error().message;
    EXPECT_EQ(
        table->find("acme/x")->price,
        (route::Price{.input_picousd = 2'800, .output_picousd = 3'000'000, .cached_picousd = 1}));
    EXPECT_FALSE(table->find("openai/gpt-5-mini"));  // replaced as a whole
    EXPECT_FALSE(table->providers.empty());          // hosts are still known
}

TEST(PricesFile, what_is_wrong_is_said_with_its_place) {
    const auto wrong = [](const std::string& text, const char* says) {
        const auto table = parse_prices(text, "p.toml");
        ASSERT_FALSE(table) << text;
        EXPECT_NE(table.error().message.find(says), std::string::npos) << table.error().message;
        EXPECT_TRUE(table.error().message.starts_with("p.toml:")) << table.error().message;
    };
    const std::string head = "date = \"2026-11-01\"\n[[model]]\nprovider = \"a\"\nname = \"x\"\n";
    wrong("date = ", "p.toml:1");
    wrong("", "date is missing");
    wrong("date = \"2026-11-01\"", "no [[model]]");
    wrong(head + "output_usd_per_mtok = 1", "input_usd_per_mtok is missing");
    wrong(head + "input_usd_per_mtok = -1\noutput_usd_per_mtok = 1", "no price");
    wrong(head + "input_usd_per_mtok = inf\noutput_usd_per_mtok = 1", "no price");
    wrong(head + "input_usd_per_mtok = []\noutput_usd_per_mtok = 1", "must be a number or text");
    wrong(head + "input_usd_per_mtok = 1\noutput_usd_per_mtok = 1\ninput = 1", "unknown key");
    wrong(head + "input_usd_per_mtok = 1\noutput_usd_per_mtok = 1\n" + head.substr(20) +
              "input_usd_per_mtok = 1\noutput_usd_per_mtok = 1",
          "listed twice");
    wrong("date = \"d\"\nmodel = 3", "[[model]] blocks");
    wrong("date = \"d\"\n[[provider]]\nname = \"a\"", "hosts");
}

TEST(HardwareFile, rates_follow_from_the_data_sheet) {
    const char* text =
        "[gpu.card]\nname = \"Card\"\nvram_gb = 24\nmem_bw_gb_s = 1000\nfp16_tflops = 80.0\n"
        "tdp_w = 350\nllamacpp_decode_eff = 0.5\nllamacpp_prefill_eff = 0.4\nstreet_usd = 900\n"
        "[gpu.half]\nname = \"Half\"\nvram_gb = 24\n";
    const auto sheets = parse_hardware(text, "h.toml", text);
    ASSERT_TRUE(sheets) << sheets.error().message;
    ASSERT_EQ(sheets->list.size(), 1u);
    EXPECT_EQ(sheets->n_unusable, 1u);
    const Sheet& card = sheets->list[0];
    EXPECT_DOUBLE_EQ(card.decode_tps(5), 100);
    EXPECT_DOUBLE_EQ(card.prefill_tps(8), 2000);
    EXPECT_EQ(card.price_usd, 900);
    EXPECT_FALSE(card.rent_usd_hr);
    const auto offers = parse_hardware(
        "[cloud.one]\nname = \"One\"\ngpu = \"card\"\nprice_hr = 0.5\n[cloud.two]\ngpu = \"none\"\n"
        "price_hr = 1\n",
        "c.toml", text);
    ASSERT_TRUE(offers) << offers.error().message;
    ASSERT_EQ(offers->list.size(), 1u);
    EXPECT_EQ(offers->list[0].key, "one");
    EXPECT_EQ(offers->list[0].rent_usd_hr, 0.5);
    EXPECT_DOUBLE_EQ(offers->list[0].decode_tps(5), 100);
    EXPECT_FALSE(parse_hardware("x = 1", "h.toml", ""));
    EXPECT_FALSE(parse_hardware("[gpu", "h.toml", ""));
    EXPECT_FALSE(parse_hardware("gpu = 3\ncloud = []", "h.toml", ""));
}

TEST(HardwareFile, the_public_lists_of_machines_are_read_whole) {
    NEEDS_DATA(gpus_path, "hardware/hardware.toml");
    NEEDS_DATA(offers_path, "hardware/cloud.toml");
    const auto gpus = read_file(gpus_path, 8 << 20), offers = read_file(offers_path, 8 << 20);
    ASSERT_TRUE(gpus && offers);
    const auto owned = parse_hardware(*gpus, gpus_path, *gpus);
    ASSERT_TRUE(owned) << owned.error().message;
    EXPECT_EQ(owned->list.size() + owned->n_unusable, 212u + 39u);
    EXPECT_GT(owned->list.size(), 200u);
    const auto rented = parse_hardware(*offers, offers_path, *gpus);
    ASSERT_TRUE(rented) << rented.error().message;
    EXPECT_GT(rented->list.size(), 40u);
    for (const Sheet& sheet : rented->list)
        EXPECT_GT(sheet.rent_usd_hr.value_or(0), 0) << sheet.key;
}

TEST(MeasuredSpeed, is_the_newest_benchmark_with_both_rates) {
    const std::string path = test::temp_folder() + "/bench.jsonl";
    EXPECT_FALSE(measured_speed(path));
    const auto line = [](const char* time, const char* results) {
        return std::string("{\"time\":\"") + time +
               "\",\"model\":{\"name\":\"m\"},\"results\":" + results + "}\n";
    };
    const std::string text =
        line("2026-01-01",
             R"([{"test":"pp512","tps_median":100},{"test":"tg128","tps_median":10}])") +
        line("2026-01-02", R"([{"test":"pp512","tps_median":200},{"test":"pp64","tps_median":150},)"
                           R"({"test":"tg128","parallel":4,"tps_median":40}])") +
        line("2026-01-03", R"([{"test":"pp512","tps_median":900}])") +
        line("2026-01-04",
             R"([{"test":"pp512","tps_median":-1},{"test":"tg1","tps_median":"9"},7])") +
        "{\"time\":3}\nnot json\n";
    ASSERT_TRUE(write_file(path, text));
    const auto speed = measured_speed(path);
    ASSERT_TRUE(speed);
    EXPECT_EQ(speed->time, "2026-01-02");
    EXPECT_EQ(speed->prefill_tps, 200);
    EXPECT_EQ(speed->decode_tps, 40);
    EXPECT_EQ(speed->model, "m");
    EXPECT_EQ(speed->test, "pp512, tg128 (4 at a time)");
    EXPECT_EQ(speed->per_token().decode_ns_per_token, 25'000'000);
}

}  // namespace
}  // namespace hearth::app
