// The meter on recorded counters: a folder laid out as sysfs lays it out, whose files the test
// rewrites as the kernel would.
#include "journal/energy.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include "journal/limits.h"
#include "support/data.h"

namespace hearth::journal {
namespace {

using route::EnergySource;

constexpr std::int64_t kRange = 262'143'328'850;  // of a desktop processor, recorded

class FakeSysfs {
  public:
    void domain(const std::string& name, const std::string& label, std::int64_t uj,
                std::int64_t range = kRange) {
        std::filesystem::create_directories(root / name);
        write(name + "/name", label);
        write(name + "/energy_uj", std::to_string(uj));
        write(name + "/max_energy_range_uj", std::to_string(range));
    }
    // In place, as sysfs does: an open descriptor sees it.
    void write(const std::string& file, const std::string& text) {
        std::ofstream(root / file, std::ios::trunc) << text << "\n";
    }
    void count(const std::string& name, std::int64_t uj) {
        write(name + "/energy_uj", std::to_string(uj));
    }
    std::filesystem::path root = std::filesystem::path(test::temp_folder()) / "powercap";
    FakeSysfs() { std::filesystem::create_directories(root); }
};

// 40 W, so that an estimate is told from the counters' 50 W.
const route::CostSettings kSettings{.active_milliwatts = 40'000};

TEST(EnergyMeter, an_answer_gets_what_the_package_used_while_it_was_computed) {
    FakeSysfs sysfs;
    sysfs.domain("intel-rapl:0", "package-0", 1'000);
    ManualClock clock;
    EnergyMeter meter(sysfs.root, kSettings, clock);
    ASSERT_EQ(meter.n_packages(), 1u) << meter.why_not();
    sysfs.count("intel-rapl:0", 5'000'000);  // idle before it: nobody's
    clock.now_ns = 3 * kNsPerS;
    auto ticket = meter.begin();
    sysfs.count("intel-rapl:0", 105'000'000);
    clock.now_ns = 5 * kNsPerS;
    const auto reading = meter.end(ticket);
    EXPECT_EQ(reading.energy_uj, 100'000'000);
    EXPECT_EQ(reading.busy_ns, 2 * kNsPerS);
    EXPECT_EQ(reading.source, EnergySource::rapl);
    EXPECT_EQ(meter.end(ticket).busy_ns, 0);  // closed
}

TEST(EnergyMeter, concurrent_answers_share_joules_and_time) {
    FakeSysfs sysfs;
    sysfs.domain("intel-rapl:0", "package-0", 0);
    ManualClock clock;
    EnergyMeter meter(sysfs.root, kSettings, clock);
    auto a = meter.begin();
    clock.now_ns = kNsPerS;
    sysfs.count("intel-rapl:0", 60);
    auto b = meter.begin();  // a alone: 60 uJ, 1 s
    clock.now_ns = 3 * kNsPerS;
    sysfs.count("intel-rapl:0", 160);
    const auto read_a = meter.end(a);  // both: 100 uJ, 2 s
    clock.now_ns = 4 * kNsPerS;
    sysfs.count("intel-rapl:0", 167);
    const auto read_b = meter.end(b);  // b alone: 7 uJ, 1 s
    EXPECT_EQ(read_a.energy_uj, 60 + 50);
    EXPECT_EQ(read_b.energy_uj, 50 + 7);
    EXPECT_EQ(read_a.busy_ns, 2 * kNsPerS);
    EXPECT_EQ(read_b.busy_ns, 2 * kNsPerS);
}

TEST(EnergyMeter, shares_add_up_to_the_whole_though_divisions_leave_rests) {
    FakeSysfs sysfs;
    sysfs.domain("intel-rapl:0", "package-0", 0);
    ManualClock clock;
    EnergyMeter meter(sysfs.root, kSettings, clock);
    std::vector<EnergyMeter::Ticket> tickets(7);
    for (auto& ticket : tickets) ticket = meter.begin();
    std::int64_t counted = 0;
    for (int i = 0; i < 300; ++i) {  // 10 uJ and 10 s among seven, again and again
        sysfs.count("intel-rapl:0", counted += 10);
        clock.now_ns += kReadingAgeNs;
        meter.touch();
    }
    std::int64_t energy_uj = 0, busy_ns = 0;
    for (auto& ticket : tickets) {
        const auto reading = meter.end(ticket);
        energy_uj += reading.energy_uj;
        busy_ns += reading.busy_ns;
    }
    EXPECT_NEAR(double(energy_uj), double(counted), 7);  // less than one for each
    EXPECT_NEAR(double(busy_ns), double(clock.now_ns), 7);
}

TEST(EnergyMeter, a_counter_that_went_round_is_continued) {
    FakeSysfs sysfs;
    sysfs.domain("intel-rapl:0", "package-0", kRange - 30);
    ManualClock clock;
    EnergyMeter meter(sysfs.root, kSettings, clock);
    auto ticket = meter.begin();
    clock.now_ns = kNsPerS;
    sysfs.count("intel-rapl:0", 12);
    const auto reading = meter.end(ticket);
    EXPECT_EQ(reading.energy_uj, 42);
    EXPECT_EQ(reading.source, EnergySource::rapl);
}

TEST(EnergyMeter, an_interval_in_which_a_counter_may_have_gone_round_twice_is_estimated) {
    FakeSysfs sysfs;
    sysfs.domain("intel-rapl:0", "package-0", 0);
    ManualClock clock;
    EnergyMeter meter(sysfs.root, kSettings, clock);
    auto ticket = meter.begin();
    clock.now_ns = kRange + 1;  // 262 s: 1,000 W could have gone round
    sysfs.count("intel-rapl:0", 12);
    const auto reading = meter.end(ticket);
    EXPECT_EQ(reading.source, EnergySource::estimate);
    EXPECT_EQ(reading.energy_uj, (kRange + 1) * 40 / 1000);
}

TEST(EnergyMeter, touches_keep_a_long_answer_counted) {
    FakeSysfs sysfs;
    sysfs.domain("intel-rapl:0", "package-0", 0);
    ManualClock clock;
    EnergyMeter meter(sysfs.root, kSettings, clock);
    auto ticket = meter.begin();
    std::int64_t uj = 0;
    for (int i = 0; i < 100; ++i) {  // 100 * 20 s * 50 W = 100 kJ, round and round
        clock.now_ns += 20 * kNsPerS;
        uj += 1'000'000'000;
        sysfs.count("intel-rapl:0", uj % kRange);
        meter.touch();
    }
    const auto reading = meter.end(ticket);
    EXPECT_EQ(reading.source, EnergySource::rapl);
    EXPECT_EQ(reading.energy_uj, uj);
}

TEST(EnergyMeter, packages_are_added_and_their_parts_and_platforms_are_not) {
    FakeSysfs sysfs;
    sysfs.domain("intel-rapl:0", "package-0", 0);
    sysfs.domain("intel-rapl:1", "package-1", 0);
    sysfs.domain("intel-rapl:0:0", "core", 0);
    sysfs.domain("intel-rapl:0:1", "package-0-part", 0);
    sysfs.domain("intel-rapl:2", "psys", 0);
    sysfs.domain("intel-rapl-mmio:0", "package-0", 0);
    ManualClock clock;
    EnergyMeter meter(sysfs.root, kSettings, clock);
    EXPECT_EQ(meter.n_packages(), 2u);
    auto ticket = meter.begin();
    for (const char* domain : {"intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0", "intel-rapl:0:1",
                               "intel-rapl:2", "intel-rapl-mmio:0"})
        sysfs.count(domain, 100);
    clock.now_ns = kNsPerS;
    EXPECT_EQ(meter.end(ticket).energy_uj, 200);
}

TEST(EnergyMeter, a_counter_that_stops_being_a_number_makes_an_estimate_of_that_answer_only) {
    FakeSysfs sysfs;
    sysfs.domain("intel-rapl:0", "package-0", 0);
    ManualClock clock;
    EnergyMeter meter(sysfs.root, kSettings, clock);
    for (const char* text : {"", "12x", "-5", "99999999999999999999", "999999999999999"}) {
        auto ticket = meter.begin();
        clock.now_ns += kNsPerS;
        sysfs.write("intel-rapl:0/energy_uj", text);
        const auto bad = meter.end(ticket);
        EXPECT_EQ(bad.source, EnergySource::estimate) << text;
        EXPECT_EQ(bad.energy_uj, 40'000'000) << text;
        sysfs.count("intel-rapl:0", 1000);
        auto after = meter.begin();
        clock.now_ns += kNsPerS;
        sysfs.count("intel-rapl:0", 1050);
        const auto good = meter.end(after);
        EXPECT_EQ(good.source, EnergySource::rapl) << text;
        EXPECT_EQ(good.energy_uj, 50) << text;
    }
}

TEST(EnergyMeter, without_readable_counters_joules_are_watts_times_seconds_and_say_so) {
    ManualClock clock;
    const auto estimates = [&](const std::string& root, const std::string& why) {
        EnergyMeter meter(root, kSettings, clock);
        EXPECT_EQ(meter.n_packages(), 0u);
        EXPECT_NE(meter.why_not().find(why), std::string::npos) << meter.why_not();
        auto ticket = meter.begin();
        clock.now_ns += 2 * kNsPerS;
        const auto reading = meter.end(ticket);
        EXPECT_EQ(reading.source, EnergySource::estimate);
        EXPECT_EQ(reading.energy_uj, 80'000'000);
        EXPECT_EQ(reading.busy_ns, 2 * kNsPerS);
    };
    FakeSysfs missing, empty, no_counter, no_range, part_only, half;
    estimates(missing.root / "nowhere", "cannot read");
    estimates(empty.root, "no intel-rapl domain");
    no_counter.domain("intel-rapl:0", "package-0", 0);
    std::filesystem::remove(no_counter.root / "intel-rapl:0/energy_uj");
    estimates(no_counter.root, "energy_uj");
    no_range.domain("intel-rapl:0", "package-0", 0, 0);
    estimates(no_range.root, "max_energy_range_uj");
    part_only.domain("intel-rapl:0", "psys", 0);
    estimates(part_only.root, "is a package");
    // Of two packages one is unreadable: half a machine is no measurement.
    half.domain("intel-rapl:0", "package-0", 0);
    half.domain("intel-rapl:1", "package-1", 0);
    half.write("intel-rapl:1/energy_uj", "none");
    estimates(half.root, "intel-rapl:1");
}

}  // namespace
}  // namespace hearth::journal
