// The program's operator new, counting. In a file of its own and never
// inlined, so that no compiler sees through it.
#include "unit/kernels/allocation_count.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>

namespace {
std::atomic<std::int64_t> count{0};
}

[[gnu::noinline]] void* operator new(std::size_t bytes) {
    count.fetch_add(1, std::memory_order_relaxed);
    if (void* at = std::malloc(bytes)) return at;
    throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* at) noexcept {
    std::free(at);
}
[[gnu::noinline]] void operator delete(void* at, std::size_t) noexcept {
    std::free(at);
}

namespace hearth::test {

std::int64_t n_allocations() {
    return count.load();
}

TEST(AllocationCount, sees_an_allocation) {
    const std::int64_t before = n_allocations();
    const auto kept = std::make_unique<std::int64_t>(1);
    EXPECT_EQ(n_allocations(), before + *kept);
}

}  // namespace hearth::test
