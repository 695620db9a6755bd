// bench_kernels: every kernel that reads weights or keys, on every ISA, beside the machine's
// limits.
//
//   bench_kernels [THREADS] [MIB] [ISA] [NAME]
//
// Weights of MIB (default 256) are read by THREADS (default 1), as rows of a file and packed, by 1
// to 64 rows of activations; activations of as many bytes are prepared for a format, once for those
// that want the same; keys and values are read by 1 to 8 query heads. The limits are
// measured in turns with them: the rate at which the same threads merely read, and the ISA's dots
// on registers alone. A line's share is of the one that would let it run longer: bytes or
// operations. Medians of five runs; lines are JSON.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
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

// 0 where the text is no whole number.
int number(const char* text) {
    int n = 0;
    const char* const end = text + std::strlen(text);
    const auto [at, error] = std::from_chars(text, end, n);
    return error == std::errc() && at == end ? n : 0;
}

double median(std::vector<double> x) {
    std::sort(x.begin(), x.end());
    return x[x.size() / 2];
}

struct Bench {
    int n_threads;
    std::vector<std::uint8_t> bytes;  // small integers, which any format takes for finite numbers
    const hearth_kernels* table = nullptr;

    double read_rate() const {
        const std::size_t part = bytes.size() / std::size_t(n_threads) / 512 * 512;
        const double s = seconds_of(n_threads, [&](int i) {
            table->ceiling_read(bytes.data() + std::size_t(i) * part, std::int64_t(part));
        });
        return double(part) * n_threads / s;
    }
    double ops_rate(double (*ceiling)(std::int64_t)) const {
        constexpr std::int64_t kRounds = 200'000;
        double ops = 0;
        const double s = seconds_of(n_threads, [&](int i) {
            const double done = ceiling(kRounds);
            if (i == 0) ops = done;
        });
        return ops * n_threads / s;
    }

    // work() does so many bytes and operations.
    template <class F>
    void report(const char* what, const char* name, std::int64_t rows, double n_bytes, double n_ops,
                double (*ceiling)(std::int64_t), F&& work) const {
        std::vector<double> read, peak, time;
        for (int run = 0; run <= kRuns; ++run) {
            const double r = read_rate(), p = ops_rate(ceiling), t = work();
            if (run == 0) continue;  // warm-up
            read.push_back(r), peak.push_back(p), time.push_back(t);
        }
        const double t = median(time), of_read = n_bytes / t / median(read),
                     of_ops = n_ops / t / median(peak);
        std::printf(
            "{\"isa\":\"%s\",\"kernel\":\"%s\",\"type\":\"%s\",\"rows\":%lld,\"threads\":%d,"
            "\"gbps\":%.2f,\"read_gbps\":%.2f,\"gops\":%.1f,\"peak_gops\":%.1f,"
            "\"share\":%.2f,\"of\":\"%s\"}\n",
            table->isa, what, name, static_cast<long long>(rows), n_threads, n_bytes / t / 1e9,
            median(read) / 1e9, n_ops / t / 1e9, median(peak) / 1e9, std::max(of_read, of_ops),
            of_read > of_ops ? "read" : "ops");
        std::fflush(stdout);
    }

    // One pass over all the weights that there are.
    void matmul(const hearth_format& format, std::int64_t rows, bool packed) const {
        const std::size_t block = std::size_t(
            packed ? format.packed_block_bytes / HEARTH_PACKED_ROWS : format.block_bytes);
        const std::size_t stride = std::size_t(kK / format.block) * block;
        const std::int64_t n = std::int64_t(bytes.size() / stride) / kRowsInPart * kRowsInPart;
        const std::vector<float> x(std::size_t(rows * kK), 0.5f);
        std::vector<std::uint8_t> acts(format.act_bytes(kK) * std::size_t(rows));
        for (std::int64_t t = 0; t < rows; ++t)
            format.make_act(acts.data() + std::size_t(t) * format.act_bytes(kK), x.data() + t * kK,
                            kK);
        std::vector<float> out(std::size_t(rows * n));
        const auto part = [&](std::int64_t from, std::int64_t to) {
            if (packed)
                format.matmul_packed(out.data(), n, acts.data(), rows, bytes.data(), from, to, kK);
            else
                format.matmul(out.data(), n, acts.data(), rows, bytes.data(), stride, from, to, kK);
        };
        const auto ceiling = format.act == HEARTH_ACT_Q8     ? table->ceiling_int8
                             : format.act == HEARTH_ACT_BF16 ? table->ceiling_bf16
                                                             : table->ceiling_f32;
        report(packed ? "matmul_packed" : "matmul", format.name, rows, double(stride) * double(n),
               2.0 * double(n) * double(kK) * double(rows), ceiling, [&] {
                   return seconds_of(n_threads, [&](int i) {
                       const std::int64_t parts = n / kRowsInPart;
                       for (std::int64_t at = parts * i / n_threads;
                            at < parts * (i + 1) / n_threads; ++at)
                           part(at * kRowsInPart, (at + 1) * kRowsInPart);
                   });
               });
    }

