// CpuDevice: the verbs of Device over one ISA's kernels and a thread pool.
//
// A verb is cut into parts that the pool's counter hands out; each output element is computed whole
// in one part by kernels whose order of sums is fixed, so threads, parts and neighbours cannot
// change a bit.
//
// Verbs that treat rows alone wait until one comes that does not (cpu_device_rows.h); read() is
// such a one.
//
// The seams:
// - A weight points to a CpuLayout of its own: rows as in the file and, once use_packed() was told,
//   whole groups of rows packed. Both give the same bits, so the change may come between any steps.
// - Tiled prefill is the business of a layout's matmul: it gets all rows of a step and a range of
//   output columns, and cuts them as caches and registers want. It must keep the order of sums that
//   formats/<format>.h states.
// - Another device implements Device anew; arch files call nothing else.
//
// Thread:     engine, which calls; compute, which works inside the calls.
// Invariants: after load and reserve(), no verb allocates.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/format.h"
#include "base/thread_pool.h"
#include "engine/kernels/kernels.h"
#include "engine/model/cpu_device_experts.h"
#include "engine/model/cpu_device_rope.h"
#include "engine/model/cpu_device_rows.h"
#include "engine/model/cpu_memory.h"
#include "engine/model/device.h"
#include "engine/model/kv_store.h"

namespace hearth::model {

// Less work than this is not worth waking a thread: about 2 us of one core in bytes of weights
// read, and in multiply-adds.
inline constexpr std::int64_t kPartBytes = 32 << 10;
inline constexpr std::int64_t kPartOps = 32 << 10;
// Parts for each thread, so that one that is held up costs a fraction.
inline constexpr std::int64_t kPartsPerThread = 4;

// Weights in one matmul_shared or matmul_experts: q, k, v and room.
inline constexpr std::size_t kMaxShared = 8;
// Output columns of a part: whole tiles of every format.
inline constexpr std::int64_t kTileColumns = 32;

// Queries of one KV head that attention takes together; bounds its stack.
inline constexpr std::int64_t kQueriesTogether = 8;
// Sets of queries that a piece of the keys meets one after the other, so that it is fetched once.
inline constexpr std::int64_t kSetsTogether = 16;
// Pieces of attention between two meetings of the threads.
inline constexpr std::int64_t kPartialsPerThread = 16;

// How a weight lies in memory and who multiplies with it: matrices of n rows each, one after the
// other (a mixture's experts; else there is one).
struct CpuLayout {
    const hearth_format* format = nullptr;
    std::int64_t n = 0;
    const std::byte* source = nullptr;  // the tensor in its file
    // Of each matrix the rows in whole groups; what is left over is read as rows. Null: not packed.
    const std::byte* packed = nullptr;
    std::int64_t n_packed() const {
        return packed ? n / HEARTH_PACKED_ROWS * HEARTH_PACKED_ROWS : 0;
    }
};
// Rows of each matrix of a tensor.
inline std::int64_t rows_of(const GgufTensor& tensor) {
    return tensor.shape.size() < 2 ? 1 : tensor.shape[tensor.shape.size() - 2];
}

inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
    return (a + b - 1) / b;
}

class CpuDevice final : public Device {
  public:
    CpuDevice(const hearth_kernels& kernels, int n_threads);

    std::string name() const override {
        return format("cpu {}, {} threads", kernels_.isa, pool_.n_threads());
    }
    std::string_view isa() const override { return kernels_.isa; }

    Result<Weight> load(const GgufTensor& tensor) override;
    PackedShape packed_shape(const GgufTensor& tensor) const override;
    void pack(std::byte* out, const GgufTensor& tensor, std::int64_t group) const override;
    void use_packed(const GgufTensor& tensor, const std::byte* packed) override;
    Result<std::size_t> kv_row_bytes(const std::string& type,
                                     std::int64_t head_dim) const override {
        return CpuKvStore::row_bytes(kernels_, type, head_dim);
    }
    Result<std::unique_ptr<KvStore>> make_kv(const KvShape& shape) override {
        return CpuKvStore::make(kernels_, shape);
    }
    Mat make_mat(std::int64_t rows, std::int64_t cols) override;
    void reserve(std::int64_t rows, std::int64_t k) override;
    void reserve_rope(std::int64_t n_rot) override { rope_.expect(n_rot); }
    void reserve_attention(std::int64_t head_dim) override;
    std::size_t scratch_bytes() const override;

