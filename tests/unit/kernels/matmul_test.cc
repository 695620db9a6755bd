// Every format's matmul: against double precision within a derived bound, and bit for bit against
// itself under every cut, and against the scalar oracle on every ISA.
#include <cmath>

#include "unit/kernels/kernels_support.h"
#include "unit/kernels/quant_definition.h"

namespace hearth::test {
namespace {

constexpr std::int64_t kNs[] = {1, 3, 17};
constexpr std::int64_t kTs[] = {1, 2, 3, 5, 8, 9, 33, 131};  // beyond what one widening serves

// One to three blocks, odd multiples, and (where a block is one value) lengths around 16 lanes, and
// one beyond a panel of any form.
std::vector<std::int64_t> lengths(const hearth_format& format) {
    if (format.block == 1) return {1, 2, 3, 15, 16, 17, 31, 33, 48, 172, 255, 1100};
    if (format.block == 256) return {256, 512, 768, 1792};
    return {format.block, 2 * format.block, 3 * format.block, 7 * format.block, 33 * format.block};
}

std::string where(const hearth_kernels& table, const hearth_format& format, std::int64_t t,
                  std::int64_t n, std::int64_t k) {
    return std::string(table.isa) + " " + format.name + " T=" + std::to_string(t) +
           " N=" + std::to_string(n) + " K=" + std::to_string(k);
}

// For formats of f32 activations. Each of 16 lanes adds ceil(K / 16) products with one rounding
// each (fused), and halving 16 lanes to one rounds 4 times more on every path:
//   |out - exact| <= gamma(ceil(K / 16) + 4) * sum |w x|  (+ K subnormal roundings of 2^-150).
double float_bound(std::int64_t k, double sum_of_magnitudes) {
    return gamma(double((k + 15) / 16 + 4)) * sum_of_magnitudes + double(k) * 0x1p-150;
}

// For quantized weights, against exact arithmetic on the weights' definition and the original
// activations x. Quantizing x is off by at most (d / 2) (1 + 2^-15) a value (act_q8.h); then every
// chunk of 32 rounds twice for its products and, where there are minima, twice for them
// (quant_dot.h). With w = p - m, and |a| d <= max|x| =: X of the chunk:
//   |out - exact| <= sum_c X (sum_j |w_j| (1 + 2^-15) / 254 + gamma(2 n + 1) sum_j (|p_j| +
//   |m_j|)).
double quant_bound(const std::vector<Definition>& w, const float* x) {
    double bound = 0;
    const std::size_t n = w.size() / 32;
    for (std::size_t b = 0; b < n; ++b) {
        double sum = 0, parts = 0, largest = 0;
        for (std::size_t j = 32 * b; j < 32 * (b + 1); ++j) {
            sum += std::fabs(w[j].value());
            parts += std::fabs(w[j].product) + std::fabs(w[j].minimum);
            largest = std::max(largest, std::fabs(double(x[j])));
        }
        bound += largest * (sum * (0.5 / 127 * (1 + 0x1p-15)) + parts * gamma(double(2 * n + 1)));
    }
    return bound;
}

void check_against_double(const hearth_format& format, std::int64_t t, std::int64_t n,
                          std::int64_t k, Random& random) {
    const Encoded w = encode_rows(format, random.normals(n * k), n, k);
    const std::vector<float> x = random.normals(t * k);
    const std::vector<float> out = matmul(format, x, t, w, n, k);
    for (std::int64_t i = 0; i < t; ++i) {
        for (std::int64_t j = 0; j < n; ++j) {
            const float *row = w.values.data() + j * k, *xs = x.data() + i * k;
            std::vector<Definition> definition;
            if (is_quantized(format))
                definition = defined_row(format, w.bytes.data() + std::size_t(j) * w.stride, k);
            double exact = 0, magnitudes = 0;  // f64 errors are 2^-29 of the bound
            for (std::int64_t d = 0; d < k; ++d) {
                const double weight =
                    is_quantized(format) ? definition[std::size_t(d)].value() : double(row[d]);
                exact += weight * double(xs[d]);
                magnitudes += std::fabs(weight * double(xs[d]));
            }
            const double bound =
                is_quantized(format) ? quant_bound(definition, xs) : float_bound(k, magnitudes);
            ASSERT_LE(std::fabs(out[std::size_t(i * n + j)] - exact), bound)
                << where(scalar(), format, t, n, k) << " at " << i << ", " << j;
        }
    }
}

TEST(Matmul, scalar_oracle_is_within_the_derived_bound_of_double_precision) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (const hearth_format* format : formats_of(scalar()))
        for (const std::int64_t k : lengths(*format))
            for (const std::int64_t n : kNs)
                for (const std::int64_t t : {1, 3, 9})
                    check_against_double(*format, t, n, k, random);
}

// The order of bf16_pairs.h, value by value: pairs of a lane with the odd element first, a rounding
// for each, then the tree of f_sum. Numbers are of usual size, so that nothing counts as zero.
float by_pairs(const float* w, const std::vector<float>& x, std::int64_t k) {
    float lanes[16] = {};
    for (std::int64_t at = 0; at < k; at += 32)
        for (std::int64_t lane = 0; lane < 16; ++lane)
            for (const std::int64_t d : {at + 2 * lane + 1, at + 2 * lane})
                if (d < k) lanes[lane] = std::fma(w[d], x[std::size_t(d)], lanes[lane]);
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    return lanes[0];
}

TEST(Matmul, bf16_pairs_add_in_their_order_and_stay_within_their_bound) {
    int n_tables = 0;
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (const hearth_kernels* table : supported_tables()) {
        const hearth_format& format = *hearth_format_find(table, 30);
        if (format.act != HEARTH_ACT_BF16) continue;
        ++n_tables;
        for (const std::int64_t k : {1, 2, 31, 32, 33, 63, 64, 172, 255, 1024, 2085}) {
            const std::int64_t n = 13, t = 131;
            const Encoded w = encode_rows(format, random.normals(n * k), n, k);
            const std::vector<float> x = random.normals(t * k);
            const Encoded rounded = encode_rows(format, x, t, k);
            const std::vector<float> out = matmul(format, x, t, w, n, k);
            for (std::int64_t i = 0; i < t; ++i)
                for (std::int64_t j = 0; j < n; ++j) {
                    const float* row = w.values.data() + j * k;
                    const float got = out[std::size_t(i * n + j)];
                    const auto from = rounded.values.begin() + i * k;
                    ASSERT_EQ(bits(got), bits(by_pairs(row, {from, from + k}, k)))
                        << where(*table, format, t, n, k);
                    double exact = 0, magnitudes = 0;
                    for (std::int64_t d = 0; d < k; ++d) {
                        const double product = double(row[d]) * double(x[std::size_t(i * k + d)]);
                        exact += product;
                        magnitudes += std::fabs(product);
                    }
                    const double bound =
                        (0x1p-8 + gamma(double(2 * ((k + 31) / 32) + 4))) * magnitudes;
                    ASSERT_LE(std::fabs(got - exact), bound) << where(*table, format, t, n, k);
                }
        }
    }
    if (n_tables == 0) GTEST_SKIP() << "no ISA here has a dot of bf16 pairs";
}

// The bound of quantized formats above is mostly the activations' quantization. This one is free of
// it: weights and activations are integers that quantize to themselves (largest 127), so blocks are
// exact integers, scales are powers of two, and with few enough blocks the whole sum is exact.
TEST(Matmul, q8_0_is_exact_where_no_rounding_can_happen) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    const std::int64_t n = 19, t = 11, k = 32 * 5;
    std::vector<float> w(std::size_t(n * k)), x(std::size_t(t * k));
    for (float& v : w) v = float(random.integer(-127, 127));
    for (float& v : x) v = float(random.integer(-127, 127));
    for (std::size_t i = 0; i < w.size(); i += 32) w[i] = 127;
    for (std::size_t i = 0; i < x.size(); i += 32) x[i] = -127;
    for (const hearth_kernels* table : supported_tables()) {
        const hearth_format& format = *hearth_format_find(table, 8);
        const Encoded encoded = encode_rows(format, w, n, k);
        const std::vector<float> out = matmul(format, x, t, encoded, n, k);
        for (std::int64_t i = 0; i < t; ++i)
            for (std::int64_t j = 0; j < n; ++j) {
                std::int64_t exact = 0;
                for (std::int64_t d = 0; d < k; ++d)
                    exact += std::int64_t(w[std::size_t(j * k + d)]) *
                             std::int64_t(x[std::size_t(i * k + d)]);
                ASSERT_EQ(out[std::size_t(i * n + j)], float(exact)) << table->isa;
            }
    }
}

