// Scores and weighted sums over key and value rows of every type.
#include <cmath>

#include "unit/kernels/isas_compare.h"
#include "unit/kernels/kernels_support.h"

namespace hearth::test {
namespace {

constexpr std::int64_t kHeadDims[] = {1, 8, 16, 20, 32, 64, 80, 128};
constexpr std::int64_t kGroups[] = {1, 2, 3, 4, 5, 8};
constexpr std::int64_t kKeyCounts[] = {1, 2, 5, 15, 16};

struct Rows {
    std::vector<std::uint8_t> bytes;
    std::vector<float> values;         // as they were rounded
    std::vector<std::uint8_t> across;  // the same as keys: at most a block
};

// Rows of f16 and bf16 are rows of those formats, and rows of q8_0 are q8_0 blocks; how these
// decode is tested with the formats.
const hearth_format* format_of(const hearth_kernels& table, const hearth_kv_type& type) {
    for (const hearth_format* format : formats_of(table))
        if (std::strcmp(format->name, type.name) == 0) return format;
    return nullptr;
}

Rows store_rows(const hearth_kernels& table, const hearth_kv_type& type,
                const std::vector<float>& x, std::int64_t n, std::int64_t head_dim) {
    Rows out;
    out.bytes.resize(type.row_bytes(head_dim) * std::size_t(n));
    for (std::int64_t i = 0; i < n; ++i)
        type.store(out.bytes.data() + std::size_t(i) * type.row_bytes(head_dim),
                   x.data() + i * head_dim, head_dim);
    out.across.resize(type.row_bytes(head_dim) * HEARTH_KV_KEYS);
    for (std::int64_t i = 0; i < std::min<std::int64_t>(n, HEARTH_KV_KEYS); ++i)
        type.store_key(out.across.data(), i, x.data() + i * head_dim, head_dim);
    out.values.resize(x.size());
    format_of(table, type)->decode(out.values.data(), out.bytes.data(), n * head_dim);
    return out;
}

std::vector<const hearth_kv_type*> types_of(const hearth_kernels& table) {
    std::vector<const hearth_kv_type*> out;
    for (const hearth_kv_type* const* at = table.kv_types; *at; ++at) out.push_back(*at);
    return out;
}

TEST(KvType, rows_take_exactly_the_bytes_of_their_elements) {
    const auto bytes = [](const char* name, std::int64_t dim) {
        return hearth_kv_type_find(&scalar(), name)->row_bytes(dim);
    };
    EXPECT_EQ(bytes("f32", 80), 320u);
    EXPECT_EQ(bytes("f16", 81), 162u);
    EXPECT_EQ(bytes("bf16", 81), 162u);
    EXPECT_EQ(bytes("q8_0", 64), 68u);
    EXPECT_EQ(bytes("q8_0", 128), 136u);
    EXPECT_EQ(hearth_kv_type_find(&scalar(), "q8_0")->block, 32);
}

// f16: half of 2^-10 relative, half of 2^-24 below the normal range. bf16: half of 2^-7. q8_0, of
// the largest in a block: half a step of 1 / 127, and the scale's rounding, 2^-11 relative.
TEST(KvType, stored_rows_are_the_nearest_values_of_the_type) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (const hearth_kernels* table : supported_tables()) {
        for (const hearth_kv_type* type : types_of(*table)) {
            for (const std::int64_t head_dim : kHeadDims) {
                if (head_dim % type->block != 0) continue;
                const std::vector<float> x = random.normals(head_dim);
                const Rows rows = store_rows(*table, *type, x, 1, head_dim);
                for (std::size_t i = 0; i < x.size(); ++i) {
                    double size = std::fabs(double(x[i])), step = 0;
                    if (type->block == 32) {
                        for (std::size_t j = i / 32 * 32; j < i / 32 * 32 + 32; ++j)
                            size = std::max(size, std::fabs(double(x[j])));
                        step = (0.5 / 127) * (1 + 0x1p-15) + 0x1p-11 * (1 + 0x1p-10);
                    }
                    if (std::strcmp(type->name, "f16") == 0) step = 0x1p-11;
                    if (std::strcmp(type->name, "bf16") == 0) step = 0x1p-8;
                    ASSERT_LE(std::fabs(double(rows.values[i]) - double(x[i])),
                              step * size + (step > 0 ? 0x1p-25 : 0))
                        << table->isa << " " << type->name;
                }
            }
        }
    }
}

TEST(KvType, infinities_and_nans_show_in_the_scores) {
    for (const hearth_kernels* table : supported_tables()) {
        for (const hearth_kv_type* type : types_of(*table)) {
            for (const float bad : {INFINITY, -INFINITY, NAN}) {
                std::vector<float> x(64, 0.5f);
                x[40] = bad;
                const Rows k = store_rows(*table, *type, x, 1, 64);
                const std::vector<float> q(64, 1.0f);
                float score = 0;
                type->scores(&score, 1, each_row(q.data(), 1, 64).data(), 1, k.across.data(), 1, 64,
                             1.0f);
                EXPECT_FALSE(std::isfinite(score)) << table->isa << " " << type->name;
            }
        }
    }
}

// The bound of attend.h; of rows as they were rounded, so that a key that lies wrong shows.
TEST(KvType, scores_are_within_the_derived_bound_and_equal_on_every_isa) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (const hearth_kv_type* type : types_of(scalar())) {
        for (const std::int64_t dim : kHeadDims) {
            if (dim % type->block != 0) continue;
            for (const std::int64_t group : kGroups) {
                for (const std::int64_t keys : kKeyCounts) {
                    const float scale = 1.0f / std::sqrt(float(dim));
                    const Rows k =
                        store_rows(scalar(), *type, random.normals(keys * dim), keys, dim);
                    const std::vector<float> q = random.normals(group * dim);
                    std::vector<float> got(std::size_t(group * 20), -7.0f);
                    type->scores(got.data(), 20, each_row(q.data(), group, dim).data(), group,
                                 k.across.data(), keys, dim, scale);
                    for (std::int64_t g = 0; g < group; ++g) {
                        for (std::int64_t s = 0; s < 20; ++s) {
                            if (s >= keys) {
                                ASSERT_EQ(got[std::size_t(g * 20 + s)], -7.0f);
                                continue;
                            }
                            double exact = 0, size = 0;
                            for (std::int64_t d = 0; d < dim; ++d) {
                                const double term = double(q[std::size_t(g * dim + d)]) *
                                                    double(k.values[std::size_t(s * dim + d)]);
                                exact += term * double(scale);
                                size += std::fabs(term) * double(scale);
                            }
                            ASSERT_LE(std::fabs(got[std::size_t(g * 20 + s)] - exact),
                                      gamma(double((dim + 3) / 4 + 3)) * size)
                                << type->name << " dim " << dim;
                        }
                    }
                    for (const hearth_kernels* table : supported_tables()) {
                        std::vector<float> other(got.size(), -7.0f);
                        hearth_kv_type_find(table, type->name)
                            ->scores(other.data(), 20, each_row(q.data(), group, dim).data(), group,
                                     k.across.data(), keys, dim, scale);
                        ASSERT_EQ(first_difference(other, got), -1)
                            << table->isa << " " << type->name << " dim " << dim << " group "
                            << group << " keys " << keys;
                    }
                }
            }
        }
    }
}

