// The CPU device's mixtures of experts: rows choose, slots are grouped by expert, each expert's
// weights are multiplied with its slots by the formats' own matmul, and results are added in the
// order of the ranks.
//
// Exactness: a row's choice is a function of its logits; an element of a slot is computed by a
// kernel whose bits do not depend on the other rows; the sum over ranks has one order. So neither
// the grouping nor the batch can change a bit.
#include "engine/model/cpu_device_experts.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "engine/model/cpu_device.h"

namespace hearth::model {

CpuRouting::CpuRouting(std::int64_t max_rows, std::int64_t n_expert, std::int64_t n_used)
    : n_expert_(n_expert), n_used_(n_used), max_rows_(max_rows) {
    CHECK(max_rows >= 0 && n_used >= 1 && n_used <= n_expert && n_expert <= INT32_MAX);
    const auto slots = std::size_t(max_rows * n_used), experts = std::size_t(n_expert);
    experts_.resize(slots);
    weights_.resize(slots);
    slot_of_.resize(slots);
    row_of_.resize(slots);
    first_.resize(experts + 1);
    active_.resize(experts);
    next_.resize(experts);
    parts_.resize(experts * kMaxShared);
}

std::size_t CpuRouting::bytes() const {
    const auto of = [](const auto& v) { return v.size() * sizeof(v[0]); };
    return of(experts_) + of(weights_) + of(slot_of_) + of(row_of_) + of(first_) + of(active_) +
           of(next_) + of(parts_);
}

void CpuRouting::begin(std::int64_t n_rows) {
    CHECK(n_rows >= 0 && n_rows <= max_rows_);
    n_rows_ = n_rows;
}

void CpuRouting::group() {
    std::fill(first_.begin(), first_.end(), 0);
    for (std::int64_t i = 0; i < n_slots(); ++i)
        ++first_[std::size_t(experts_[std::size_t(i)]) + 1];
    n_active_ = 0;
    for (std::size_t e = 0; e < std::size_t(n_expert_); ++e) {
        if (first_[e + 1] > 0) active_[std::size_t(n_active_++)] = std::int64_t(e);
        first_[e + 1] += first_[e];
        next_[e] = first_[e];
    }
    for (std::int64_t i = 0; i < n_slots(); ++i) {
        const std::int64_t slot = next_[std::size_t(experts_[std::size_t(i)])]++;
        slot_of_[std::size_t(i)] = slot;
        row_of_[std::size_t(slot)] = i / n_used_;
    }
}

namespace {

const CpuRouting& own(const Routing& routing) {
    const auto* mine = dynamic_cast<const CpuRouting*>(&routing);
    CHECK(mine != nullptr);
    return *mine;
}

// The n_used greatest in falling order, by insertion: n_used is small. Equal values keep the order
// of their indices, and NaN is below everything.
void choose(std::int32_t* experts, const float* logits, std::int64_t n_expert,
            std::int64_t n_used) {
    const auto below = [&](std::int32_t a, std::int32_t b) {
        const float x = logits[a], y = logits[b];
        return std::isnan(x) ? !std::isnan(y) : x < y;
    };
    std::int64_t n = 0;
    for (std::int32_t e = 0; e < std::int32_t(n_expert); ++e) {
        if (n == n_used && !below(experts[n - 1], e)) continue;
        std::int64_t at = n < n_used ? n++ : n - 1;
        for (; at > 0 && below(experts[at - 1], e); --at) experts[at] = experts[at - 1];
        experts[at] = e;
    }
}

}  // namespace

std::unique_ptr<Routing> CpuDevice::make_routing(std::int64_t max_rows, std::int64_t n_expert,
                                                 std::int64_t n_used) {
    auto routing = std::make_unique<CpuRouting>(max_rows, n_expert, n_used);
    routing_bytes_ += routing->bytes();
    return routing;
}

// weight(i, r) = exp(logit - greatest) / sum, the sum over the chosen in rank order, or over all in
// the order of exp_sum.
void CpuDevice::route(Routing& routing, Mat logits, const RouteParams& params) {
    auto* mine = dynamic_cast<CpuRouting*>(&routing);
    CHECK(mine != nullptr && logits.cols == mine->n_expert());
    const std::int64_t n_used = mine->n_used();
    finish_rows();
    mine->begin(logits.rows);
    for (std::int64_t i = 0; i < logits.rows; ++i) {
        float* row = logits.data + i * logits.ld;
        const std::int32_t* experts = mine->experts(i);
        float* weights = mine->weights(i);
        choose(mine->experts(i), row, logits.cols, n_used);
        const float greatest = row[experts[0]];
        for (std::int64_t r = 0; r < n_used; ++r) weights[r] = row[experts[r]];
        float sum = 0.0f;
        kernels_.exp_sum(weights, greatest, n_used);
        for (std::int64_t r = 0; r < n_used; ++r) sum += weights[r];
        if (!params.normalize) sum = kernels_.exp_sum(row, greatest, logits.cols);
        for (std::int64_t r = 0; r < n_used; ++r) weights[r] /= sum;
    }
    mine->group();
}

// Activations of every slot, in the order of the slots.
CpuDevice::Activations CpuDevice::prepare_slots(Mat x, const hearth_format& form,
                                                const CpuRouting& routing) {
    const std::size_t row_bytes = form.act_bytes(x.cols);
    CHECK(row_bytes * std::size_t(routing.n_slots()) <= act_.bytes());  // reserve() was told fewer
    finish_rows();                                                      // slots are other rows
    for_rows(routing.n_slots(), x.cols, [&](std::int64_t slot) {
        form.make_act(act_.data() + std::size_t(slot) * row_bytes,
                      x.data + routing.row_of(slot) * x.ld, x.cols);
    });
    return {act_.data(), row_bytes};
}

void CpuDevice::matmul_experts(std::span<const Mat> outs, Mat x, std::span<const Weight* const> ws,
                               const Routing& routing) {
    const CpuRouting& mine = own(routing);
    CHECK(outs.size() == ws.size() && ws.size() <= kMaxShared && mine.n_rows() == x.rows);
    for (const Weight* w : ws) CHECK(w->k == x.cols);
    for_runs(ws, [&](std::size_t from, std::size_t to) {
        multiply_experts(outs.subspan(from, to - from),
                         prepare_slots(x, format_of(*ws[from]), mine), ws.subspan(from, to - from),
                         mine);
    });
}

void CpuDevice::matmul_slots(Mat out, Mat x, const Weight& w, const Routing& routing) {
    const CpuRouting& mine = own(routing);
    CHECK(x.rows == mine.n_slots() && w.k == x.cols);
    const Weight* ws[] = {&w};
    multiply_experts({&out, 1}, prepare(x, format_of(w)), ws, mine);
}

// A part is some output columns of one expert of one weight; parts are cut so that their work is
// about equal, whatever the number of slots of an expert.
// Cost: the bytes of the active experts' weights.
void CpuDevice::multiply_experts(std::span<const Mat> outs, Activations act,
                                 std::span<const Weight* const> ws, const CpuRouting& routing) {
    const std::int64_t n_active = routing.n_active();
    std::array<std::int64_t, kMaxShared> expert_rows{};  // N of each weight
    const auto work = [&](std::size_t j, std::int64_t i) {
        const std::int64_t e = routing.active(i), slots = routing.first(e + 1) - routing.first(e);
        return expert_rows[j] * std::int64_t(ws[j]->row_bytes) *
               std::max<std::int64_t>(1, slots / 4);
    };
    std::int64_t work_all = 0;
    for (std::size_t j = 0; j < ws.size(); ++j) {
        expert_rows[j] = layout_of(*ws[j]).n;
        CHECK(ws[j]->n == routing.n_expert() * expert_rows[j]);
        CHECK(outs[j].rows == routing.n_slots() && outs[j].cols == expert_rows[j]);
        for (std::int64_t i = 0; i < n_active; ++i) work_all += work(j, i);
    }
    const std::int64_t n_wanted = n_parts_for(work_all);
    std::int64_t* first = routing.parts();
    std::int64_t n_parts = 0;
    const auto columns = [&](std::size_t j, std::int64_t i) {
        const std::int64_t n = std::max<std::int64_t>(1, work(j, i) * n_wanted / work_all);
        return ceil_div(ceil_div(expert_rows[j], n), kTileColumns) * kTileColumns;
    };
    for (std::size_t j = 0; j < ws.size(); ++j)
        for (std::int64_t i = 0; i < n_active; ++i) {
            first[std::int64_t(j) * n_active + i] = n_parts;
            n_parts += ceil_div(expert_rows[j], columns(j, i));
        }
    const std::int64_t n_lists = std::int64_t(ws.size()) * n_active;
    pool_.run(n_parts, [&](std::int64_t part) {
        const std::int64_t list = std::upper_bound(first, first + n_lists, part) - first - 1;
        const auto j = std::size_t(list / n_active);
        const std::int64_t e = routing.active(list % n_active);
        const std::int64_t n = columns(j, list % n_active), n0 = (part - first[list]) * n;
        const std::int64_t slot = routing.first(e), n_slots = routing.first(e + 1) - slot;
        multiply_part({outs[j].data + slot * outs[j].ld, n_slots, outs[j].cols, outs[j].ld},
                      n_slots, {act.data + std::size_t(slot) * act.row_bytes, act.row_bytes},
                      *ws[j], e, n0, std::min(expert_rows[j], n0 + n));
    });
}

void CpuDevice::combine_experts(Mat out, Mat y, const Routing& routing) {
    const CpuRouting& mine = own(routing);
    CHECK(out.rows == mine.n_rows() && y.rows == mine.n_slots() && out.cols == y.cols);
    finish_rows();  // rows of slots
    later(out.rows, out.cols * mine.n_used(),
          [add_scaled = kernels_.add_scaled, out, y, &mine](std::int64_t i) {
              float* row = out.data + i * out.ld;
              std::fill_n(row, out.cols, 0.0f);
              for (std::int64_t r = 0; r < mine.n_used(); ++r)
                  add_scaled(row, y.data + mine.slot_of(i, r) * y.ld, mine.weight(i, r), out.cols);
          });
}

}  // namespace hearth::model
