// Half precision against the definition of IEEE 754 binary16, for every value and every rounding.
#include <cmath>
#include <limits>

#include "unit/kernels/kernels_support.h"

namespace hearth::test {
namespace {

// Clause 3.4: sign, 5 bits of exponent with bias 15, 10 bits of fraction.
double defined_value(std::uint16_t h) {
    const int exponent = h >> 10 & 31, fraction = h & 1023;
    const double sign = h >> 15 ? -1.0 : 1.0;
    if (exponent == 31)
        return fraction ? std::numeric_limits<double>::quiet_NaN()
                        : sign * std::numeric_limits<double>::infinity();
    if (exponent == 0) return sign * std::ldexp(fraction, -24);
    return sign * std::ldexp(1024 + fraction, exponent - 25);
}

// Nearest finite half by search over all of them, ties to the even fraction; infinity from the
// point halfway between the largest half (65504) and the value that would follow it (65536).
std::uint16_t defined_rounding(float x) {
    const auto sign = std::uint16_t(std::signbit(x) ? 0x8000 : 0);
    const double size = std::fabs(double(x));
    if (size >= 65520.0) return std::uint16_t(sign | 0x7c00);
    std::uint16_t low = 0, high = 0x7bff;  // halves of one sign are ordered as their bits
    while (high - low > 1) {
        const auto middle = std::uint16_t((low + high) / 2);
        (defined_value(middle) <= size ? low : high) = middle;
    }
    const double below = size - defined_value(low), above = defined_value(high) - size;
    const bool up = above < below || (above == below && high % 2 == 0);
    return std::uint16_t(sign | (up ? high : low));
}

std::uint16_t encode_one(const hearth_format& f16, float x) {
    std::uint16_t out = 0xdead;
    f16.encode(&out, &x, 1);
    return out;
}

TEST(F16, every_value_decodes_to_its_definition_on_every_isa) {
    std::vector<std::uint16_t> all(65536);
    for (int i = 0; i < 65536; ++i) all[std::size_t(i)] = std::uint16_t(i);
    for (const hearth_kernels* table : supported_tables()) {
        const hearth_format& f16 = *hearth_format_find(table, 1);
        std::vector<float> out(65536);
        f16.decode(out.data(), all.data(), 65536);
        for (int i = 0; i < 65536; ++i) {
            const double expected = defined_value(std::uint16_t(i));
            const float got = out[std::size_t(i)];
            if (std::isnan(expected))
                ASSERT_TRUE(std::isnan(got)) << table->isa << " " << i;
            else
                ASSERT_EQ(bits(got), bits(float(expected))) << table->isa << " " << i;
        }
    }
}

TEST(F16, every_value_survives_decode_and_encode_on_every_isa) {
    for (const hearth_kernels* table : supported_tables()) {
        const hearth_format& f16 = *hearth_format_find(table, 1);
        for (int i = 0; i < 65536; ++i) {
            const auto h = std::uint16_t(i);
            float x;
            f16.decode(&x, &h, 1);
            const std::uint16_t back = encode_one(f16, x);
            if (std::isnan(x))
                ASSERT_EQ(back & 0x7c00, 0x7c00) << table->isa << " " << i;
            else
                ASSERT_EQ(back, h) << table->isa << " " << i;
        }
    }
}

TEST(F16, rounding_is_to_nearest_even_at_and_beside_every_midpoint_on_every_isa) {
    std::vector<float> xs;
    for (int i = 0; i < 0x7c00; ++i) {
        const double a = defined_value(std::uint16_t(i));
        const double b = i + 1 == 0x7c00 ? 65536.0 : defined_value(std::uint16_t(i + 1));
        const float middle = float((a + b) / 2);  // exact: one bit more than a half has
        for (const float x : {middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 1e9f)})
            xs.insert(xs.end(), {x, -x});
    }
    for (const float x : {65519.996f, 65520.0f, 1e30f, INFINITY, 0.0f, 1e-45f, 2.9e-8f})
        xs.insert(xs.end(), {x, -x});
    std::vector<std::uint16_t> expected(xs.size()), got(xs.size());
    for (std::size_t i = 0; i < xs.size(); ++i) expected[i] = defined_rounding(xs[i]);
    for (const hearth_kernels* table : supported_tables()) {
        hearth_format_find(table, 1)->encode(got.data(), xs.data(), std::int64_t(xs.size()));
        for (std::size_t i = 0; i < xs.size(); ++i)
            ASSERT_EQ(got[i], expected[i]) << table->isa << " " << xs[i];
    }
}

TEST(F16, a_nan_stays_a_nan) {
    for (const hearth_kernels* table : supported_tables()) {
        const hearth_format& f16 = *hearth_format_find(table, 1);
        for (const std::uint32_t u : {0x7f800001u, 0x7fc00000u, 0xffffffffu, 0x7f802000u}) {
            const std::uint16_t h = encode_one(f16, from_bits(u));
            EXPECT_GT(h & 0x7fff, 0x7c00) << table->isa << " " << u;
        }
    }
}

TEST(F16, lengths_that_are_no_multiple_of_16_leave_the_rest_alone) {
    for (const hearth_kernels* table : supported_tables()) {
        const hearth_format& f16 = *hearth_format_find(table, 1);
        for (std::int64_t n = 0; n <= 40; ++n) {
            std::vector<float> x(41, 1.5f), back(41, -7.0f);
            std::vector<std::uint16_t> h(41, 0xabcd);
            f16.encode(h.data(), x.data(), n);
            f16.decode(back.data(), h.data(), n);
            for (std::int64_t i = 0; i <= 40; ++i) {
                EXPECT_EQ(h[std::size_t(i)], i < n ? 0x3e00 : 0xabcd) << table->isa << " " << n;
                EXPECT_EQ(back[std::size_t(i)], i < n ? 1.5f : -7.0f) << table->isa << " " << n;
            }
        }
    }
}

}  // namespace
}  // namespace hearth::test
