// ThreadPool: the `compute` threads. One caller hands out one parallel region at a time; workers
// spin briefly for the next one, then sleep on a futex, so that an idle engine costs nothing.
//
// The work is cut into n_parts parts that any thread may take (a counter hands them out), so a
// thread that runs seldom takes few. Results must not depend on who computes a part.
//
// A thread that loses its core to a neighbour while it holds a part holds up the region, for as
// long as the neighbour likes. Such a worker rests: it takes no part for a multiple of the time
// that it was waited for, twice that when it is late again soon. So a lost core costs that core and
// little more.
//
// Thread: run() is called from one thread (the engine's), which takes part in the work.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace hearth {

class ThreadPool {
  public:
    // n_threads >= 1 counts the caller. 0: one per usable core (affinity and cgroup quota).
    explicit ThreadPool(int n_threads = 0);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    int n_threads() const { return n_threads_; }

    // Requires: n_parts < 2^20.
    // Calls work(context, part) once for each part in [0, n_parts); returns when all are done.
    // Everything the parts wrote is visible to the caller.
    void run(std::int64_t n_parts, void (*work)(void* context, std::int64_t part), void* context);

    template <class F>
    void run(std::int64_t n_parts, F&& part) {
        run(
            n_parts, [](void* f, std::int64_t i) { (*static_cast<std::decay_t<F>*>(f))(i); },
            const_cast<std::decay_t<F>*>(&part));
    }

  private:
    struct alignas(64) Worker {
        std::atomic<bool> holds_part{false};
        std::atomic<std::int64_t> rests_until_ns{0};
        // Of the thread that calls run():
        std::int64_t rest_ns = 0;  // the last one
        bool was_waited_for = false;
    };
    void work_of(Worker& self);
    std::int64_t take_parts(std::uint32_t round, std::atomic<bool>* holds_part);  // how many
    void wait_for_late(std::int64_t late_ns);
    void rest(std::int64_t until_ns);

    const int n_threads_;
    std::deque<Worker> states_;

    // The region at hand. Written before next_ is published; read only by a thread that has taken a
    // part of this round, and while a part is out the round cannot end.
    void (*work_)(void*, std::int64_t) = nullptr;
    void* context_ = nullptr;

    // One word holds round (24 bits), number of parts (20) and next part (20): a late worker of an
    // old round can take nothing of a new one.
    alignas(64) std::atomic<std::uint64_t> next_{0};
    alignas(64) std::atomic<std::int64_t> n_left_{0};
    alignas(64) std::atomic<std::uint32_t> round_{0};
    std::atomic<bool> stop_{false};
    std::mutex mutex_;  // for resting_ alone: nothing is guarded
    std::condition_variable resting_;
    std::vector<std::jthread> workers_;  // last: they use all of the above
};

// Cores this process may use: affinity mask and cgroup v2 quota, at least 1.
int usable_cores();

}  // namespace hearth
