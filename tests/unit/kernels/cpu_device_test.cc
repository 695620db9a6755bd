// The CPU device: attention and rope against double precision, the exactness rule bit for bit,
// refusals, and no allocation in a step.
#include "engine/model/device.h"

#include <cmath>
#include <cstdlib>
#include <memory>

#include "unit/kernels/allocation_count.h"
#include "unit/kernels/device_support.h"
#include "unit/kernels/kernels_support.h"

namespace hearth::test {
namespace {

using model::Device;
using model::KvStore;
using model::Mat;
using model::Slice;
using model::Weight;

std::vector<std::string> isas() {
    std::vector<std::string> out;
    for (const hearth_kernels* table : supported_tables()) out.push_back(table->isa);
    return out;
}

// Attention's error against exact arithmetic on the stored keys and values, for one head:
//   scores   |ds| <= gamma(ceil(Dh / 16) + 5) * scale * sum |q k|                 (kv_test.cc)
//   weights  e^(s - max): the subtraction rounds by u |s - max|, exp by 3 u, so relative
//            dw <= e^(2 ds + u R) (1 + 3 u) - 1 with R the range of the scores of the piece
//   sums     at most 256 fused additions in a piece, and for each of P pieces two factors, two
//   products
//            and an addition (rel. 3 u for a factor's exp, u each for the rest, and its exponent's
//            u R): gamma(256 + P (9 + R)); the normalising sum likewise; the division rounds twice.
// out = sum w v / sum w with both sums off by at most e = dw + gamma(258 + P (9 + R)):
//   |out - exact| <= (2 e / (1 - e)) * max |v|.
double attention_bound(const Reference& r, std::int64_t head_dim, std::int64_t n_keys) {
    const double pieces = std::ceil(double(n_keys) / 256);
    const std::int64_t n_rounded = (head_dim + 3) / 4 + 3;
    const double ds = gamma(double(n_rounded)) * r.score_magnitude;
    const double dw = std::exp(2 * ds + kU * r.score_range) * (1 + 3 * kU) - 1;
    const double e = dw + gamma(258 + pieces * (9 + r.score_range));
    return 2 * e / (1 - e) * r.value_magnitude;
}

void check_attention(const std::string& isa, const std::string& kv_type, std::int64_t n_keys,
                     std::int64_t n_head, std::int64_t n_head_kv, std::int64_t head_dim,
                     Random& random, float gain = 1.0f) {
    auto device = model::make_cpu_device(isa, 2).value();
    device->reserve_attention(head_dim);
    Timeline line(*device, random, kv_type, n_keys, n_head, n_head_kv, head_dim, gain);
    line.store(*device, 0, n_keys);
    // Only the rows around the end: the reference is quadratic.
    const std::int64_t from = std::max<std::int64_t>(0, n_keys - 3);
    const Mat out = line.attend(*device, from, n_keys);
    for (std::int64_t pos = from; pos < n_keys; ++pos) {
        for (std::int64_t h = 0; h < n_head; ++h) {
            const Reference r = line.reference(pos, h);
            const double bound = attention_bound(r, head_dim, pos + 1);
            for (std::int64_t d = 0; d < head_dim; ++d) {
                const float got = out.data[(pos - from) * out.ld + h * head_dim + d];
                ASSERT_LE(std::fabs(got - r.out[std::size_t(d)]), bound)
                    << isa << " " << kv_type << " position " << pos << " head " << h << " of "
                    << n_head << "/" << n_head_kv << "x" << head_dim;
            }
        }
    }
}

TEST(CpuDevice, attention_is_within_the_derived_bound_around_the_ends_of_pieces) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (const std::string& isa : isas())
        for (const char* type : {"f32", "f16", "bf16", "q8_0"})
            for (const std::int64_t n : {1, 2, 16, 17, 255, 256, 257, 512, 513, 600})
                check_attention(isa, type, n, 4, 2, 32, random);
    for (const std::string& isa : isas()) {
        check_attention(isa, "f16", 70, 3, 3, 8, random);     // narrow heads
        check_attention(isa, "f32", 70, 12, 1, 80, random);   // more query heads than go together
        check_attention(isa, "f16", 70, 2, 1, 1024, random);  // the widest heads
        check_attention(isa, "bf16", 70, 2, 1, 81, random);   // an odd number of values
        check_attention(isa, "q8_0", 70, 10, 2, 128, random);
    }
}

// Scores of 100 and more in the second piece: e^(score - first maximum) would overflow, and after
// it the first piece weighs nothing.
TEST(CpuDevice, attention_is_within_the_bound_where_scores_leap_between_pieces) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (const std::string& isa : isas())
        for (const std::int64_t n : {300, 600})
            for (const float gain : {60.0f, 0.0f})
                check_attention(isa, "f32", n, 4, 2, 32, random, gain);
}

