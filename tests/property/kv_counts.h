// A cache's counts against those of the tables that hold its blocks.
#pragma once

#include <gtest/gtest.h>

#include <map>

#include "engine/kv_cache.h"

namespace hearth::engine {

class HolderCounts {
  public:
    void add(const KvTable& table) {
        for (const BlockId block : table.blocks()) ++refs_[block];
    }
    // Requires: all tables that hold blocks of the cache were added.
    void check(const KvCache& cache) const {
        for (std::int32_t b = 0; b < cache.n_blocks(); ++b) {
            const auto it = refs_.find(BlockId(b));
            ASSERT_EQ(cache.refs(BlockId(b)), it == refs_.end() ? 0 : it->second);
        }
        ASSERT_EQ(cache.n_used(), std::int64_t(refs_.size()));
        ASSERT_EQ(cache.n_free() + cache.n_used(), cache.n_blocks());
    }

  private:
    std::map<BlockId, std::int64_t> refs_;
};

}  // namespace hearth::engine
