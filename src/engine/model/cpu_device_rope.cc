#include "engine/model/cpu_device_rope.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "engine/model/kv_store.h"
#include "engine/model/limits.h"

namespace hearth::model {

// Every head that a config may have fits the table.
static_assert(kHeadDimMax <= kCpuHeadDimMax);

void RopeTable::reserve(std::int64_t n_rows) {
    if (n_rows <= std::int64_t(pos_.size())) return;
    constexpr auto kPairs = std::size_t(kCpuHeadDimMax / 2);
    freqs_.assign(kPairs, 0.0);
    factors_.assign(kPairs, 0.0f);
    pos_.assign(std::size_t(n_rows), -1);
    cos_.reset(static_cast<float*>(std::calloc(std::size_t(n_rows) * kPairs, sizeof(float))));
    sin_.reset(static_cast<float*>(std::calloc(std::size_t(n_rows) * kPairs, sizeof(float))));
    CHECK(cos_ && sin_);
    params_ = {};
}

void RopeTable::expect(std::int64_t n_rot) {
    CHECK(n_rot >= 0 && n_rot <= kCpuHeadDimMax);
    n_pairs_ = std::max(n_pairs_, n_rot / 2);
    params_ = {};
}

std::size_t RopeTable::bytes() const {
    const std::size_t used = pos_.size() * std::size_t(n_pairs_) * 2 * sizeof(float);
    return freqs_.size() * sizeof(double) + factors_.size() * sizeof(float) +
           pos_.size() * sizeof(std::int64_t) + used;
}

bool RopeTable::same_params(const RopeParams& params) const {
    return params_.n_rot == params.n_rot && params_.freq_base == params.freq_base &&
           params_.freq_scale == params.freq_scale &&
           !params_.freq_factors == !params.freq_factors &&
           (!params.freq_factors ||
            std::equal(factors_.begin(), factors_.begin() + n_pairs_, params.freq_factors));
}

void RopeTable::set_params(const RopeParams& params) {
    params_ = params;
    n_pairs_ = params.n_rot / 2;
    if (params.freq_factors)
        std::copy_n(params.freq_factors, std::size_t(n_pairs_), factors_.begin());
    for (std::int64_t i = 0; i < n_pairs_; ++i) {
        const double freq =
            std::pow(double(params.freq_base), -2.0 * double(i) / double(params.n_rot));
        freqs_[std::size_t(i)] = freq * double(params.freq_scale) /
                                 (params.freq_factors ? double(params.freq_factors[i]) : 1.0);
    }
    std::fill(pos_.begin(), pos_.end(), -1);
}

bool RopeTable::holds(std::span<const Slice> slices, const RopeParams& params) const {
    if (!same_params(params)) return false;
    for (const Slice& slice : slices)
        for (std::int64_t i = 0; i < slice.n_rows; ++i) {
            const std::int64_t row = slice.row + i;
            if (row >= std::int64_t(pos_.size()) || pos_[std::size_t(row)] != slice.pos + i)
                return false;
        }
    return true;
}

void RopeTable::update(std::span<const Slice> slices, const RopeParams& params) {
    CHECK(params.n_rot >= 0 && params.n_rot % 2 == 0 && params.n_rot <= kCpuHeadDimMax);
    if (!same_params(params)) set_params(params);
    for (const Slice& slice : slices) {
        CHECK(slice.row >= 0 && slice.row + slice.n_rows <= std::int64_t(pos_.size()));
        for (std::int64_t i = 0; i < slice.n_rows; ++i) {
            const std::int64_t row = slice.row + i, pos = slice.pos + i;
            if (pos_[std::size_t(row)] == pos) continue;
            pos_[std::size_t(row)] = pos;
            for (std::int64_t j = 0; j < n_pairs_; ++j) {
                const double angle = double(pos) * freqs_[std::size_t(j)];
                cos_[std::size_t(row * n_pairs_ + j)] = float(std::cos(angle));
                sin_[std::size_t(row * n_pairs_ + j)] = float(std::sin(angle));
            }
        }
    }
}

}  // namespace hearth::model
