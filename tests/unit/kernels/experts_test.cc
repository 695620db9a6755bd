// Mixtures of experts on the CPU device: the choice against its definition, the products and their
// sum bit for bit against each row computed alone.
#include <cmath>
#include <memory>

#include "engine/model/cpu_device_experts.h"
#include "engine/model/device.h"
#include "unit/kernels/allocation_count.h"
#include "unit/kernels/device_support.h"
#include "unit/kernels/kernels_support.h"

namespace hearth::test {
namespace {

using model::CpuRouting;
using model::Device;
using model::Mat;
using model::Routing;
using model::Weight;

Mat mat_of(Device& device, const std::vector<float>& values, std::int64_t rows) {
    const Mat out = device.make_mat(rows, std::int64_t(values.size()) / rows);
    std::copy(values.begin(), values.end(), out.data);
    return out;
}

std::unique_ptr<Routing> routed(Device& device, const std::vector<float>& logits, std::int64_t rows,
                                std::int64_t n_used, bool normalize = true) {
    const std::int64_t n_expert = std::int64_t(logits.size()) / rows;
    auto routing = device.make_routing(rows, n_expert, n_used);
    device.route(*routing, mat_of(device, logits, rows), {.normalize = normalize});
    return routing;
}
CpuRouting& inside(const std::unique_ptr<Routing>& routing) {
    return dynamic_cast<CpuRouting&>(*routing);
}
// The expert that a slot lies with.
std::int64_t expert_of(const CpuRouting& routing, std::int64_t slot) {
    std::int64_t e = 0;
    while (routing.first(e + 1) <= slot) ++e;
    return e;
}

TEST(Experts, the_greatest_are_chosen_in_falling_order_and_equal_ones_by_index) {
    auto device = model::make_cpu_device("", 1).value();
    const auto chosen = [&](const std::vector<float>& logits, std::int64_t n_used) {
        const auto routing = routed(*device, logits, 1, n_used);
        std::vector<std::int32_t> out;
        for (std::int64_t r = 0; r < n_used; ++r) out.push_back(inside(routing).experts(0)[r]);
        return out;
    };
    using Ids = std::vector<std::int32_t>;
    EXPECT_EQ(chosen({1, 4, 2, 3}, 2), (Ids{1, 3}));
    EXPECT_EQ(chosen({1, 4, 2, 3}, 4), (Ids{1, 3, 2, 0}));
    EXPECT_EQ(chosen({5, 5, 7, 5}, 3), (Ids{2, 0, 1}));
    EXPECT_EQ(chosen({0, 0, 0, 0}, 2), (Ids{0, 1}));
    EXPECT_EQ(chosen({NAN, 1, NAN, -INFINITY}, 3), (Ids{1, 3, 0}));
    EXPECT_EQ(chosen({NAN, NAN, NAN, NAN}, 4), (Ids{0, 1, 2, 3}));
    EXPECT_EQ(chosen({INFINITY, 1, INFINITY, 2}, 3), (Ids{0, 2, 3}));
}

// exp is off by 3 u and its argument by u |difference|; the sum of n of them rounds n - 1 times
// (16 lanes and their halving: fewer), the quotient once.
TEST(Experts, weights_are_the_softmax_of_the_chosen_or_of_all_within_the_bound) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    auto device = model::make_cpu_device("", 1).value();
    const std::int64_t n_expert = 60, n_used = 5, rows = 50;
    const std::vector<float> logits = random.normals(rows * n_expert, 4.0f);
    for (const bool normalize : {true, false}) {
        const auto routing = routed(*device, logits, rows, n_used, normalize);
        for (std::int64_t i = 0; i < rows; ++i) {
            const float* row = logits.data() + i * n_expert;
            const double top = double(*std::max_element(row, row + n_expert));
            double sum = 0, range = 0;
            for (std::int64_t e = 0; e < n_expert; ++e) {
                if (!normalize) sum += std::exp(double(row[e]) - top);
                range = std::max(range, top - double(row[e]));
            }
            for (std::int64_t r = 0; r < n_used; ++r)
                if (normalize) sum += std::exp(double(row[inside(routing).experts(i)[r]]) - top);
            for (std::int64_t r = 0; r < n_used; ++r) {
                const double exact =
                    std::exp(double(row[inside(routing).experts(i)[r]]) - top) / sum;
                const double bound = gamma(2 * (3 + range) + double(n_expert) + 1) * exact;
                ASSERT_LE(std::fabs(double(inside(routing).weight(i, r)) - exact), bound);
            }
        }
    }
}

TEST(Experts, slots_are_grouped_by_expert_and_each_belongs_to_one_row_and_rank) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    auto device = model::make_cpu_device("", 1).value();
    for (const std::int64_t n_used : {1, 2, 7}) {
        const auto routing = routed(*device, random.normals(40 * 7), 40, n_used);
        const CpuRouting& got = inside(routing);
        ASSERT_EQ(got.n_slots(), 40 * n_used);
        std::vector<int> seen(std::size_t(40 * n_used));
        for (std::int64_t i = 0; i < 40; ++i)
            for (std::int64_t r = 0; r < n_used; ++r) {
                const std::int64_t slot = got.slot_of(i, r);
                ASSERT_EQ(seen[std::size_t(slot)]++, 0);
                ASSERT_EQ(got.row_of(slot), i);
                ASSERT_EQ(expert_of(got, slot), inside(routing).experts(i)[r]);
            }
    }
}

