#include "route/ledger.h"

#include <gtest/gtest.h>

#include <charconv>
#include <fstream>
#include <limits>
#include <map>
#include <sstream>

namespace hearth::route {
namespace {

constexpr auto kMax = std::numeric_limits<std::int64_t>::max();

using Line = std::map<std::string, std::string>;

// ledger_golden.csv beside this file; ledger_golden.py says how it was made.
std::vector<Line> golden() {
    std::ifstream file(HEARTH_SOURCE_DIR "/tests/unit/route/ledger_golden.csv");
    std::vector<std::string> names;
    std::vector<Line> lines;
    for (std::string text; std::getline(file, text);) {
        std::istringstream cells(text);
        Line line;
        std::size_t column = 0;
        const bool head = names.empty();
        for (std::string cell; std::getline(cells, cell, ',');) {
            if (head)
                names.push_back(cell);
            else
                line[names.at(column++)] = cell;
        }
        if (!head) lines.push_back(line);
    }
    return lines;
}

std::int64_t number(const Line& line, const char* name) {
    std::int64_t value = -1;
    const std::string& text = line.at(name);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    EXPECT_TRUE(error == std::errc() && end == text.data() + text.size()) << name << " " << text;
    return value;
}

LedgerInputs inputs_of(const Line& line) {
    const auto n = [&](const char* name) { return number(line, name); };
    const std::string& tier = line.at("tier");
    return {.tier = tier == "local"   ? Tier::local
                    : tier == "fleet" ? Tier::fleet
                                      : Tier::cloud,
            .usage = {.input_tokens = n("n_in"),
                      .cached_tokens = n("n_cached"),
                      .output_tokens = n("n_out")},
            .price = {n("price_in"), n("price_out"), n("price_cached")},
            .paid_before_microusd = n("before"),
            .energy = {n("busy_ns"), n("energy_uj"), EnergySource::rapl},
            .reference = Price{n("ref_in"), n("ref_out"), n("ref_cached")},
            .reference_label = "big",
            .speed = LocalSpeed{n("pf_ns"), n("dec_ns")},
            .settings = {.electricity_microusd_per_kwh = n("kwh"),
                         .hardware_microusd = n("hardware"),
                         .lifetime_hours = n("life"),
                         .active_milliwatts = n("active_mw"),
                         .idle_milliwatts = n("idle_mw"),
                         .utilisation_percent = n("utilisation")}};
}

TEST(Ledger, equals_exact_fractions_row_by_row) {
    const std::vector<Line> lines = golden();
    ASSERT_EQ(lines.size(), 480u);
    LedgerRest rest;
    for (std::size_t i = 0; i < lines.size(); ++i) {
        SCOPED_TRACE(i + 2);  // the line of the file
        const Line& line = lines[i];
        if (number(line, "begin") == 1) rest = {};
        const LedgerRow row = ledger_of(inputs_of(line), rest);
        EXPECT_EQ(row.idle_ns, number(line, "idle_ns"));
        EXPECT_EQ(row.energy_microusd, number(line, "energy"));
        EXPECT_EQ(row.amortisation_microusd, number(line, "amortisation"));
        EXPECT_EQ(row.idle_microusd, number(line, "idle"));
        EXPECT_EQ(row.paid_microusd, number(line, "paid"));
        EXPECT_EQ(row.other_microusd, number(line, "other"));
        EXPECT_EQ(row.other, line.at("tier") == "cloud" ? "local" : "big");
    }
}

TEST(Ledger, a_million_answers_of_a_hundredth_of_a_micro_dollar_cost_ten_thousand) {
    LedgerInputs inputs;
    inputs.settings = {.electricity_microusd_per_kwh = 360'000,
                       .hardware_microusd = 0,
                       .utilisation_percent = 100};
    // 0.1 J = 2.7778e-8 kWh; at 0.36 USD exactly 0.01 micro-dollars.
    inputs.energy = {.busy_ns = 1'000'000, .energy_uj = 100'000, .source = EnergySource::rapl};
    LedgerRest rest;
    std::int64_t sum = 0;
    for (int i = 0; i < 1'000'000; ++i) sum += ledger_of(inputs, rest).energy_microusd;
    EXPECT_EQ(sum, 10'000);
}

TEST(Ledger, an_answer_of_the_cloud_takes_nothing_of_this_machine) {
    LedgerInputs inputs{.tier = Tier::cloud, .usage = {.input_tokens = 10, .output_tokens = 2}};
    inputs.price = {.input_picousd = 1'000'000, .output_picousd = 2'000'000};
    LedgerRest rest;
    const LedgerRow row = ledger_of(inputs, rest);
    EXPECT_EQ(row.local_microusd(), 0);
    EXPECT_EQ(row.paid_microusd, 14);
    EXPECT_FALSE(row.other_microusd);  // the speed of this machine is not known
    EXPECT_EQ(row.other, "");
}

TEST(Ledger, joules_are_estimated_as_watts_times_busy_seconds) {
    const EnergyReading r = estimated_energy(2'500'000'000, {.active_milliwatts = 40'000});
    EXPECT_EQ(r.energy_uj, 100'000'000);
    EXPECT_EQ(r.busy_ns, 2'500'000'000);
    EXPECT_EQ(r.source, EnergySource::estimate);
    EXPECT_EQ(estimated_energy(-5, {}).energy_uj, 0);
}

TEST(Ledger, absurd_inputs_are_held_to_their_bounds) {
    LedgerInputs inputs;
    inputs.tier = Tier::cloud;
    inputs.usage = {.input_tokens = kMax, .cached_tokens = kMax, .output_tokens = kMax};
    inputs.price = {kMax, kMax, kMax};
    inputs.paid_before_microusd = kMax;
    inputs.energy = {.busy_ns = kMax, .energy_uj = kMax, .source = EnergySource::rapl};
    inputs.speed = LocalSpeed{kMax, kMax};
    inputs.settings = {kMax, kMax, 0, kMax, kMax, 0};
    LedgerRest rest;
    for (int i = 0; i < 3; ++i) {
        const LedgerRow row = ledger_of(inputs, rest);
        EXPECT_GT(row.energy_microusd, 0);
        EXPECT_GT(row.amortisation_microusd, 0);
        EXPECT_GT(row.idle_microusd, 0);
        EXPECT_GT(row.local_microusd(), row.idle_microusd);
        EXPECT_EQ(row.paid_microusd, kMax);
        EXPECT_GT(row.other_microusd, 0);
    }
    inputs.energy = {.busy_ns = -7, .energy_uj = -7, .source = EnergySource::estimate};
    inputs.paid_before_microusd = -7;
    inputs.usage = {.input_tokens = -1, .cached_tokens = -1, .output_tokens = -1};
    LedgerRest fresh;
    const LedgerRow row = ledger_of(inputs, fresh);
    EXPECT_EQ(row.local_microusd(), 0);
    EXPECT_EQ(row.paid_microusd, 0);
}

TEST(Decimal, is_read_and_written_exactly) {
    EXPECT_EQ(parse_decimal("0.075", 6, kMax), 75'000);
    EXPECT_EQ(parse_decimal("15", 6, kMax), 15'000'000);
    EXPECT_EQ(parse_decimal("0.003625", 6, kMax), 3'625);
    EXPECT_EQ(parse_decimal("1.50000000", 2, kMax), 150);
    EXPECT_EQ(parse_decimal("9223372036854775807", 0, kMax), kMax);
    EXPECT_EQ(decimal_text(75'000, 6), "0.075");
    EXPECT_EQ(decimal_text(15'000'000, 6), "15");
    EXPECT_EQ(decimal_text(0, 6), "0");
    EXPECT_EQ(decimal_text(-1'500'000, 6), "-1.5");
    EXPECT_EQ(decimal_text(std::numeric_limits<std::int64_t>::min(), 0), "-9223372036854775808");
    for (std::int64_t value = 0; value < 2'000'000; value += 1237)
        EXPECT_EQ(parse_decimal(decimal_text(value, 6), 6, kMax), value);
}

TEST(Decimal, refuses_what_it_could_not_hold_exactly) {
    for (const char* text : {"", ".", ".5", "5.", "-1", "+1", "1e3", "1,5", "0x1", " 1", "1 ",
                             "1.0000001", "1..2", "nan", "9223372036854775808"})
        EXPECT_FALSE(parse_decimal(text, 6, kMax)) << text;
    EXPECT_TRUE(parse_decimal("1000000", 6, 1'000'000'000'000));
    EXPECT_FALSE(parse_decimal("1000000.000001", 6, 1'000'000'000'000));
    EXPECT_FALSE(parse_decimal(std::string(100'000, '9'), 6, kMax));
}

}  // namespace
}  // namespace hearth::route