// Queries of neighbouring rows go together: two heads of four rows, seven of one row and one of the
// next.
TEST(CpuDevice, attention_has_the_same_bits_however_a_prompt_is_cut_into_steps) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    const std::int64_t n = 300;
    for (const auto& [n_head, n_head_kv] : {std::pair{4, 2}, std::pair{7, 1}}) {
        std::vector<float> expected;
        for (const std::string& isa : isas()) {
            for (const int n_threads : {1, 2, 3}) {
                for (const std::int64_t chunk : {300, 1, 7, 16, 100}) {
                    // The oracle is slow; its own cuts are few.
                    if (isa == "scalar" && (n_threads != 2 || (chunk != 300 && chunk != 7)))
                        continue;
                    Random random(seed);
                    auto device = model::make_cpu_device(isa, n_threads).value();
                    device->reserve_attention(20);
                    Timeline line(*device, random, "f16", n, n_head, n_head_kv, 20);
                    std::vector<float> all;
                    for (std::int64_t at = 0; at < n; at += chunk) {
                        const std::int64_t to = std::min(n, at + chunk);
                        line.store(*device, at, to);
                        const Mat out = line.attend(*device, at, to);
                        all.insert(all.end(), out.data, out.data + (to - at) * out.ld);
                    }
                    if (expected.empty()) expected = all;
                    ASSERT_EQ(first_difference(all, expected), -1)
                        << isa << " threads " << n_threads << " chunk " << chunk << " heads "
                        << n_head;
                }
            }
        }
    }
}

// Not even a NaN, though its row is computed together with the rows before it.
TEST(CpuDevice, what_comes_after_a_row_does_not_touch_it) {
    Random random(test_seed());
    const std::int64_t n = 40, dim = 16;
    for (const std::string& isa : isas()) {
        auto device = model::make_cpu_device(isa, 2).value();
        Timeline line(*device, random, "f32", n, 6, 2, dim);
        line.store(*device, 0, n);
        const auto rows_before_the_last = [&] {
            const Mat out = line.attend(*device, 0, n);
            return std::vector<float>(out.data, out.data + (n - 1) * out.ld);
        };
        const std::vector<float> expected = rows_before_the_last();
        const Mat bad = device->make_mat(1, 2 * dim);
        std::fill_n(bad.data, 2 * dim, NAN);
        const Slice last{.row = 0, .n_rows = 1, .pos = n - 1, .blocks = line.blocks()};
        device->store_kv(line.kv(), 1, bad, bad, {&last, 1});
        EXPECT_EQ(first_difference(rows_before_the_last(), expected), -1) << isa;
    }
}

// Rows of unequal length, pieces of which threads share in several windows, heads in two sets.
TEST(CpuDevice, threads_that_share_the_pieces_of_few_rows_compute_the_bits_of_one) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    for (const std::int64_t n_rows : {1, 2, 5, 7}) {
        std::vector<float> expected;
        for (const int n_threads : {1, 2, 4}) {
            Random random(seed);
            auto device = model::make_cpu_device("", n_threads).value();
            device->reserve_attention(16);
            Timeline line(*device, random, "f16", 2700, 10, 1, 16);
            line.store(*device, 0, 2700);
            std::vector<Slice> slices;  // in steps of 380 keys, the last row sees them all
            for (std::int64_t i = 0; i < n_rows; ++i)
                slices.push_back({.row = i,
                                  .n_rows = 1,
                                  .pos = 2699 - 380 * (n_rows - 1 - i),
                                  .blocks = line.blocks()});
            const Mat q = device->make_mat(n_rows, 160), out = device->make_mat(n_rows, 160);
            for (std::int64_t i = 0; i < n_rows; ++i)
                std::copy_n(line.query(slices[std::size_t(i)].pos), q.ld, q.data + i * q.ld);
            device->attention(out, q, line.kv(), 1, slices, line.scale());
            const std::vector<float> got(out.data, out.data + n_rows * out.ld);
            if (expected.empty()) expected = got;
            EXPECT_EQ(first_difference(got, expected), -1) << n_rows << " on " << n_threads;
        }
    }
}

