// bench: prefill and decode rates, each beside what the machine allowed at that moment.
//
// Every run is preceded by a measurement of the ceilings, since machines change speed between two
// runs; a row's share is the median of the runs' shares. Each benchmark is added to the history.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "app/bench_run.h"
#include "app/open.h"
#include "base/clock.h"
#include "base/format.h"
#include "engine/ceilings.h"
#include "engine/memory_at_hand.h"
#include "journal/history.h"

namespace hearth::app {
namespace {

double median_of(std::vector<double> values) {
    if (values.empty()) return 0;
    std::ranges::sort(values);
    return values[values.size() / 2];
}

struct Row {
    std::string test;
    std::int64_t depth = 0, parallel = 1;
    std::vector<double> tps = {}, shares = {};
};

// What a benchmark found.
struct Findings {
    std::vector<Row> rows;
    std::vector<engine::Ceilings> ceilings;  // one of each run
    double load_ms = 0, ttft_ms = 0;
    std::int64_t rss_bytes = 0;  // at its highest, without the buffer of the ceilings

    engine::Ceilings ceiling() const {
        const auto median = [&](double engine::Ceilings::* of) {
            std::vector<double> values;
            for (const engine::Ceilings& c : ceilings) values.push_back(c.*of);
            return median_of(std::move(values));
        };
        return {.read_bytes_per_s = median(&engine::Ceilings::read_bytes_per_s),
                .int8_ops_per_s = median(&engine::Ceilings::int8_ops_per_s),
                .f32_ops_per_s = median(&engine::Ceilings::f32_ops_per_s),
                .bf16_ops_per_s = median(&engine::Ceilings::bf16_ops_per_s),
                .hop_ns = median(&engine::Ceilings::hop_ns)};
    }
};

std::int64_t peak_rss_bytes() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("VmHWM:")) return std::atoll(line.c_str() + 6) * 1024;
    }
    return 0;
}

std::string cpu_name() {
    std::ifstream info("/proc/cpuinfo");
    for (std::string line; std::getline(info, line);) {
        if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
    }
    return "unknown";
}

void print_ceilings(const engine::Ceilings& c, const engine::CeilingProbe& probe) {
    std::printf("%s, %d threads, %s\n", cpu_name().c_str(), probe.n_threads(),
                std::string(probe.isa()).c_str());
    std::printf("  memory read      %8.1f GB/s\n", c.read_bytes_per_s / 1e9);
    std::printf("  int8 dots        %8.1f Gop/s\n", c.int8_ops_per_s / 1e9);
    std::printf("  f32 multiply-add %8.1f Gflop/s\n", c.f32_ops_per_s / 1e9);
    if (c.bf16_ops_per_s > 0)
        std::printf("  bf16 pairs       %8.1f Gflop/s\n", c.bf16_ops_per_s / 1e9);
    if (c.hop_ns > 0) std::printf("  core to core     %8.0f ns one way\n", c.hop_ns);
}

void print_rows(const Findings& found) {
    std::printf("%-10s %6s %9s %12s %12s %12s %9s\n", "test", "depth", "parallel", "tok/s", "min",
                "max", "of limit");
    for (const Row& r : found.rows) {
        const auto [min, max] = std::ranges::minmax(r.tps);
        std::printf("%-10s %6lld %9lld %12.1f %12.1f %12.1f %7.0f %%\n", r.test.c_str(),
                    (long long)r.depth, (long long)r.parallel, median_of(r.tps), min, max,
                    100 * median_of(r.shares));
    }
}

void write_machine(JsonWriter& out, const engine::Ceilings& c, const engine::CeilingProbe& probe) {
    out.key("machine")
        .begin_object()
        .field("cpu", cpu_name())
        .field("isa", std::string(probe.isa()))
        .field("threads", probe.n_threads())
        .field("memory_at_hand_bytes", std::uint64_t(engine::memory_at_hand()));
    out.key("ceilings")
        .begin_object()
        .field("read_bytes_per_s", c.read_bytes_per_s)
        .field("int8_ops_per_s", c.int8_ops_per_s)
        .field("f32_ops_per_s", c.f32_ops_per_s)
        .field("bf16_ops_per_s", c.bf16_ops_per_s)
        .field("core_to_core_ns", c.hop_ns)
        .end_object()
        .end_object();
}

