// The CPU device's attention: keys and values stored and read through the blocks of each slice.
#include "engine/model/cpu_device.h"

namespace hearth::model {
namespace {

// Query heads of one KV head that are taken together; bounds the stack of attention.
constexpr std::int64_t kHeadsTogether = 8;

// The slice's row of this index; slices lie in the order of their rows.
const Slice& slice_of(std::span<const Slice> slices, std::int64_t row) {
    std::size_t low = 0, high = slices.size();
    while (high - low > 1) {
        const std::size_t middle = (low + high) / 2;
        (slices[middle].row <= row ? low : high) = middle;
    }
    return slices[low];
}

// Slices cover the rows of a matrix in order, and name only blocks of the store.
void check_slices(std::span<const Slice> slices, std::int64_t n_rows, const CpuKvStore& kv,
                  std::int64_t layer) {
    CHECK(layer >= 0 && layer < kv.shape().n_layer);
    std::int64_t row = 0;
    for (const Slice& slice : slices) {
        CHECK(slice.row == row && slice.n_rows >= 0 && slice.pos >= 0);
        row += slice.n_rows;
        const std::int64_t n_blocks = ceil_div(slice.pos + slice.n_rows, kBlockTokens);
        for (std::int64_t b = 0; b < n_blocks; ++b)
            CHECK(slice.blocks[b].value >= 0 && slice.blocks[b].value < kv.shape().n_block);
    }
    CHECK(row == n_rows);
}

const CpuKvStore& own(const KvStore& kv) {
    const auto* store = dynamic_cast<const CpuKvStore*>(&kv);
    CHECK(store != nullptr);
    return *store;
}

}  // namespace

void CpuDevice::store_kv(KvStore& kv, std::int64_t layer, Mat k, Mat v,
                         std::span<const Slice> slices) {
    const CpuKvStore& store = own(kv);
    const std::int64_t n_heads = store.shape().n_head_kv, head_dim = store.shape().head_dim;
    CHECK(k.rows == v.rows && k.cols == n_heads * head_dim && v.cols == k.cols);
    check_slices(slices, k.rows, store, layer);
    const auto put = store.type().store;
    for_rows(k.rows, 2 * k.cols, [&](std::int64_t i) {
        const Slice& slice = slice_of(slices, i);
        const std::int64_t pos = slice.pos + i - slice.row;
        const BlockId block = slice.blocks[pos / kBlockTokens];
        for (std::int64_t h = 0; h < n_heads; ++h) {
            put(store.keys(layer, block, h, pos % kBlockTokens), k.data + i * k.ld + h * head_dim,
                head_dim);
            put(store.values(layer, block, h, pos % kBlockTokens), v.data + i * v.ld + h * head_dim,
                head_dim);
        }
    });
}

// (out, sum, max) of the pieces so far and of one more become those of both:
//   max' = larger of the two;  out' = out e^(max - max') + piece e^(piece_max - max');  sum' alike.
void CpuDevice::merge(float* out, float* sum, float* max, float* piece, float piece_sum,
                      float piece_max, std::int64_t head_dim) const {
    const float larger = piece_max > *max ? piece_max : *max;
    float before = *max, now = piece_max;
    kernels_.exp_sum(&before, larger, 1);
    kernels_.exp_sum(&now, larger, 1);
    kernels_.scale(out, before, head_dim);
    kernels_.scale(piece, now, head_dim);
    kernels_.add(out, piece, head_dim);
    *sum = *sum * before + piece_sum * now;
    *max = larger;
}

// One row's queries that share a KV head, n_heads of them from q on, against keys 0..n_keys - 1.
//
// Each piece of kAttentionPiece keys is a softmax of its own (maximum, sum, weighted values), and
// pieces are merged in order. Pieces begin at fixed positions, so how a prompt was cut into steps
// is not seen. Source: online softmax, arXiv:1805.02867; merging of partial softmaxes,
// arXiv:2205.14135.
void CpuDevice::attend(float* out, const float* q, const CpuKvStore& kv, std::int64_t layer,
                       const Slice& slice, std::int64_t n_keys, std::int64_t head_kv,
                       std::int64_t n_heads, float scale) const {
    const std::int64_t head_dim = kv.shape().head_dim;
    const hearth_kv_type& type = kv.type();
    alignas(64) float scores[kHeadsTogether * kAttentionPiece];
    alignas(64) float piece[kHeadsTogether * kCpuHeadDimMax];
    float sum[kHeadsTogether], max[kHeadsTogether];
    for (std::int64_t begin = 0; begin < n_keys; begin += kAttentionPiece) {
        const std::int64_t n = std::min(kAttentionPiece, n_keys - begin);
        for (std::int64_t s = 0; s < n; s += kBlockTokens) {
            const BlockId block = slice.blocks[(begin + s) / kBlockTokens];
            type.scores(scores + s, kAttentionPiece, q, n_heads, kv.keys(layer, block, head_kv, 0),
                        std::min(kBlockTokens, n - s), head_dim, scale);
        }
        float piece_sum[kHeadsTogether], piece_max[kHeadsTogether];
        for (std::int64_t g = 0; g < n_heads; ++g) {
            piece_max[g] = kernels_.max(scores + g * kAttentionPiece, n);
            piece_sum[g] = kernels_.exp_sum(scores + g * kAttentionPiece, piece_max[g], n);
        }
        float* into = begin == 0 ? out : piece;
        std::fill_n(into, n_heads * head_dim, 0.0f);
        for (std::int64_t s = 0; s < n; s += kBlockTokens) {
            const BlockId block = slice.blocks[(begin + s) / kBlockTokens];
            type.weigh(into, scores + s, kAttentionPiece, n_heads,
                       kv.values(layer, block, head_kv, 0), std::min(kBlockTokens, n - s),
                       head_dim);
        }
        for (std::int64_t g = 0; g < n_heads; ++g) {
            if (begin == 0) {
                sum[g] = piece_sum[g];
                max[g] = piece_max[g];
            } else {
                merge(out + g * head_dim, &sum[g], &max[g], piece + g * head_dim, piece_sum[g],
                      piece_max[g], head_dim);
            }
        }
    }
    for (std::int64_t g = 0; g < n_heads; ++g)
        kernels_.scale(out + g * head_dim, 1.0f / sum[g], head_dim);
}

// Cost: each row reads its keys and values once for every kHeadsTogether query heads of a KV head.
void CpuDevice::attention(Mat out, Mat q, const KvStore& kv, std::int64_t layer,
                          std::span<const Slice> slices, float scale) {
    const CpuKvStore& store = own(kv);
    const std::int64_t head_dim = store.shape().head_dim, n_head_kv = store.shape().n_head_kv;
    CHECK(q.cols % (n_head_kv * head_dim) == 0 && out.rows == q.rows && out.cols == q.cols);
    check_slices(slices, q.rows, store, layer);
    const std::int64_t n_group = q.cols / head_dim / n_head_kv;
    std::int64_t n_keys_all = 0;
    for (const Slice& slice : slices)
        n_keys_all += slice.n_rows * slice.pos + slice.n_rows * (slice.n_rows + 1) / 2;
    const std::int64_t n_items = q.rows * n_head_kv;
    for_rows(n_items, n_keys_all * 2 * n_group * head_dim / std::max<std::int64_t>(1, q.rows),
             [&](std::int64_t item) {
                 // Neighbouring items share a KV head, and so the keys in the cache.
                 const std::int64_t head_kv = item / q.rows, row = item % q.rows;
                 const Slice& slice = slice_of(slices, row);
                 const std::int64_t n_keys = slice.pos + row - slice.row + 1;
                 for (std::int64_t g = 0; g < n_group; g += kHeadsTogether) {
                     const std::int64_t at = (head_kv * n_group + g) * head_dim;
                     attend(out.data + row * out.ld + at, q.data + row * q.ld + at, store, layer,
                            slice, n_keys, head_kv, std::min(kHeadsTogether, n_group - g), scale);
                 }
             });
}

}  // namespace hearth::model
