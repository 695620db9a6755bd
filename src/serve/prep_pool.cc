#include "serve/prep_pool.h"

#include <pthread.h>

namespace hearth::serve {

PrepPool::PrepPool(int n_threads) {
    for (int i = 0; i < n_threads; ++i) {
        threads_.emplace_back([this] {
            pthread_setname_np(pthread_self(), "prep");
            while (auto work = queue_.pop()) (*work)();
        });
    }
}

PrepPool::~PrepPool() {
    queue_.close();
}

}  // namespace hearth::serve
