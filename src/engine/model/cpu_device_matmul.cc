// The CPU device's matmul: activations prepared once, then output columns handed out in parts.
#include "engine/model/cpu_device.h"

namespace hearth::model {
namespace {

// Of HEARTH_PACKED_ROWS rows of k values.
std::size_t packed_group_bytes(const hearth_format& form, std::int64_t k) {
    return std::size_t(k / form.block) * std::size_t(form.packed_block_bytes);
}

}  // namespace

CpuDevice::Activations CpuDevice::prepare(Mat x, const hearth_format& form) {
    const std::size_t row_bytes = form.act_bytes(x.cols);
    if (form.act == HEARTH_ACT_F32 && x.ld == x.cols) {
        finish_rows();
        return {reinterpret_cast<const std::byte*>(x.data), row_bytes};
    }
    CHECK(row_bytes * std::size_t(x.rows) <= act_.bytes());  // reserve() was told fewer
    finish_rows_with(x.rows, x.cols, [&](std::int64_t i) {
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
    for_runs(ws, [&](std::size_t from, std::size_t to) {
        multiply(outs.subspan(from, to - from), x, prepare(x, format_of(*ws[from])),
                 ws.subspan(from, to - from));
    });
}

// Cost: the weights' bytes once from memory; how often they come from a cache is the kernel's
// affair.
void CpuDevice::multiply(std::span<const Mat> outs, Mat x, Activations act,
                         std::span<const Weight* const> ws) {
    std::array<std::int64_t, kMaxShared> columns{};  // of a part
    std::array<std::int64_t, kMaxShared + 1> first{};
    for (std::size_t i = 0; i < ws.size(); ++i) {
        const Weight& w = *ws[i];
        CHECK(outs[i].rows == x.rows && outs[i].cols == w.n && x.cols == w.k);
        const auto row_bytes = std::int64_t(w.row_bytes);
        const std::int64_t n_parts =
            n_parts_for(w.n * row_bytes * std::max<std::int64_t>(1, x.rows / 4));
        columns[i] = ceil_div(ceil_div(w.n, n_parts), kTileColumns) * kTileColumns;
        first[i + 1] = first[i] + ceil_div(w.n, columns[i]);
    }
    pool_.run(first[ws.size()], [&](std::int64_t part) {
        std::size_t i = 0;
        while (part >= first[i + 1]) ++i;
        const std::int64_t n0 = (part - first[i]) * columns[i];
        multiply_part(outs[i], x.rows, act, *ws[i], 0, n0, std::min(ws[i]->n, n0 + columns[i]));
    });
}

void CpuDevice::multiply_part(Mat out, std::int64_t n_rows, Activations act, const Weight& w,
                              std::int64_t matrix, std::int64_t n0, std::int64_t n1) const {
    const CpuLayout& layout = layout_of(w);
    const hearth_format& form = *layout.format;
    const std::int64_t middle = std::clamp(layout.n_packed(), n0, n1);
    if (n0 < middle)
        form.matmul_packed(
            out.data, out.ld, act.data, n_rows,
            layout.packed + std::size_t(matrix * layout.n_packed() / HEARTH_PACKED_ROWS) *
                                packed_group_bytes(form, w.k),
            n0, middle, w.k);
    if (middle < n1)
        form.matmul(
            out.data, out.ld, act.data, n_rows,
            static_cast<const std::byte*>(w.data) + std::size_t(matrix * layout.n) * w.row_bytes,
            w.row_bytes, middle, n1, w.k);
}

PackedShape CpuDevice::packed_shape(const GgufTensor& tensor) const {
    const hearth_format* form = hearth_format_find(&kernels_, tensor.type);
    if (!form || !form->pack || tensor.shape.size() < 2) return {};
    const std::int64_t n = rows_of(tensor), k = tensor.shape.back();
    return {.n_groups = tensor.n_values() / (n * k) * (n / HEARTH_PACKED_ROWS),
            .group_bytes = packed_group_bytes(*form, k)};
}

void CpuDevice::pack(std::byte* out, const GgufTensor& tensor, std::int64_t group) const {
    const PackedShape shape = packed_shape(tensor);
    CHECK(group >= 0 && group < shape.n_groups);
    const std::int64_t n = rows_of(tensor), n_groups = n / HEARTH_PACKED_ROWS;  // of a matrix
    // Rows left over at a matrix's end are in no group.
    const std::int64_t row = group / n_groups * n + group % n_groups * HEARTH_PACKED_ROWS;
    const hearth_format& form = *hearth_format_find(&kernels_, tensor.type);
    const std::int64_t k = tensor.shape.back();
    const std::size_t row_bytes = std::size_t(k / form.block) * std::size_t(form.block_bytes);
    form.pack(out, tensor.bytes.data() + std::size_t(row) * row_bytes, row_bytes, k);
}

void CpuDevice::use_packed(const GgufTensor& tensor, const std::byte* packed) {
    CHECK(reinterpret_cast<std::uintptr_t>(packed) % 64 == 0);
    for (CpuLayout& layout : layouts_)
        if (layout.source == tensor.bytes.data()) layout.packed = packed;
}

}  // namespace hearth::model