// Stronger than the house rule asks (a bound): sums have one order on every ISA, so bits are equal.
TEST(Matmul, every_isa_gives_the_bits_of_the_scalar_oracle_at_every_shape) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (const hearth_format* format : formats_of(scalar())) {
        for (const std::int64_t k : lengths(*format)) {
            for (const std::int64_t n : kNs) {
                const Encoded w = encode_rows(*format, random.normals(n * k), n, k);
                for (const std::int64_t t : kTs) {
                    const std::vector<float> x = random.normals(t * k);
                    const std::vector<float> expected = matmul(*format, x, t, w, n, k);
                    for (const hearth_kernels* table : supported_tables()) {
                        if (rounds_otherwise(*table, *format)) continue;
                        ASSERT_EQ(
                            first_difference(matmul(same_format(*table, *format), x, t, w, n, k),
                                             expected),
                            -1)
                            << where(*table, *format, t, n, k);
                    }
                }
            }
        }
    }
}

TEST(Matmul, an_element_has_the_same_bits_whatever_the_rows_and_columns_beside_it) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    const std::int64_t t_all = 33, n_all = 53;
    for (const hearth_kernels* table : supported_tables()) {
        for (const hearth_format* format : formats_of(*table)) {
            const std::int64_t k = format->block == 1 ? 100 : 5 * format->block;
            const Encoded w = encode_rows(*format, random.normals(n_all * k), n_all, k);
            const std::vector<float> x = random.normals(t_all * k);
            const std::vector<float> whole = matmul(*format, x, t_all, w, n_all, k);
            const auto acts = make_acts(*format, x, t_all, k);
            for (int round = 0; round < 60; ++round) {
                const std::int64_t t0 = random.integer(0, t_all - 1);
                const std::int64_t t1 = random.integer(t0 + 1, t_all);
                const std::int64_t n0 = random.integer(0, n_all - 1);
                const std::int64_t n1 = random.integer(n0 + 1, n_all);
                std::vector<float> part(whole.size(), -1234.5f);
                format->matmul(part.data() + t0 * n_all, n_all,
                               acts.data() + std::size_t(t0) * format->act_bytes(k), t1 - t0,
                               w.bytes.data(), w.stride, n0, n1, k);
                for (std::int64_t t = 0; t < t_all; ++t)
                    for (std::int64_t n = 0; n < n_all; ++n) {
                        const bool inside = t >= t0 && t < t1 && n >= n0 && n < n1;
                        const auto i = std::size_t(t * n_all + n);
                        ASSERT_EQ(bits(part[i]), bits(inside ? whole[i] : -1234.5f))
                            << where(*table, *format, t, n, k) << " in [" << t0 << "," << t1
                            << ")x[" << n0 << "," << n1 << ")";
                    }
            }
        }
    }
}

