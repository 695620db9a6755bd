// Quantized formats: decoding against the definition, bit by bit; encoding against the reference
// quantizers and derived error bounds; hostile blocks.
#include <cmath>

#include "unit/kernels/kernels_support.h"
#include "unit/kernels/quant_definition.h"

namespace hearth::test {
namespace {

std::vector<std::uint8_t> random_bytes(Random& random, std::size_t n) {
    std::vector<std::uint8_t> out(n);
    for (std::uint8_t& byte : out) byte = std::uint8_t(random.integer(0, 255));
    return out;
}

// Decoding rounds twice at most: the product (q6_k alone needs it) and the sum with the minimum.
// Both are exact in f64 here, so the result is the f32 nearest to rounded product minus minimum.
TEST(Quants, decoding_any_block_gives_its_definition_on_every_isa) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (const hearth_kernels* table : supported_tables()) {
        for (const hearth_format* format : quantized_formats(*table)) {
            for (int round = 0; round < 200; ++round) {
                const auto bytes = random_bytes(random, std::size_t(format->block_bytes) * 2);
                std::vector<float> out(std::size_t(format->block) * 2);
                format->decode(out.data(), bytes.data(), 2 * format->block);
                const auto exact = defined_row(*format, bytes.data(), 2 * format->block);
                for (std::size_t i = 0; i < out.size(); ++i) {
                    const float product = float(exact[i].product);
                    const float expected = exact[i].minimum == 0.0
                                               ? product
                                               : float(double(product) - exact[i].minimum);
                    if (std::isnan(expected)) {
                        ASSERT_TRUE(std::isnan(out[i])) << table->isa << " " << format->name;
                    } else {
                        ASSERT_EQ(out[i], expected)
                            << table->isa << " " << format->name << " " << i;
                    }
                }
            }
        }
    }
}

// Bits that the reference quantizers of ggml give, for the formats where they are plain rounding:
//   q4_0, q5_0   d = v / -2^(b-1), v the weight of largest magnitude; q = min(2^b - 1, int(x / d +
//                2^(b-1) + 0.5))
//   q4_1, q5_1   d = (max - min) / (2^b - 1); q = min(2^b - 1, int((x - min) / d + 0.5))
std::vector<std::uint8_t> reference_encoding(const hearth_format& format, const float* x) {
    const bool fifth = format.gguf_type >= 6, min = format.gguf_type % 2 == 1;
    const int most = fifth ? 31 : 15;
    float v = 0, low = x[0], high = x[0];
    for (int i = 0; i < 32; ++i) {
        if (std::fabs(x[i]) > std::fabs(v)) v = x[i];
        low = std::min(low, x[i]);
        high = std::max(high, x[i]);
    }
    const float d = min ? (high - low) / float(most) : v / -float((most + 1) / 2);
    const float id = d != 0 ? 1.0f / d : 0.0f;
    std::vector<std::uint8_t> out(std::size_t(format.block_bytes));
    const hearth_format& f16 = *hearth_format_find(&scalar(), 1);
    f16.encode(out.data(), &d, 1);
    if (min) f16.encode(out.data() + 2, &low, 1);
    std::uint8_t* bits = out.data() + (min ? 4 : 2);
    std::uint8_t* nibbles = bits + (fifth ? 4 : 0);
    for (int i = 0; i < 32; ++i) {
        const float at =
            min ? (x[i] - low) * id + 0.5f : x[i] * id + (float((most + 1) / 2) + 0.5f);
        const int q = std::min(most, int(at));
        nibbles[i % 16] = std::uint8_t(nibbles[i % 16] | (q % 16) << (i < 16 ? 0 : 4));
        if (fifth) bits[i / 8] = std::uint8_t(bits[i / 8] | q / 16 << i % 8);
    }
    return out;
}

TEST(Quants, encoding_follows_the_reference_quantizers_on_every_isa) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (const hearth_kernels* table : supported_tables()) {
        for (const std::uint32_t type : {2u, 3u, 6u, 7u}) {
            const hearth_format& format = *hearth_format_find(table, type);
            for (int round = 0; round < 500; ++round) {
                std::vector<float> x = random.normals(32, std::pow(10.0f, random.normal(1.0f)));
                if (round == 0) x.assign(32, 0.0f);
                if (round == 1) x.assign(32, 1.0f);
                if (round == 2) x.assign(32, -3.0f);
                if (round == 3) x[7] = -x[9];  // which of two is the largest
                if (round % 5 == 4)            // values halfway between steps
                    for (float& v : x) v = float(random.integer(-16, 16)) * 0.5f;
                std::vector<std::uint8_t> got(std::size_t(format.block_bytes), 0xcd);
                format.encode(got.data(), x.data(), 32);
                ASSERT_EQ(got, reference_encoding(format, x.data()))
                    << table->isa << " " << format.name << " round " << round;
            }
        }
    }
}