void write_findings(JsonWriter& out, const engine::Engine& engine, const Findings& found,
                    int n_threads) {
    const model::ModelInfo& info = engine.model().info();
    out.key("model")
        .begin_object()
        .field("name", info.name)
        .field("arch", info.arch)
        .field("format", info.format)
        .field("n_params", info.n_params)
        .field("weights_bytes", std::uint64_t(info.weights_bytes))
        .field("sha256", engine.model().sha256())
        .end_object();
    out.field("kv", engine.memory().kv_type).key("results").begin_array();
    for (const Row& r : found.rows) {
        const auto [min, max] = std::ranges::minmax(r.tps);
        out.begin_object()
            .field("test", r.test)
            .field("depth", r.depth)
            .field("parallel", r.parallel)
            .field("threads", n_threads)
            .field("tps_median", median_of(r.tps))
            .field("tps_min", min)
            .field("tps_max", max)
            .field("share_of_limit", median_of(r.shares))
            .end_object();
    }
    out.end_array()
        .field("load_ms", found.load_ms)
        .field("ttft_ms", found.ttft_ms)
        .field("rss_bytes", found.rss_bytes);
}

void show_progress(const Context& context, std::int64_t run, std::int64_t of) {
    if (context.quiet || !isatty(STDERR_FILENO)) return;
    if (run > of) {
        std::fputs("\r\033[K", stderr);
    } else {
        std::fprintf(stderr, "\rrun %lld of %lld ", (long long)run, (long long)of);
    }
}

// Run 0 warms caches and clocks and is not counted; what it warms does not depend on a depth that
// takes minutes to reach.
constexpr std::int64_t kWarmDepthMax = 512;
Result<Findings> measure(const Context& context, const BenchArgs& args, engine::Engine& engine,
                         std::unique_ptr<engine::CeilingProbe>& probe) {
    Findings found;
    const engine::Work work = engine::work_of(engine);
    const std::int64_t n = args.parallel;
    for (std::int64_t run = 0; run <= args.repeats; ++run) {
        show_progress(context, run, args.repeats);
        if (run > 0) found.ceilings.push_back(probe->measure());
        std::size_t at = 0;
        const auto note = [&](std::string test, std::int64_t depth, double tps, auto limit_tps) {
            if (run == 1) found.rows.push_back({std::move(test), depth, n});
            if (run == 0) return;
            found.rows[at].tps.push_back(tps);
            found.rows[at++].shares.push_back(tps / limit_tps(found.ceilings.back()));
        };
        if (args.n_prompt > 0) {
            HEARTH_TRY(const BenchRun m, bench_run(engine, args.n_prompt, 1, n));
            note(format("pp{}", args.n_prompt), 0, m.prefill_tps,
                 [&](const engine::Ceilings& c) { return engine::prefill_limit_tps(work, c); });
            found.ttft_ms = m.ttft_ms;
        }
        if (args.n_generate > 0) {
            const std::int64_t depth = run > 0 ? args.depth : std::min(args.depth, kWarmDepthMax);
            HEARTH_TRY(const BenchRun m, bench_run(engine, depth + 1, args.n_generate + 1, n));
            const double n_keys = double(args.depth) + 1 + double(args.n_generate) / 2;
            note(format("tg{}", args.n_generate), args.depth, m.decode_tps,
                 [&](const engine::Ceilings& c) {
                     return engine::decode_limit_tps(work, c, n, n_keys);
                 });
        }
        if (run > 0) continue;
        // Everything that steps need was touched by now, and the probe has no buffer yet.
        found.rss_bytes = peak_rss_bytes();
        HEARTH_TRY(probe,
                   engine::CeilingProbe::make(std::string(engine.isa()),
                                              int(context.settings.integer("engine.threads"))));
    }
    show_progress(context, args.repeats + 1, args.repeats);
    return found;
}

int ceilings_only(const Context& context) {
    auto probe = engine::CeilingProbe::make(context.settings.text("engine.isa"),
                                            int(context.settings.integer("engine.threads")));
    if (!probe) return report(probe.error(), context.json);
    const engine::Ceilings ceilings = (*probe)->measure();
    if (context.json) {
        JsonWriter out;
        out.begin_object();
        write_machine(out, ceilings, **probe);
        std::puts(out.end_object().text().c_str());
    } else {
        print_ceilings(ceilings, **probe);
    }
    return kDone;
}