// One row through its experts, each product by the kernel alone, then added in rank order.
struct Layer {
    const hearth_format& format;
    std::int64_t n_expert, d, f;
    Encoded up, down;  // [n_expert * f, d], [n_expert * d, f]

    Layer(const hearth_format& form, std::int64_t n, std::int64_t wide, std::int64_t inner,
          Random& random)
        : format(form),
          n_expert(n),
          d(wide),
          f(inner),
          up(encode_rows(form, random.normals(n * inner * wide), n * inner, wide)),
          down(encode_rows(form, random.normals(n * wide * inner), n * wide, inner)) {}

    static Encoded part(const Encoded& all, std::int64_t expert, std::int64_t rows) {
        Encoded out;
        out.stride = all.stride;
        const auto from = all.bytes.begin() + expert * rows * std::int64_t(all.stride);
        out.bytes.assign(from, from + rows * std::int64_t(all.stride));
        return out;
    }
    std::vector<float> alone(const hearth_kernels& table, const std::vector<float>& x,
                             const std::int32_t* experts, const float* weights,
                             std::int64_t n_used) const {
        const hearth_format& form = same_format(table, format);
        std::vector<float> out(std::size_t(d), 0.0f);
        for (std::int64_t r = 0; r < n_used; ++r) {
            std::vector<float> h = matmul(form, x, 1, part(up, experts[r], f), f, d);
            table.silu_mul(h.data(), h.data(), h.data(), f);
            const std::vector<float> y = matmul(form, h, 1, part(down, experts[r], d), d, f);
            for (std::size_t i = 0; i < out.size(); ++i) {
                const float product = weights[r] * y[i];
                out[i] += product;
            }
        }
        return out;
    }
    Weight load(Device& device, const Encoded& all, std::int64_t rows, std::int64_t cols) const {
        return device
            .load({.name = "experts",
                   .type = format.gguf_type,
                   .shape = {n_expert, rows, cols},
                   .bytes = std::as_bytes(std::span(all.bytes))})
            .value();
    }
};

