#include "app/cost_setup.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/format.h"
#include "base/log.h"
#include "journal/history.h"

namespace hearth::app {
namespace {

constexpr double kTpsMax = 1e9;

std::int64_t n_cores() {
    return std::max<std::int64_t>(1, std::thread::hardware_concurrency());
}

std::int64_t n_computing(const Settings& settings) {
    const std::int64_t n = settings.integer("engine.threads");
    return n == 0 ? n_cores() : std::min(n, n_cores());
}

// Watts in thousandths; settings hold millionths.
std::int64_t milliwatts(const Settings& settings, const char* name) {
    return settings.millionths(name) / 1000;
}

// The best rate of a document's tests whose name begins so ("pp512", "tg128"); a machine that
// serves several at a time is as fast as they are together.
struct Rate {
    double tps = 0;
    std::string test;
};
Rate best_rate(const Json& results, std::string_view prefix) {
    Rate best;
    for (const Json& row : results) {
        if (!row.is_object()) continue;
        const auto test = row.find("test"), tps = row.find("tps_median");
        if (test == row.end() || !test->is_string() || tps == row.end() || !tps->is_number())
            continue;
        const double rate = tps->get<double>();
        if (!test->get_ref<const std::string&>().starts_with(prefix) || !(rate > best.tps) ||
            rate > kTpsMax)
            continue;
        const auto parallel = row.find("parallel");
        const std::int64_t n = parallel != row.end() && parallel->is_number_integer()
                                   ? parallel->get<std::int64_t>()
                                   : 1;
        best = {rate, test->get<std::string>()};
        if (n > 1) best.test += format(" ({} at a time)", n);
    }
    return best;
}

std::string text_at(const Json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

std::int64_t ns_per_token(double tps) {
    return std::int64_t(std::llround(double(kNsPerS) / tps));
}

}  // namespace

route::CostSettings cost_settings(const Settings& settings) {
    constexpr std::int64_t kHoursPerYear = 8760;
    const std::int64_t active = milliwatts(settings, "cost.active_watts");
    const std::int64_t idle = milliwatts(settings, "cost.idle_watts");
    return {
        .electricity_microusd_per_kwh = settings.millionths("cost.electricity_usd_per_kwh"),
        .hardware_microusd = settings.millionths("cost.hardware_usd"),
        .lifetime_hours = settings.millionths("cost.lifetime_years") * kHoursPerYear / 1'000'000,
        .active_milliwatts = idle + (active - idle) * n_computing(settings) / n_cores(),
        .idle_milliwatts = idle,
        .utilisation_percent = settings.integer("cost.utilisation_percent")};
}

std::string active_watts_text(const Settings& settings) {
    const auto watts = [](std::int64_t mw) { return route::decimal_text(mw, 3); };
    const std::int64_t active = milliwatts(settings, "cost.active_watts");
    const std::int64_t idle = milliwatts(settings, "cost.idle_watts");
    return format("{} W + ({} W - {} W) * {} of {} cores = {} W", watts(idle), watts(active),
                  watts(idle), n_computing(settings), n_cores(),
                  watts(cost_settings(settings).active_milliwatts));
}

route::LocalSpeed MeasuredSpeed::per_token() const {
    return {.prefill_ns_per_token = ns_per_token(prefill_tps),
            .decode_ns_per_token = ns_per_token(decode_tps)};
}

std::optional<MeasuredSpeed> measured_speed(const std::string& bench_history) {
    const auto lines = journal::read_history(bench_history);
    if (!lines) return std::nullopt;
    for (auto line = lines->rbegin(); line != lines->rend(); ++line) {
        const auto document = parse_json(*line);
        if (!document) continue;
        const auto results = document->find("results"), model = document->find("model");
        if (results == document->end() || !results->is_array()) continue;
        const Rate prefill = best_rate(*results, "pp"), decode = best_rate(*results, "tg");
        if (prefill.tps <= 0 || decode.tps <= 0) continue;
        return MeasuredSpeed{
            .prefill_tps = prefill.tps,
            .decode_tps = decode.tps,
            .model = model != document->end() && model->is_object() ? text_at(*model, "name") : "",
            .test = prefill.test + ", " + decode.test,
            .time = text_at(*document, "time")};
    }
    return std::nullopt;
}

journal::LedgerOptions ledger_options(const Context& context) {
    const Settings& settings = context.settings;
    journal::LedgerOptions options;
    options.settings = cost_settings(settings);
    std::vector<route::Target> targets;
    for (const backend::UpstreamConfig& upstream : settings.config().upstreams)
        targets.insert(targets.end(), upstream.models.begin(), upstream.models.end());
    const std::string& label = settings.text("cost.reference");
    if (!label.empty()) {
        options.reference = route::reference_price(label, targets, context.prices);
        options.reference_label = label;
        if (!options.reference) log_warn("no_reference_price", {{"model", label}});
    }
    if (const auto speed = measured_speed(context.folders.bench_history()))
        options.speed = speed->per_token();
    return options;
}

void take_prices(Settings& settings, const route::PriceTable& table) {
    for (backend::UpstreamConfig& upstream : settings.upstreams())
        for (route::Target& target : upstream.models) route::take_price(target, table);
}

}  // namespace hearth::app
