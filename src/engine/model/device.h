// Device: where a forward pass computes. The verbs of a transformer over buffers that belong to the
// device; an architecture file calls nothing else, so that a GPU is one more implementation.
//
// Matrices are row-major f32 unless they are weights. The CPU device computes on return; another
// one may queue, and read() waits. Letters: T tokens in the step, D n_embd, H heads, Hk KV heads,
// Dh head_dim, F n_ff, V n_vocab.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "engine/model/gguf.h"

namespace hearth::model {

// A weight matrix [N, K] (a vector has N = 1) in one of the device's formats and layouts.
struct Weight {
    const void* data = nullptr;  // device memory; for the CPU, the mapped file or a copy
    std::size_t row_bytes = 0;
    std::int64_t n = 0, k = 0;
    const void* format = nullptr;  // the device's own descriptor of type and layout
    std::string_view name;         // GGUF name, for errors
};

// An f32 matrix [rows, cols] in device memory; rows are `ld` floats apart.
struct Mat {
    float* data = nullptr;
    std::int64_t rows = 0, cols = 0, ld = 0;
    Mat top(std::int64_t n_rows) const { return {data, n_rows, cols, ld}; }
};

// The paged key/value cache's storage: n_block blocks of n_block_tokens tokens in every layer.
// Layout within a block: [Hk][n_block_tokens][Dh], keys and values apart.
class KvStore {
  public:
    virtual ~KvStore() = default;
    virtual std::size_t bytes() const = 0;
    virtual std::size_t bytes_per_token() const = 0;
};

struct KvShape {
    std::int64_t n_layer = 0, n_head_kv = 0, head_dim = 0;
    std::int64_t n_block = 0;
    std::string type = "f16";  // f32 | f16 | bf16 | q8_0
};
// 16 tokens of 8 heads of 64 f16 values are 16 KiB: long enough to stream, short enough that
// half-filled last blocks waste little.
inline constexpr std::int64_t kBlockTokens = 16;
// Attention over keys is cut in pieces of this many, merged in order (exactness:
// docs/ARCHITECTURE.md).
inline constexpr std::int64_t kAttentionPiece = 256;

// Consecutive rows of a step that belong to one sequence. Row i has position pos + i and sees the
// keys of positions 0..pos + i, found through blocks.
struct Slice {
    std::int64_t row = 0, n_rows = 0;
    std::int64_t pos = 0;
    const BlockId* blocks = nullptr;  // block of positions [b * kBlockTokens, …) at index b
};

// Which two values of a head are turned together, i < n_rot / 2.
enum class RopeStyle {
    pairs,   // neighbours (x[2i], x[2i + 1]): llama files
    halves,  // (x[i], x[i + n_rot / 2]), GPT-NeoX style: qwen2, qwen3 and most later families
};

struct RopeParams {
    std::int64_t n_rot = 0;
    float freq_base = 10000.0f;
    float freq_scale = 1.0f;
    const float* freq_factors = nullptr;  // n_rot / 2 divisors, or none
    RopeStyle style = RopeStyle::pairs;
};

// Which experts each row of a step goes through, and with what weights: written by route(), read by
// matmul_experts(), matmul_slots() and combine_experts(). It also holds the order of the step's T *
// n_used slots, a slot being one row's visit to one expert. The order is the device's own (the
// CPU's groups slots by expert); a matrix of slots means nothing but to the verbs that take the
// same routing, and to those that treat rows alone (silu_mul).
class Routing {
  public:
    virtual ~Routing() = default;
};

// Experts are the n_used greatest of a row's logits, rank 0 the greatest, equal ones in the order
// of their indices. A NaN is below everything; its weight shows it.
struct RouteParams {
    // true: weights are the softmax over the chosen logits (Mixtral, Qwen3 with norm_topk_prob);
    // false: over all of them.
    bool normalize = true;
};

// Another form of a tensor's weights, which the device multiplies with faster: so many groups of so
// many bytes, the same for every ISA of a kind of device. Empty where there is none.
struct PackedShape {
    std::int64_t n_groups = 0;
    std::size_t group_bytes = 0;
    std::size_t bytes() const { return std::size_t(n_groups) * group_bytes; }
};

// Verbs may be queued: what one was given lives until read() returned.
class Device {
  public:
    virtual ~Device() = default;
    virtual std::string name() const = 0;      // "cpu avx512, 2 threads"
    virtual std::string_view isa() const = 0;  // part of what makes tokens reproducible

