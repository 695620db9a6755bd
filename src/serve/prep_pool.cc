#include "serve/prep_pool.h"

#include <pthread.h>

#include <exception>

#include "base/log.h"

namespace hearth::serve {

PrepPool::PrepPool(int n_threads) {
    for (int i = 0; i < n_threads; ++i) {
        threads_.emplace_back([this] {
            pthread_setname_np(pthread_self(), "prep");
            while (auto work = queue_.pop()) {
                // Our own fault, or memory that ran out for one request: what the work held is
                // dropped, a reply among it answers 500, and the other requests go on.
                try {
                    (*work)();
                } catch (const std::exception& e) {
                    log_error("prep_work_threw", {{"what", e.what()}});
                }
            }
        });
    }
}

PrepPool::~PrepPool() {
    close();
}

void PrepPool::close() {
    queue_.close();
    threads_.clear();  // joins
}

}  // namespace hearth::serve