void check_layer(const Layer& layer, const hearth_kernels& table, int n_threads, std::int64_t rows,
                 std::int64_t n_used, Random& random) {
    auto device = model::make_cpu_device(table.isa, n_threads).value();
    const Weight up = layer.load(*device, layer.up, layer.f, layer.d);
    const Weight down = layer.load(*device, layer.down, layer.d, layer.f);
    device->reserve(rows * n_used, std::max(layer.d, layer.f));
    const std::vector<float> x = random.normals(rows * layer.d);
    const auto routing = routed(*device, random.normals(rows * layer.n_expert), rows, n_used);
    const Mat in = mat_of(*device, x, rows), out = device->make_mat(rows, layer.d);
    const Mat a = device->make_mat(rows * n_used, layer.f);
    const Mat b = device->make_mat(rows * n_used, layer.f);
    const Mat y = device->make_mat(rows * n_used, layer.d);
    const Mat outs[] = {a, b};
    const Weight* ws[] = {&up, &up};
    device->matmul_experts(outs, in, ws, *routing);
    device->silu_mul(a, a, b);
    device->matmul_slots(y, a, down, *routing);
    device->combine_experts(out, y, *routing);
    device->read(out);
    for (std::int64_t i = 0; i < rows; ++i) {
        const std::vector<float> row(x.begin() + i * layer.d, x.begin() + (i + 1) * layer.d);
        const std::vector<float> expected =
            layer.alone(table, row, inside(routing).experts(i), inside(routing).weights(i), n_used);
        const std::vector<float> got(out.data + i * out.ld, out.data + i * out.ld + layer.d);
        ASSERT_EQ(first_difference(got, expected), -1)
            << table.isa << " " << layer.format.name << " threads " << n_threads << " rows " << rows
            << " row " << i << " experts used " << n_used;
    }
}

TEST(Experts, a_row_has_the_bits_of_its_experts_alone_for_every_format_batch_and_threads) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (const hearth_format* format : formats_of(scalar())) {
        const std::int64_t wide = std::max(96, format->block);
        const Layer layer(*format, 5, wide, wide, random);
        for (const hearth_kernels* table : supported_tables()) {
            const bool oracle = table == &scalar();  // slow
            for (const std::int64_t rows : {1, 2, 23})
                for (const std::int64_t n_used : {1, 2, 5}) {
                    if (oracle && (rows == 23 || n_used == 5)) continue;
                    check_layer(layer, *table, rows == 2 ? 1 : 3, rows, n_used, random);
                }
        }
    }
}

// Work large enough to be cut into many parts, and as many experts as real files have.
TEST(Experts, many_experts_and_long_rows_are_cut_without_changing_a_bit) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    const hearth_kernels& best = *hearth_kernels_pick(nullptr);
    const Layer layer(*hearth_format_find(&scalar(), 2), 128, 192, 64, random);
    for (const std::int64_t rows : {1, 9, 70})
        for (const int n_threads : {1, 2, 5}) check_layer(layer, best, n_threads, rows, 8, random);
}

TEST(Experts, a_step_allocates_nothing) {
    Random random(1);
    auto device = model::make_cpu_device("", 3).value();
    const Layer layer(*hearth_format_find(&scalar(), 8), 8, 64, 96, random);
    const Weight up = layer.load(*device, layer.up, layer.f, layer.d);
    const Weight down = layer.load(*device, layer.down, layer.d, layer.f);
    device->reserve(40 * 2, 96);
    const auto routing = device->make_routing(40, 8, 2);
    const Mat x = mat_of(*device, random.normals(40 * 64), 40), logits = device->make_mat(40, 8);
    const Mat a = device->make_mat(80, 96), b = device->make_mat(80, 96);
    const Mat y = device->make_mat(80, 64);
    const std::int64_t before = n_allocations();
    for (const std::int64_t n : {40, 1, 7}) {
        for (std::int64_t i = 0; i < n * 8; ++i) logits.data[i] = random.normal();
        device->route(*routing, logits.top(n), {});
        const Mat outs[] = {a.top(2 * n), b.top(2 * n)};
        const Weight* ws[] = {&up, &up};
        device->matmul_experts(outs, x.top(n), ws, *routing);
        device->silu_mul(a.top(2 * n), a.top(2 * n), b.top(2 * n));
        device->matmul_slots(y.top(2 * n), a.top(2 * n), down, *routing);
        device->combine_experts(x.top(n), y.top(2 * n), *routing);
    }
    EXPECT_EQ(n_allocations(), before);
}

}  // namespace
}  // namespace hearth::test