// Root of the mean square error of each sub-block, bounded as the formats derive it: the starting
// grid's half step (a whole step for symmetric grids, which lack one end), and what rounding the
// stored scales adds. half: half a unit in the last place of an f16 of that size.
double half(double x) {
    return std::max(std::fabs(x) * 0x1p-11, 0x1p-25);
}
double error_bound(const hearth_format& format, const float* x, const float* whole) {
    double low = x[0], high = x[0], largest = 0, all_scale = 0, all_min = 0;
    const int n = format.gguf_type == 14 ? 16 : 32;
    for (int i = 0; i < n; ++i) {
        low = std::min(low, double(x[i]));
        high = std::max(high, double(x[i]));
        largest = std::max(largest, std::fabs(double(x[i])));
    }
    const auto span = [](const float* y) {
        const auto [a, b] = std::minmax_element(y, y + 32);
        return std::max(0.0, double(*b)) - std::min(0.0, double(*a));
    };
    const double u = 1 + 0x1p-18;  // the f32 roundings on the way
    switch (format.gguf_type) {
        case 2:
            return (largest / 8 + 8 * half(largest / 8)) * u;
        case 6:
            return (largest / 16 + 16 * half(largest / 16)) * u;
        case 8:
            return (largest / 127 / 2 + 127 * half(largest / 127)) * u;
        case 3:
            return ((high - low) / 30 + 15 * half((high - low) / 15) + half(low)) * u +
                   1e-6 * largest;
        case 7:
            return ((high - low) / 62 + 31 * half((high - low) / 31) + half(low)) * u +
                   1e-6 * largest;
        case 12:
        case 13: {
            // The stored scales are at most twice the starting grid's largest: a fitted grid has at
            // least half the range, or its errors would exceed the starting grid's.
            const double most = format.gguf_type == 12 ? 15 : 31;
            for (int i = 0; i < 8; ++i) {
                all_scale = std::max(all_scale, 2 * span(whole + 32 * i) / most);
                all_min = std::max(all_min, 2 * span(whole + 32 * i));
            }
            const double d = all_scale / 63, dmin = all_min / 63, step = span(x) / most;
            return (step / 2 + most * (d / 2 + 63 * half(d)) + dmin / 2 + 63 * half(dmin)) * u;
        }
        case 14:
            for (int i = 0; i < 256; ++i)
                all_scale = std::max(all_scale, 2 * std::fabs(double(whole[i])) / 32);
            return (largest / 32 + 32 * (all_scale / 128 + 128 * half(all_scale / 128))) * u;
    }
    return 0;
}

TEST(Quants, encoding_errors_are_within_the_derived_bounds) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (const hearth_format* format : quantized_formats(scalar())) {
        const int n = format->gguf_type == 14 ? 16 : 32;
        double errors = 0, sizes = 0;
        for (int round = 0; round < 300; ++round) {
            // Plain weights; with a few large ones; shifted from zero; tiny; one sub-block of
            // zeros.
            std::vector<float> x = random.normals(256, round % 4 == 3 ? 1e-5f : 0.1f);
            if (round % 4 == 1) x[std::size_t(random.integer(0, 255))] *= 30.0f;
            if (round % 4 == 2)
                for (float& v : x) v += 0.5f;
            if (round % 8 == 4) std::fill_n(x.begin(), 32, 0.0f);
            const Encoded w = encode_rows(*format, x, 1, 256);
            for (std::size_t at = 0; at < 256; at += std::size_t(n)) {
                double sum = 0;
                for (std::size_t i = at; i < at + std::size_t(n); ++i) {
                    const double e = double(w.values[i]) - double(x[i]);
                    sum += e * e;
                    if (round % 4 == 0) errors += e * e, sizes += double(x[i]) * double(x[i]);
                }
                ASSERT_LE(std::sqrt(sum / n), error_bound(*format, x.data() + at, x.data()))
                    << format->name << " round " << round << " at " << at;
            }
        }
        std::printf("%s: relative error %.5f\n", format->name, std::sqrt(errors / sizes));
    }
}

// Each bit halves the step, and the searched grids of K-quants are better than the plain ones of
// the same width; figures in the same order for any seed.
TEST(Quants, more_bits_and_searched_grids_lose_less) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    const std::vector<float> x = random.normals(256 * 200);
    const auto error = [&](std::uint32_t type) {
        const Encoded w = encode_rows(*hearth_format_find(&scalar(), type), x, 200, 256);
        double sum = 0;
        for (std::size_t i = 0; i < x.size(); ++i) sum += std::pow(double(w.values[i] - x[i]), 2);
        return std::sqrt(sum / double(x.size()));
    };
    EXPECT_LT(error(8), error(14));
    EXPECT_LT(error(14), error(13));
    EXPECT_LT(error(13), error(7));
    EXPECT_LT(error(7), error(6));
    EXPECT_LT(error(6), error(12));
    EXPECT_LT(error(12), error(3));
    EXPECT_LT(error(3), error(2));
}

