// The device's verbs that the families after llama need: biases, norms of heads, half-split rope.
#include <array>
#include <cmath>
#include <cstdint>

#include "engine/model/device.h"
#include "unit/kernels/device_support.h"
#include "unit/kernels/kernels_support.h"

namespace hearth::test {
namespace {

using model::Mat;
using model::Slice;

TEST(DeviceVerbs, a_bias_is_added_to_every_row_once) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (const hearth_kernels* table : supported_tables()) {
        auto device = model::make_cpu_device(table->isa, 2).value();
        const std::vector<float> bias = random.normals(37);
        const model::Weight w = load_vector(*device, bias);
        const Mat x = device->make_mat(5, 40);
        const std::vector<float> before = random.normals(5 * 40);
        std::copy(before.begin(), before.end(), x.data);
        device->add_bias({x.data, 5, 37, 40}, w);  // rows apart: the rest stays
        device->read(x);
        for (std::size_t i = 0; i < before.size(); ++i)
            ASSERT_EQ(x.data[i], i % 40 < 37 ? before[i] + bias[i % 40] : before[i]) << table->isa;
    }
}

// As rms_norm's bound (ops_test.cc), for each head by itself: a large neighbour changes nothing.
TEST(DeviceVerbs, heads_are_normalized_each_by_itself_within_the_bound) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    const std::int64_t rows = 4, n_head = 3, dim = 20;
    for (const hearth_kernels* table : supported_tables()) {
        auto device = model::make_cpu_device(table->isa, 2).value();
        const std::vector<float> weight = random.normals(dim);
        const model::Weight w = load_vector(*device, weight);
        const Mat x = device->make_mat(rows, n_head * dim);
        std::vector<float> before = random.normals(rows * n_head * dim);
        for (std::int64_t i = 0; i < dim; ++i) before[std::size_t(dim + i)] *= 1000.0f;
        std::copy(before.begin(), before.end(), x.data);
        device->rms_norm_heads(x, x, w, 1e-6f);
        device->read(x);
        for (std::int64_t h = 0; h < rows * n_head; ++h) {
            const float* a = before.data() + h * dim;
            double mean = 0;
            for (std::int64_t i = 0; i < dim; ++i) mean += double(a[i]) * double(a[i]) / dim;
            for (std::int64_t i = 0; i < dim; ++i) {
                const double exact =
                    double(a[i]) * double(weight[std::size_t(i)]) / std::sqrt(mean + double(1e-6f));
                ASSERT_LE(std::fabs(x.data[h * dim + i] - exact), 4 * kU * std::fabs(exact))
                    << table->isa << " head " << h;
            }
        }
    }
}

// The bound of neighbouring pairs (cpu_device_test.cc): gamma(4) of |a| + |b|.
TEST(DeviceVerbs, half_split_rope_turns_values_half_a_rotation_apart) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (const hearth_kernels* table : supported_tables()) {
        auto device = model::make_cpu_device(table->isa, 2).value();
        device->reserve(6, 64);
        const model::RopeParams params = {
            .n_rot = 10, .freq_base = 1e6f, .style = model::RopeStyle::halves};
        const Mat x = device->make_mat(6, 2 * 14);
        const std::vector<float> before = random.normals(6 * 28);
        std::copy(before.begin(), before.end(), x.data);
        const std::vector<Slice> slices = {{.row = 0, .n_rows = 2, .pos = 0},
                                           {.row = 2, .n_rows = 4, .pos = 90'000}};
        device->rope(x, 14, slices, params);
        device->read(x);
        for (std::int64_t i = 0; i < 12; ++i) {
            const std::int64_t row = i / 2, pos = row < 2 ? row : 90'000 + row - 2;
            const float *a = before.data() + i * 14, *b = x.data + i * 14;
            for (std::int64_t j = 0; j < 5; ++j) {
                const double angle = double(pos) * std::pow(1e6, -2.0 * double(j) / 10);
                const double low = a[j] * std::cos(angle) - a[j + 5] * std::sin(angle);
                const double high = a[j] * std::sin(angle) + a[j + 5] * std::cos(angle);
                const double size = std::fabs(a[j]) + std::fabs(a[j + 5]);
                ASSERT_LE(std::fabs(b[j] - low), gamma(4) * size) << table->isa << " " << pos;
                ASSERT_LE(std::fabs(b[j + 5] - high), gamma(4) * size) << table->isa;
            }
            for (std::int64_t j = 10; j < 14; ++j) ASSERT_EQ(b[j], a[j]) << table->isa;
        }
    }
}

// Verbs that treat rows alone may wait for one another: every chain of them, with other row counts,
// other ropes and more verbs than can wait, has the bits of the same verbs one by one.
TEST(DeviceVerbs, waiting_changes_no_bit) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    const std::int64_t rows = 7, cols = 64;
    for (const hearth_kernels* table : supported_tables())
        for (int round = 0; round < 30; ++round) {
            const std::vector<float> vector = random.normals(cols),
                                     start = random.normals(3 * rows * cols);
            const auto chain = std::uint64_t(random.integer(0, INT64_MAX));
            const auto after = [&](bool one_by_one) {
                auto device = model::make_cpu_device(table->isa, 3).value();
                device->reserve(rows, cols);
                const model::Weight w = load_vector(*device, vector);
                const model::Weight of_head =
                    load_vector(*device, {vector.begin(), vector.begin() + 16});
                const Mat m[] = {device->make_mat(rows, cols), device->make_mat(rows, cols),
                                 device->make_mat(rows, cols)};
                for (std::size_t i = 0; i < 3; ++i)
                    std::copy_n(start.data() + std::ptrdiff_t(i) * rows * cols, rows * cols,
                                m[i].data);
                Random choose(chain);
                for (int verb = 0; verb < 25; ++verb) {
                    const std::int64_t n = choose.integer(0, 3) == 0 ? 3 : rows;
                    const auto any = [&] { return m[choose.integer(0, 2)].top(n); };
                    const Mat a = any(), b = any();
                    const Slice slice{.row = 0, .n_rows = n, .pos = choose.integer(0, 1)};
                    const std::array<std::int64_t, 2> moved = {1, 0};
                    switch (choose.integer(0, 6)) {
                        case 0:
                            device->add(a, b);
                            break;
                        case 1:
                            device->rms_norm(a, b, w, 1e-5f);
                            break;
                        case 2:
                            device->rms_norm_heads(a, b, of_head, 1e-5f);
                            break;
                        case 3:
                            device->add_bias(a, w);
                            break;
                        case 4:
                            device->silu_mul(a, b, any());
                            break;
                        case 5:
                            device->rope(a, 16, {&slice, 1}, {.n_rot = 16});
                            break;
                        default:
                            if (a.data != b.data) device->gather(a, b, moved);
                    }
                    if (one_by_one) device->read(a);
                }
                std::vector<float> all;
                for (const Mat& x : m) {
                    const std::span<const float> values = device->read(x);
                    all.insert(all.end(), values.begin(), values.end());
                }
                return all;
            };
            ASSERT_EQ(first_difference(after(false), after(true)), -1)
                << table->isa << " " << round;
        }
}

}  // namespace
}  // namespace hearth::test