TEST(Matmul, rows_of_weights_may_lie_apart) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    const std::int64_t n = 21, t = 3;
    for (const hearth_kernels* table : supported_tables()) {
        for (const hearth_format* format : formats_of(*table)) {
            const std::int64_t k = 2 * std::max(32, format->block);
            const Encoded w = encode_rows(*format, random.normals(n * k), n, k);
            Encoded apart;
            apart.stride = w.stride + 128;
            apart.bytes.assign(apart.stride * std::size_t(n), 0x7f);
            for (std::int64_t i = 0; i < n; ++i)
                std::memcpy(apart.bytes.data() + std::size_t(i) * apart.stride,
                            w.bytes.data() + std::size_t(i) * w.stride, w.stride);
            const std::vector<float> x = random.normals(t * k);
            EXPECT_EQ(first_difference(matmul(*format, x, t, apart, n, k),
                                       matmul(*format, x, t, w, n, k)),
                      -1)
                << where(*table, *format, t, n, k);
        }
    }
}

// Bytes of a hostile file: any scale, infinite and NaN among them, any integer. No reads out of
// bounds (the sanitizers watch), and the ISAs still agree.
TEST(Matmul, random_bytes_as_weights_give_the_same_on_every_isa) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (const hearth_format* format : formats_of(scalar())) {
        for (int round = 0; round < 20; ++round) {
            const std::int64_t n = random.integer(1, 40), t = random.integer(1, 12);
            const std::int64_t k = format->block * random.integer(1, format->block == 1    ? 90
                                                                     : format->block == 32 ? 6
                                                                                           : 2);
            Encoded w;
            w.stride = std::size_t(k / format->block * format->block_bytes);
            w.bytes.resize(w.stride * std::size_t(n));
            for (std::uint8_t& byte : w.bytes) byte = std::uint8_t(random.integer(0, 255));
            const std::vector<float> x = random.normals(t * k);
            const std::vector<float> expected = matmul(*format, x, t, w, n, k);
            for (const hearth_kernels* table : supported_tables()) {
                if (rounds_otherwise(*table, *format)) continue;
                ASSERT_EQ(
                    first_difference(matmul(same_format(*table, *format), x, t, w, n, k), expected),
                    -1)
                    << where(*table, *format, t, n, k);
            }
        }
    }
}

}  // namespace
}  // namespace hearth::test
