// bench_kernels: weight bytes per second of every format on every ISA, as a share of measured
// bandwidth.
//
//   bench_kernels [THREADS] [MIB] [ISA]     weights of MIB (default 256) read by THREADS (default
//   1)
//
// A decode step multiplies one row with weights that no cache holds; its limit is the rate at which
// the same threads can merely read them, which is measured beside it, in turns. Batches of rows
// show where arithmetic takes over. Medians of five runs; lines are JSON.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "engine/kernels/kernels.h"

namespace {

constexpr int kRuns = 5;
constexpr std::int64_t kK = 4096;         // a usual n_embd
constexpr std::int64_t kRowsInPart = 64;  // output columns of a call

double seconds_now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

template <class F>
double seconds_of(int n_threads, F&& work) {
    const double start = seconds_now();
    std::vector<std::thread> threads;
    for (int i = 1; i < n_threads; ++i) threads.emplace_back([&, i] { work(i); });
    work(0);
    for (std::thread& thread : threads) thread.join();
    return seconds_now() - start;
}

// Reads in the compiler's baseline vectors, far enough ahead that the memory is never idle; four
// sums keep the loads alive.
std::uint64_t read_all(const std::uint8_t* from, std::size_t bytes) {
    using Vector [[gnu::vector_size(16)]] = std::uint64_t;
    const auto* at = reinterpret_cast<const Vector*>(from);
    Vector a = {}, b = {}, c = {}, d = {};
    for (std::size_t i = 0; i + 4 <= bytes / sizeof(Vector); i += 4) {
        __builtin_prefetch(at + i + 64);  // 1 KiB ahead: the fastest of those tried
        a ^= at[i];
        b ^= at[i + 1];
        c ^= at[i + 2];
        d ^= at[i + 3];
    }
    const Vector all = a ^ b ^ c ^ d;
    return all[0] ^ all[1];
}

struct Bench {
    int n_threads;
    std::vector<std::uint8_t> weights;
    std::vector<std::uint64_t> sums;

    double read_seconds() {
        const std::size_t part = weights.size() / std::size_t(n_threads);
        return seconds_of(n_threads, [&](int i) {
            sums[std::size_t(i)] = read_all(weights.data() + std::size_t(i) * part, part);
        });
    }

    double matmul_seconds(const hearth_format& format, std::int64_t n, std::int64_t rows) {
        const std::size_t stride = std::size_t(kK / format.block * format.block_bytes);
        const std::vector<float> x(std::size_t(rows * kK), 0.5f);
        std::vector<std::uint8_t> acts(format.act_bytes(kK) * std::size_t(rows));
        for (std::int64_t t = 0; t < rows; ++t)
            format.make_act(acts.data() + std::size_t(t) * format.act_bytes(kK), x.data() + t * kK,
                            kK);
        std::vector<float> out(std::size_t(rows * n));
        return seconds_of(n_threads, [&](int i) {
            const std::int64_t end = n * (i + 1) / n_threads;
            for (std::int64_t at = n * i / n_threads; at < end; at += kRowsInPart)
                format.matmul(out.data(), n, acts.data(), rows, weights.data(), stride, at,
                              std::min(end, at + kRowsInPart), kK);
        });
    }
};

double median(std::vector<double> x) {
    std::sort(x.begin(), x.end());
    return x[x.size() / 2];
}

void measure(Bench& bench, const hearth_kernels& table, const hearth_format& format,
             std::int64_t rows) {
    const std::size_t row_bytes = std::size_t(kK / format.block * format.block_bytes);
    auto n = std::int64_t(bench.weights.size() / row_bytes);
    if (rows > 4 || std::strcmp(table.isa, "scalar") == 0)
        n = std::max<std::int64_t>(kRowsInPart, n / 4);
    n = n / kRowsInPart * kRowsInPart;
    std::vector<double> read, work;
    for (int run = 0; run <= kRuns; ++run) {
        const double r = bench.read_seconds(), w = bench.matmul_seconds(format, n, rows);
        if (run == 0) continue;  // warm-up
        read.push_back(double(bench.weights.size()) / r / 1e9);
        work.push_back(double(row_bytes) * double(n) / w / 1e9);
    }
    const double gbps = median(work), limit = median(read);
    std::printf(
        "{\"isa\":\"%s\",\"format\":\"%s\",\"rows\":%lld,\"threads\":%d,\"weights_gbps\":%.2f,"
        "\"read_gbps\":%.2f,\"share\":%.2f,\"gops\":%.1f}\n",
        table.isa, format.name, static_cast<long long>(rows), bench.n_threads, gbps, limit,
        gbps / limit, gbps / double(row_bytes) * double(kK) * 2 * double(rows));
    std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
    const int n_threads = argc > 1 ? std::max(1, std::atoi(argv[1])) : 1;
    const std::size_t mib = argc > 2 ? std::size_t(std::max(1, std::atoi(argv[2]))) : 256;
    Bench bench{n_threads, std::vector<std::uint8_t>(mib << 20), std::vector<std::uint64_t>(256)};
    // Small integers: as f32 and f16 they are subnormal-free, as q8_0 scales finite.
    for (std::size_t i = 0; i < bench.weights.size(); ++i)
        bench.weights[i] = std::uint8_t(0x38 + i % 5);
    for (const hearth_kernels* const* table = hearth_kernels_all; *table; ++table) {
        if (argc > 3 && std::strcmp(argv[3], (*table)->isa) != 0) continue;
        for (const hearth_format* const* format = (*table)->formats; *format; ++format)
            for (const std::int64_t rows : {1, 8, 64})
                if ((*table)->supported()) measure(bench, **table, **format, rows);
    }
    return 0;
}
