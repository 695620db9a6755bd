// cost breakeven: from how many requests a day on this machine, or one of a file, is cheaper than a
// cloud model; route/breakeven.h has the arithmetic.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "app/commands.h"
#include "app/cost_setup.h"
#include "app/hardware_file.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/format.h"
#include "route/breakeven.h"

namespace hearth::app {
namespace {

constexpr std::size_t kHardwareBytesMax = 8u << 20;
constexpr std::int64_t kNsPerDay = 86'400 * kNsPerS;
constexpr std::int64_t kTpsMax = 1'000'000'000;

struct Candidate {
    std::string key, name;
    route::Machine machine;
    std::vector<std::string> facts;  // what it was computed from, and whence that is
};

std::string usd(std::int64_t microusd) {
    return route::decimal_text(microusd, 6);
}
std::string pico_usd(std::int64_t picousd) {
    return route::decimal_text(picousd, 12);
}
std::string watts(std::int64_t milliwatts) {
    return route::decimal_text(milliwatts, 3);
}
std::int64_t ns_per_token(double tps) {
    return tps > 0 ? std::int64_t(std::llround(double(kNsPerS) / tps)) : 0;
}

std::string money_text(const route::Machine& m, const std::string& price_source) {
    if (m.rent_microusd_per_hour > 0)
        return format("rent: {} USD an hour, electricity in it ({})", usd(m.rent_microusd_per_hour),
                      price_source);
    return format("price: {} USD over {} hours ({})", usd(m.hardware_microusd), m.lifetime_hours,
                  price_source);
}

// A positive number that a flag gives. Errors: invalid_request naming the flag.
Result<double> number_of(const char* flag, const std::string& text) {
    const auto value = route::parse_decimal(text, 6, kTpsMax * 1'000'000);
    if (!value || *value == 0)
        return fail(ErrorKind::invalid_request,
                    format("{} {} must be a decimal above 0, with at most six digits behind its "
                           "point",
                           flag, text));
    return double(*value) / 1e6;
}

// Rates that the caller gives beat what a benchmark or a data sheet says.
Status take_stated_speed(const BreakevenArgs& args, Candidate& c) {
    if (args.prefill_tps.empty()) return {};
    HEARTH_TRY(const double prefill, number_of("--prefill-tps", args.prefill_tps));
    HEARTH_TRY(const double decode, number_of("--decode-tps", args.decode_tps));
    c.machine.speed = {ns_per_token(prefill), ns_per_token(decode)};
    c.facts.push_back(format("speed: prefill {} tokens/s, decode {} tokens/s (as stated)",
                             args.prefill_tps, args.decode_tps));
    return {};
}

Result<Candidate> this_machine(const Context& context, const BreakevenArgs& args) {
    const Settings& s = context.settings;
    const route::CostSettings c = cost_settings(s);
    Candidate out{.key = "this-machine",
                  .name = "this machine",
                  .machine = {.hardware_microusd = c.hardware_microusd,
                              .lifetime_hours = c.lifetime_hours,
                              .active_milliwatts = c.active_milliwatts,
                              .idle_milliwatts = c.idle_milliwatts,
                              .speed = {}},
                  .facts = {}};
    out.facts.push_back(money_text(
        out.machine, format("cost.hardware_usd from {}, cost.lifetime_years from {}",
                            s.source("cost.hardware_usd"), s.source("cost.lifetime_years"))));
    out.facts.push_back(format("watts: {} idle ({}); computing {} ({})", watts(c.idle_milliwatts),
                               s.source("cost.idle_watts"), active_watts_text(s),
                               s.source("cost.active_watts")));
    HEARTH_CHECK_OK(take_stated_speed(args, out));
    if (out.machine.speed.decode_ns_per_token > 0) return out;
    const auto measured = measured_speed(context.folders.bench_history());
    if (!measured)
        return fail(ErrorKind::not_found,
                    "how fast this machine is has not been measured yet: run `hearth bench MODEL` "
                    "once, or state --prefill-tps and --decode-tps");
    out.machine.speed = measured->per_token();
    out.facts.push_back(
        format("speed: prefill {:.1f} tokens/s, decode {:.1f} tokens/s (model {}, "
               "{}, measured {})",
               measured->prefill_tps, measured->decode_tps, measured->model, measured->test,
               measured->time.substr(0, 10)));
    return out;
}

// Nothing where the model does not fit into its memory.
Result<std::optional<Candidate>> from_sheet(const Context& context, const BreakevenArgs& args,
                                            const Sheet& sheet) {
    const Settings& s = context.settings;
    const route::CostSettings c = cost_settings(s);
    HEARTH_TRY(const double model_gb, number_of("--model-gb", args.model_gb));
    HEARTH_TRY(const double params_b, number_of("--model-params", args.model_params_b));
    if (sheet.memory_gb < model_gb) return std::nullopt;
    Candidate out{.key = sheet.key, .name = sheet.name, .machine = {}, .facts = {}};
    route::Machine& m = out.machine;
    m.lifetime_hours = c.lifetime_hours;
    m.idle_milliwatts = c.idle_milliwatts;
    m.active_milliwatts = c.idle_milliwatts + std::llround(sheet.watts * 1000);
    m.hardware_microusd = c.hardware_microusd;
    std::string whence = format("cost.hardware_usd from {}: the file has no street_usd",
                                s.source("cost.hardware_usd"));
    if (sheet.rent_usd_hr) {
        m.rent_microusd_per_hour = std::llround(*sheet.rent_usd_hr * 1e6);
        whence = "the file's price_hr, for one gpu";
    } else if (sheet.price_usd) {
        m.hardware_microusd = std::llround(*sheet.price_usd * 1e6);
        whence = "the file's street_usd";
    }
    out.facts.push_back(money_text(m, whence));
    if (!sheet.rent_usd_hr)
        out.facts.push_back(
            format("watts: {} idle (cost.idle_watts from {}), and {} more while "
                   "computing (the file's tdp_w)",
                   watts(m.idle_milliwatts), s.source("cost.idle_watts"), sheet.watts));
    HEARTH_CHECK_OK(take_stated_speed(args, out));
    if (m.speed.decode_ns_per_token > 0) return out;
    m.speed = {ns_per_token(sheet.prefill_tps(params_b)), ns_per_token(sheet.decode_tps(model_gb))};
    out.facts.push_back(format(
        "speed: prefill {} TFLOPS * {} / (2 * {} billion parameters) = {:.1f} tokens/s, "
        "decode {} GB/s * {} / {} GB = {:.1f} tokens/s (from the data sheet, not measured)",
        sheet.tflops, sheet.prefill_share, args.model_params_b, sheet.prefill_tps(params_b),
        sheet.bandwidth_gb_s, sheet.decode_share, args.model_gb, sheet.decode_tps(model_gb)));
    return out;
}

struct Compared {
    Candidate candidate;
    route::Breakeven result;
};

std::string verdict_of(const Compared& c, const BreakevenArgs& args) {
    const route::Breakeven& b = c.result;
    if (b.price_picousd <= b.marginal_picousd)
        return "never: its electricity alone costs more than the cloud";
    if (!b.requests_per_day)
        return format("never: it would take more than the {} requests that it can compute in a day",
                      b.requests_per_day_max);
    const std::int64_t n = *b.requests_per_day;
    return format("from {} requests a day on ({} tokens, {:.2f} % of its time)", n,
                  n * (args.n_input + args.n_output),
                  100 * double(n) * double(b.busy_ns) / double(kNsPerDay));
}

std::vector<std::string> arithmetic_of(const Compared& c, const std::string& cloud,
                                       const route::Price& price, const BreakevenArgs& args,
                                       std::int64_t per_kwh) {
    const route::Breakeven& b = c.result;
    const route::Machine& m = c.candidate.machine;
    std::vector<std::string> out;
    out.push_back(format("a request     {} input * {} ns + {} output * {} ns = {} s", args.n_input,
                         m.speed.prefill_ns_per_token, args.n_output, m.speed.decode_ns_per_token,
                         route::decimal_text(b.busy_ns, 9)));
    out.push_back(format("  there       {} * {} + {} * {} USD per million tokens ({}) = {} USD",
                         args.n_input, usd(price.input_picousd), args.n_output,
                         usd(price.output_picousd), cloud, pico_usd(b.price_picousd)));
    if (m.rent_microusd_per_hour > 0) {
        out.push_back(format("a day here    24 h * {} USD = {} USD, whatever it does",
                             usd(m.rent_microusd_per_hour), pico_usd(b.fixed_picousd_per_day)));
    } else {
        out.push_back(format("  here        ({} W - {} W) for that time at {} USD/kWh = {} USD",
                             watts(m.active_milliwatts), watts(m.idle_milliwatts), usd(per_kwh),
                             pico_usd(b.marginal_picousd)));
        out.push_back(
            format("a day here    24 h * {} USD / {} h + 24 h * {} W at {} USD/kWh = {} "
                   "USD, and that for each request",
                   usd(m.hardware_microusd), m.lifetime_hours, watts(m.idle_milliwatts),
                   usd(per_kwh), pico_usd(b.fixed_picousd_per_day)));
    }
    out.push_back(format("break-even    {} / ({} - {}), rounded up",
                         pico_usd(b.fixed_picousd_per_day), pico_usd(b.price_picousd),
                         pico_usd(b.marginal_picousd)));
    return out;
}

void write_compared(JsonWriter& w, const Compared& c, const std::vector<std::string>& arithmetic,
                    const BreakevenArgs& args, bool with_points) {
    const route::Breakeven& b = c.result;
    w.begin_object().field("key", c.candidate.key).field("name", c.candidate.name);
    w.field("verdict", verdict_of(c, args)).key("requests_per_day");
    if (b.requests_per_day)
        w.value(*b.requests_per_day);
    else
        w.null();
    w.field("requests_per_day_max", b.requests_per_day_max).field("busy_ns", b.busy_ns);
    w.field("fixed_picousd_per_day", b.fixed_picousd_per_day);
    w.field("marginal_picousd", b.marginal_picousd).field("price_picousd", b.price_picousd);
    w.key("facts").begin_array();
    for (const std::string& fact : c.candidate.facts) w.value(fact);
    w.end_array();
    if (with_points) {
        w.key("arithmetic").begin_array();
        for (const std::string& line : arithmetic) w.value(line);
        w.end_array().key("by_utilisation").begin_array();
        for (const route::BreakevenPoint& p : b.points) {
            w.begin_object().field("utilisation_percent", p.utilisation_percent);
            w.field("requests_per_day", p.n_requests).field("tokens_per_day", p.n_tokens);
            w.field("here_microusd_per_day", p.here_microusd);
            w.field("there_microusd_per_day", p.there_microusd).end_object();
        }
        w.end_array();
    }
    w.end_object();
}

void print_points(const route::Breakeven& b) {
    std::printf("\n%11s %12s %14s %16s %16s %10s\n", "utilisation", "requests/day", "tokens/day",
                "here USD/day", "there USD/day", "cheaper");
    for (const route::BreakevenPoint& p : b.points) {
        const std::int64_t u = p.utilisation_percent;
        if (u != 1 && u != 2 && u != 5 && u % 10 != 0) continue;
        const bool same = p.here_microusd == p.there_microusd;
        std::printf("%9lld %% %12lld %14lld %16s %16s %10s\n", (long long)u,
                    (long long)p.n_requests, (long long)p.n_tokens, usd(p.here_microusd).c_str(),
                    usd(p.there_microusd).c_str(),
                    same                                 ? "same"
                    : p.here_microusd < p.there_microusd ? "here"
                                                         : "there");
    }
}

// The machines to compare. One where a device is named or no file is.
Result<std::vector<Candidate>> candidates_of(const Context& context, const BreakevenArgs& args) {
    std::vector<Candidate> out;
    if (args.hardware.empty()) {
        HEARTH_TRY(Candidate own, this_machine(context, args));
        out.push_back(std::move(own));
        return out;
    }
    HEARTH_TRY(const Sheets sheets,
               parse_hardware(args.hardware_text, args.hardware, args.sheets_text));
    bool found = false;
    for (const Sheet& sheet : sheets.list) {
        if (!args.device.empty() && sheet.key != args.device) continue;
        found = true;
        HEARTH_TRY(auto candidate, from_sheet(context, args, sheet));
        if (candidate) out.push_back(std::move(*candidate));
    }
    if (!found)
        return fail(ErrorKind::not_found, format("{} has no entry {}", args.hardware, args.device));
    if (out.empty())
        return fail(ErrorKind::does_not_fit,
                    format("a model of {} GB fits into the memory of none of these machines",
                           args.model_gb));
    if (sheets.n_unusable > 0 && !context.quiet)
        std::fprintf(stderr, "%zu entries of %s lack a number and are left out\n",
                     sheets.n_unusable, args.hardware.c_str());
    return out;
}

}  // namespace

Status prepare_breakeven(Context&, BreakevenArgs& args) {
    if (args.hardware.empty()) return {};
    HEARTH_TRY(args.hardware_text, read_file(args.hardware, kHardwareBytesMax));
    // Offers of rented machines name gpus whose data stand in a file beside them.
    const std::string beside =
        (std::filesystem::path(args.hardware).parent_path() / "hardware.toml").string();
    auto sheets = read_file(beside, kHardwareBytesMax);
    if (sheets) args.sheets_text = std::move(*sheets);
    return {};
}

int cost_breakeven_command(Context& context, const BreakevenArgs& args) {
    const std::string& cloud =
        args.cloud.empty() ? context.settings.text("cost.reference") : args.cloud;
    std::vector<route::Target> targets;
    for (const backend::UpstreamConfig& upstream : context.settings.config().upstreams)
        targets.insert(targets.end(), upstream.models.begin(), upstream.models.end());
    const auto price = route::reference_price(cloud, targets, context.prices);
    if (!price)
        return report(
            {ErrorKind::not_found,
             format("no price is known of \"{}\"; `hearth cost prices` lists what is", cloud)},
            context.json);
    if (args.prefill_tps.empty() != args.decode_tps.empty())
        return report({ErrorKind::invalid_request, "--prefill-tps and --decode-tps go together"},
                      context.json),
               kUsage;
    auto candidates = candidates_of(context, args);
    if (!candidates) return report(candidates.error(), context.json);
    const std::int64_t per_kwh = context.settings.millionths("cost.electricity_usd_per_kwh");
    std::vector<Compared> all;
    for (Candidate& candidate : *candidates) {
        auto result =
            route::breakeven(candidate.machine, {args.n_input, args.n_output}, *price, per_kwh);
        if (!result) return report(result.error(), context.json);
        all.push_back({std::move(candidate), std::move(*result)});
    }
    const bool one = all.size() == 1;
    const auto arithmetic = arithmetic_of(all.front(), cloud, *price, args, per_kwh);
    if (context.json) {
        JsonWriter w;
        w.begin_object().field("cloud", cloud).field("prices", context.prices.source);
        w.field("prices_date", context.prices.date);
        w.field("electricity_usd_per_kwh", usd(per_kwh));
        w.field("n_input", args.n_input).field("n_output", args.n_output);
        w.key("machines").begin_array();
        for (const Compared& c : all) write_compared(w, c, arithmetic, args, one);
        std::puts(w.end_array().end_object().text().c_str());
        return kDone;
    }
    if (!one) {
        for (const Compared& c : all)
            std::printf("%-28.28s %-34.34s %s\n", c.candidate.key.c_str(), c.candidate.name.c_str(),
                        verdict_of(c, args).c_str());
        return kDone;
    }
    std::printf("%s against %s: %s\n\n", all.front().candidate.name.c_str(), cloud.c_str(),
                verdict_of(all.front(), args).c_str());
    for (const std::string& fact : all.front().candidate.facts) std::printf("%s\n", fact.c_str());
    std::printf("electricity: %s USD/kWh (%s); prices: %s (%s)\n\n", usd(per_kwh).c_str(),
                context.settings.source("cost.electricity_usd_per_kwh").c_str(),
                context.prices.date.c_str(), context.prices.source.c_str());
    for (const std::string& line : arithmetic) std::printf("%s\n", line.c_str());
    print_points(all.front().result);
    return kDone;
}

}  // namespace hearth::app
