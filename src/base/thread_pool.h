// ThreadPool: the `compute` threads. One caller hands out one parallel region at a time; workers
// spin briefly for the next one, then sleep on a futex, so that an idle engine costs nothing.
//
// The work is cut into n_parts parts that any thread may take (a counter hands them out), so losing
// a core to a neighbour costs that core and no more. Results must not depend on who computes a
// part.
//
// Thread: run() is called from one thread (the engine's), which takes part in the work.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
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
    void worker();
    void take_parts(std::uint32_t round);

    const int n_threads_;
    std::vector<std::jthread> workers_;

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
};

// Cores this process may use: affinity mask and cgroup v2 quota, at least 1.
int usable_cores();

}  // namespace hearth
