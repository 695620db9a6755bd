// The CPU device's attention: keys and values stored and read through the blocks of each slice.
#include <algorithm>
#include <array>
#include <cstddef>

#include "engine/model/cpu_device.h"

namespace hearth::model {
namespace {

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

// A block is on its way while those before it are multiplied: a head's blocks need not be
// neighbours, so that the machine cannot know which comes next.
constexpr std::int64_t kBlocksAhead = 2;
void fetch(const std::byte* from, std::size_t bytes) {
    constexpr std::size_t kLineBytes = 64;
    for (std::size_t at = 0; at < bytes; at += kLineBytes) __builtin_prefetch(from + at, 0, 2);
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
    const hearth_kv_type& type = store.type();
    finish_rows_with(k.rows, 2 * k.cols, [&](std::int64_t i) {
        const Slice& slice = slice_of(slices, i);
        const std::int64_t pos = slice.pos + i - slice.row;
        const BlockId block = slice.blocks[pos / kBlockTokens];
        for (std::int64_t h = 0; h < n_heads; ++h) {
            type.store_key(store.keys(layer, block, h), pos % kBlockTokens,
                           k.data + i * k.ld + h * head_dim, head_dim);
            type.store(store.values(layer, block, h, pos % kBlockTokens),
                       v.data + i * v.ld + h * head_dim, head_dim);
        }
    });
}

// Each piece of kAttentionPiece keys is a softmax of its own (maximum, sum, weighted values), and
// pieces are merged in order. Pieces begin at fixed positions, so how a prompt was cut into steps
// is not seen. Source: online softmax, arXiv:1805.02867; merging of partial softmaxes,
// arXiv:2205.14135.
void CpuDevice::attend_piece(const Partial& out, const QuerySet& set, const CpuKvStore& kv,
                             std::int64_t layer, std::int64_t begin, float scale) const {
    const std::int64_t head_dim = kv.shape().head_dim, first = set.first_beyond(begin);
    const auto n_of = [&](std::int64_t g) {
        return std::min(kAttentionPiece, set.n_keys[std::size_t(g)] - begin);
    };
    const std::int64_t n = n_of(set.n - 1);
    const hearth_kv_type& type = kv.type();
    alignas(64) float scores[kQueriesTogether * kAttentionPiece];
    const auto block_at = [&](std::int64_t s) {
        return set.slice->blocks[(begin + s) / kBlockTokens];
    };
    const auto keys_at = [&](std::int64_t s) { return kv.keys(layer, block_at(s), set.head_kv); };
    const auto values_at = [&](std::int64_t s) {
        return kv.values(layer, block_at(s), set.head_kv);
    };
    constexpr std::int64_t kAhead = kBlocksAhead * kBlockTokens;
    const std::size_t bytes = std::size_t(kBlockTokens) * type.row_bytes(head_dim);
    // Scores with keys after a query's own are computed too, and not looked at.
    for (std::int64_t s = 0; s < n; s += kBlockTokens) {
        if (s + kAhead < n) fetch(keys_at(s + kAhead), bytes);
        type.scores(scores + first * kAttentionPiece + s, kAttentionPiece,
                    &set.q[std::size_t(first)], set.n - first, keys_at(s),
                    std::min(kBlockTokens, n - s), head_dim, scale);
    }
    for (std::int64_t s = 0; s < std::min(n, kAhead); s += kBlockTokens) fetch(values_at(s), bytes);
    for (std::int64_t g = first; g < set.n; ++g) {
        float* of_query = scores + g * kAttentionPiece;
        out.max[g] = kernels_.max(of_query, n_of(g));
        out.sum[g] = kernels_.exp_sum(of_query, out.max[g], n_of(g));
        std::fill_n(out.values[std::size_t(g)], head_dim, 0.0f);
    }
    for (std::int64_t s = 0; s < n; s += kBlockTokens) {
        if (s + kAhead < n) fetch(values_at(s + kAhead), bytes);
        // Queries that see as much of the block go together: but for the last blocks, all.
        for (std::int64_t g = first, end = 0; g < set.n; g = end) {
            const std::int64_t seen = std::min(kBlockTokens, n_of(g) - s);
            end = seen == kBlockTokens ? set.n : g + 1;
            while (end < set.n && std::min(kBlockTokens, n_of(end) - s) == seen) ++end;
            if (seen <= 0) continue;
            type.weigh(&out.values[std::size_t(g)], scores + g * kAttentionPiece + s,
                       kAttentionPiece, end - g, values_at(s), seen, head_dim);
        }
    }
}

// The pieces so far and one more become those of both, of queries first to n:
//   max' = larger of the two;  all' = all e^(max - max') + piece e^(piece_max - max');  sum' alike.
void CpuDevice::merge(const Partial& all, const Partial& piece, std::int64_t first, std::int64_t n,
                      std::int64_t head_dim) const {
    for (std::int64_t g = first; g < n; ++g) {
        float* values = all.values[std::size_t(g)];
        float* others = piece.values[std::size_t(g)];
        const float larger = piece.max[g] > all.max[g] ? piece.max[g] : all.max[g];
        float before = all.max[g], now = piece.max[g];
        kernels_.exp_sum(&before, larger, 1);
        kernels_.exp_sum(&now, larger, 1);
        kernels_.scale(values, before, head_dim);
        kernels_.scale(others, now, head_dim);
        kernels_.add(values, others, head_dim);
        all.sum[g] = all.sum[g] * before + piece.sum[g] * now;
        all.max[g] = larger;
    }
}

void CpuDevice::finish(const QuerySet& set, const float* sum, std::int64_t head_dim) const {
    for (std::int64_t g = 0; g < set.n; ++g)
        kernels_.scale(set.out[std::size_t(g)], 1.0f / sum[g], head_dim);
}

// A few sets, by the thread that is here: a piece of the keys meets all of them while it is near.
void CpuDevice::attend(std::span<const QuerySet> sets, const CpuKvStore& kv, std::int64_t layer,
                       float scale) const {
    CHECK(sets.size() <= kSetsTogether);
    const std::int64_t head_dim = kv.shape().head_dim;
    alignas(64) float values[kQueriesTogether][kCpuHeadDimMax];
    float sum[kSetsTogether + 1][kQueriesTogether], max[kSetsTogether + 1][kQueriesTogether];
    Partial piece{{}, sum[kSetsTogether], max[kSetsTogether]};
    for (std::size_t g = 0; g < kQueriesTogether; ++g) piece.values[g] = values[g];
    const auto all = [&](std::size_t i) { return Partial{sets[i].out, sum[i], max[i]}; };
    std::int64_t n_keys = 0;
    for (std::size_t i = 0; i < sets.size(); ++i) {
        attend_piece(all(i), sets[i], kv, layer, 0, scale);
        n_keys = std::max(n_keys, sets[i].n_keys_most());
    }
    for (std::int64_t begin = kAttentionPiece; begin < n_keys; begin += kAttentionPiece)
        for (std::size_t i = 0; i < sets.size(); ++i) {
            if (begin >= sets[i].n_keys_most()) continue;
            attend_piece(piece, sets[i], kv, layer, begin, scale);
            merge(all(i), piece, sets[i].first_beyond(begin), sets[i].n, head_dim);
        }
    for (std::size_t i = 0; i < sets.size(); ++i) finish(sets[i], sum[i], head_dim);
}

// Few sets with many keys: threads share the pieces. A window of pieces goes into the partials,
// then they are merged in order: the same operations as in attend().
template <class SetOf>
void CpuDevice::attend_together(std::int64_t n_sets, const SetOf& set_of, std::int64_t n_keys,
                                const CpuKvStore& kv, std::int64_t layer, float scale) {
    const std::int64_t head_dim = kv.shape().head_dim;
    // The first partial of a set is that of all its pieces so far.
    const std::int64_t n_own = n_partials(head_dim) / n_sets, window = n_own - 1;
    const auto piece_of = [&](std::int64_t set, std::int64_t i) {
        return partial(set * n_own + i);
    };
    const auto of_window = [&](std::int64_t first, std::int64_t n, std::int64_t into) {
        pool_.run(n_sets * n, [&](std::int64_t item) {
            const QuerySet set = set_of(item / n);
            const std::int64_t i = item % n, begin = (first + i) * kAttentionPiece;
            if (begin < set.n_keys_most())
                attend_piece(piece_of(item / n, into + i), set, kv, layer, begin, scale);
        });
    };
    const std::int64_t n_pieces = ceil_div(n_keys, kAttentionPiece);
    of_window(0, std::min(n_own, n_pieces), 0);
    for (std::int64_t first = 1; first < n_pieces; first += window) {
        const std::int64_t n = std::min(window, n_pieces - first);
        if (first > 1) of_window(first, n, 1);
        for (std::int64_t item = 0; item < n_sets * n; ++item) {
            const QuerySet set = set_of(item / n);
            const std::int64_t i = item % n;
            merge(piece_of(item / n, 0), piece_of(item / n, 1 + i),
                  set.first_beyond((first + i) * kAttentionPiece), set.n, head_dim);
        }
    }
    for (std::int64_t i = 0; i < n_sets; ++i) {
        const QuerySet set = set_of(i);
        const Partial all = piece_of(i, 0);
        for (std::int64_t g = 0; g < set.n; ++g)
            std::copy_n(all.values[std::size_t(g)], head_dim, set.out[std::size_t(g)]);
        finish(set, all.sum, head_dim);
    }
}

// Cost: a group of sets, up to kSetsTogether of one KV head, reads its keys and values once from
// beyond the nearest caches.
void CpuDevice::attention(Mat out, Mat q, const KvStore& kv, std::int64_t layer,
                          std::span<const Slice> slices, float scale) {
    const CpuKvStore& store = own(kv);
    const std::int64_t head_dim = store.shape().head_dim, n_head_kv = store.shape().n_head_kv;
    CHECK(q.cols % (n_head_kv * head_dim) == 0 && out.rows == q.rows && out.cols == q.cols);
    check_slices(slices, q.rows, store, layer);
    finish_rows();
    const std::int64_t n_group = q.cols / head_dim / n_head_kv;
    std::int64_t n_keys_all = 0, n_keys_most = 0;
    if (first_set_.size() <= slices.size()) first_set_.resize(slices.size() + 1);
    for (std::size_t i = 0; i < slices.size(); ++i) {
        const Slice& slice = slices[i];
        n_keys_all += slice.n_rows * slice.pos + slice.n_rows * (slice.n_rows + 1) / 2;
        n_keys_most = std::max(n_keys_most, slice.pos + slice.n_rows);
        first_set_[i + 1] = first_set_[i] + ceil_div(slice.n_rows * n_group, kQueriesTogether);
    }
    const std::int64_t n_sets_head = first_set_[slices.size()], n_sets = n_sets_head * n_head_kv;
    if (n_sets == 0) return;
    // Neighbouring sets share a KV head, and so the keys in the cache.
    const auto set_of = [&](std::int64_t i) {
        const auto last = first_set_.begin() + std::ptrdiff_t(slices.size()) + 1;
        const auto at = std::upper_bound(first_set_.begin(), last, i % n_sets_head) - 1;
        const Slice& slice = slices[std::size_t(at - first_set_.begin())];
        const std::int64_t first = (i % n_sets_head - *at) * kQueriesTogether;
        QuerySet set{.slice = &slice,
                     .head_kv = i / n_sets_head,
                     .n = std::min(kQueriesTogether, slice.n_rows * n_group - first)};
        for (std::int64_t g = 0; g < set.n; ++g) {
            const std::int64_t row = (first + g) / n_group;
            const std::int64_t column = (set.head_kv * n_group + (first + g) % n_group) * head_dim;
            set.q[std::size_t(g)] = q.data + (slice.row + row) * q.ld + column;
            set.out[std::size_t(g)] = out.data + (slice.row + row) * out.ld + column;
            set.n_keys[std::size_t(g)] = slice.pos + row + 1;
        }
        return set;
    };
    if (n_keys_most > kAttentionPiece && n_sets < kPartsPerThread * pool_.n_threads() &&
        2 * n_sets <= n_partials(head_dim))
        return attend_together(n_sets, set_of, n_keys_most, store, layer, scale);
    const std::int64_t n_together =
        std::clamp<std::int64_t>(n_sets / (kPartsPerThread * pool_.n_threads()), 1, kSetsTogether);
    const std::int64_t set_ops = n_keys_all * 2 * n_group * n_head_kv * head_dim / n_sets;
    for_rows(ceil_div(n_sets, n_together), set_ops * n_together, [&](std::int64_t group) {
        std::array<QuerySet, kSetsTogether> sets;
        const std::int64_t first = group * n_together;
        const std::int64_t n = std::min(n_together, n_sets - first);
        for (std::int64_t i = 0; i < n; ++i) sets[std::size_t(i)] = set_of(first + i);
        attend(std::span(sets).first(std::size_t(n)), store, layer, scale);
    });
}

}  // namespace hearth::model
