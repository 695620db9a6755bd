// A sequence of random queries, keys and values on a device, and attention over it in double
// precision.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <span>
#include <vector>

#include "engine/model/device.h"
#include "unit/kernels/kernels_support.h"

namespace hearth::test {

inline model::Weight load_rows(model::Device& device, const hearth_format& format,
                               const Encoded& encoded, std::int64_t n, std::int64_t k) {
    const std::span<const std::uint8_t> bytes(encoded.bytes.data(),
                                              encoded.stride * std::size_t(n));
    return device
        .load(
            {.name = "w", .type = format.gguf_type, .shape = {n, k}, .bytes = std::as_bytes(bytes)})
        .value();
}

// The values must outlive the weight; kept for the program's life.
inline model::Weight load_vector(model::Device& device, std::vector<float> values) {
    static std::vector<std::unique_ptr<std::vector<float>>> kept;
    kept.push_back(std::make_unique<std::vector<float>>(std::move(values)));
    const std::vector<float>& v = *kept.back();
    return device
        .load({.name = "v",
               .type = 0,
               .shape = {std::int64_t(v.size())},
               .bytes = std::as_bytes(std::span(v))})
        .value();
}

struct Reference {
    std::vector<double> out;     // [Dh]
    double score_magnitude = 0;  // largest over the keys of scale * sum |q k|
    double score_range = 0;      // largest score minus smallest
    double value_magnitude = 0;  // largest |v|
};

// Lives in layer 1 of 2, in blocks dealt out of order. Keys of positions 256 to 511 are
// second_piece_gain times as large.
class Timeline {
  public:
    Timeline(model::Device& device, Random& random, const std::string& kv_type, std::int64_t n,
             std::int64_t n_head, std::int64_t n_head_kv, std::int64_t head_dim,
             float second_piece_gain = 1.0f)
        : n_(n),
          n_head_(n_head),
          n_head_kv_(n_head_kv),
          head_dim_(head_dim),
          q_(random.normals(n * n_head * head_dim)),
          k_(random.normals(n * n_head_kv * head_dim)),
          v_(random.normals(n * n_head_kv * head_dim)) {
        for (std::int64_t i = 256 * n_head_kv * head_dim; i < std::int64_t(k_.size()); ++i)
            if (i < 512 * n_head_kv * head_dim) k_[std::size_t(i)] *= second_piece_gain;
        const std::int64_t n_block = (n + model::kBlockTokens - 1) / model::kBlockTokens + 2;
        for (std::int64_t b = 0; b < n_block; ++b)
            blocks_.emplace_back(std::int32_t(n_block - 1 - b));
        kv_ = device.make_kv({2, n_head_kv, head_dim, n_block, kv_type}).value();
        queries_ = device.make_mat(n, n_head * head_dim);
        out_ = device.make_mat(n, n_head * head_dim);
        keys_ = device.make_mat(n, n_head_kv * head_dim);
        values_ = device.make_mat(n, n_head_kv * head_dim);
        round_to(kv_type, k_rounded_ = k_);
        round_to(kv_type, v_rounded_ = v_);
    }

    const BlockId* blocks() const { return blocks_.data(); }
    model::KvStore& kv() { return *kv_; }
    float scale() const { return 1.0f / std::sqrt(float(head_dim_)); }
    const float* query(std::int64_t pos) const { return q_.data() + pos * n_head_ * head_dim_; }

    // Keys and values of positions [from, to), as one step writes them.
    void store(model::Device& device, std::int64_t from, std::int64_t to) {
        const model::Slice slice = slice_of(from, to);
        std::copy_n(k_.data() + from * keys_.cols, (to - from) * keys_.cols, keys_.data);
        std::copy_n(v_.data() + from * values_.cols, (to - from) * values_.cols, values_.data);
        device.store_kv(*kv_, 1, keys_.top(to - from), values_.top(to - from), {&slice, 1});
    }
    // Whatever lies in the scratch, at the slices' positions.
    void store_rows(model::Device& device, std::span<const model::Slice> slices, std::int64_t n) {
        device.store_kv(*kv_, 1, keys_.top(n), values_.top(n), slices);
    }
    model::Mat attend(model::Device& device, std::int64_t from, std::int64_t to) {
        const model::Slice slice = slice_of(from, to);
        std::copy_n(query(from), (to - from) * queries_.cols, queries_.data);
        device.attention(out_.top(to - from), queries_.top(to - from), *kv_, 1, {&slice, 1},
                         scale());
        return out_.top(to - from);
    }

    // softmax(q k^T scale) v by its definition, for one head of the row at pos.
    Reference reference(std::int64_t pos, std::int64_t head) const {
        const std::int64_t kv_head = head / (n_head_ / n_head_kv_);
        const float* q = query(pos) + head * head_dim_;
        Reference r;
        r.out.assign(std::size_t(head_dim_), 0.0);
        std::vector<double> scores;
        for (std::int64_t s = 0; s <= pos; ++s) {
            const float* k = k_rounded_.data() + (s * n_head_kv_ + kv_head) * head_dim_;
            double score = 0, magnitude = 0;
            for (std::int64_t d = 0; d < head_dim_; ++d) {
                score += double(q[d]) * double(k[d]) * double(scale());
                magnitude += std::fabs(double(q[d]) * double(k[d]) * double(scale()));
            }
            scores.push_back(score);
            r.score_magnitude = std::max(r.score_magnitude, magnitude);
        }
        const double top = *std::max_element(scores.begin(), scores.end());
        r.score_range = top - *std::min_element(scores.begin(), scores.end());
        double sum = 0;
        for (double& s : scores) sum += s = std::exp(s - top);
        for (std::int64_t s = 0; s <= pos; ++s) {
            const float* v = v_rounded_.data() + (s * n_head_kv_ + kv_head) * head_dim_;
            for (std::int64_t d = 0; d < head_dim_; ++d) {
                r.out[std::size_t(d)] += scores[std::size_t(s)] / sum * double(v[d]);
                r.value_magnitude = std::max(r.value_magnitude, std::fabs(double(v[d])));
            }
        }
        return r;
    }

  private:
    // As the type's rows hold them (kv_test.cc).
    void round_to(const std::string& kv_type, std::vector<float>& x) const {
        const hearth_kv_type& type = *hearth_kv_type_find(&scalar(), kv_type.c_str());
        for (const hearth_format* format : formats_of(scalar())) {
            if (kv_type != format->name) continue;
            std::vector<std::uint8_t> row(type.row_bytes(head_dim_));
            for (std::size_t at = 0; at < x.size(); at += std::size_t(head_dim_)) {
                type.store(row.data(), x.data() + at, head_dim_);
                format->decode(x.data() + at, row.data(), head_dim_);
            }
        }
    }
    model::Slice slice_of(std::int64_t from, std::int64_t to) const {
        return {.row = 0, .n_rows = to - from, .pos = from, .blocks = blocks_.data()};
    }

    const std::int64_t n_, n_head_, n_head_kv_, head_dim_;
    std::vector<float> q_, k_, v_, k_rounded_, v_rounded_;
    std::vector<BlockId> blocks_;
    std::unique_ptr<model::KvStore> kv_;
    model::Mat queries_, out_, keys_, values_;
};

}  // namespace hearth::test
