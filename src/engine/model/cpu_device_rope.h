// RopeTable: cosines and sines of a step's rows, computed once and used by every layer.
//
//   angle(row, i) = position * freq_scale * freq_base^(-2 i / n_rot) / freq_factors[i]   in f64
//
// Frequencies and angles are in f64: at position 100,000 an f32 angle would be off by 0.004. Rows
// that stand where they stood in the call before keep their values.
//
// Thread:     engine only.
// Invariants: nothing is allocated after reserve().
// Source:     RoPE, arXiv:2104.09864, section 3.4.2.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "engine/model/device.h"

namespace hearth::model {

class RopeTable {
  public:
    void reserve(std::int64_t n_rows);
    // How many values of a head turn, so that bytes() counts what steps will touch.
    void expect(std::int64_t n_rot);
    std::size_t bytes() const;
    // Would update() leave the table as it is?
    bool holds(std::span<const Slice> slices, const RopeParams& params) const;
    // Requires: at most the reserved rows in slices; params.n_rot even and at most kCpuHeadDimMax.
    void update(std::span<const Slice> slices, const RopeParams& params);
    // n_rot / 2 values of a row of the step.
    const float* cos(std::int64_t row) const { return cos_.get() + row * n_pairs_; }
    const float* sin(std::int64_t row) const { return sin_.get() + row * n_pairs_; }

  private:
    bool same_params(const RopeParams& params) const;
    void set_params(const RopeParams& params);

    std::int64_t n_pairs_ = 0;
    RopeParams params_;           // of the table at hand; its freq_factors are copied to factors_
    std::vector<double> freqs_;   // [n_pairs], radians per position
    std::vector<float> factors_;  // [n_pairs], if params_.freq_factors
    std::vector<std::int64_t> pos_;  // [rows]; -1: not computed
    struct Free {
        void operator()(float* p) const { std::free(p); }
    };
    // [rows, n_pairs]. From calloc: room for the widest heads, of which only what is used is
    // touched.
    std::unique_ptr<float[], Free> cos_, sin_;
};

}  // namespace hearth::model
