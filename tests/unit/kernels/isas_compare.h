// compare_isas: bytes choose a verb, its shape and its operands; every ISA that wants the same form
// of activations must give the scalar's bits.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "engine/kernels/kernels.h"

namespace hearth::test {

// Where each of n rows of dim values begins: as attention's kernels take their queries and sums.
template <class T>
std::vector<T*> each_row(T* x, std::int64_t n, std::int64_t dim) {
    std::vector<T*> rows;
    for (std::int64_t i = 0; i < n; ++i) rows.push_back(x + i * dim);
    return rows;
}

// Reads values from bytes, from the start again when they end.
class ByteSource {
  public:
    explicit ByteSource(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
    std::uint8_t byte() { return bytes_.empty() ? 0 : bytes_[at_++ % bytes_.size()]; }
    std::int64_t integer(std::int64_t low, std::int64_t high) {
        const int upper = byte();  // of two calls in one expression either may come first
        return low + (upper * 256 + byte()) % (high - low + 1);
    }
    float number() {
        std::uint32_t u = 0;
        for (int i = 0; i < 4; ++i) u |= std::uint32_t(byte()) << 8 * i;
        return std::bit_cast<float>(u);
    }
    std::vector<float> numbers(std::int64_t n) {
        std::vector<float> out(static_cast<std::size_t>(n));
        for (float& x : out) x = number();
        return out;
    }

  private:
    std::span<const std::uint8_t> bytes_;
    std::size_t at_ = 0;
};

// Encoding is defined for finite values.
inline void make_finite(std::vector<float>& x) {
    for (float& v : x)
        if (!(std::fabs(v) < 1e30f)) v = 1.0f;
}

inline std::vector<float> run_matmul(const hearth_format& format, ByteSource source) {
    const std::int64_t k = format.block * source.integer(1, format.block == 1 ? 70 : 4);
    const std::int64_t n = source.integer(1, 37), rows = source.integer(1, 19);
    const auto stride = std::size_t(k / format.block * format.block_bytes);
    const std::vector<float> x = source.numbers(rows * k);
    std::vector<std::uint8_t> w(stride * std::size_t(n)),
        acts(format.act_bytes(k) * std::size_t(rows));
    for (std::uint8_t& byte : w) byte = source.byte();
    for (std::int64_t t = 0; t < rows; ++t)
        format.make_act(acts.data() + std::size_t(t) * format.act_bytes(k), x.data() + t * k, k);
    std::vector<float> out(std::size_t(rows * n));
    format.matmul(out.data(), n, acts.data(), rows, w.data(), stride, 0, n, k);
    std::vector<float> decoded(std::size_t(n * k));
    format.decode(decoded.data(), w.data(), n * k);
    out.insert(out.end(), decoded.begin(), decoded.end());
    std::vector<float> finite = x;
    make_finite(finite);
    std::vector<std::uint8_t> encoded(stride * std::size_t(rows));
    format.encode(encoded.data(), finite.data(), rows * k);
    out.insert(out.end(), encoded.begin(), encoded.end());
    return out;
}

inline std::vector<float> run_attention(const hearth_kv_type& type, ByteSource source) {
    const std::int64_t dim = type.block * source.integer(1, type.block == 1 ? 70 : 4);
    const std::int64_t group = source.integer(1, 9);
    const std::int64_t keys = source.integer(1, 16);
    const std::vector<float> q = source.numbers(group * dim), x = source.numbers(keys * dim);
    std::vector<std::uint8_t> rows(type.row_bytes(dim) * std::size_t(keys));
    for (std::int64_t s = 0; s < keys; ++s)
        type.store(rows.data() + std::size_t(s) * type.row_bytes(dim), x.data() + s * dim, dim);
    std::vector<std::uint8_t> block(type.row_bytes(dim) * HEARTH_KV_KEYS);
    for (std::int64_t s = 0; s < keys; ++s)
        type.store_key(block.data(), s, x.data() + s * dim, dim);
    std::vector<float> scores(std::size_t(group * 16), 0.0f), sums = q;
    type.scores(scores.data(), 16, each_row(q.data(), group, dim).data(), group, block.data(), keys,
                dim, 0.125f);
    const std::vector<float> p = source.numbers(group * 16);
    type.weigh(each_row(sums.data(), group, dim).data(), p.data(), 16, group, rows.data(), keys,
               dim);
    scores.insert(scores.end(), sums.begin(), sums.end());
    return scores;
}

inline std::vector<float> run_ops(const hearth_kernels& table, ByteSource source) {
    const std::int64_t n = source.integer(1, 200);
    const std::vector<float> x = source.numbers(n), y = source.numbers(n);
    std::vector<float> out(static_cast<std::size_t>(n)), all;
    const auto keep = [&] { all.insert(all.end(), out.begin(), out.end()); };
    table.rms_norm(out.data(), x.data(), y.data(), n, 1e-5f);
    keep();
    table.silu_mul(out.data(), x.data(), y.data(), n);
    keep();
    out = x;
    all.push_back(table.max(x.data(), n));
    all.push_back(table.exp_sum(out.data(), y[0], n));
    keep();
    out = x;
    table.add(out.data(), y.data(), n);
    table.scale(out.data(), y[0], n);
    keep();
    table.rope_pairs(out.data(), x.data(), y.data(), n / 2 * 2);
    keep();
    table.rope_halves(out.data(), y.data(), x.data(), n / 2 * 2);
    table.add_scaled(out.data(), y.data(), x[0], n);
    keep();
    return all;
}

// Empty where all agree; all NaNs count as one value.
inline std::string compare_isas(std::span<const std::uint8_t> bytes) {
    ByteSource source(bytes);
    const std::uint8_t verb = source.byte(), which = source.byte();
    const auto run = [&](const hearth_kernels& table) {
        std::size_t n_formats = 0, n_types = 0;
        while (table.formats[n_formats]) ++n_formats;
        while (table.kv_types[n_types]) ++n_types;
        if (verb % 3 == 0) return run_matmul(*table.formats[which % n_formats], source);
        if (verb % 3 == 1) return run_attention(*table.kv_types[which % n_types], source);
        return run_ops(table, source);
    };
    const hearth_kernels& scalar = *hearth_kernels_all[0];
    const std::vector<float> expected = run(scalar);
    for (const hearth_kernels* const* at = hearth_kernels_all + 1; *at; ++at) {
        if (!(*at)->supported()) continue;
        std::size_t n_formats = 0;
        while (scalar.formats[n_formats]) ++n_formats;
        const std::size_t i_format = which % n_formats;
        if (verb % 3 == 0 && (*at)->formats[i_format]->act != scalar.formats[i_format]->act) {
            run(**at); /* the sanitizers watch */
            continue;
        }
        const std::vector<float> got = run(**at);
        for (std::size_t i = 0; i < expected.size(); ++i)
            if (std::bit_cast<std::uint32_t>(got[i]) != std::bit_cast<std::uint32_t>(expected[i]) &&
                !(std::isnan(got[i]) && std::isnan(expected[i])))
                return std::string((*at)->isa) + " verb " + std::to_string(verb % 3) + " of " +
                       std::to_string(which) + " value " + std::to_string(i) + ": " +
                       std::to_string(got[i]) + ", scalar " + std::to_string(expected[i]);
    }
    return "";
}

}  // namespace hearth::test
