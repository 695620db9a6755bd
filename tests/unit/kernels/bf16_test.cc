// bfloat16 against its definition, for every value and every rounding.
#include <cmath>

#include "unit/kernels/kernels_support.h"

namespace hearth::test {
namespace {

const hearth_format& bf16(const hearth_kernels& table) {
    return *hearth_format_find(&table, 30);
}
// Sign, 8 bits of exponent with bias 127, 7 bits of fraction.
double defined_value(int h) {
    const int exponent = h >> 7 & 255, fraction = h & 127;
    const double sign = h >> 15 ? -1.0 : 1.0;
    if (exponent == 255) return fraction ? std::nan("") : sign * HUGE_VAL;
    if (exponent == 0) return sign * std::ldexp(fraction, -133);
    return sign * std::ldexp(128 + fraction, exponent - 134);
}

TEST(Bf16, every_value_decodes_to_its_definition_and_survives_on_every_isa) {
    std::vector<std::uint16_t> all(65536), back(65536);
    for (int i = 0; i < 65536; ++i) all[std::size_t(i)] = std::uint16_t(i);
    for (const hearth_kernels* table : supported_tables()) {
        std::vector<float> out(65536);
        bf16(*table).decode(out.data(), all.data(), 65536);
        bf16(*table).encode(back.data(), out.data(), 65536);
        for (int i = 0; i < 65536; ++i) {
            const auto at = std::size_t(i);
            const double expected = defined_value(i);
            if (std::isnan(expected)) {
                ASSERT_TRUE(std::isnan(out[at])) << table->isa << " " << i;
                ASSERT_GT(back[at] & 0x7fff, 0x7f80) << table->isa << " " << i;
            } else {
                ASSERT_EQ(bits(out[at]), bits(float(expected))) << table->isa << " " << i;
                ASSERT_EQ(back[at], i) << table->isa;
            }
        }
    }
}

// Between neighbours a and b the nearer one, on the midpoint the even one; the value after the
// largest counts as 2^128.
TEST(Bf16, rounding_is_to_nearest_even_at_and_beside_every_midpoint_on_every_isa) {
    for (const hearth_kernels* table : supported_tables()) {
        for (int i = 0; i < 0x7f80; ++i) {
            const double a = defined_value(i), b = i + 1 == 0x7f80 ? 0x1p128 : defined_value(i + 1);
            const float middle = float((a + b) / 2);
            const float xs[] = {middle, std::nextafter(middle, 0.0f),
                                std::nextafter(middle, INFINITY), -middle};
            std::uint16_t got[4];
            bf16(*table).encode(got, xs, 4);
            ASSERT_EQ(got[0], i % 2 ? i + 1 : i) << table->isa;
            ASSERT_EQ(got[1], i) << table->isa;
            ASSERT_EQ(got[2], i + 1) << table->isa;
            ASSERT_EQ(got[3], got[0] | 0x8000) << table->isa;
        }
    }
}

TEST(Bf16, nans_stay_nans_and_lengths_leave_the_rest_alone) {
    for (const hearth_kernels* table : supported_tables()) {
        for (const std::uint32_t u : {0x7f800001u, 0x7fc00000u, 0xffffffffu, 0xff80ffffu}) {
            const float x = from_bits(u);
            std::uint16_t h;
            bf16(*table).encode(&h, &x, 1);
            EXPECT_GT(h & 0x7fff, 0x7f80) << table->isa << " " << u;
        }
        for (std::int64_t n = 0; n <= 40; ++n) {
            std::vector<float> x(41, 1.5f), back(41, -7.0f);
            std::vector<std::uint16_t> h(41, 0xabcd);
            bf16(*table).encode(h.data(), x.data(), n);
            bf16(*table).decode(back.data(), h.data(), n);
            for (std::int64_t i = 0; i <= 40; ++i) {
                EXPECT_EQ(h[std::size_t(i)], i < n ? 0x3fc0 : 0xabcd) << table->isa << " " << n;
                EXPECT_EQ(back[std::size_t(i)], i < n ? 1.5f : -7.0f) << table->isa << " " << n;
            }
        }
    }
}

}  // namespace
}  // namespace hearth::test
