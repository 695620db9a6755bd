// CpuKvStore: the bytes of the paged key/value cache, in one anonymous mapping made at load.
//
//   [layer][block][keys | values][Hk][kBlockTokens][Dh]      elements of one hearth_kv_type
//
// A block of one layer is contiguous, keys before values, so that attention over a block streams;
// the rows of one KV head inside it are consecutive, as the kernels want them. Pages are zero until
// written and take no memory until then.
//
// Thread:     rows are written and read by the compute threads; the device orders the two.
// Invariants: nothing is allocated after make(); which block belongs to whom is the engine's book.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "engine/kernels/kernels.h"
#include "engine/model/device.h"

namespace hearth::model {

// Bounds the stack of attention (32 KiB of it) and the rope table. The widest heads in use have
// 576.
inline constexpr std::int64_t kCpuHeadDimMax = 1024;

class CpuKvStore final : public KvStore {
  public:
    // Errors: see Device::kv_row_bytes and make_kv.
    static Result<std::size_t> row_bytes(const hearth_kernels& kernels, const std::string& type,
                                         std::int64_t head_dim);
    static Result<std::unique_ptr<KvStore>> make(const hearth_kernels& kernels,
                                                 const KvShape& shape);
    ~CpuKvStore() override;
    CpuKvStore(const CpuKvStore&) = delete;

    std::size_t bytes() const override { return bytes_; }
    std::size_t bytes_per_token() const override {
        return std::size_t(shape_.n_layer) * block_bytes_ / std::size_t(kBlockTokens);
    }

    const KvShape& shape() const { return shape_; }
    const hearth_kv_type& type() const { return *type_; }

    // Rows of consecutive tokens of one head, from token `at` of the block on.
    std::byte* keys(std::int64_t layer, BlockId block, std::int64_t head, std::int64_t at) const {
        return data_ + std::size_t(layer * shape_.n_block + block.value) * block_bytes_ +
               std::size_t(head * kBlockTokens + at) * row_bytes_;
    }
    std::byte* values(std::int64_t layer, BlockId block, std::int64_t head, std::int64_t at) const {
        return keys(layer, block, head, at) + block_bytes_ / 2;
    }

  private:
    CpuKvStore() = default;

    // Constant after make().
    KvShape shape_;
    const hearth_kv_type* type_ = nullptr;
    std::size_t row_bytes_ = 0;    // of one head's Dh values
    std::size_t block_bytes_ = 0;  // of one layer: keys and values
    std::size_t bytes_ = 0;
    std::byte* data_ = nullptr;
};

}  // namespace hearth::model
