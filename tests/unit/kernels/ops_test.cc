// The verbs without formats: against double precision within derived bounds, and bit for bit across
// ISAs.
#include <cmath>

#include "unit/kernels/kernels_support.h"

namespace hearth::test {
namespace {

std::vector<float> exponentials(const hearth_kernels& table, std::vector<float> x) {
    table.exp_sum(x.data(), 0.0f, std::int64_t(x.size()));
    return x;
}

// Every 4,099th float of both signs over the whole range: 4,099 is prime, so all low bits occur.
std::vector<float> floats_up_to(float limit) {
    std::vector<float> out;
    for (std::uint32_t u = 0; u <= bits(limit); u += 4099)
        out.insert(out.end(), {from_bits(u), -from_bits(u)});
    return out;
}

// ops.h derives a relative error below 3 u, subnormal results rounding once more by 2^-150.
TEST(Exp, is_within_the_derived_bound_over_the_whole_range) {
    const std::vector<float> x = floats_up_to(105.0f);
    const std::vector<float> got = exponentials(scalar(), x);
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        const double exact = std::exp(double(x[i]));
        if (exact > 3.4028235e38) {
            ASSERT_TRUE(std::isinf(got[i]) || x[i] < 88.7229f) << x[i];
            continue;
        }
        ASSERT_LE(std::fabs(got[i] - exact), 3 * kU * exact + 0x1p-150) << x[i];
        if (exact > 0x1p-126) worst = std::max(worst, std::fabs(got[i] - exact) / exact);
    }
    std::printf("exp: worst relative error %.3f u\n", worst / kU);
}

TEST(Exp, ends_of_the_range_are_zero_and_infinity_and_nan_stays_nan) {
    for (const hearth_kernels* table : supported_tables()) {
        const std::vector<float> got = exponentials(
            *table, {0.0f, -0.0f, -104.0f, -1e30f, -INFINITY, 89.0f, 1e30f, INFINITY, NAN});
        EXPECT_EQ(got[0], 1.0f);
        EXPECT_EQ(got[1], 1.0f);
        for (int i = 2; i < 5; ++i) EXPECT_EQ(bits(got[std::size_t(i)]), 0u) << table->isa << i;
        for (int i = 5; i < 8; ++i) EXPECT_TRUE(std::isinf(got[std::size_t(i)])) << table->isa << i;
        EXPECT_TRUE(std::isnan(got[8])) << table->isa;
    }
}

TEST(Exp, every_isa_gives_the_bits_of_the_scalar_oracle) {
    const std::vector<float> x = floats_up_to(120.0f);
    const std::vector<float> expected = exponentials(scalar(), x);
    for (const hearth_kernels* table : supported_tables())
        EXPECT_EQ(first_difference(exponentials(*table, x), expected), -1) << table->isa;
}

// Lane i mod 16 adds ceil(n / 16) - 1 times, the halving 4 times; each term is off by 3 u.
TEST(Exp, sum_is_within_the_derived_bound_and_equal_on_every_isa) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (const std::int64_t n : {1, 2, 7, 15, 16, 17, 31, 32, 33, 255, 256}) {
        const std::vector<float> x = random.normals(n, 5.0f);
        std::vector<float> terms = x;
        const float max = scalar().max(x.data(), n);
        const float sum = scalar().exp_sum(terms.data(), max, n);
        double exact = 0;
        for (const float v : x) exact += std::exp(double(v - max));
        EXPECT_LE(std::fabs(sum - exact), gamma(3 + double((n + 15) / 16 + 3)) * exact) << n;
        for (const hearth_kernels* table : supported_tables()) {
            std::vector<float> other = x;
            EXPECT_EQ(bits(table->exp_sum(other.data(), max, n)), bits(sum))
                << table->isa << " " << n;
            EXPECT_EQ(first_difference(other, terms), -1) << table->isa << " " << n;
        }
    }
}

// Squares are exact in f64 and their sum off by (n / 16 + 4) 2^-53; then the factor, the product
// with x and the product with w round once each: 3 u, and 4 u covers the rest.
TEST(RmsNorm, is_within_the_derived_bound_and_equal_on_every_isa) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (const std::int64_t n : {1, 5, 16, 31, 64, 100, 257, 4096}) {
        for (const float size : {1e-18f, 1.0f, 1e15f}) {
            const std::vector<float> x = random.normals(n, size), w = random.normals(n);
            const float eps = 1e-5f;
            double mean = 0;
            for (const float v : x) mean += double(v) * double(v) / double(n);
            std::vector<float> out(std::size_t(n), 0.0f);
            scalar().rms_norm(out.data(), x.data(), w.data(), n, eps);
            for (std::size_t i = 0; i < out.size(); ++i) {
                const double exact = double(x[i]) * double(w[i]) / std::sqrt(mean + double(eps));
                ASSERT_LE(std::fabs(out[i] - exact), 4 * kU * std::fabs(exact)) << n << " " << size;
            }
            for (const hearth_kernels* table : supported_tables()) {
                std::vector<float> other = x;  // in place
                table->rms_norm(other.data(), other.data(), w.data(), n, eps);
                EXPECT_EQ(first_difference(other, out), -1) << table->isa << " " << n;
            }
        }
    }
}

