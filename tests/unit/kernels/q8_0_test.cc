// q8_0 and its activations against their definitions, value by value; integer parts are exact.
#include <cmath>

#include "unit/kernels/kernels_support.h"

namespace hearth::test {
namespace {

struct Block {
    std::uint16_t d;
    std::int8_t q[32];
};
static_assert(sizeof(Block) == 34);

// act_q8 as its file describes it: arrays of a row's blocks; what follows them is the ISA's own.
struct Acts {
    std::vector<float> d, minus_ds;
    std::vector<std::int32_t> minus_sum, minus_half;
    std::vector<std::int8_t> q;
    bool operator==(const Acts&) const = default;
};

const hearth_format& q8_0(const hearth_kernels& table) {
    return *hearth_format_find(&table, 8);
}

Acts acts_of(const hearth_kernels& table, const std::vector<float>& x) {
    const std::size_t n = x.size() / 32;
    const hearth_format& format = q8_0(table);
    std::vector<std::byte> row(format.act_bytes(std::int64_t(x.size())));
    Acts acts{std::vector<float>(n), std::vector<float>(n), std::vector<std::int32_t>(n),
              std::vector<std::int32_t>(2 * n), std::vector<std::int8_t>(32 * n)};
    format.make_act(row.data(), x.data(), std::int64_t(x.size()));
    const std::byte* at = row.data();
    const auto read = [&](auto& values) {
        std::memcpy(values.data(), at, values.size() * sizeof values[0]);
        at += values.size() * sizeof values[0];
    };
    read(acts.d), read(acts.minus_ds), read(acts.minus_sum), read(acts.minus_half), read(acts.q);
    EXPECT_LE(at, row.data() + row.size());
    return acts;
}

float f16_value(std::uint16_t h) {
    float x;
    hearth_format_find(&scalar(), 1)->decode(&x, &h, 1);
    return x;
}
std::uint16_t f16_of(float x) {
    std::uint16_t h;
    hearth_format_find(&scalar(), 1)->encode(&h, &x, 1);
    return h;
}

TEST(Q8_0, encoding_follows_the_reference_quantizer_on_every_isa) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (const hearth_kernels* table : supported_tables()) {
        for (int round = 0; round < 500; ++round) {
            std::vector<float> x = random.normals(32, std::pow(10.0f, random.normal(2.0f)));
            if (round == 0) x.assign(32, 0.0f);
            if (round == 1) x[3] = 0.0f, x[31] = -100.0f;
            Block block;
            q8_0(*table).encode(&block, x.data(), 32);
            float largest = 0;
            for (const float v : x) largest = std::max(largest, std::fabs(v));
            // ggml's quantize_row_q8_0_ref: d = amax / 127, q = roundf(x * (1 / d)), d stored as
            // f16.
            const float d = largest / 127.0f, inverse = d > 0 ? 1.0f / d : 0.0f;
            ASSERT_EQ(block.d, f16_of(d)) << table->isa;
            for (std::size_t j = 0; j < 32; ++j)
                ASSERT_EQ(block.q[j], int(std::round(x[j] * inverse))) << table->isa << " " << x[j];
        }
    }
}

TEST(Q8_0, halves_are_rounded_away_from_zero) {
    // With a largest value of 127 the scale is 1, and x.5 is exact.
    std::vector<float> x(32, 0.0f);
    x[0] = 127.0f, x[1] = 0.5f, x[2] = -0.5f, x[3] = 1.5f, x[4] = -2.5f;
    x[5] = std::nextafter(0.5f, 0.0f), x[6] = std::nextafter(-3.5f, 0.0f);
    for (const hearth_kernels* table : supported_tables()) {
        Block block;
        q8_0(*table).encode(&block, x.data(), 32);
        const int expected[] = {127, 1, -1, 2, -3, 0, -3};
        for (int j = 0; j < 7; ++j) EXPECT_EQ(block.q[j], expected[j]) << table->isa << " " << j;
    }
}

TEST(Q8_0, decoding_is_scale_times_integer_for_every_integer_on_every_isa) {
    for (const hearth_kernels* table : supported_tables()) {
        for (const std::uint16_t d : {0x0001, 0x3c00, 0xbc00, 0x2e66, 0x7bff}) {
            Block blocks[8];
            for (int i = 0; i < 256; ++i) blocks[i / 32].q[i % 32] = std::int8_t(i - 128);
            for (Block& block : blocks) block.d = d;
            float out[256];
            q8_0(*table).decode(out, blocks, 256);
            for (int i = 0; i < 256; ++i)
                ASSERT_EQ(bits(out[i]), bits(f16_value(d) * float(i - 128))) << table->isa << i;
        }
    }
}

TEST(ActQ8, values_are_the_nearest_steps_and_sums_are_exact_on_every_isa) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (int round = 0; round < 2000; ++round) {
        const std::vector<float> x = random.normals(96, std::pow(10.0f, random.normal(4.0f)));
        const Acts first = acts_of(scalar(), x);
        for (const hearth_kernels* table : supported_tables())
            ASSERT_EQ(acts_of(*table, x), first) << table->isa;
        for (std::size_t b = 0; b < 3; ++b) {
            double largest = 0;
            int sum[2] = {};
            for (std::size_t j = 0; j < 32; ++j)
                largest = std::max(largest, std::fabs(double(x[32 * b + j])));
            ASSERT_EQ(first.d[b], float(largest) / 127.0f);
            for (std::size_t j = 0; j < 32; ++j) {
                // Before rounding to an integer the product of at most 127 carries two roundings.
                const double exact = double(x[32 * b + j]) * 127.0 / largest;
                ASSERT_LE(std::fabs(first.q[32 * b + j] - exact), 0.5 + 127 * gamma(2));
                ASSERT_LE(std::abs(first.q[32 * b + j]), 127);
                sum[j / 16] += first.q[32 * b + j];
            }
            ASSERT_EQ(first.minus_half[2 * b], -sum[0]);
            ASSERT_EQ(first.minus_half[2 * b + 1], -sum[1]);
            ASSERT_EQ(first.minus_sum[b], -(sum[0] + sum[1]));
            ASSERT_EQ(first.minus_ds[b], -(first.d[b] * float(sum[0] + sum[1])));
        }
    }
}

