// The CPU device's loading, memory, and verbs that work row by row.
#include "engine/model/cpu_device.h"

#include "base/suggest.h"

namespace hearth::model {

CpuDevice::CpuDevice(const hearth_kernels& kernels, int n_threads)
    : kernels_(kernels), pool_(n_threads) {}

namespace {

std::string known_formats(const hearth_kernels& kernels) {
    std::string names;
    for (const hearth_format* const* at = kernels.formats; *at; ++at)
        append_name(names, hearth_type_shape_find((*at)->gguf_type)->name);
    return names;
}

}  // namespace

Result<Weight> CpuDevice::load(const GgufTensor& tensor) {
    const auto refuse = [&](std::string why) {
        return fail(ErrorKind::invalid_request, format("tensor {} {}", tensor.name, why));
    };
    const hearth_format* found = hearth_format_find(&kernels_, tensor.type);
    if (!found) {
        const hearth_type_shape* type = hearth_type_shape_find(tensor.type);
        return refuse(format(
            "is of type {}, which has no kernels yet; use a file whose tensors are "
            "of {}",
            type ? std::string(type->name) : format("{}", tensor.type), known_formats(kernels_)));
    }
    if (tensor.shape.empty()) return refuse("has no dimensions; the file is damaged");
    const hearth_format& form = *found;
    Weight w{.n = 1, .k = tensor.shape.back(), .name = tensor.name};
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
    CpuLayout& layout = layouts_.emplace_back(
        CpuLayout{.format = &form, .n = rows_of(tensor), .source = tensor.bytes.data()});
    w.format = &layout;
    // Vectors are used as they are, in f32 (some writers store them in the matrices' type).
    constexpr std::uint32_t kF32 = 0;
    if (w.n == 1 && form.gguf_type != kF32) {
        memory_.emplace_back(std::size_t(w.k) * sizeof(float));
        form.decode(reinterpret_cast<float*>(memory_.back().data()), w.data, w.k);
        w.data = memory_.back().data();
        w.row_bytes = memory_.back().bytes();
        layout = {.format = hearth_format_find(&kernels_, kF32), .n = 1};
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
    if (bytes > act_.bytes()) act_ = CpuMemory(bytes);
    rope_.reserve(rows);
    first_set_.resize(std::max(first_set_.size(), std::size_t(rows) + 1));
}

void CpuDevice::reserve_attention(std::int64_t head_dim) {
    if (pool_.n_threads() == 1 || head_dim <= partial_head_dim_) return;
    partial_head_dim_ = head_dim;
    partials_ = CpuMemory(std::size_t(kPartialsPerThread * pool_.n_threads() * kQueriesTogether) *
                          std::size_t(head_dim + 2) * sizeof(float));
}

std::size_t CpuDevice::scratch_bytes() const {
    std::size_t bytes = act_.bytes() + rope_.bytes() + routing_bytes_ + partials_.bytes();
    for (const CpuMemory& memory : memory_) bytes += memory.bytes();
    return bytes;
}

void CpuDevice::embed(Mat out, const Weight& w, std::span<const TokenId> ids) {
    CHECK(out.rows >= std::int64_t(ids.size()) && out.cols == w.k);
    finish_rows();
    const hearth_format& form = format_of(w);
    for_rows(std::int64_t(ids.size()), w.k, [&](std::int64_t i) {
        const std::int64_t id = ids[std::size_t(i)].value;
        CHECK(id >= 0 && id < w.n);
        form.decode(out.data + i * out.ld,
                    static_cast<const std::byte*>(w.data) + std::size_t(id) * w.row_bytes, w.k);
    });
}

void CpuDevice::rms_norm(Mat out, Mat x, const Weight& w, float eps) {
    CHECK(w.n == 1 && w.k == x.cols && out.rows == x.rows && out.cols == x.cols);
    later(x.rows, x.cols,
          [rms_norm = kernels_.rms_norm, out, x, weights = static_cast<const float*>(w.data),
           eps](std::int64_t i) {
              rms_norm(out.data + i * out.ld, x.data + i * x.ld, weights, x.cols, eps);
          });
}

void CpuDevice::rms_norm_heads(Mat out, Mat x, const Weight& w, float eps) {
    CHECK(w.n == 1 && x.cols % w.k == 0 && out.rows == x.rows && out.cols == x.cols);
    later(x.rows, x.cols,
          [rms_norm = kernels_.rms_norm, out, x, weights = static_cast<const float*>(w.data),
           head_dim = w.k, eps](std::int64_t i) {
              for (std::int64_t at = 0; at < x.cols; at += head_dim)
                  rms_norm(out.data + i * out.ld + at, x.data + i * x.ld + at, weights, head_dim,
                           eps);
          });
}

void CpuDevice::add_bias(Mat x, const Weight& bias) {
    CHECK(bias.n == 1 && bias.k == x.cols);
    later(x.rows, x.cols,
          [add = kernels_.add, x, values = static_cast<const float*>(bias.data)](std::int64_t i) {
              add(x.data + i * x.ld, values, x.cols);
          });
}

void CpuDevice::rope(Mat x, std::int64_t head_dim, std::span<const Slice> slices,
                     const RopeParams& params) {
    CHECK(head_dim > 0 && x.cols % head_dim == 0 && params.n_rot <= head_dim);
    if (!rope_.holds(slices, params)) {
        finish_rows();
        rope_.update(slices, params);
    }
    const auto turn = params.style == RopeStyle::pairs ? kernels_.rope_pairs : kernels_.rope_halves;
    later(x.rows, x.cols, [turn, x, head_dim, &rope = rope_, n_rot = params.n_rot](std::int64_t i) {
        for (std::int64_t at = 0; at < x.cols; at += head_dim)
            turn(x.data + i * x.ld + at, rope.cos(i), rope.sin(i), n_rot);
    });
}

void CpuDevice::silu_mul(Mat out, Mat gate, Mat up) {
    CHECK(gate.rows == up.rows && gate.cols == up.cols && out.rows == gate.rows &&
          out.cols == gate.cols);
    constexpr std::int64_t kOps = 8;  // an exponential and a division, in multiply-adds
    later(gate.rows, gate.cols * kOps,
          [silu_mul = kernels_.silu_mul, out, gate, up](std::int64_t i) {
              silu_mul(out.data + i * out.ld, gate.data + i * gate.ld, up.data + i * up.ld,
                       gate.cols);
          });
}

void CpuDevice::add(Mat x, Mat y) {
    CHECK(x.rows == y.rows && x.cols == y.cols);
    later(x.rows, x.cols, [add = kernels_.add, x, y](std::int64_t i) {
        add(x.data + i * x.ld, y.data + i * y.ld, x.cols);
    });
}

void CpuDevice::gather(Mat out, Mat x, std::span<const std::int64_t> rows) {
    CHECK(out.cols == x.cols && out.rows >= std::int64_t(rows.size()));
    finish_rows();
    for (std::size_t i = 0; i < rows.size(); ++i) {
        CHECK(rows[i] >= 0 && rows[i] < x.rows);
        std::copy_n(x.data + rows[i] * x.ld, x.cols, out.data + std::int64_t(i) * out.ld);
    }
}

Result<std::unique_ptr<Device>> make_cpu_device(std::string_view isa, int n_threads) {
    const std::string wanted(isa);
    const hearth_kernels* kernels = hearth_kernels_pick(wanted.empty() ? nullptr : wanted.c_str());
    if (!kernels) {
        std::string names;
        for (const hearth_kernels* const* at = hearth_kernels_all; *at; ++at)
            if ((*at)->supported()) append_name(names, (*at)->isa);
        return fail(ErrorKind::invalid_request,
                    format("ISA \"{}\" is unknown or not supported by this machine; it has {}", isa,
                           names));
    }
    return std::make_unique<CpuDevice>(*kernels, n_threads);
}

}  // namespace hearth::model