// A field of a document that a program of another version may have written.
template <class T>
T value_at(const Json& object, const char* key, T fallback) {
    const auto found = object.find(key);
    if (found == object.end()) return fallback;
    if constexpr (std::is_same_v<T, std::string>)
        return found->is_string() ? found->template get<std::string>() : fallback;
    else
        return found->is_number() ? found->template get<T>() : fallback;
}

void print_past(const Json& document) {
    const auto model = document.find("model"), results = document.find("results");
    if (model == document.end() || !model->is_object() || results == document.end() ||
        !results->is_array())
        return;
    for (const Json& row : *results) {
        if (!row.is_object()) continue;
        std::printf("%-20.19s %-24s %-8s %-8s %6lld %9lld %10.1f %7.0f %%\n",
                    value_at(document, "time", std::string("?")).c_str(),
                    value_at(*model, "name", std::string("?")).c_str(),
                    value_at(*model, "format", std::string("?")).c_str(),
                    value_at(row, "test", std::string("?")).c_str(), value_at(row, "depth", 0ll),
                    value_at(row, "parallel", 0ll), value_at(row, "tps_median", 0.0),
                    100 * value_at(row, "share_of_limit", 0.0));
    }
}

int show_history(const Context& context, const std::string& model) {
    auto lines = journal::read_history(context.folders.bench_history());
    if (!lines) return report(lines.error(), context.json);
    std::vector<Json> documents;
    for (const std::string& line : *lines) {
        auto document = parse_json(line);
        if (!document) continue;
        const auto of = document->find("model");
        if (!model.empty() && (of == document->end() || !of->is_object() ||
                               value_at(*of, "name", std::string()) != model))
            continue;
        documents.push_back(std::move(*document));
    }
    if (context.json) {
        JsonWriter out;
        out.begin_object().key("runs").begin_array();
        for (const Json& document : documents) out.raw(to_text(document));
        std::puts(out.end_array().end_object().text().c_str());
        return kDone;
    }
    std::printf("%-20s %-24s %-8s %-8s %6s %9s %10s %9s\n", "time", "model", "format", "test",
                "depth", "parallel", "tok/s", "of limit");
    for (const Json& document : documents) print_past(document);
    return kDone;
}

int bench_model(Context& context, const BenchArgs& args) {
    const std::int64_t started_ns = system_clock().mono_ns();
    engine::EngineOptions options = engine_options(context);
    options.n_parallel = args.parallel;
    options.n_prefix_tokens = 0;           // every run computes its prompts
    options.pause_timeout_ms = INT32_MAX;  // sequences wait for each other's prefill (bench_run.cc)
    options.n_ctx = std::max({options.n_ctx, args.n_prompt + 1, args.depth + 2 + args.n_generate});
    auto engine = open_engine(context, args.model, options);
    if (!engine) return report(engine.error(), context.json);
    const double load_ms = double(system_clock().mono_ns() - started_ns) / kNsPerMs;
    (*engine)->settle();

    std::unique_ptr<engine::CeilingProbe> probe;
    auto found = measure(context, args, **engine, probe);
    if (!found) return report(found.error(), context.json);
    found->load_ms = load_ms;

    JsonWriter out;
    out.begin_object().field("time", rfc3339(system_clock().wall_ns()));
    out.field("version", HEARTH_VERSION);
    write_machine(out, found->ceiling(), *probe);
    write_findings(out, **engine, *found, probe->n_threads());
    const std::string document = out.end_object().take();
    if (context.json) {
        std::puts(document.c_str());
    } else {
        if (args.ceilings) print_ceilings(found->ceiling(), *probe);
        print_rows(*found);
    }
    if (Status ok = journal::append_history(context.folders.bench_history(), document); !ok)
        std::fprintf(stderr, "hearth: the history was not kept: %s\n", ok.error().message.c_str());
    return kDone;
}

}  // namespace

int bench_command(Context& context, const BenchArgs& args) {
    if (args.history) return show_history(context, args.model);
    if (!args.model.empty()) return bench_model(context, args);
    if (args.ceilings) return ceilings_only(context);
    report(
        {ErrorKind::invalid_request,
         "name a MODEL to measure (demo is always there), or --ceilings for the machine alone, or "
         "--history"},
        context.json);
    return kUsage;
}

}  // namespace hearth::app