TEST(ActQ8, ties_round_to_even) {
    std::vector<float> x(32, 0.0f);
    x[0] = 127.0f, x[1] = 0.5f, x[2] = 1.5f, x[3] = -2.5f, x[4] = -3.5f;
    for (const hearth_kernels* table : supported_tables()) {
        const Acts act = acts_of(*table, x);
        const int expected[] = {127, 0, 2, -2, -4};
        for (int j = 0; j < 5; ++j) EXPECT_EQ(act.q[j], expected[j]) << table->isa << " " << j;
    }
}

TEST(ActQ8, infinities_and_nans_show_in_the_output_and_tiny_blocks_are_zero) {
    for (const hearth_kernels* table : supported_tables()) {
        for (const float bad : {INFINITY, -INFINITY, NAN}) {
            std::vector<float> x(32, 1.0f);
            x[17] = bad;
            const Encoded w = encode_rows(q8_0(*table), std::vector<float>(32, 1.0f), 1, 32);
            EXPECT_TRUE(std::isnan(matmul(q8_0(*table), x, 1, w, 1, 32)[0])) << table->isa;
        }
        for (const float tiny : {0.0f, 1e-45f, 1e-31f}) {
            const std::vector<float> x(32, tiny);
            const Encoded w = encode_rows(q8_0(*table), std::vector<float>(32, 1.0f), 1, 32);
            EXPECT_EQ(matmul(q8_0(*table), x, 1, w, 1, 32)[0], 0.0f) << table->isa;
        }
    }
}

// One block, scales 1: the output is the integer dot product, for the corners where 8- and 16-bit
// instructions saturate or overflow: -128 is its own negation, and 2 * 128 * 127 is near 2^15.
TEST(Q8_0, integer_dot_is_exact_at_the_corners_of_the_range_on_every_isa) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    const int corners[] = {-128, -127, -1, 0, 1, 126, 127};
    for (int round = 0; round < 400; ++round) {
        Block block;
        block.d = 0x3c00;
        std::vector<float> x(32);
        int expected = 0;
        for (std::size_t j = 0; j < 32; ++j) {
            const bool all_same = round < 49;
            const auto pick = [&](int which) {
                return corners[all_same ? (which ? round / 7 : round % 7) : random.integer(0, 6)];
            };
            block.q[j] = std::int8_t(pick(0));
            x[j] = float(std::max(-127, pick(1)));
        }
        x[0] = round % 2 ? 127.0f : -127.0f;  // largest magnitude 127: the activations' scale is 1
        for (std::size_t j = 0; j < 32; ++j) expected += int(block.q[j]) * int(x[j]);
        Encoded w;
        w.stride = sizeof block;
        w.bytes.resize(sizeof block);
        std::memcpy(w.bytes.data(), &block, sizeof block);
        std::vector<float> many;
        for (int t = 0; t < 13; ++t) many.insert(many.end(), x.begin(), x.end());
        for (const hearth_kernels* table : supported_tables())
            for (const std::int64_t rows : {1, 2, 3, 8, 13})
                for (const float got : matmul(q8_0(*table), many, rows, w, 1, 32))
                    ASSERT_EQ(got, float(expected))
                        << table->isa << " round " << round << ", " << rows << " rows";
    }
}

}  // namespace
}  // namespace hearth::test