    // Loading. Errors: invalid_request for a tensor type without kernels (its name and the remedy).
    virtual Result<Weight> load(const GgufTensor& tensor) = 0;
    // Requires, for this and the next two: load() took the tensor.
    virtual PackedShape packed_shape(const GgufTensor& /*tensor*/) const { return {}; }
    // One group of the form, into group_bytes at out. Any thread.
    virtual void pack(std::byte* /*out*/, const GgufTensor& /*tensor*/,
                      std::int64_t /*group*/) const {}
    // From here on what was loaded from the tensor is multiplied in the form that lies at packed,
    // or, null, as it was loaded, with the same bits as results. Between steps. Requires: aligned
    // to 64 bytes.
    virtual void use_packed(const GgufTensor& /*tensor*/, const std::byte* /*packed*/) {}
    // Bytes of one head's keys (or values) of one token, as make_kv lays them out. Errors:
    // invalid_request for an unknown type or heads that it cannot store.
    virtual Result<std::size_t> kv_row_bytes(const std::string& type,
                                             std::int64_t head_dim) const = 0;
    // Errors: as kv_row_bytes; invalid_request for a shape that is empty or beyond any address;
    // does_not_fit where the system refuses the memory.
    virtual Result<std::unique_ptr<KvStore>> make_kv(const KvShape& shape) = 0;
    // Zeroed f32 scratch of the device, freed with it. Only at load: nothing allocates in a step.
    virtual Mat make_mat(std::int64_t rows, std::int64_t cols) = 0;
    // Only at load, so that activations of the widest matmul have their room. May be called again;
    // the greatest counts.
    virtual void reserve(std::int64_t rows, std::int64_t k) = 0;
    // The same for rope over heads of which n_rot values turn; without it the first step learns
    // that.
    virtual void reserve_rope(std::int64_t /*n_rot*/) {}
    // The same for attention; without it few rows over many keys keep fewer threads busy.
    virtual void reserve_attention(std::int64_t /*head_dim*/) {}
    // What a step works in. Requires, for a number that steps do not move: all is reserved.
    virtual std::size_t scratch_bytes() const = 0;

    // out[i, :] = row ids[i] of w
    virtual void embed(Mat out, const Weight& w, std::span<const TokenId> ids) = 0;
    // out[T, N] = x[T, K] * w[N, K]^T. Each out element sums over K in block order, whatever T is.
    virtual void matmul(Mat out, Mat x, const Weight& w) = 0;
    // The same x through several weights (q, k, v; gate, up): activations are prepared once.
    virtual void matmul_shared(std::span<const Mat> outs, Mat x,
                               std::span<const Weight* const> ws) = 0;
    virtual void rms_norm(Mat out, Mat x, const Weight& w, float eps) = 0;  // rows apart
    // Each head apart: w is [Dh], and every run of Dh values in a row of x is normalized alone
    // (Qwen3's q and k). x.cols is a multiple of Dh; out may be x.
    virtual void rms_norm_heads(Mat out, Mat x, const Weight& w, float eps) = 0;
    virtual void add_bias(Mat x, const Weight& bias) = 0;  // x[i, :] += bias, [cols]

    // Mixtures of experts. Only at load: make_routing, for steps of up to max_rows rows; slots
    // count as rows for reserve() and make_mat, so a step of T rows needs T * n_used of them.
    // Requires: 1 <= n_used <= n_expert.
    virtual std::unique_ptr<Routing> make_routing(std::int64_t max_rows, std::int64_t n_expert,
                                                  std::int64_t n_used) = 0;
    // Chooses the experts of each row from logits [T, n_expert], which it may overwrite; each row's
    // choice is its own.
    virtual void route(Routing& routing, Mat logits, const RouteParams& params) = 0;
    // outs[j][slot, N] = x[row of the slot, K] * ws[j][expert of the slot, N, K]^T, where ws[j] was
    // loaded from a tensor [n_expert, N, K]. x has the T rows of the step, outs have T * n_used.
    // Each element sums as in matmul, whatever the batch.
    virtual void matmul_experts(std::span<const Mat> outs, Mat x, std::span<const Weight* const> ws,
                                const Routing& routing) = 0;
    // The same with a row of x for each slot: the way down. out and x have T * n_used rows.
    virtual void matmul_slots(Mat out, Mat x, const Weight& w, const Routing& routing) = 0;
    // out[i, :] = sum over ranks r, from 0 on, of weight(i, r) * y[slot(i, r), :]; every product
    // and sum rounds, so a row's result is its own. out has T rows.
    virtual void combine_experts(Mat out, Mat y, const Routing& routing) = 0;

    // Rotates the n_heads heads of head_dim in each row of x; row i stands at its slice's position.
    virtual void rope(Mat x, std::int64_t head_dim, std::span<const Slice> slices,
                      const RopeParams& params) = 0;
    // Stores the rows' keys and values [T, Hk * Dh] into layer of kv at their positions.
    virtual void store_kv(KvStore& kv, std::int64_t layer, Mat k, Mat v,
                          std::span<const Slice> slices) = 0;
    // out[T, H * Dh] = softmax(q k^T * scale) v, causal, each slice over its own blocks; queries of
    // head h use KV head h / (H / Hk). Pieces of kAttentionPiece keys, merged in order.
    virtual void attention(Mat out, Mat q, const KvStore& kv, std::int64_t layer,
                           std::span<const Slice> slices, float scale) = 0;
    virtual void silu_mul(Mat out, Mat gate, Mat up) = 0;
    virtual void add(Mat x, Mat y) = 0;  // x += y
    // out[i, :] = x[rows[i], :]
    virtual void gather(Mat out, Mat x, std::span<const std::int64_t> rows) = 0;
    // A view that the host may read; waits for queued work.
    virtual std::span<const float> read(Mat x) = 0;
};

// Errors: invalid_request if isa (from HEARTH_ISA; "" picks the best) is unknown or unsupported
// here. n_threads 0: one per usable core.
Result<std::unique_ptr<Device>> make_cpu_device(std::string_view isa, int n_threads);

}  // namespace hearth::model