// Of a block that holds other keys already: one key changes its own scores only.
TEST(KvType, a_key_is_stored_without_touching_the_others_and_alike_on_every_isa) {
    Random random(test_seed());
    for (const hearth_kernels* table : supported_tables()) {
        for (const hearth_kv_type* type : types_of(*table)) {
            for (const std::int64_t dim : kHeadDims) {
                if (dim % type->block != 0) continue;
                const std::vector<float> x = random.normals(16 * dim), y = random.normals(dim);
                const std::vector<float> q = random.normals(dim);
                const Rows before = store_rows(*table, *type, x, 16, dim);
                EXPECT_EQ(
                    before.across,
                    store_rows(scalar(), *hearth_kv_type_find(&scalar(), type->name), x, 16, dim)
                        .across)
                    << table->isa << " " << type->name;
                for (const std::int64_t at : {0, 7, 15}) {
                    std::vector<std::uint8_t> block = before.across;
                    type->store_key(block.data(), at, y.data(), dim);
                    std::vector<float> old(16), now(16);
                    type->scores(old.data(), 16, each_row(q.data(), 1, dim).data(), 1,
                                 before.across.data(), 16, dim, 1.0f);
                    type->scores(now.data(), 16, each_row(q.data(), 1, dim).data(), 1, block.data(),
                                 16, dim, 1.0f);
                    for (std::int64_t s = 0; s < 16; ++s)
                        EXPECT_EQ(old[std::size_t(s)] == now[std::size_t(s)], s != at)
                            << table->isa << " " << type->name << " dim " << dim;
                }
            }
        }
    }
}

// Rows are added in ascending order with one rounding each: gamma(S) of the sum of magnitudes, and
// gamma(S + 1) with what was there before. Cutting the rows into two calls changes nothing.
TEST(KvType, weighted_sums_are_within_the_bound_cut_freely_and_equal_on_every_isa) {
    const std::uint64_t seed = test_seed();
    SCOPED_TRACE(seed);
    Random random(seed);
    for (const hearth_kv_type* type : types_of(scalar())) {
        for (const std::int64_t dim : kHeadDims) {
            if (dim % type->block != 0) continue;
            for (const std::int64_t group : kGroups) {
                const std::int64_t keys = 16;
                const Rows v = store_rows(scalar(), *type, random.normals(keys * dim), keys, dim);
                const std::vector<float> p = random.normals(group * keys);
                const std::vector<float> before = random.normals(group * dim);
                std::vector<float> got = before;
                type->weigh(each_row(got.data(), group, dim).data(), p.data(), keys, group,
                            v.bytes.data(), keys, dim);
                for (std::int64_t g = 0; g < group; ++g) {
                    for (std::int64_t d = 0; d < dim; ++d) {
                        const auto i = std::size_t(g * dim + d);
                        double exact = before[i], size = std::fabs(exact);
                        for (std::int64_t s = 0; s < keys; ++s) {
                            const double term = double(p[std::size_t(g * keys + s)]) *
                                                double(v.values[std::size_t(s * dim + d)]);
                            exact += term;
                            size += std::fabs(term);
                        }
                        ASSERT_LE(std::fabs(got[i] - exact), gamma(double(keys + 1)) * size);
                    }
                }
                for (const hearth_kernels* table : supported_tables()) {
                    const hearth_kv_type& other_type = *hearth_kv_type_find(table, type->name);
                    for (const std::int64_t cut : {0, 1, 7}) {
                        std::vector<float> other = before;
                        other_type.weigh(each_row(other.data(), group, dim).data(), p.data(), keys,
                                         group, v.bytes.data(), cut, dim);
                        other_type.weigh(each_row(other.data(), group, dim).data(), p.data() + cut,
                                         keys, group,
                                         v.bytes.data() + std::size_t(cut) * type->row_bytes(dim),
                                         keys - cut, dim);
                        ASSERT_EQ(first_difference(other, got), -1)
                            << table->isa << " " << type->name << " dim " << dim << " group "
                            << group << " cut " << cut;
                    }
                }
            }
        }
    }
}

}  // namespace
}  // namespace hearth::test