TEST(CpuDevice, attention_of_a_sequence_is_untouched_by_its_neighbours_in_the_step) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    for (const std::string& isa : isas()) {
        Random random(seed);
        auto device = model::make_cpu_device(isa, 3).value();
        Timeline line(*device, random, "f16", 270, 4, 2, 32);
        line.store(*device, 0, 270);
        const Mat alone = line.attend(*device, 260, 270);
        const std::vector<float> expected(alone.data, alone.data + 10 * alone.ld);
        // The same rows in the middle of a step, between slices that reread the sequence elsewhere.
        const std::vector<Slice> slices = {
            {.row = 0, .n_rows = 5, .pos = 3, .blocks = line.blocks()},
            {.row = 5, .n_rows = 0, .pos = 0, .blocks = line.blocks()},
            {.row = 5, .n_rows = 10, .pos = 260, .blocks = line.blocks()},
            {.row = 15, .n_rows = 1, .pos = 269, .blocks = line.blocks()}};
        const Mat q = device->make_mat(16, 4 * 32), out = device->make_mat(16, 4 * 32);
        for (std::int64_t i = 0; i < 16; ++i)
            std::copy_n(line.query(i < 5    ? 3 + i
                                   : i < 15 ? 255 + i
                                            : 269),
                        q.ld, q.data + i * q.ld);
        device->attention(out, q, line.kv(), 1, slices, line.scale());
        const std::vector<float> got(out.data + 5 * out.ld, out.data + 15 * out.ld);
        EXPECT_EQ(first_difference(got, expected), -1) << isa;
    }
}

// Angles are off by a few 2^-53 of themselves (below 1e6 here: 2^-31), cosines are rounded to f32
// (u), and the rotation rounds by gamma(2): below gamma(4) of |a| + |b|.
TEST(CpuDevice, rope_turns_each_head_by_its_position_within_the_derived_bound) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    const std::vector<float> factors = {1.0f, 2.0f, 8.0f, 0.5f};
    for (const std::string& isa : isas()) {
        auto device = model::make_cpu_device(isa, 2).value();
        device->reserve(7, 64);
        for (const float* freq_factors : {static_cast<const float*>(nullptr), factors.data()}) {
            const model::RopeParams params = {
                .n_rot = 8, .freq_base = 5e5f, .freq_scale = 0.25f, .freq_factors = freq_factors};
            for (const std::int64_t pos : {0, 5, 100'000}) {
                const Mat x = device->make_mat(7, 3 * 12);
                const std::vector<float> before = random.normals(7 * 36);
                std::copy(before.begin(), before.end(), x.data);
                const std::vector<Slice> slices = {{.row = 0, .n_rows = 3, .pos = pos},
                                                   {.row = 3, .n_rows = 4, .pos = 2 * pos}};
                device->rope(x, 12, slices, params);
                const std::span<const float> turned = device->read(x);
                for (std::int64_t i = 0; i < 7 * 3; ++i) {
                    const std::int64_t row = i / 3, at = row < 3 ? pos + row : 2 * pos + row - 3;
                    const float *a = before.data() + i * 12, *b = turned.data() + i * 12;
                    for (std::int64_t j = 0; j < 4; ++j) {
                        const double factor = freq_factors ? double(freq_factors[j]) : 1.0;
                        const double angle =
                            double(at) * 0.25 / factor * std::pow(5e5, -2.0 * double(j) / 8);
                        const double low =
                            a[2 * j] * std::cos(angle) - a[2 * j + 1] * std::sin(angle);
                        const double high =
                            a[2 * j] * std::sin(angle) + a[2 * j + 1] * std::cos(angle);
                        const double size = std::fabs(a[2 * j]) + std::fabs(a[2 * j + 1]);
                        ASSERT_LE(std::fabs(b[2 * j] - low), gamma(4) * size) << isa << " " << at;
                        ASSERT_LE(std::fabs(b[2 * j + 1] - high), gamma(4) * size) << isa;
                    }
                    for (std::int64_t j = 8; j < 12; ++j) ASSERT_EQ(b[j], a[j]) << isa;
                }
            }
        }
    }
}

