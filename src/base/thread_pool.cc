#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>

#include "base/check.h"

namespace hearth {
namespace {

// About 20 us on current cores: longer than the gap between two regions of a forward pass, far
// shorter than a scheduler tick.
constexpr int kSpins = 2000;

// Whoever is waited for this long, and for the time of this many parts of the caller's own, has
// lost its core. A neighbour of the same weight gives it back sooner: its slices are 3 ms.
constexpr std::int64_t kLateNs = 5'000'000, kLateParts = 4;
// Being without one worker costs less than half of the speed, waiting for it costs all: resting
// four times as long as it was waited for costs about a fifth of what is left. Doubled, the share
// goes to nothing, and a core that comes back is used again within the longest rest.
constexpr std::int64_t kRestTimes = 4, kRestNsMax = 8'000'000'000;

std::int64_t now_ns() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

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
    for (int i = 1; i < n_threads_; ++i) {
        Worker& state = states_.emplace_back();
        workers_.emplace_back([this, &state] { work_of(state); });
    }
}

ThreadPool::~ThreadPool() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    resting_.notify_all();
    round_.fetch_add(1);
    round_.notify_all();
}

std::int64_t ThreadPool::take_parts(std::uint32_t round, std::atomic<bool>* holds_part) {
    for (std::int64_t n_taken = 0;; ++n_taken) {
        std::uint64_t word = next_.load(std::memory_order_acquire);
        do {
            if (round_of(word) != (round & kRoundMask) || part_of(word) >= parts_of(word))
                return n_taken;
        } while (!next_.compare_exchange_weak(word, word + 1, std::memory_order_acq_rel));
        if (holds_part) holds_part->store(true, std::memory_order_relaxed);
        work_(context_, part_of(word));
        if (holds_part) holds_part->store(false, std::memory_order_relaxed);
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
    const std::int64_t begin_ns = now_ns();
    const std::int64_t n_taken = take_parts(round, nullptr);
    const std::int64_t part_ns =
        n_taken > 0 ? (now_ns() - begin_ns) / n_taken : std::int64_t(kRestNsMax);
    for (int spin = 0; spin < kSpins; ++spin) {
        if (n_left_.load(std::memory_order_acquire) == 0) return;
        relax();
    }
    wait_for_late(std::max(kLateNs, kLateParts * part_ns));
}

// Whether a worker is seen to hold its part is a hint: a wrong one makes the wrong worker rest.
void ThreadPool::wait_for_late(std::int64_t late_ns) {
    const std::int64_t begin_ns = now_ns();
    for (Worker& worker : states_)
        worker.was_waited_for = worker.holds_part.load(std::memory_order_relaxed);
    for (std::int64_t left; (left = n_left_.load(std::memory_order_acquire)) != 0;)
        n_left_.wait(left, std::memory_order_acquire);
    const std::int64_t end_ns = now_ns(), waited_ns = end_ns - begin_ns;
    if (waited_ns < late_ns) return;
    for (Worker& worker : states_) {
        if (!worker.was_waited_for) continue;
        // Late again before it has worked for as long as it rested.
        const std::int64_t since_ns =
            begin_ns - worker.rests_until_ns.load(std::memory_order_relaxed);
        const std::int64_t again_ns = since_ns < worker.rest_ns ? 2 * worker.rest_ns : 0;
        worker.rest_ns = std::min(std::max(kRestTimes * waited_ns, again_ns), kRestNsMax);
        worker.rests_until_ns.store(end_ns + worker.rest_ns, std::memory_order_relaxed);
    }
}

void ThreadPool::rest(std::int64_t until_ns) {
    std::unique_lock lock(mutex_);
    resting_.wait_for(lock, std::chrono::nanoseconds(until_ns - now_ns()),
                      [this] { return stop_.load(); });
}

void ThreadPool::work_of(Worker& self) {
    std::uint32_t seen = 0;
    std::int64_t rested_until_ns = 0;
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
        if (const std::int64_t until_ns = self.rests_until_ns.load(std::memory_order_relaxed);
            until_ns > rested_until_ns) {
            rest(until_ns);
            rested_until_ns = until_ns;
            continue;
        }
        take_parts(round, &self.holds_part);
    }
}

}  // namespace hearth