    void embed(Mat out, const Weight& w, std::span<const TokenId> ids) override;
    void matmul(Mat out, Mat x, const Weight& w) override;
    void matmul_shared(std::span<const Mat> outs, Mat x,
                       std::span<const Weight* const> ws) override;
    void rms_norm(Mat out, Mat x, const Weight& w, float eps) override;
    void rms_norm_heads(Mat out, Mat x, const Weight& w, float eps) override;
    void add_bias(Mat x, const Weight& bias) override;
    std::unique_ptr<Routing> make_routing(std::int64_t max_rows, std::int64_t n_expert,
                                          std::int64_t n_used) override;
    void route(Routing& routing, Mat logits, const RouteParams& params) override;
    void matmul_experts(std::span<const Mat> outs, Mat x, std::span<const Weight* const> ws,
                        const Routing& routing) override;
    void matmul_slots(Mat out, Mat x, const Weight& w, const Routing& routing) override;
    void combine_experts(Mat out, Mat y, const Routing& routing) override;
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
        finish_rows();
        return {x.data, std::size_t(x.rows * x.cols)};
    }

  private:
    struct Activations {
        const std::byte* data = nullptr;
        std::size_t row_bytes = 0;
    };
    static const CpuLayout& layout_of(const Weight& w) {
        return *static_cast<const CpuLayout*>(w.format);
    }
    static const hearth_format& format_of(const Weight& w) { return *layout_of(w).format; }
    // Calls run(from, to) for each run of neighbouring weights that want the same form of
    // activations, so that these are prepared once.
    template <class F>
    void for_runs(std::span<const Weight* const> ws, F&& run) const;
    // How many parts are worth handing out for so many bytes of weights.
    std::int64_t n_parts_for(std::int64_t bytes) const {
        return std::clamp<std::int64_t>(
            bytes / kPartBytes, 1,
            pool_.n_threads() == 1 ? 1 : kPartsPerThread * pool_.n_threads());
    }
    // Rows in parts, alone in the calling thread where they cost less than a wake-up.
    template <class F>
    void for_rows(std::int64_t n_rows, std::int64_t row_ops, F&& row);
    // The same, but it waits for a verb that does not treat rows alone: such a one begins with one
    // of the next two.
    template <class F>
    void later(std::int64_t n_rows, std::int64_t row_ops, const F& row) {
        if (waiting_.full() || waiting_.n_rows() != n_rows) finish_rows();
        waiting_.add(n_rows, row_ops, row);
    }
    // What waits, and row(i) after it.
    template <class F>
    void finish_rows_with(std::int64_t n_rows, std::int64_t row_ops, F&& row);
    void finish_rows() {
        if (!waiting_.empty()) finish_rows_with(waiting_.n_rows(), 0, [](std::int64_t) {});
    }
    Activations prepare(Mat x, const hearth_format& format);
    void multiply(std::span<const Mat> outs, Mat x, Activations act,
                  std::span<const Weight* const> ws);
    Activations prepare_slots(Mat x, const hearth_format& format, const CpuRouting& routing);
    void multiply_experts(std::span<const Mat> outs, Activations act,
                          std::span<const Weight* const> ws, const CpuRouting& routing);
    // Rows n0 to n1 of one of the weight's matrices. Requires: n0 begins a group.
    void multiply_part(Mat out, std::int64_t n_rows, Activations act, const Weight& w,
                       std::int64_t matrix, std::int64_t n0, std::int64_t n1) const;
    // Queries that go together: of one KV head and neighbouring rows of a slice, in their order, so
    // that each has as many keys as the one before it, or more.
    struct QuerySet {
        const Slice* slice = nullptr;
        std::int64_t head_kv = 0, n = 0;
        std::array<const float*, kQueriesTogether> q{};
        std::array<float*, kQueriesTogether> out{};
        std::array<std::int64_t, kQueriesTogether> n_keys{};
        std::int64_t n_keys_most() const { return n_keys[std::size_t(n - 1)]; }
        // The first query with keys from here on.
        std::int64_t first_beyond(std::int64_t key) const {
            std::int64_t i = 0;
            while (i < n && n_keys[std::size_t(i)] <= key) ++i;
            return i;
        }
    };
    // Attention over some keys: of each query weighted values [Dh], the sum of the weights and the
    // maximum they are relative to.
    struct Partial {
        std::array<float*, kQueriesTogether> values;
        float *sum, *max;
    };
    void attend(std::span<const QuerySet> sets, const CpuKvStore& kv, std::int64_t layer,
                float scale) const;
    template <class SetOf>
    void attend_together(std::int64_t n_sets, const SetOf& set_of, std::int64_t n_keys,
                         const CpuKvStore& kv, std::int64_t layer, float scale);
    // The set's queries with keys from begin on; the others' places in out stay.
    void attend_piece(const Partial& out, const QuerySet& set, const CpuKvStore& kv,
                      std::int64_t layer, std::int64_t begin, float scale) const;
    void merge(const Partial& all, const Partial& piece, std::int64_t first, std::int64_t n,
               std::int64_t head_dim) const;
    void finish(const QuerySet& set, const float* sum, std::int64_t head_dim) const;
    // Partials in scratch: none where threads have nothing to share, or for wider heads than
    // reserve_attention() was told.
    std::int64_t n_partials(std::int64_t head_dim) const {
        return head_dim > partial_head_dim_ ? 0 : kPartialsPerThread * pool_.n_threads();
    }
    Partial partial(std::int64_t i) const {
        float* values = reinterpret_cast<float*>(partials_.data()) +
                        i * kQueriesTogether * (partial_head_dim_ + 2);
        float* sum = values + kQueriesTogether * partial_head_dim_;
        Partial p{{}, sum, sum + kQueriesTogether};
        for (std::int64_t g = 0; g < kQueriesTogether; ++g)
            p.values[std::size_t(g)] = values + g * partial_head_dim_;
        return p;
    }

    // Constant after construction.
    const hearth_kernels& kernels_;

    // Engine thread; grow while loading only.
    std::deque<CpuLayout> layouts_;  // of the weights, which point to them
    ThreadPool pool_;
    std::vector<CpuMemory> memory_;  // matrices, and copies of weights that cannot be used in place
    CpuMemory act_;                  // prepared activations of one matmul
    CpuMemory partials_;             // of attention
    std::int64_t partial_head_dim_ = 0;
    std::vector<std::int64_t> first_set_;  // of each slice, for one KV head
    RopeTable rope_;
    WaitingRows waiting_;
    std::size_t routing_bytes_ = 0;  // of all that make_routing gave out
};

template <class F>
void CpuDevice::for_runs(std::span<const Weight* const> ws, F&& run) const {
    for (std::size_t from = 0; from < ws.size();) {
        std::size_t to = from + 1;
        while (to < ws.size() && format_of(*ws[to]).make_act == format_of(*ws[from]).make_act) ++to;
        run(from, to);
        from = to;
    }
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

template <class F>
void CpuDevice::finish_rows_with(std::int64_t n_rows, std::int64_t row_ops, F&& row) {
    if (!waiting_.empty() && waiting_.n_rows() != n_rows) finish_rows();
    for_rows(n_rows, waiting_.row_ops() + row_ops, [&](std::int64_t i) {
        waiting_.run(i);
        row(i);
    });
    waiting_.clear();
}

}  // namespace hearth::model