TEST(CpuDevice, matmul_has_the_same_bits_for_any_rows_threads_and_company) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    const std::int64_t n = 1000, rows = 40;
    for (const hearth_format* format : formats_of(scalar())) {
        const std::int64_t k = std::max(96, format->block);
        const std::vector<float> values = random.normals(n * k), x = random.normals(rows * k);
        const Encoded encoded = encode_rows(*format, values, n, k);
        for (const std::string& isa : isas()) {
            const hearth_kernels& table = *hearth_kernels_pick(isa.c_str());
            const std::vector<float> expected =
                matmul(same_format(table, *format), x, rows, encoded, n, k);
            for (const int n_threads : {1, 2, 3}) {
                auto device = model::make_cpu_device(isa, n_threads).value();
                const Weight w = load_rows(*device, *format, encoded, n, k);
                const Weight narrow = load_rows(*device, *format, encoded, 33, k);
                device->reserve(rows, k);
                for (const std::int64_t t : {1, 2, 7, 40}) {
                    const Mat in = device->make_mat(t, k), wide = device->make_mat(t, n);
                    const Mat small = device->make_mat(t, 33);
                    std::copy_n(x.data(), t * k, in.data);
                    const Mat outs[] = {small, wide};
                    const Weight* ws[] = {&narrow, &w};
                    device->matmul_shared(outs, in, ws);
                    for (std::int64_t i = 0; i < t; ++i)
                        for (std::int64_t j = 0; j < n; ++j) {
                            const std::uint32_t e = bits(expected[std::size_t(i * n + j)]);
                            ASSERT_EQ(bits(wide.data[i * n + j]), e)
                                << isa << " " << format->name << " threads " << n_threads;
                            if (j < 33) {
                                ASSERT_EQ(bits(small.data[i * 33 + j]), e) << isa;
                            }
                        }
                }
            }
        }
    }
}

// Wide enough that a step's activations exceed the cache and are taken in chunks, weights of two
// forms.
TEST(CpuDevice, matmul_in_chunks_and_with_mixed_formats_equals_the_kernel_alone) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    const std::int64_t k = 2048, n = 50, rows = 150;
    const hearth_format& q8_0 = *hearth_format_find(&scalar(), 8);
    const hearth_format& f16 = *hearth_format_find(&scalar(), 1);
    const std::vector<float> values = random.normals(n * k), x = random.normals(rows * k);
    const Encoded a = encode_rows(q8_0, values, n, k), b = encode_rows(f16, values, n, k);
    const hearth_kernels& best = *hearth_kernels_pick(nullptr);
    auto device = model::make_cpu_device(best.isa, 2).value();
    const Weight wa = load_rows(*device, q8_0, a, n, k), wb = load_rows(*device, f16, b, n, k);
    device->reserve(rows, k);
    const Mat in = device->make_mat(rows, k + 5).top(rows);
    const Mat view = {in.data, rows, k, k + 5};  // rows apart: f32 activations are copied too
    for (std::int64_t i = 0; i < rows; ++i)
        std::copy_n(x.data() + i * k, k, view.data + i * view.ld);
    const Mat outs[] = {device->make_mat(rows, n), device->make_mat(rows, n),
                        device->make_mat(rows, n)};
    const Weight* ws[] = {&wa, &wb, &wa};
    device->matmul_shared(outs, view, ws);
    const auto got = [&](const Mat& m) { return std::vector<float>(m.data, m.data + rows * n); };
    const auto expect_a = matmul(same_format(best, q8_0), x, rows, a, n, k);
    EXPECT_EQ(first_difference(got(outs[0]), expect_a), -1);
    EXPECT_EQ(first_difference(got(outs[1]), matmul(same_format(best, f16), x, rows, b, n, k)), -1);
    EXPECT_EQ(first_difference(got(outs[2]), expect_a), -1);
}