// Each output is two products and one sum, every one rounded: gamma(2) of the sum of magnitudes.
TEST(Rope, turns_neighbouring_pairs_by_the_given_angle_and_no_more) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (const std::int64_t n_rot : {0, 2, 6, 8, 32, 64, 70}) {
        std::vector<float> x = random.normals(n_rot + 3), cos, sin;
        for (std::int64_t i = 0; i < n_rot / 2; ++i) {
            const float angle = random.normal(10.0f);
            cos.push_back(std::cos(angle));
            sin.push_back(std::sin(angle));
        }
        for (const hearth_kernels* table : supported_tables()) {
            std::vector<float> y = x;
            table->rope_pairs(y.data(), cos.data(), sin.data(), n_rot);
            for (std::int64_t i = 0; i < n_rot / 2; ++i) {
                const auto p = std::size_t(2 * i), a = std::size_t(i);
                const double c = cos[a], s = sin[a];
                const double low = x[p] * c - x[p + 1] * s, high = x[p] * s + x[p + 1] * c;
                const double size = std::fabs(x[p]) + std::fabs(x[p + 1]);
                ASSERT_LE(std::fabs(y[p] - low), gamma(2) * size) << table->isa;
                ASSERT_LE(std::fabs(y[p + 1] - high), gamma(2) * size) << table->isa;
            }
            for (std::int64_t i = n_rot; i < n_rot + 3; ++i)
                ASSERT_EQ(y[std::size_t(i)], x[std::size_t(i)]) << table->isa;
            std::vector<float> oracle = x;
            scalar().rope_pairs(oracle.data(), cos.data(), sin.data(), n_rot);
            ASSERT_EQ(first_difference(y, oracle), -1) << table->isa;
        }
    }
}

// The same rotation as of neighbours, after the halves are laid as pairs: bit for bit.
TEST(Rope, halves_are_pairs_laid_apart) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (const std::int64_t n_rot : {0, 2, 6, 8, 34, 64, 70, 128}) {
        const auto half = std::size_t(n_rot / 2);
        const std::vector<float> x = random.normals(n_rot + 3);
        const std::vector<float> cos = random.normals(n_rot), sin = random.normals(n_rot);
        std::vector<float> pairs(std::size_t(n_rot), 0.0f);
        for (std::size_t i = 0; i < half; ++i) pairs[2 * i] = x[i], pairs[2 * i + 1] = x[half + i];
        scalar().rope_pairs(pairs.data(), cos.data(), sin.data(), n_rot);
        std::vector<float> expected = x;
        for (std::size_t i = 0; i < half; ++i)
            expected[i] = pairs[2 * i], expected[half + i] = pairs[2 * i + 1];
        for (const hearth_kernels* table : supported_tables()) {
            std::vector<float> y = x;
            table->rope_halves(y.data(), cos.data(), sin.data(), n_rot);
            ASSERT_EQ(first_difference(y, expected), -1) << table->isa << " " << n_rot;
        }
    }
}

// exp is off by 3 u, 1 + exp rounds once, then quotient and product: below 7 u relative. Where
// e^-gate overflows (gate < -88.72) the result is 0, at most 89 e^-88.72 |up| = 2.7e-37 |up| away;
// where the quotient is subnormal it rounds by 2^-150.
TEST(SiluMul, is_within_the_derived_bound_and_equal_on_every_isa) {
    std::vector<float> gate = floats_up_to(200.0f), up(gate.size());
    for (std::size_t i = 0; i < up.size(); ++i) up[i] = std::sin(float(i)) * 3.0f;
    const auto n = std::int64_t(gate.size()) - 5;  // no multiple of 16
    std::vector<float> out(gate.size(), -7.0f);
    scalar().silu_mul(out.data(), gate.data(), up.data(), n);
    for (std::int64_t at = 0; at < n; ++at) {
        const auto i = std::size_t(at);
        const double g = gate[i], exact = g / (1 + std::exp(-g)) * double(up[i]);
        ASSERT_LE(std::fabs(out[i] - exact), 7 * kU * std::fabs(exact) + 3e-37 * std::fabs(up[i]))
            << g;
    }
    for (const hearth_kernels* table : supported_tables()) {
        std::vector<float> other = gate;  // in place
        table->silu_mul(other.data(), other.data(), up.data(), n);
        other.resize(std::size_t(n));
        EXPECT_EQ(first_difference(other, {out.begin(), out.begin() + n}), -1) << table->isa;
    }
    EXPECT_EQ(out[std::size_t(n)], -7.0f);
}

TEST(Ops, add_scale_and_max_are_single_operations_on_each_element) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (const hearth_kernels* table : supported_tables()) {
        for (std::int64_t n = 1; n <= 70; ++n) {
            const std::vector<float> x = random.normals(n), y = random.normals(n);
            std::vector<float> sum = x, scaled = x, both = x;
            table->add_scaled(both.data(), y.data(), 0.7f, n);
            table->add(sum.data(), y.data(), n);
            table->scale(scaled.data(), 0.3f, n);
            for (std::size_t i = 0; i < x.size(); ++i) {
                ASSERT_EQ(sum[i], x[i] + y[i]) << table->isa;
                ASSERT_EQ(scaled[i], x[i] * 0.3f) << table->isa;
                const float product = y[i] * 0.7f;
                ASSERT_EQ(both[i], x[i] + product) << table->isa;
            }
            ASSERT_EQ(table->max(x.data(), n), *std::max_element(x.begin(), x.end())) << table->isa;
        }
    }
}

}  // namespace
}  // namespace hearth::test