    // Rows of f32 as the format's dots want them.
    void make_act(const hearth_format& format) const {
        const auto* x = reinterpret_cast<const float*>(bytes.data());
        const std::int64_t n = std::int64_t(bytes.size() / sizeof(float)) / kK;
        report(
            "make_act", format.name, 1, double(n * kK) * sizeof(float), 0, table->ceiling_f32, [&] {
                return seconds_of(n_threads, [&](int i) {
                    std::vector<std::uint8_t> act(format.act_bytes(kK));
                    for (std::int64_t row = n * i / n_threads; row < n * (i + 1) / n_threads; ++row)
                        format.make_act(act.data(), x + row * kK, kK);
                });
            });
    }

    // Scores of blocks of keys, and values weighed by them, as attention goes through its cache.
    void attend(const hearth_kv_type& type, std::int64_t heads) const {
        constexpr std::int64_t kDim = 64, kBlock = 16;
        const std::size_t block = type.row_bytes(kDim) * kBlock;
        const std::int64_t n = std::int64_t(bytes.size() / block / 2) / n_threads * n_threads;
        const std::vector<float> q(std::size_t(heads * kDim), 0.5f);
        report("attend", type.name, heads, double(block) * 2 * double(n),
               4.0 * double(kBlock * kDim * heads) * double(n), table->ceiling_f32, [&] {
                   return seconds_of(n_threads, [&](int i) {
                       std::vector<float> scores(std::size_t(heads * kBlock)), sum(q.size());
                       std::vector<const float*> queries;
                       std::vector<float*> sums;
                       for (std::int64_t h = 0; h < heads; ++h) {
                           queries.push_back(q.data() + h * kDim);
                           sums.push_back(sum.data() + h * kDim);
                       }
                       for (std::int64_t b = n * i / n_threads; b < n * (i + 1) / n_threads; ++b) {
                           const std::uint8_t* k = bytes.data() + std::size_t(2 * b) * block;
                           type.scores(scores.data(), kBlock, queries.data(), heads, k, kBlock,
                                       kDim, 0.125f);
                           type.weigh(sums.data(), scores.data(), kBlock, heads, k + block, kBlock,
                                      kDim);
                       }
                   });
               });
    }
};

}  // namespace

int main(int argc, char** argv) {
    const int n_threads = argc > 1 ? number(argv[1]) : 1, mib = argc > 2 ? number(argv[2]) : 256;
    if (n_threads < 1 || mib < 1 || argc > 5)
        return std::fputs("usage: bench_kernels [THREADS] [MIB] [ISA] [NAME]\n", stderr), 2;
    const auto is_wanted = [&](int at, const char* name) {
        return argc <= at || std::strcmp(argv[at], name) == 0;
    };
    Bench bench{n_threads, std::vector<std::uint8_t>(std::size_t(mib) << 20)};
    for (std::size_t i = 0; i < bench.bytes.size(); ++i)
        bench.bytes[i] = std::uint8_t(0x38 + i % 5);
    for (const hearth_kernels* const* table = hearth_kernels_all; *table; ++table) {
        if (!(*table)->supported() || !is_wanted(3, (*table)->isa)) continue;
        bench.table = *table;
        std::vector<decltype(hearth_format::make_act)> made;
        for (const hearth_format* const* at = (*table)->formats; *at; ++at) {
            if (!is_wanted(4, (*at)->name)) continue;
            if (std::find(made.begin(), made.end(), (*at)->make_act) == made.end()) {
                made.push_back((*at)->make_act);
                bench.make_act(**at);
            }
            for (const std::int64_t rows : {1, 2, 4, 8, 16, 64}) {
                bench.matmul(**at, rows, false);
                if ((*at)->pack) bench.matmul(**at, rows, true);
            }
        }
        for (const hearth_kv_type* const* at = (*table)->kv_types; *at; ++at)
            if (is_wanted(4, (*at)->name))
                for (const std::int64_t heads : {1, 4, 8}) bench.attend(**at, heads);
    }
    return 0;
}
