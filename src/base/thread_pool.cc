#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>

#include "base/check.h"

namespace hearth {
namespace {

// About 20 us on current cores: longer than the gap between two regions of a forward pass, far
// shorter than a scheduler tick.
constexpr int kSpins = 2000;

constexpr std::int64_t kPartMask = (1 << 20) - 1;
constexpr std::uint32_t kRoundMask = (1 << 24) - 1;

std::uint64_t pack(std::uint32_t round, std::int64_t n_parts) {
    return std::uint64_t(round & kRoundMask) << 40 | std::uint64_t(n_parts) << 20;
}
std::uint32_t round_of(std::uint64_t word) {
    return std::uint32_t(word >> 40);
}
std::int64_t parts_of(std::uint64_t word) {
    return std::int64_t(word >> 20) & kPartMask;
}
std::int64_t part_of(std::uint64_t word) {
    return std::int64_t(word) & kPartMask;
}

inline void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// "max 100000" or "150000 100000": microseconds of CPU time allowed in each period.
int cgroup_cores() {
    std::ifstream file("/sys/fs/cgroup/cpu.max");
    std::string quota;
    double period = 0;
    if (!(file >> quota >> period) || quota == "max" || period <= 0) return 1 << 20;
    return std::max(1, int(std::atof(quota.c_str()) / period));
}

}  // namespace

int usable_cores() {
    cpu_set_t set;
    CPU_ZERO(&set);
    const int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return std::max(1, std::min(n, cgroup_cores()));
}

ThreadPool::ThreadPool(int n_threads) : n_threads_(n_threads > 0 ? n_threads : usable_cores()) {
    for (int i = 1; i < n_threads_; ++i) workers_.emplace_back([this] { worker(); });
}

ThreadPool::~ThreadPool() {
    stop_ = true;
    round_.fetch_add(1);
    round_.notify_all();
}

void ThreadPool::take_parts(std::uint32_t round) {
    for (;;) {
        std::uint64_t word = next_.load(std::memory_order_acquire);
        do {
            if (round_of(word) != (round & kRoundMask) || part_of(word) >= parts_of(word)) return;
        } while (!next_.compare_exchange_weak(word, word + 1, std::memory_order_acq_rel));
        work_(context_, part_of(word));
        if (n_left_.fetch_sub(1, std::memory_order_acq_rel) == 1) n_left_.notify_one();
    }
}

void ThreadPool::run(std::int64_t n_parts, void (*work)(void*, std::int64_t), void* context) {
    CHECK(n_parts >= 0 && n_parts <= kPartMask);
    if (n_parts == 0) return;
    if (n_parts == 1 || workers_.empty()) {
        for (std::int64_t i = 0; i < n_parts; ++i) work(context, i);
        return;
    }
    work_ = work;
    context_ = context;
    n_left_.store(n_parts, std::memory_order_relaxed);
    const std::uint32_t round = round_.load(std::memory_order_relaxed) + 1;
    next_.store(pack(round, n_parts), std::memory_order_release);
    round_.store(round, std::memory_order_release);
    round_.notify_all();
    take_parts(round);
    for (int spin = 0; spin < kSpins; ++spin) {
        if (n_left_.load(std::memory_order_acquire) == 0) return;
        relax();
    }
    for (std::int64_t left; (left = n_left_.load(std::memory_order_acquire)) != 0;)
        n_left_.wait(left, std::memory_order_acquire);
}

void ThreadPool::worker() {
    std::uint32_t seen = 0;
    for (;;) {
        std::uint32_t round = round_.load(std::memory_order_acquire);
        for (int spin = 0; round == seen && spin < kSpins; ++spin) {
            relax();
            round = round_.load(std::memory_order_acquire);
        }
        if (round == seen) {
            round_.wait(seen, std::memory_order_acquire);
            continue;
        }
        if (stop_) return;
        seen = round;
        take_parts(round);
    }
}

}  // namespace hearth