TEST(Quants, zeros_encode_to_themselves_and_constants_to_values_near) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (const hearth_format* format : quantized_formats(scalar())) {
        std::vector<float> zero(256, 0.0f), constant(256, -0.75f);
        EXPECT_EQ(encode_rows(*format, zero, 1, 256).values, zero) << format->name;
        const Encoded w = encode_rows(*format, constant, 1, 256);
        for (const float v : w.values) ASSERT_NEAR(v, -0.75f, 0.75 / 64) << format->name;
    }
}

// Weights that no f16 scale can hold, and denormals, encode to some block without undefined
// arithmetic, the same on every ISA.
TEST(Quants, extreme_weights_encode_alike_on_every_isa) {
    for (const float size : {1e-45f, 1e-38f, 1e-30f, 1e-8f, 1e6f, 1e20f, 1e30f}) {
        for (const hearth_format* format : quantized_formats(scalar())) {
            std::vector<float> x(256);
            for (std::size_t i = 0; i < 256; ++i) x[i] = size * float(int(i * 37 % 64) - 31);
            std::vector<std::uint8_t> expected(
                std::size_t(256 / format->block * format->block_bytes));
            format->encode(expected.data(), x.data(), 256);
            for (const hearth_kernels* table : supported_tables()) {
                std::vector<std::uint8_t> got(expected.size(), 0xcd);
                same_format(*table, *format).encode(got.data(), x.data(), 256);
                ASSERT_EQ(got, expected) << table->isa << " " << format->name << " " << size;
            }
        }
    }
}

// Scales of infinity and NaN: what comes out is what IEEE arithmetic makes of the formula, never a
// number that looks right.
TEST(Quants, hostile_scales_show_in_the_output_on_every_isa) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (const hearth_kernels* table : supported_tables()) {
        for (const hearth_format* format : quantized_formats(*table)) {
            const std::int64_t k = format->block;
            for (const std::uint16_t bad : {0x7c00, 0xfc00, 0x7e00, 0x7c01}) {
                Encoded w = encode_rows(*format, random.normals(k), 1, k);
                const std::size_t at = format->gguf_type == 14 ? 208 : 0;
                std::memcpy(w.bytes.data() + at, &bad, 2);
                const float out = matmul(*format, random.normals(k), 1, w, 1, k)[0];
                EXPECT_FALSE(std::isfinite(out)) << table->isa << " " << format->name << " " << bad;
                if (bad == 0x7e00 || bad == 0x7c01) {
                    EXPECT_TRUE(std::isnan(out)) << table->isa << " " << format->name;
                }
            }
        }
    }
}

// One block, scale 1, extreme q and activations of one sign: the largest sums that each format's
// comment claims to be exact, and the largest that tiles of many rows add in 16 bits.
TEST(Quants, integer_sums_are_exact_at_the_corners_on_every_isa) {
    for (const hearth_kernels* table : supported_tables()) {
        for (const hearth_format* format : quantized_formats(*table)) {
            const std::int64_t k = format->block;
            for (const std::uint8_t fill : {0x00, 0xff, 0x80, 0x7f, 0x0f, 0xf0}) {
                Encoded w;
                w.stride = std::size_t(format->block_bytes);
                w.bytes.assign(w.stride, fill);
                const std::uint16_t one = 0x3c00, none = 0;
                const bool six = format->gguf_type == 14, min = format->gguf_type % 2 == 1;
                std::memcpy(w.bytes.data() + (six ? 208 : 0), &one, 2);
                if (format->gguf_type == 12 || min) std::memcpy(w.bytes.data() + 2, &none, 2);
                for (const float sign : {1.0f, -1.0f}) {
                    constexpr std::int64_t kRows[] = {1, 2, 3, 8, 13};
                    const std::vector<float> x(std::size_t(13 * k), 127.0f * sign);
                    double exact = 0;
                    for (const Definition& d : defined_row(*format, w.bytes.data(), k))
                        exact += d.value() * 127.0 * double(sign);
                    // Up to 8 chunks of integers below 2^24 are added: exact where below that.
                    for (const std::int64_t rows : kRows)
                        for (const float got : matmul(*format, x, rows, w, 1, k))
                            ASSERT_LE(std::fabs(got - exact),
                                      std::fabs(exact) > 0x1p24 ? gamma(8) * 0x1p27 : 0)
                                << table->isa << " " << format->name << " " << int(fill) << ", "
                                << rows << " rows";
                }
            }
        }
    }
}

}  // namespace
}  // namespace hearth::test
