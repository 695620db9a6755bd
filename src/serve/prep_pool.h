// PrepPool: the `prep` threads, which parse, render and tokenize so that `io` only moves bytes.
//
// Thread: post() from any; close() from the owner's.
#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "base/queue.h"
#include "serve/limits.h"

namespace hearth::serve {

class PrepPool {
  public:
    explicit PrepPool(int n_threads = kPrepThreads);
    ~PrepPool();
    // Runs what is queued, then joins. The pool stays and refuses what is posted later, so that
    // exchanges that still end on other threads find it.
    void close();
    // False when the queue is full or closed: the caller answers `overloaded`.
    bool post(std::function<void()> work) { return queue_.try_push(std::move(work)); }

  private:
    BoundedQueue<std::function<void()>> queue_{kPrepQueueMax};
    std::vector<std::jthread> threads_;
};

}  // namespace hearth::serve