TEST(CpuDevice, a_step_allocates_nothing_and_moves_no_scratch) {
    Random random(1);
    auto device = model::make_cpu_device("", 3).value();
    Timeline line(*device, random, "f16", 300, 8, 4, 32);
    const hearth_format& q8_0 = *hearth_format_find(&scalar(), 8);
    const Encoded encoded = encode_rows(q8_0, random.normals(256 * 256), 256, 256);
    const Weight w = load_rows(*device, q8_0, encoded, 256, 256);
    const Weight norm = load_vector(*device, std::vector<float>(256, 1.0f));
    const Mat x = device->make_mat(40, 256), y = device->make_mat(40, 256);
    device->reserve(40, 256);
    const std::vector<TokenId> ids(40, TokenId(3));
    const std::vector<std::int64_t> picks = {1, 39};
    const std::size_t scratch = device->scratch_bytes();
    const model::RopeParams params = {.n_rot = 32};
    const auto step = [&](std::int64_t pos, std::int64_t n) {
        const Slice slice = {.row = 0, .n_rows = n, .pos = pos, .blocks = line.blocks()};
        const std::span<const Slice> slices(&slice, 1);
        device->embed(x.top(n), w, {ids.data(), std::size_t(n)});
        device->rms_norm(y.top(n), x.top(n), norm, 1e-5f);
        device->matmul(x.top(n), y.top(n), w);
        device->rope(x.top(n), 32, slices, params);
        line.store_rows(*device, slices, n);
        device->attention(y.top(n), x.top(n), line.kv(), 1, slices, 0.1f);
        device->silu_mul(y.top(n), x.top(n), y.top(n));
        device->add(x.top(n), y.top(n));
        if (n == 40) device->gather(y.top(2), x, picks);
    };
    step(0, 40);  // the rope table learns its parameters in the first step
    const std::size_t warm = device->scratch_bytes();
    const std::int64_t before = n_allocations();
    for (std::int64_t i = 0; i < 20; ++i) step(40 + i, 1);
    step(60, 40);
    EXPECT_EQ(n_allocations(), before);
    EXPECT_EQ(device->scratch_bytes(), warm);
    EXPECT_LE(warm - scratch, std::size_t(40 * 32 * 4));  // touched, not allocated
}

TEST(CpuDevice, embedding_and_gathering_copy_the_rows_asked_for) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (const hearth_format* format : formats_of(scalar())) {
        auto device = model::make_cpu_device("", 2).value();
        const Encoded encoded = encode_rows(*format, random.normals(7 * 256), 7, 256);
        const Weight w = load_rows(*device, *format, encoded, 7, 256);
        const std::vector<TokenId> ids = {TokenId(6), TokenId(0), TokenId(6)};
        const Mat x = device->make_mat(3, 256), y = device->make_mat(2, 256);
        device->embed(x, w, ids);
        const std::vector<std::int64_t> rows = {0, 1};
        device->gather(y, x, rows);
        for (std::int64_t d = 0; d < 256; ++d) {
            EXPECT_EQ(x.data[d], encoded.values[std::size_t(6 * 256 + d)]);
            EXPECT_EQ(x.data[256 + d], encoded.values[std::size_t(d)]);
            EXPECT_EQ(x.data[512 + d], encoded.values[std::size_t(6 * 256 + d)]);
            EXPECT_EQ(y.data[256 + d], x.data[256 + d]);
        }
        EXPECT_EQ(device->read(y).size(), 512u);
    }
}

TEST(CpuDevice, vectors_are_f32_whatever_the_file_stores_them_in) {
    auto device = model::make_cpu_device("", 1).value();
    const hearth_format& f16 = *hearth_format_find(&scalar(), 1);
    const std::vector<float> values = {1.0f, 2.0f, -0.5f, 4.0f};
    const Encoded encoded = encode_rows(f16, values, 1, 4);
    const Weight w = load_rows(*device, f16, encoded, 1, 4);
    const Mat x = device->make_mat(1, 4), y = device->make_mat(1, 4);
    std::fill_n(x.data, 4, 3.0f);
    device->rms_norm(y, x, w, 0.0f);
    const std::span<const float> got = device->read(y);
    for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(got[i], values[i]);
}

TEST(CpuDevice, tensors_without_kernels_are_refused_by_name_and_type) {
    auto device = model::make_cpu_device("", 1).value();
    const std::vector<std::byte> bytes(144);
    const auto refused = device->load(
        {.name = "blk.3.attn_q.weight", .type = 10, .shape = {1, 256}, .bytes = bytes});
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().kind, ErrorKind::invalid_request);
    for (const char* part : {"blk.3.attn_q.weight", "Q2_K", "F16", "F32", "Q8_0", "Q4_K", "BF16"})
        EXPECT_NE(refused.error().message.find(part), std::string::npos) << refused.error().message;
    const auto unknown = device->load({.name = "x", .type = 12345, .shape = {256}, .bytes = bytes});
    ASSERT_FALSE(unknown.has_value());
    EXPECT_NE(unknown.error().message.find("12345"), std::string::npos);
}

