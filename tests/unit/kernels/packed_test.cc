// Packed weights: the same numbers in another order, so the same bits out of every matmul.
#include "unit/kernels/kernels_support.h"

namespace hearth::test {
namespace {

std::vector<std::uint8_t> pack_rows(const hearth_format& format, const Encoded& w, std::int64_t n,
                                    std::int64_t k) {
    const std::size_t group = std::size_t(k / format.block * format.packed_block_bytes);
    std::vector<std::uint8_t> out(std::size_t(n / 16) * group);
    for (std::int64_t i = 0; i < n; i += 16)
        format.pack(out.data() + std::size_t(i / 16) * group,
                    w.bytes.data() + std::size_t(i) * w.stride, w.stride, k);
    return out;
}

std::vector<float> matmul_packed(const hearth_format& format, const std::vector<float>& x,
                                 std::int64_t rows, const std::vector<std::uint8_t>& packed,
                                 std::int64_t n, std::int64_t k) {
    std::vector<float> out(std::size_t(rows * n), -1234.5f);
    const auto acts = make_acts(format, x, rows, k);
    format.matmul_packed(out.data(), n, acts.data(), rows, packed.data(), 0, n, k);
    return out;
}

std::vector<const hearth_format*> packable(const hearth_kernels& table) {
    std::vector<const hearth_format*> out;
    for (const hearth_format* format : formats_of(table))
        if (format->pack) out.push_back(format);
    return out;
}

TEST(Packed, every_quantized_format_of_every_isa_has_the_form) {
    for (const hearth_kernels* table : supported_tables())
        for (const hearth_format* format : formats_of(*table)) {
            EXPECT_EQ(format->pack != nullptr, format->act == HEARTH_ACT_Q8) << format->name;
            EXPECT_EQ(format->pack != nullptr, format->matmul_packed != nullptr) << format->name;
        }
}

// Written out for a format that begins with a lone f16 and for one of words only.
TEST(Packed, words_of_sixteen_rows_lie_side_by_side) {
    for (const std::uint32_t type : {8u, 12u}) {  // q8_0, q4_k
        const hearth_format& format = *hearth_format_find(&scalar(), type);
        const auto n_bytes = std::size_t(format.block_bytes);
        Encoded w{.bytes = {}, .stride = 2 * n_bytes, .values = {}};
        for (std::size_t i = 0; i < 16 * w.stride; ++i)
            w.bytes.push_back(std::uint8_t(i * 7 + i / 251));
        const auto packed = pack_rows(format, w, 16, 2 * format.block);
        std::size_t at = 0;
        for (std::size_t block = 0; block < 2; ++block)
            for (std::size_t byte = 0; byte < n_bytes;) {
                const std::size_t n = type == 8 && byte == 0 ? 2 : 4;
                for (std::size_t row = 0; row < 16; ++row)
                    for (std::size_t i = 0; i < n; ++i, ++at)
                        ASSERT_EQ(packed[at], w.bytes[row * w.stride + block * n_bytes + byte + i])
                            << format.name << " row " << row << " byte " << byte + i;
                byte += n;
            }
        ASSERT_EQ(at, packed.size());
    }
}

// q6_k lies in the order in which it is read; 64 bytes are a word of sixteen rows.
TEST(Packed, q6_k_lies_in_the_order_of_reading_and_each_word_is_aligned) {
    const hearth_format& format = *hearth_format_find(&scalar(), 14);
    std::vector<std::size_t> words = {192, 196, 200, 204, 208};  // scales, then d
    for (std::size_t half = 0; half < 2; ++half) {
        for (std::size_t j = 0; j < 8; ++j) words.push_back(128 + 32 * half + 4 * j);  // qh
        for (std::size_t j = 0; j < 16; ++j) words.push_back(64 * half + 4 * j);       // ql
    }
    ASSERT_EQ(format.packed_block_bytes, std::int32_t(64 * words.size()));
    Encoded w{.bytes = {}, .stride = 2 * 210, .values = {}};
    for (std::size_t i = 0; i < 16 * w.stride; ++i)
        w.bytes.push_back(std::uint8_t(i * 7 + i / 251));
    const auto packed = pack_rows(format, w, 16, 512);
    ASSERT_EQ(packed.size(), 2 * 64 * words.size());
    std::size_t at = 0;
    for (std::size_t block = 0; block < 2; ++block)
        for (const std::size_t byte : words) {
            const std::size_t n = byte == 208 ? 2 : 4;
            for (std::size_t row = 0; row < 16; ++row)
                for (std::size_t i = 0; i < n; ++i, ++at)
                    ASSERT_EQ(packed[at], w.bytes[row * w.stride + block * 210 + byte + i])
                        << "row " << row << " byte " << byte + i;
            for (; at % 64 != 0; ++at) ASSERT_EQ(packed[at], 0);
        }
}

TEST(Packed, every_isa_multiplies_to_the_bits_of_the_oracle_on_plain_rows) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    const std::int64_t n = 64;
    for (const hearth_format* format : packable(scalar())) {
        for (const std::int64_t n_blocks : {1, 2, 3, 7}) {
            const std::int64_t k = n_blocks * format->block;
            const Encoded w = encode_rows(*format, random.normals(n * k), n, k);
            for (const std::int64_t t : {1, 2, 3, 4, 5, 7, 8, 9, 15, 17, 33}) {
                const std::vector<float> x = random.normals(t * k);
                const std::vector<float> expected = matmul(*format, x, t, w, n, k);
                for (const hearth_kernels* table : supported_tables()) {
                    const hearth_format& here = same_format(*table, *format);
                    const auto packed = pack_rows(here, w, n, k);
                    ASSERT_EQ(first_difference(matmul_packed(here, x, t, packed, n, k), expected),
                              -1)
                        << table->isa << " " << format->name << " T=" << t << " K=" << k;
                }
            }
        }
    }
}

TEST(Packed, any_part_of_the_columns_gives_the_same_bits_and_touches_no_others) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    const std::int64_t n = 96;
    for (const hearth_kernels* table : supported_tables()) {
        for (const hearth_format* format : packable(*table)) {
            const std::int64_t k = 3 * format->block;
            const Encoded w = encode_rows(*format, random.normals(n * k), n, k);
            const auto packed = pack_rows(*format, w, n, k);
            for (const std::int64_t t : {1, 6, 20}) {
                const std::vector<float> x = random.normals(t * k);
                const auto acts = make_acts(*format, x, t, k);
                const std::vector<float> whole = matmul_packed(*format, x, t, packed, n, k);
                const std::int64_t n0 = 16 * random.integer(0, 5);
                const std::int64_t n1 = 16 * random.integer(n0 / 16 + 1, 6);
                std::vector<float> part(whole.size(), -1234.5f);
                format->matmul_packed(part.data(), n, acts.data(), t, packed.data(), n0, n1, k);
                for (std::int64_t i = 0; i < t * n; ++i)
                    ASSERT_EQ(bits(part[std::size_t(i)]),
                              bits(i % n >= n0 && i % n < n1 ? whole[std::size_t(i)] : -1234.5f))
                        << table->isa << " " << format->name << " T=" << t;
            }
        }
    }
}

// Any bytes: infinite scales, NaN, every integer.
TEST(Packed, random_bytes_give_what_plain_rows_of_them_give) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (const hearth_kernels* table : supported_tables()) {
        for (const hearth_format* format : packable(*table)) {
            for (int round = 0; round < 10; ++round) {
                const std::int64_t n = 16 * random.integer(1, 3), t = random.integer(1, 12);
                const std::int64_t k = format->block * random.integer(1, 3);
                Encoded w;
                w.stride = std::size_t(k / format->block * format->block_bytes);
                w.bytes.resize(w.stride * std::size_t(n));
                for (std::uint8_t& byte : w.bytes) byte = std::uint8_t(random.integer(0, 255));
                const std::vector<float> x = random.normals(t * k);
                ASSERT_EQ(first_difference(
                              matmul_packed(*format, x, t, pack_rows(*format, w, n, k), n, k),
                              matmul(*format, x, t, w, n, k)),
                          -1)
                    << table->isa << " " << format->name << " T=" << t << " N=" << n;
            }
        }
    }
}

}  // namespace
}  // namespace hearth::test
