// CpuRouting: which experts the rows of a step go through, with the slots grouped by expert, so
// that each expert's weights meet all their rows at once.
//
//   slot s belongs to row row_of[s]; the slots of expert e are first[e] .. first[e + 1] - 1, in the
//   order of their rows; slot_of[i * n_used + r] is the slot of row i's rank r.
//
// Thread:     engine only; compute threads read.
// Invariants: (1) a row's experts differ from each other, and every slot belongs to one (row,
// rank).
//             (2) nothing is allocated after construction.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/model/device.h"

namespace hearth::model {

class CpuRouting final : public Routing {
  public:
    CpuRouting(std::int64_t max_rows, std::int64_t n_expert, std::int64_t n_used);
    std::int64_t n_expert() const { return n_expert_; }
    std::int64_t n_used() const { return n_used_; }

    std::size_t bytes() const;
    // Requires: n_rows <= max_rows.
    void begin(std::int64_t n_rows);
    // Experts and weights of a row, to be written; then group() derives the slots.
    std::int32_t* experts(std::int64_t row) { return experts_.data() + row * n_used_; }
    float* weights(std::int64_t row) { return weights_.data() + row * n_used_; }
    void group();

    std::int64_t n_rows() const { return n_rows_; }
    std::int64_t n_slots() const { return n_rows_ * n_used_; }
    std::int64_t first(std::int64_t expert) const { return first_[std::size_t(expert)]; }
    std::int64_t row_of(std::int64_t slot) const { return row_of_[std::size_t(slot)]; }
    std::int64_t slot_of(std::int64_t row, std::int64_t rank) const {
        return slot_of_[std::size_t(row * n_used_ + rank)];
    }
    float weight(std::int64_t row, std::int64_t rank) const {
        return weights_[std::size_t(row * n_used_ + rank)];
    }
    // Experts that have slots, ascending.
    std::int64_t n_active() const { return n_active_; }
    std::int64_t active(std::int64_t i) const { return active_[std::size_t(i)]; }
    // Room for the first part of each weight's work with each active expert:
    // [ws.size(), n_active] of one matmul_experts.
    std::int64_t* parts() const { return parts_.data(); }

  private:
    const std::int64_t n_expert_, n_used_, max_rows_;
    std::int64_t n_rows_ = 0, n_active_ = 0;
    std::vector<std::int32_t> experts_;        // [max_rows, n_used]
    std::vector<float> weights_;               // [max_rows, n_used]
    std::vector<std::int64_t> slot_of_;        // [max_rows, n_used]
    std::vector<std::int64_t> row_of_;         // [max_rows * n_used]
    std::vector<std::int64_t> first_;          // [n_expert + 1]
    std::vector<std::int64_t> active_;         // [n_expert]
    std::vector<std::int64_t> next_;           // [n_expert], while grouping
    mutable std::vector<std::int64_t> parts_;  // [kMaxShared * n_expert]
};

}  // namespace hearth::model
