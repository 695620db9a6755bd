// CpuDevice: the verbs of Device over one ISA's kernels and a thread pool.
//
// A verb is cut into parts that the pool's counter hands out; each output element is computed whole
// in one part by kernels whose order of sums is fixed, so threads, parts and neighbours cannot
// change a bit.
//
// The seams:
// - A weight points to a CpuLayout. Today there is one per format, rows as in the file; a repacked
// layout
//   is one more CpuLayout with its own matmul, chosen in load(), and nothing outside this file sees
//   it.
// - Tiled prefill is the business of a layout's matmul: it gets all rows of a step (in chunks that
// fit the
//   cache) and a range of output columns. It must keep the order of sums that formats/<format>.h
//   states.
// - Another device implements Device anew; arch files call nothing else.
//
// Thread:     engine, which calls; compute, which works inside the calls.
// Invariants: after load and reserve(), no verb allocates.
#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/format.h"
#include "base/thread_pool.h"
#include "engine/kernels/kernels.h"
#include "engine/model/cpu_device_rope.h"
#include "engine/model/device.h"
#include "engine/model/kv_store.h"

namespace hearth::model {
namespace {

// How a weight lies in memory and who multiplies with it.
struct CpuLayout {
    const hearth_format* format = nullptr;  // rows of blocks, as in the file
};
constexpr std::size_t kMaxFormats = 64;

// Less work than this is not worth waking a thread: about 2 us of one core in bytes of weights
// read, and in multiply-adds.
constexpr std::int64_t kPartBytes = 32 << 10;
constexpr std::int64_t kPartOps = 32 << 10;
// Weights of a part and activations of a chunk stay in the second-level cache together while each
// weight row meets each activation row (1 MiB and more on current cores).
constexpr std::int64_t kCacheBytes = 256 << 10;
// Output columns of a part: whole tiles of every format.
constexpr std::int64_t kTileColumns = 16;
// Parts for each thread, so that one that is held up costs a fraction.
constexpr std::int64_t kPartsPerThread = 4;
// Weights in one matmul_shared: q, k, v and room.
constexpr std::size_t kMaxShared = 8;
// Query heads of one KV head that are taken together; bounds the stack of attention.
constexpr std::int64_t kHeadsTogether = 8;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
    return (a + b - 1) / b;
}

// Aligned zeroed memory of the device's life.
class Memory {
  public:
    Memory() = default;
    explicit Memory(std::size_t bytes) : bytes_(bytes) {
        data_ = static_cast<std::byte*>(::operator new(bytes, kAlign, std::nothrow));
        CHECK(data_ != nullptr);
        std::memset(data_, 0, bytes);
    }
    Memory(Memory&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
    Memory& operator=(Memory&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~Memory() { ::operator delete(data_, kAlign); }
    std::byte* data() const { return data_; }
    std::size_t bytes() const { return bytes_; }

  private:
    static constexpr std::align_val_t kAlign{64};  // a cache line, a 512-bit register
    std::byte* data_ = nullptr;
    std::size_t bytes_ = 0;
};

class CpuDevice final : public Device {
  public:
    CpuDevice(const hearth_kernels& kernels, int n_threads);

    std::string name() const override {
        return format("cpu {}, {} threads", kernels_.isa, pool_.n_threads());
    }
    std::string_view isa() const override { return kernels_.isa; }

    Result<Weight> load(const GgufTensor& tensor) override;
    Result<std::unique_ptr<KvStore>> make_kv(const KvShape& shape) override {
        return CpuKvStore::make(kernels_, shape);
    }
    Mat make_mat(std::int64_t rows, std::int64_t cols) override;
    void reserve(std::int64_t rows, std::int64_t k) override;
    std::size_t scratch_bytes() const override;

    void embed(Mat out, const Weight& w, std::span<const TokenId> ids) override;
    void matmul(Mat out, Mat x, const Weight& w) override;
    void matmul_shared(std::span<const Mat> outs, Mat x,
                       std::span<const Weight* const> ws) override;
    void rms_norm(Mat out, Mat x, const Weight& w, float eps) override;
    void rope(Mat x, std::int64_t head_dim, std::span<const Slice> slices,
              const RopeParams& params) override;
    void store_kv(KvStore& kv, std::int64_t layer, Mat k, Mat v,
                  std::span<const Slice> slices) override;
    void attention(Mat out, Mat q, const KvStore& kv, std::int64_t layer,
                   std::span<const Slice> slices, float scale) override;
    void silu_mul(Mat out, Mat gate, Mat up) override;
    void add(Mat x, Mat y) override;
    void gather(Mat out, Mat x, std::span<const std::int64_t> rows) override;
    std::span<const float> read(Mat x) override {
        CHECK(x.ld == x.cols);
        return {x.data, std::size_t(x.rows * x.cols)};
    }

  private:
    struct Activations {
        const std::byte* data = nullptr;
        std::size_t row_bytes = 0;
    };
    const hearth_format& format_of(const Weight& w) const {
        return *static_cast<const CpuLayout*>(w.format)->format;
    }
    const CpuLayout* layout_of(std::uint32_t gguf_type) const {
        for (const CpuLayout& layout : layouts_)
            if (layout.format && layout.format->gguf_type == gguf_type) return &layout;
        return nullptr;
    }
    // Rows in parts, alone in the calling thread where they cost less than a wake-up.
    template <class F>
    void for_rows(std::int64_t n_rows, std::int64_t row_ops, F&& row);
    Activations prepare(Mat x, const hearth_format& format);
    void multiply(std::span<const Mat> outs, Mat x, Activations act,
                  std::span<const Weight* const> ws);
    void multiply_part(Mat out, std::int64_t n_rows, Activations act, const Weight& w,
                       std::int64_t n0, std::int64_t n1) const;
    void attend(float* out, const float* q, const CpuKvStore& kv, std::int64_t layer,
                const Slice& slice, std::int64_t n_keys, std::int64_t head_kv, std::int64_t n_heads,
                float scale) const;
    void merge(float* out, float* sum, float* max, float* piece, float piece_sum, float piece_max,
               std::int64_t head_dim) const;

    // Constant after construction.
    const hearth_kernels& kernels_;
    std::array<CpuLayout, kMaxFormats> layouts_;  // of kernels_.formats, in their order

    // Engine thread; grow while loading only.
    ThreadPool pool_;
    std::vector<Memory> memory_;  // matrices, and copies of weights that cannot be used in place
    Memory act_;                  // prepared activations of one matmul
    RopeTable rope_;
};

CpuDevice::CpuDevice(const hearth_kernels& kernels, int n_threads)
    : kernels_(kernels), pool_(n_threads) {
    for (std::size_t i = 0; kernels.formats[i]; ++i) {
        CHECK(i < kMaxFormats);
        layouts_[i].format = kernels.formats[i];
    }
}

std::string known_formats(const hearth_kernels& kernels) {
    std::string names;
    for (const hearth_format* const* at = kernels.formats; *at; ++at)
        names += format("{}{}", names.empty() ? "" : ", ",
                        hearth_type_shape_find((*at)->gguf_type)->name);
    return names;
}

Result<Weight> CpuDevice::load(const GgufTensor& tensor) {
    const auto refuse = [&](std::string why) {
        return fail(ErrorKind::invalid_request, format("tensor {} {}", tensor.name, why));
    };
    const CpuLayout* layout = layout_of(tensor.type);
    if (!layout) {
        const hearth_type_shape* type = hearth_type_shape_find(tensor.type);
        return refuse(format(
            "is of type {}, which has no kernels yet; use a file whose tensors are "
            "of {}",
            type ? std::string(type->name) : format("{}", tensor.type), known_formats(kernels_)));
    }
    if (tensor.shape.empty()) return refuse("has no dimensions; the file is damaged");
    const hearth_format& form = *layout->format;
    Weight w{.n = 1, .k = tensor.shape.back(), .format = layout, .name = tensor.name};
    for (std::size_t i = 0; i + 1 < tensor.shape.size(); ++i)
        if (tensor.shape[i] < 1 || __builtin_mul_overflow(w.n, tensor.shape[i], &w.n))
            return refuse("has an impossible shape; the file is damaged");
    if (w.k < 1 || w.k % form.block != 0)
        return refuse(
            format("has rows of {} values, which are no whole blocks of {}; the file is "
                   "damaged",
                   w.k, form.block));
    w.row_bytes = std::size_t(w.k / form.block) * std::size_t(form.block_bytes);
    if (tensor.bytes.size() / w.row_bytes < std::size_t(w.n))
        return refuse(format("has {} bytes, expected {} rows of {}; the file is truncated",
                             tensor.bytes.size(), w.n, w.row_bytes));
    w.data = tensor.bytes.data();
    // Vectors are used as they are, in f32 (some writers store them in the matrices' type).
    constexpr std::uint32_t kF32 = 0;
    if (w.n == 1 && form.gguf_type != kF32) {
        memory_.emplace_back(std::size_t(w.k) * sizeof(float));
        form.decode(reinterpret_cast<float*>(memory_.back().data()), w.data, w.k);
        w.data = memory_.back().data();
        w.row_bytes = memory_.back().bytes();
        w.format = layout_of(kF32);
    }
    // The file may place tensors at any offset; kernels read elements of up to 4 bytes in place.
    if (reinterpret_cast<std::uintptr_t>(w.data) % 4 != 0) {
        memory_.emplace_back(w.row_bytes * std::size_t(w.n));
        std::memcpy(memory_.back().data(), w.data, memory_.back().bytes());
        w.data = memory_.back().data();
    }
    return w;
}

Mat CpuDevice::make_mat(std::int64_t rows, std::int64_t cols) {
    CHECK(rows >= 0 && cols >= 0);
    memory_.emplace_back(std::max<std::size_t>(64, std::size_t(rows) * std::size_t(cols) * 4));
    return {reinterpret_cast<float*>(memory_.back().data()), rows, cols, cols};
}

void CpuDevice::reserve(std::int64_t rows, std::int64_t k) {
    std::size_t row_bytes = 0;
    for (const hearth_format* const* at = kernels_.formats; *at; ++at) {
        const std::int64_t whole = ceil_div(k, (*at)->block) * (*at)->block;
        row_bytes = std::max(row_bytes, (*at)->act_bytes(whole));
    }
    const std::size_t bytes = row_bytes * std::size_t(rows);
    if (bytes > act_.bytes()) act_ = Memory(bytes);
    rope_.reserve(rows);
}

std::size_t CpuDevice::scratch_bytes() const {
    std::size_t bytes = act_.bytes() + rope_.bytes();
    for (const Memory& memory : memory_) bytes += memory.bytes();
    return bytes;
}

template <class F>
void CpuDevice::for_rows(std::int64_t n_rows, std::int64_t row_ops, F&& row) {
    const std::int64_t n_parts = std::min(
        {n_rows, n_rows * row_ops / kPartOps, kPartsPerThread * std::int64_t(pool_.n_threads())});
    if (n_parts <= 1 || pool_.n_threads() == 1) {
        for (std::int64_t i = 0; i < n_rows; ++i) row(i);
        return;
    }
    pool_.run(n_parts, [&](std::int64_t part) {
        const std::int64_t end = n_rows * (part + 1) / n_parts;
        for (std::int64_t i = n_rows * part / n_parts; i < end; ++i) row(i);
    });
}

void CpuDevice::embed(Mat out, const Weight& w, std::span<const TokenId> ids) {
    CHECK(out.rows >= std::int64_t(ids.size()) && out.cols == w.k);
    const hearth_format& form = format_of(w);
    for_rows(std::int64_t(ids.size()), w.k, [&](std::int64_t i) {
        const std::int64_t id = ids[std::size_t(i)].value;
        CHECK(id >= 0 && id < w.n);
        form.decode(out.data + i * out.ld,
                    static_cast<const std::byte*>(w.data) + std::size_t(id) * w.row_bytes, w.k);
    });
}

CpuDevice::Activations CpuDevice::prepare(Mat x, const hearth_format& form) {
    const std::size_t row_bytes = form.act_bytes(x.cols);
    if (form.act_is_f32 && x.ld == x.cols)
        return {reinterpret_cast<const std::byte*>(x.data), row_bytes};
    CHECK(row_bytes * std::size_t(x.rows) <= act_.bytes());  // reserve() was told fewer
    for_rows(x.rows, x.cols, [&](std::int64_t i) {
        form.make_act(act_.data() + std::size_t(i) * row_bytes, x.data + i * x.ld, x.cols);
    });
    return {act_.data(), row_bytes};
}

void CpuDevice::matmul(Mat out, Mat x, const Weight& w) {
    const Weight* ws[] = {&w};
    matmul_shared({&out, 1}, x, ws);
}

void CpuDevice::matmul_shared(std::span<const Mat> outs, Mat x, std::span<const Weight* const> ws) {
    CHECK(outs.size() == ws.size() && ws.size() <= kMaxShared);
    // Weights that want the same form of activations go together; a mixed set is cut into runs.
    for (std::size_t from = 0; from < ws.size();) {
        const hearth_format& form = format_of(*ws[from]);
        std::size_t to = from + 1;
        while (to < ws.size() && format_of(*ws[to]).make_act == form.make_act) ++to;
        multiply(outs.subspan(from, to - from), x, prepare(x, form), ws.subspan(from, to - from));
        from = to;
    }
}

// Cost: the weights' bytes once from memory, for every kCacheBytes of activations once more from
// cache.
void CpuDevice::multiply(std::span<const Mat> outs, Mat x, Activations act,
                         std::span<const Weight* const> ws) {
    std::array<std::int64_t, kMaxShared> columns{};  // of a part
    std::array<std::int64_t, kMaxShared + 1> first{};
    for (std::size_t i = 0; i < ws.size(); ++i) {
        const Weight& w = *ws[i];
        CHECK(outs[i].rows == x.rows && outs[i].cols == w.n && x.cols == w.k);
        const auto row_bytes = std::int64_t(w.row_bytes);
        const std::int64_t worth =
            w.n * row_bytes * std::max<std::int64_t>(1, x.rows / 4) / kPartBytes;
        const std::int64_t n_parts = std::clamp<std::int64_t>(
            worth, 1, pool_.n_threads() == 1 ? 1 : kPartsPerThread * pool_.n_threads());
        std::int64_t n = ceil_div(ceil_div(w.n, n_parts), kTileColumns) * kTileColumns;
        if (std::int64_t(act.row_bytes) * x.rows > kCacheBytes) {
            const std::int64_t fitting = kCacheBytes / row_bytes / kTileColumns * kTileColumns;
            n = std::min(n, std::max(kTileColumns, fitting));
        }
        columns[i] = n;
        first[i + 1] = first[i] + ceil_div(w.n, n);
    }
    pool_.run(first[ws.size()], [&](std::int64_t part) {
        std::size_t i = 0;
        while (part >= first[i + 1]) ++i;
        const std::int64_t n0 = (part - first[i]) * columns[i];
        multiply_part(outs[i], x.rows, act, *ws[i], n0, std::min(ws[i]->n, n0 + columns[i]));
    });
}

void CpuDevice::multiply_part(Mat out, std::int64_t n_rows, Activations act, const Weight& w,
                              std::int64_t n0, std::int64_t n1) const {
    constexpr std::int64_t kRows = 8;  // whole tiles of every kernel
    const std::int64_t fitting = kCacheBytes / std::int64_t(act.row_bytes) / kRows * kRows;
    const std::int64_t chunk = std::max(kRows, fitting);
    for (std::int64_t t = 0; t < n_rows; t += chunk)
        format_of(w).matmul(out.data + t * out.ld, out.ld,
                            act.data + std::size_t(t) * act.row_bytes, std::min(chunk, n_rows - t),
                            w.data, w.row_bytes, n0, n1, w.k);
}

void CpuDevice::rms_norm(Mat out, Mat x, const Weight& w, float eps) {
    CHECK(w.n == 1 && w.k == x.cols && out.rows == x.rows && out.cols == x.cols);
    const auto* weights = static_cast<const float*>(w.data);
    for_rows(x.rows, x.cols, [&](std::int64_t i) {
        kernels_.rms_norm(out.data + i * out.ld, x.data + i * x.ld, weights, x.cols, eps);
    });
}

void CpuDevice::rope(Mat x, std::int64_t head_dim, std::span<const Slice> slices,
                     const RopeParams& params) {
    CHECK(head_dim > 0 && x.cols % head_dim == 0 && params.n_rot <= head_dim);
    rope_.update(slices, params);
    for_rows(x.rows, x.cols, [&](std::int64_t i) {
        for (std::int64_t at = 0; at < x.cols; at += head_dim)
            kernels_.rope_pairs(x.data + i * x.ld + at, rope_.cos(i), rope_.sin(i), params.n_rot);
    });
}

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

void CpuDevice::silu_mul(Mat out, Mat gate, Mat up) {
    CHECK(gate.rows == up.rows && gate.cols == up.cols && out.rows == gate.rows &&
          out.cols == gate.cols);
    constexpr std::int64_t kOps = 8;  // an exponential and a division, in multiply-adds
    for_rows(gate.rows, gate.cols * kOps, [&](std::int64_t i) {
        kernels_.silu_mul(out.data + i * out.ld, gate.data + i * gate.ld, up.data + i * up.ld,
                          gate.cols);
    });
}

void CpuDevice::add(Mat x, Mat y) {
    CHECK(x.rows == y.rows && x.cols == y.cols);
    for_rows(x.rows, x.cols,
             [&](std::int64_t i) { kernels_.add(x.data + i * x.ld, y.data + i * y.ld, x.cols); });
}

void CpuDevice::gather(Mat out, Mat x, std::span<const std::int64_t> rows) {
    CHECK(out.cols == x.cols && out.rows >= std::int64_t(rows.size()));
    for (std::size_t i = 0; i < rows.size(); ++i) {
        CHECK(rows[i] >= 0 && rows[i] < x.rows);
        std::copy_n(x.data + rows[i] * x.ld, x.cols, out.data + std::int64_t(i) * out.ld);
    }
}

}  // namespace

Result<std::unique_ptr<Device>> make_cpu_device(std::string_view isa, int n_threads) {
    const std::string wanted(isa);
    const hearth_kernels* kernels = hearth_kernels_pick(wanted.empty() ? nullptr : wanted.c_str());
    if (!kernels) {
        std::string names;
        for (const hearth_kernels* const* at = hearth_kernels_all; *at; ++at)
            if ((*at)->supported()) names += format("{}{}", names.empty() ? "" : ", ", (*at)->isa);
        return fail(ErrorKind::invalid_request,
                    format("ISA \"{}\" is unknown or not supported by this machine; it has {}", isa,
                           names));
    }
    return std::make_unique<CpuDevice>(*kernels, n_threads);
}

}  // namespace hearth::model
