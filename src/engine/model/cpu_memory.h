// CpuMemory: aligned zeroed memory of the device's life, for what every step works in. Large pieces
// come from the system as pages that are zero when they are first touched, and are asked for in
// pages of 2 MiB (a wish): the columns of a matrix lie in as many small pages as it has rows, more
// than a core can look up at once.
//
// Thread:     none of its own.
// Invariants: data() is aligned to 64 bytes, large pieces to 2 MiB.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include "base/check.h"

namespace hearth::model {

class CpuMemory {
  public:
    CpuMemory() = default;
    explicit CpuMemory(std::size_t bytes) : bytes_(bytes) {
        const std::size_t align = bytes < kLargePage ? kAlign : kLargePage;
        allocated_ = std::calloc(1, bytes + align);
        CHECK(allocated_ != nullptr);
        const auto at = reinterpret_cast<std::uintptr_t>(allocated_);
        data_ = static_cast<std::byte*>(allocated_) + (align - at % align) % align;
        if (bytes >= kLargePage) madvise(data_, bytes / kLargePage * kLargePage, MADV_HUGEPAGE);
    }
    CpuMemory(CpuMemory&& other) noexcept { swap(other); }
    CpuMemory& operator=(CpuMemory&& other) noexcept {
        swap(other);
        return *this;
    }
    ~CpuMemory() { std::free(allocated_); }
    std::byte* data() const { return data_; }
    std::size_t bytes() const { return bytes_; }

  private:
    void swap(CpuMemory& other) noexcept {
        std::swap(allocated_, other.allocated_);
        std::swap(data_, other.data_);
        std::swap(bytes_, other.bytes_);
    }
    static constexpr std::size_t kAlign = 64;  // a cache line, a 512-bit register
    static constexpr std::size_t kLargePage = std::size_t(2) << 20;
    void* allocated_ = nullptr;
    std::byte* data_ = nullptr;
    std::size_t bytes_ = 0;
};

}  // namespace hearth::model