TEST(CpuDevice, tensors_whose_bytes_and_shape_disagree_are_refused) {
    auto device = model::make_cpu_device("", 1).value();
    const std::vector<std::byte> bytes(34 * 3);
    const auto loads = [&](std::vector<std::int64_t> shape, std::uint32_t type) {
        return device->load({.name = "w", .type = type, .shape = std::move(shape), .bytes = bytes})
            .has_value();
    };
    EXPECT_TRUE(loads({3, 32}, 8));
    EXPECT_FALSE(loads({4, 32}, 8));  // truncated
    EXPECT_FALSE(loads({1, 33}, 8));  // no whole blocks
    EXPECT_FALSE(loads({}, 8));
    EXPECT_FALSE(loads({3, 0}, 8));
    EXPECT_FALSE(loads({-1, 32}, 8));
    EXPECT_FALSE(loads({INT64_MAX, 32}, 8));
    EXPECT_FALSE(loads({INT64_MAX, INT64_MAX, 32}, 8));  // the product overflows
    EXPECT_FALSE(loads({1, INT64_MAX / 64 * 32}, 0));
}

TEST(CpuDevice, unknown_isas_are_refused_with_those_the_machine_has) {
    const auto refused = model::make_cpu_device("avx1024", 1);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().kind, ErrorKind::invalid_request);
    EXPECT_NE(refused.error().message.find("avx1024"), std::string::npos);
    EXPECT_NE(refused.error().message.find("scalar"), std::string::npos);
    for (const std::string& isa : isas()) {
        const auto device = model::make_cpu_device(isa, 2);
        ASSERT_TRUE(device.has_value());
        EXPECT_EQ((*device)->isa(), isa);
        EXPECT_EQ((*device)->name(), "cpu " + isa + ", 2 threads");
    }
    EXPECT_EQ(model::make_cpu_device("", 1).value()->isa(), hearth_kernels_pick(nullptr)->isa);
}

TEST(KvStore, size_is_what_its_shape_says) {
    auto device = model::make_cpu_device("", 1).value();
    const auto f16 = device->make_kv({3, 4, 20, 10, "f16"}).value();
    EXPECT_EQ(f16->bytes_per_token(), 3u * 4 * 20 * 2 * 2);
    EXPECT_EQ(f16->bytes(), f16->bytes_per_token() * 10 * 16);
    const auto f32 = device->make_kv({3, 4, 20, 10, "f32"}).value();
    EXPECT_EQ(f32->bytes(), 2 * f16->bytes());
}

TEST(KvStore, size_of_every_type_is_exact) {
    auto device = model::make_cpu_device("", 1).value();
    const auto per_token = [&](const char* type, std::int64_t head_dim) {
        return device->make_kv({2, 3, head_dim, 4, type}).value()->bytes_per_token();
    };
    EXPECT_EQ(per_token("bf16", 81), 2u * 3 * 81 * 2 * 2);
    EXPECT_EQ(per_token("q8_0", 128), 2u * 3 * 2 * (4 * 34));
}

TEST(KvStore, heads_that_are_no_whole_blocks_are_refused_with_a_way_out) {
    auto device = model::make_cpu_device("", 1).value();
    const auto refused = device->make_kv({1, 1, 80, 1, "q8_0"});
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().kind, ErrorKind::invalid_request);
    for (const char* part : {"80", "q8_0", "32", "f16"})
        EXPECT_NE(refused.error().message.find(part), std::string::npos) << refused.error().message;
    EXPECT_TRUE(device->make_kv({1, 1, 96, 1, "q8_0"}).has_value());
}

TEST(KvStore, impossible_shapes_and_types_are_refused) {
    auto device = model::make_cpu_device("", 1).value();
    const auto makes = [&](const model::KvShape& shape) {
        return device->make_kv(shape).has_value();
    };
    EXPECT_FALSE(makes({1, 1, 16, 1, "q3_x"}));
    EXPECT_FALSE(makes({1, 1, 0, 1, "f16"}));
    EXPECT_FALSE(makes({1, 1, 1025, 1, "f16"}));
    EXPECT_FALSE(makes({1, 1, 16, 0, "f16"}));
    EXPECT_FALSE(makes({0, 1, 16, 1, "f16"}));
    EXPECT_FALSE(makes({1, -1, 16, 1, "f16"}));
    EXPECT_FALSE(makes({1, 1, 16, std::int64_t(INT32_MAX) + 1, "f16"}));
    EXPECT_FALSE(makes({INT64_MAX, INT64_MAX, 16, 1, "f16"}));
    EXPECT_FALSE(makes({1 << 20, 1 << 20, 1024, INT32_MAX, "f32"}));
    const auto refused = device->make_kv({1, 1, 16, 1, "q3_x"});
    EXPECT_NE(refused.error().message.find("q3_x"), std::string::npos);
    EXPECT_NE(refused.error().message.find("f16"), std::string::npos);
}

}  // namespace
}  // namespace hearth::test
