// CpuKvStore: the bytes of the paged key/value cache, in one anonymous mapping made at load.
//
//   [layer][Hk][keys | values][block]      kBlockTokens rows of one hearth_kv_type each
//
// The values of a block are rows of Dh, its keys lie across, as the kernels want them. Attention
// goes through one head's blocks: they are neighbours, so that it streams, and lie in all sets of
// the caches alike, which blocks that are a power of two apart would not. Pages are zero until
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

static_assert(kBlockTokens == HEARTH_KV_KEYS);

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
        return std::size_t(shape_.n_layer * shape_.n_head_kv * 2) * row_bytes_;
    }

    const KvShape& shape() const { return shape_; }
    const hearth_kv_type& type() const { return *type_; }

    // One head's keys of a block, all of them.
    std::byte* keys(std::int64_t layer, BlockId block, std::int64_t head) const {
        const std::int64_t of_head = (layer * shape_.n_head_kv + head) * 2 * shape_.n_block;
        return data_ + std::size_t((of_head + block.value) * kBlockTokens) * row_bytes_;
    }
    // Rows of consecutive tokens of one head, from token `at` of the block on.
    std::byte* values(std::int64_t layer, BlockId block, std::int64_t head,
                      std::int64_t at = 0) const {
        return keys(layer, block, head) +
               std::size_t(shape_.n_block * kBlockTokens + at) * row_bytes_;
    }

  private:
    CpuKvStore() = default;

    // Constant after make().
    KvShape shape_;
    const hearth_kv_type* type_ = nullptr;
    std::size_t row_bytes_ = 0;  // of one head's Dh values
    std::size_t bytes_ = 0;
    std::byte* data_ = nullptr;
};

}  // namespace hearth::model
