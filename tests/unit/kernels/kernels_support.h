// What the kernels' tests share: the tables this machine runs, random numbers, bits.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "engine/kernels/kernels.h"
#include "support/seeds.h"

namespace hearth::test {

// Unit roundoff of f32; relative error of one correctly rounded operation.
inline constexpr double kU = 0x1p-24;
// gamma(n) bounds the relative error of n roundings in a row (Higham, Accuracy and Stability, 3.1).
inline double gamma(double n) {
    return n * kU / (1 - n * kU);
}

inline const hearth_kernels& scalar() {
    return *hearth_kernels_all[0];
}

inline std::vector<const hearth_kernels*> supported_tables() {
    std::vector<const hearth_kernels*> out;
    for (const hearth_kernels* const* at = hearth_kernels_all; *at; ++at)
        if ((*at)->supported()) out.push_back(*at);
    return out;
}

inline std::vector<const hearth_format*> formats_of(const hearth_kernels& table) {
    std::vector<const hearth_format*> out;
    for (const hearth_format* const* at = table.formats; *at; ++at) out.push_back(*at);
    return out;
}

// The format of the same type in another table.
inline const hearth_format& same_format(const hearth_kernels& table, const hearth_format& format) {
    return *hearth_format_find(&table, format.gguf_type);
}

class Random {
  public:
    explicit Random(std::uint64_t seed) : engine_(seed) {}
    float normal(float size = 1.0f) { return size * std::normal_distribution<float>()(engine_); }
    std::int64_t integer(std::int64_t low, std::int64_t high) {
        return std::uniform_int_distribution<std::int64_t>(low, high)(engine_);
    }
    std::vector<float> normals(std::int64_t n, float size = 1.0f) {
        std::vector<float> out(static_cast<std::size_t>(n));
        for (float& x : out) x = normal(size);
        return out;
    }

  private:
    std::mt19937_64 engine_;
};

inline std::uint32_t bits(float x) {
    std::uint32_t u;
    std::memcpy(&u, &x, 4);
    return u;
}
inline float from_bits(std::uint32_t u) {
    float x;
    std::memcpy(&x, &u, 4);
    return x;
}

// Index of the first value whose bits differ (all NaNs are one value), or -1.
inline std::int64_t first_difference(const std::vector<float>& a, const std::vector<float>& b) {
    if (a.size() != b.size()) return 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        if (bits(a[i]) != bits(b[i]) && !(std::isnan(a[i]) && std::isnan(b[i])))
            return std::int64_t(i);
    return -1;
}

// Does the table multiply with another form of activations than the scalar oracle, and so to other
// sums? (bf16 weights where the ISA has a dot of bf16 pairs.)
inline bool rounds_otherwise(const hearth_kernels& table, const hearth_format& format) {
    return same_format(table, format).act != same_format(scalar(), format).act;
}

// Weights [N, K] in a format, and what they decode to by the scalar reference.
struct Encoded {
    std::vector<std::uint8_t> bytes;
    std::size_t stride = 0;
    std::vector<float> values;  // [N, K]
};
inline Encoded encode_rows(const hearth_format& format, const std::vector<float>& w, std::int64_t n,
                           std::int64_t k) {
    const hearth_format& reference = same_format(scalar(), format);
    Encoded out;
    out.stride = std::size_t(k / format.block) * std::size_t(format.block_bytes);
    out.bytes.resize(out.stride * std::size_t(n));
    out.values.resize(std::size_t(n * k));
    for (std::int64_t i = 0; i < n; ++i) {
        std::uint8_t* row = out.bytes.data() + std::size_t(i) * out.stride;
        reference.encode(row, w.data() + i * k, k);
        reference.decode(out.values.data() + i * k, row, k);
    }
    return out;
}

inline std::vector<std::uint8_t> make_acts(const hearth_format& format, const std::vector<float>& x,
                                           std::int64_t rows, std::int64_t k) {
    const std::size_t row_bytes = format.act_bytes(k);
    std::vector<std::uint8_t> out(row_bytes * std::size_t(rows));
    for (std::int64_t t = 0; t < rows; ++t)
        format.make_act(out.data() + std::size_t(t) * row_bytes, x.data() + t * k, k);
    return out;
}

// [T, N], each element once; what is not written stays at a value that no test computes.
inline std::vector<float> matmul(const hearth_format& format, const std::vector<float>& x,
                                 std::int64_t rows, const Encoded& w, std::int64_t n,
                                 std::int64_t k) {
    std::vector<float> out(std::size_t(rows * n), -1234.5f);
    const auto acts = make_acts(format, x, rows, k);
    format.matmul(out.data(), n, acts.data(), rows, w.bytes.data(), w.stride, 0, n, k);
    return out;
}

}  // namespace hearth::test
