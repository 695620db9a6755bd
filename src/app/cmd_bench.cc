// bench: prefill and decode rates through the engine itself, medians of several runs.
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <fstream>

#include "app/open.h"
#include "base/format.h"

namespace hearth::app {
namespace {

constexpr double kNsPerMs = 1e6, kNsPerS = 1e9;

// Waits for the end of a set of sequences.
class Gate {
  public:
    explicit Gate(std::int64_t n) : n_left_(n) {}
    void pass(engine::Finish finish) {
        const std::lock_guard lock(mutex_);
        finishes_.push_back(std::move(finish));
        if (--n_left_ == 0) done_.notify_all();
    }
    const std::vector<engine::Finish>& wait() {
        std::unique_lock lock(mutex_);
        done_.wait(lock, [&] { return n_left_ == 0; });
        return finishes_;
    }

  private:
    std::mutex mutex_;  // guards all below
    std::condition_variable done_;
    std::int64_t n_left_;
    std::vector<engine::Finish> finishes_;
};

struct Counter final : engine::OutputSink {
    explicit Counter(std::shared_ptr<Gate> g) : gate(std::move(g)) {}
    void on_output(engine::Output) override {}
    void on_finish(engine::Finish finish) override { gate->pass(std::move(finish)); }
    std::shared_ptr<Gate> gate;
};

struct Measured {
    double prefill_tps = 0, decode_tps = 0, ttft_ms = 0;
};

// Ids spread over the vocabulary; which ones does not change the work.
std::vector<TokenId> prompt_of(std::int64_t n, std::int64_t n_vocab, std::int64_t salt) {
    std::vector<TokenId> ids;
    std::uint64_t x = std::uint64_t(salt) * 0x9e3779b97f4a7c15u + 1;
    for (std::int64_t i = 0; i < n; ++i) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        ids.emplace_back(std::int32_t((x >> 33) % std::uint64_t(n_vocab)));
    }
    return ids;
}

// n_parallel sequences of n_prompt tokens that generate n_generate tokens each.
Result<Measured> measure(engine::Engine& engine, std::int64_t n_prompt, std::int64_t n_generate,
                         std::int64_t n_parallel) {
    auto gate = std::make_shared<Gate>(n_parallel);
    std::vector<engine::Request> requests;
    for (std::int64_t i = 0; i < n_parallel; ++i) {
        engine::Request r;
        r.prompt = prompt_of(n_prompt, engine.model().tokenizer().n_vocab(), i);
        r.sampling.temperature = 0;
        r.max_tokens = n_generate;
        r.ignore_end = true;
        r.sink = std::make_shared<Counter>(gate);
        requests.push_back(std::move(r));
    }
    HEARTH_CHECK_OK(engine.submit_all(std::move(requests)));
    Measured m;
    std::int64_t prefill_ns = 0, decode_ns = 0, n_decoded = 0;
    for (const engine::Finish& finish : gate->wait()) {
        if (finish.reason == engine::StopReason::failed) return fail(finish.error);
        prefill_ns = std::max(prefill_ns, finish.prefill_ns);
        decode_ns = std::max(decode_ns, finish.decode_ns);
        n_decoded += finish.n_generated - 1;  // the first comes with the prefill
        m.ttft_ms = std::max(m.ttft_ms, double(finish.ttft_ns) / kNsPerMs);
    }
    if (prefill_ns > 0)
        m.prefill_tps = double(n_prompt * n_parallel) * kNsPerS / double(prefill_ns);
    if (decode_ns > 0) m.decode_tps = double(n_decoded) * kNsPerS / double(decode_ns);
    return m;
}

struct Row {
    std::string test;
    std::int64_t depth = 0, parallel = 1;
    std::vector<double> tps;
    double median() const { return tps[tps.size() / 2]; }
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

void print_rows(const std::vector<Row>& rows) {
    std::printf("%-10s %6s %9s %12s %12s %12s\n", "test", "depth", "parallel", "tok/s", "min",
                "max");
    for (const Row& r : rows)
        std::printf("%-10s %6lld %9lld %12.1f %12.1f %12.1f\n", r.test.c_str(), (long long)r.depth,
                    (long long)r.parallel, r.median(), r.tps.front(), r.tps.back());
}

void print_document(const engine::Engine& engine, const std::vector<Row>& rows, double load_ms,
                    double ttft_ms) {
    const model::ModelInfo& info = engine.model().info();
    JsonWriter out;
    out.begin_object()
        .key("machine")
        .begin_object()
        .field("cpu", cpu_name())
        .field("device", engine.device_name())
        .end_object();
    out.key("model")
        .begin_object()
        .field("name", info.name)
        .field("arch", info.arch)
        .field("format", info.format)
        .field("n_params", info.n_params)
        .field("weights_bytes", std::uint64_t(info.weights_bytes))
        .field("sha256", engine.model().sha256())
        .end_object();
    out.key("results").begin_array();
    for (const Row& r : rows) {
        out.begin_object()
            .field("test", r.test)
            .field("depth", r.depth)
            .field("parallel", r.parallel)
            .field("tps_median", r.median())
            .field("tps_min", r.tps.front())
            .field("tps_max", r.tps.back())
            .end_object();
    }
    out.end_array()
        .field("load_ms", load_ms)
        .field("ttft_ms", ttft_ms)
        .field("rss_bytes", peak_rss_bytes());
    std::puts(out.end_object().text().c_str());
}

}  // namespace

int bench_command(Context& context, const BenchArgs& args) {
    const std::int64_t started_ns = system_clock().mono_ns();
    engine::EngineOptions options = engine_options(context);
    const std::int64_t n_parallel = args.parallel;
    options.n_parallel = n_parallel;
    options.n_ctx = std::max({options.n_ctx, args.n_prompt + 1, args.depth + 2 + args.n_generate});
    auto engine = open_engine(context, args.model, options);
    if (!engine) return report(engine.error(), context.json);
    const double load_ms = double(system_clock().mono_ns() - started_ns) / kNsPerMs;

    std::vector<Row> rows;
    double ttft_ms = 0;
    // Run 0 warms caches and clocks and is not counted.
    for (std::int64_t run = 0; run <= args.repeats; ++run) {
        std::size_t row = 0;
        const auto note = [&](std::string test, std::int64_t depth, double tps) {
            if (run == 1) rows.push_back({std::move(test), depth, n_parallel, {}});
            if (run > 0) rows[row++].tps.push_back(tps);
        };
        if (args.n_prompt > 0) {
            auto m = measure(**engine, args.n_prompt, 1, n_parallel);
            if (!m) return report(m.error(), context.json);
            note(format("pp{}", args.n_prompt), 0, m->prefill_tps);
            ttft_ms = m->ttft_ms;
        }
        if (args.n_generate > 0) {
            auto m = measure(**engine, args.depth + 1, args.n_generate + 1, n_parallel);
            if (!m) return report(m.error(), context.json);
            note(format("tg{}", args.n_generate), args.depth, m->decode_tps);
        }
        if (!context.quiet && isatty(STDERR_FILENO))
            std::fprintf(stderr, "\rrun %lld of %lld", (long long)run, (long long)args.repeats);
    }
    if (!context.quiet && isatty(STDERR_FILENO)) std::fputs("\r                    \r", stderr);
    for (Row& r : rows) std::ranges::sort(r.tps);
    if (context.json) {
        print_document(**engine, rows, load_ms, ttft_ms);
    } else {
        print_rows(rows);
    }
    return kDone;
}

}  // namespace hearth::app
