// cost report, cost prices: what the journal's outcomes cost, with every assumption and the
// arithmetic that leads from sums to money, so that anybody can do it again.
#include <cstdio>
#include <functional>

#include "app/commands.h"
#include "app/cost_setup.h"
#include "app/input.h"
#include "app/prices_file.h"
#include "base/clock.h"
#include "base/format.h"
#include "base/utf8.h"
#include "journal/costs.h"

namespace hearth::app {
namespace {

using journal::CostsBy;
using journal::CostSums;

CostsBy by_of(const std::string& name) {
    if (name == "task") return CostsBy::task;
    if (name == "key") return CostsBy::key;
    if (name == "tier") return CostsBy::tier;
    if (name == "day") return CostsBy::day;
    return CostsBy::model;
}

std::string usd(std::int64_t microusd) {
    return route::decimal_text(microusd, 6);
}
// With all six digits, for columns.
std::string column_usd(std::int64_t microusd) {
    const std::string text = usd(microusd);
    const std::size_t point = text.find('.');
    const std::size_t n_digits = point == text.npos ? 0 : text.size() - point - 1;
    return text + (point == text.npos ? "." : "") + std::string(6 - n_digits, '0');
}

// The sums of a row or of the total, in the order that docs/COST.md explains.
struct Member {
    const char* name;
    std::int64_t CostSums::*sum;
};
constexpr Member kMembers[] = {
    {"n_requests", &CostSums::n_requests},
    {"n_local", &CostSums::n_local},
    {"n_fleet", &CostSums::n_fleet},
    {"n_cloud", &CostSums::n_cloud},
    {"n_refused", &CostSums::n_refused},
    {"input_tokens", &CostSums::input_tokens},
    {"cached_tokens", &CostSums::cached_tokens},
    {"output_tokens", &CostSums::output_tokens},
    {"reasoning_tokens", &CostSums::reasoning_tokens},
    {"total_ns", &CostSums::total_ns},
    {"busy_ns", &CostSums::busy_ns},
    {"idle_ns", &CostSums::idle_ns},
    {"energy_uj", &CostSums::energy_uj},
    {"energy_rapl_uj", &CostSums::energy_rapl_uj},
    {"energy_microusd", &CostSums::energy_microusd},
    {"amortisation_microusd", &CostSums::amortisation_microusd},
    {"idle_microusd", &CostSums::idle_microusd},
    {"paid_microusd", &CostSums::paid_microusd},
    {"all_cloud_microusd", &CostSums::all_cloud_microusd},
    {"n_all_cloud_unknown", &CostSums::n_all_cloud_unknown},
    {"all_local_microusd", &CostSums::all_local_microusd},
    {"n_all_local_unknown", &CostSums::n_all_local_unknown},
};

void write_sums(JsonWriter& w, const CostSums& sums) {
    for (const Member& member : kMembers) w.field(member.name, sums.*member.sum);
    w.field("local_microusd", sums.local_microusd());
    w.field("total_microusd", sums.local_microusd() + sums.paid_microusd);
}

// The total is the sum of the rows that are printed, and of nothing else.
CostSums total_of(const std::map<std::string, CostSums>& rows) {
    CostSums total;
    for (const auto& [group, sums] : rows) {
        for (const Member& member : kMembers) total.*member.sum += sums.*member.sum;
        total.first_wall_ns = total.first_wall_ns == 0
                                  ? sums.first_wall_ns
                                  : std::min(total.first_wall_ns, sums.first_wall_ns);
        total.last_wall_ns = std::max(total.last_wall_ns, sums.last_wall_ns);
    }
    return total;
}

struct Assumption {
    std::string name, value, source;
};

std::vector<Assumption> assumptions_of(const Context& context) {
    const Settings& s = context.settings;
    std::vector<Assumption> out;
    for (const char* name :
         {"cost.electricity_usd_per_kwh", "cost.hardware_usd", "cost.lifetime_years",
          "cost.active_watts", "cost.idle_watts", "cost.utilisation_percent", "cost.reference"}) {
        const std::string& source = s.source(name);
        out.push_back(
            {name, s.text(name), source == "default" ? "default, not measured: set it" : source});
    }
    out.push_back({"prices", context.prices.date, context.prices.source});
    return out;
}

// What follows from the sums and today's settings. Rows keep what was true when they were written:
// where settings changed since, a line here and the sum beside it differ.
std::vector<std::string> arithmetic_of(const Context& context, const CostSums& total) {
    const route::CostSettings c = cost_settings(context.settings);
    const std::int64_t life_hours = c.lifetime_hours;
    const auto hours = [](std::int64_t ns) { return double(ns) / 3.6e12; };
    const auto per_hour = double(c.hardware_microusd) / 1e6 / double(life_hours);
    const double kwh = double(total.energy_uj) / 3.6e12;
    const double kwh_usd = double(c.electricity_microusd_per_kwh) / 1e6;
    const double idle_kw = double(c.idle_milliwatts) / 1e6;
    std::vector<std::string> out;
    out.push_back(format("electricity   {:.6f} kWh * {} USD = {:.6f} USD; rows say {}", kwh,
                         usd(c.electricity_microusd_per_kwh), kwh * kwh_usd,
                         usd(total.energy_microusd)));
    out.push_back(
        format("  of it counted by the processor {:.6f} kWh, estimated {:.6f} kWh: "
               "busy hours * {}",
               double(total.energy_rapl_uj) / 3.6e12,
               double(total.energy_uj - total.energy_rapl_uj) / 3.6e12,
               active_watts_text(context.settings)));
    out.push_back(format("amortisation  {:.6f} busy h * {} USD / {} h = {:.6f} USD; rows say {}",
                         hours(total.busy_ns), usd(c.hardware_microusd), life_hours,
                         hours(total.busy_ns) * per_hour, usd(total.amortisation_microusd)));
    out.push_back(
        format("idle          {:.6f} busy h * (100 - {}) / {} = {:.6f} idle h, each "
               "{} kW * {} USD + {} USD / {} h: {:.6f} USD; rows say {}",
               hours(total.busy_ns), c.utilisation_percent, c.utilisation_percent,
               hours(total.idle_ns), route::decimal_text(c.idle_milliwatts, 6),
               usd(c.electricity_microusd_per_kwh), usd(c.hardware_microusd), life_hours,
               hours(total.idle_ns) * (idle_kw * kwh_usd + per_hour), usd(total.idle_microusd)));
    out.push_back(format("this machine  {} + {} + {} = {} USD", usd(total.energy_microusd),
                         usd(total.amortisation_microusd), usd(total.idle_microusd),
                         usd(total.local_microusd())));
    out.push_back(format("total         {} here + {} paid = {} USD", usd(total.local_microusd()),
                         usd(total.paid_microusd),
                         usd(total.local_microusd() + total.paid_microusd)));
    return out;
}

std::vector<std::string> instead_of(const Context& context, const CostSums& total) {
    std::vector<std::string> out;
    const auto line = [&](const char* what, std::int64_t microusd, std::int64_t n_unknown) {
        std::string text = format("{} {} USD", what, usd(microusd));
        if (n_unknown > 0) text += format(", and {} requests of which it is not known", n_unknown);
        out.push_back(std::move(text));
    };
    const std::string& reference = context.settings.text("cost.reference");
    line(format("all of it in the cloud ({} for what was answered here):",
                reference.empty() ? "no reference" : reference)
             .c_str(),
         total.all_cloud_microusd, total.n_all_cloud_unknown);
    line("all of it on this machine:", total.all_local_microusd, total.n_all_local_unknown);
    const std::int64_t span = total.last_wall_ns - total.first_wall_ns;
    if (span > kNsPerS)
        out.push_back(
            format("busy {:.3f} % of the time between the first answer and the last; {} "
                   "% is what idle time is charged by",
                   100 * double(total.busy_ns) / double(span),
                   context.settings.text("cost.utilisation_percent")));
    return out;
}

struct Report {
    std::int64_t since_ns = 0;
    std::string by;
    std::map<std::string, CostSums> rows;
    CostSums total;
};

void print_json(const Context& context, const Report& report) {
    JsonWriter w;
    w.begin_object().field("since", rfc3339(report.since_ns)).field("by", report.by);
    w.key("rows").begin_array();
    for (const auto& [group, sums] : report.rows) {
        w.begin_object().field(report.by, group);
        write_sums(w, sums);
        w.end_object();
    }
    w.end_array().key("total").begin_object();
    write_sums(w, report.total);
    w.end_object().key("assumptions").begin_array();
    for (const Assumption& a : assumptions_of(context))
        w.begin_object()
            .field("name", a.name)
            .field("value", a.value)
            .field("source", a.source)
            .end_object();
    w.end_array().key("arithmetic").begin_array();
    for (const std::string& line : arithmetic_of(context, report.total)) w.value(line);
    for (const std::string& line : instead_of(context, report.total)) w.value(line);
    std::puts(w.end_array().end_object().text().c_str());
}

// A task's name is a caller's.
void print_line(std::string_view name, const CostSums& s) {
    const std::string visible = utf8_visible(name);
    const std::string_view start = std::string_view(visible).substr(0, 32);
    std::puts(format("{:<32} {:>8} {:>12} {:>10} {:>12} {:>12} {:>12}",
                     start.substr(0, utf8_complete_prefix(start)), s.n_requests, s.input_tokens,
                     s.output_tokens, column_usd(s.local_microusd()), column_usd(s.paid_microusd),
                     column_usd(s.local_microusd() + s.paid_microusd))
                  .c_str());
}

void print_text(const Context& context, const Report& report) {
    std::printf("%-32s %8s %12s %10s %12s %12s %12s\n", report.by.c_str(), "requests", "input",
                "output", "here USD", "paid USD", "total USD");
    for (const auto& [group, sums] : report.rows)
        print_line(group.empty() ? "(none)" : group, sums);
    print_line("total", report.total);
    std::puts("");
    for (const std::string& line : arithmetic_of(context, report.total)) std::puts(line.c_str());
    std::puts("\ninstead");
    for (const std::string& line : instead_of(context, report.total))
        std::printf("  %s\n", line.c_str());
    std::puts("\nassumed");
    for (const Assumption& a : assumptions_of(context))
        std::printf("  %-30s %-20s %s\n", a.name.c_str(), a.value.c_str(), a.source.c_str());
}

void write_row(JsonWriter& w, const journal::CostRow& r) {
    w.begin_object().field("slot", r.slot).field("seq", r.seq).field("ts", rfc3339(r.wall_ns));
    w.field("request_id", r.request_id).field("outcome", r.outcome).field("tier", r.route);
    w.field("model", r.model).field("upstream", r.upstream);
    w.field("key", r.key_id).field("task", r.task);
    w.field("input_tokens", r.input_tokens).field("cached_tokens", r.cached_tokens);
    w.field("output_tokens", r.output_tokens).field("reasoning_tokens", r.reasoning_tokens);
    w.field("total_ns", r.total_ns).field("busy_ns", r.busy_ns).field("idle_ns", r.idle_ns);
    w.field("energy_uj", r.energy_uj).field("energy_source", r.energy_source);
    w.field("energy_microusd", r.energy_microusd);
    w.field("amortisation_microusd", r.amortisation_microusd);
    w.field("idle_microusd", r.idle_microusd).field("paid_microusd", r.paid_microusd);
    w.field("other", r.other).key("other_microusd");
    if (r.other_microusd)
        w.value(*r.other_microusd);
    else
        w.null();
    w.end_object();
}

// Every record by itself, as many as there are: printed while they are read.
int list_rows(const Context& context, std::int64_t since_ns) {
    if (context.json)
        std::fputs("{\"rows\":[", stdout);
    else
        std::puts(
            "time,request_id,tier,model,upstream,task,key,input,cached,output,busy_ns,"
            "energy_uj,energy_source,energy_microusd,amortisation_microusd,idle_microusd,"
            "paid_microusd,other,other_microusd");
    bool first = true;
    // Names are of callers and of upstreams: quoted, so that a comma or a quote stays one cell.
    const auto cell = [](const std::string& text) {
        std::string out = "\"";
        for (const char c : text) out += c == '"' ? "\"\"" : std::string(1, c);
        return out + "\"";
    };
    const Status status =
        journal::each_cost(context.folders.journal(), since_ns, [&](const journal::CostRow& r) {
            if (context.json) {
                JsonWriter w;
                write_row(w, r);
                std::printf("%s%s", first ? "" : ",\n", w.text().c_str());
            } else {
                std::puts(format("{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}",
                                 rfc3339(r.wall_ns), r.request_id, r.route, cell(r.model),
                                 cell(r.upstream), cell(r.task), cell(r.key_id), r.input_tokens,
                                 r.cached_tokens, r.output_tokens, r.busy_ns, r.energy_uj,
                                 r.energy_source, r.energy_microusd, r.amortisation_microusd,
                                 r.idle_microusd, r.paid_microusd, cell(r.other),
                                 r.other_microusd ? std::to_string(*r.other_microusd) : "")
                              .c_str());
            }
            first = false;
        });
    if (context.json) std::puts("]}");
    if (!status) {
        std::fprintf(stderr, "hearth: %s\n", status.error().message.c_str());
        return exit_code_of(status.error().kind);
    }
    return kDone;
}

}  // namespace

int cost_report_command(Context& context, const CostReportArgs& args) {
    const auto since = since_from(args.since);
    if (!since) return report(since.error(), context.json), kUsage;
    if (args.rows) return list_rows(context, *since);
    auto rows = journal::sum_costs(context.folders.journal(), *since, by_of(args.by));
    if (!rows) return report(rows.error(), context.json);
    Report found{.since_ns = *since, .by = args.by, .rows = std::move(*rows), .total = {}};
    found.total = total_of(found.rows);
    if (context.json)
        print_json(context, found);
    else
        print_text(context, found);
    return kDone;
}

int cost_prices_command(Context& context, bool as_toml) {
    const route::PriceTable& table = context.prices;
    const auto price = [](std::int64_t picousd) {
        return route::decimal_text(picousd, route::kPricePlaces);
    };
    if (as_toml) {
        std::fputs(to_toml(table).c_str(), stdout);
        return kDone;
    }
    if (!context.json) {
        std::printf("USD per million tokens, as of %s (%s)\n\n%-60s %10s %10s %10s %10s\n",
                    table.date.c_str(), table.source.c_str(), "model", "input", "cached", "output",
                    "context");
        for (const route::ListedPrice& p : table.prices)
            std::printf("%-60s %10s %10s %10s %10lld\n", p.label().c_str(),
                        price(p.price.input_picousd).c_str(),
                        p.price.cached_picousd ? price(*p.price.cached_picousd).c_str() : "-",
                        price(p.price.output_picousd).c_str(), (long long)p.n_ctx);
        return kDone;
    }
    JsonWriter w;
    w.begin_object().field("date", table.date).field("source", table.source);
    w.key("prices").begin_array();
    for (const route::ListedPrice& p : table.prices) {
        w.begin_object().field("provider", p.provider).field("model", p.model);
        w.field("input_usd_per_mtok", price(p.price.input_picousd));
        w.key("cached_input_usd_per_mtok");
        if (p.price.cached_picousd)
            w.value(price(*p.price.cached_picousd));
        else
            w.null();
        w.field("output_usd_per_mtok", price(p.price.output_picousd));
        w.field("context", p.n_ctx).end_object();
    }
    std::puts(w.end_array().end_object().text().c_str());
    return kDone;
}

}  // namespace hearth::app
