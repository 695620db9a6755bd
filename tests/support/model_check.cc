#include "support/model_check.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <stdexcept>
#include <thread>

#include "base/check.h"
#include "engine/kernels/kernels.h"

namespace hearth::test {

std::vector<std::string> supported_isas() {
    std::vector<std::string> out;
    for (const hearth_kernels* const* at = hearth_kernels_all; *at; ++at)
        if ((*at)->supported()) out.push_back((*at)->isa);
    return out;
}

Runner::Runner(model::Model& model, model::Device& device, const std::string& kv,
               std::int64_t n_ctx)
    : model_(model), device_(device) {
    const model::Config& c = model.config();
    const std::int64_t n_block = n_ctx / model::kBlockTokens + 1;
    auto made = device.make_kv({.n_layer = c.n_layer,
                                .n_head_kv = c.n_head_kv,
                                .head_dim = c.head_dim,
                                .n_block = n_block,
                                .type = kv});
    if (!made) throw std::runtime_error(made.error().message);
    kv_ = std::move(*made);
    for (std::int64_t i = n_block; i-- > 0;) blocks_.push_back(BlockId(std::int32_t(i)));
}

std::vector<float> Runner::feed(const Ids& ids, std::int64_t chunk) {
    std::vector<float> out;
    for (std::size_t at = 0; at < ids.size();) {
        const std::size_t n = std::min<std::size_t>(std::size_t(chunk), ids.size() - at);
        std::vector<TokenId> step_ids;
        std::vector<std::int64_t> rows;
        for (std::size_t i = 0; i < n; ++i) {
            step_ids.push_back(TokenId(ids[at + i]));
            rows.push_back(std::int64_t(i));
        }
        const model::Slice slice{
            .row = 0, .n_rows = std::int64_t(n), .pos = pos_, .blocks = blocks_.data()};
        const auto logits = model_.network().forward(
            device_, *kv_, {.ids = step_ids, .slices = {&slice, 1}, .logit_rows = rows});
        out.insert(out.end(), logits.begin(), logits.end());
        pos_ += std::int64_t(n);
        at += n;
    }
    return out;
}

Ids Runner::greedy(const Ids& prompt, std::int64_t n) {
    Ids out;
    std::vector<float> logits = feed(prompt);
    const auto V = std::ptrdiff_t(model_.config().n_vocab);
    while (std::int64_t(out.size()) < n) {
        const auto best_at = std::max_element(logits.end() - V, logits.end());
        const auto id = std::int32_t(best_at - (logits.end() - V));
        if (model_.tokenizer().ends_generation(TokenId(id)) ||
            model_.tokenizer().bos() == TokenId(id))
            break;
        out.push_back(id);
        logits = feed({id});
    }
    return out;
}

Deviation& Deviation::worse(const Deviation& other) {
    logit = std::max(logit, other.logit);
    logprob = std::max(logprob, other.logprob);
    gap = std::max(gap, other.gap);
    return *this;
}

namespace {

double log_of_sum(std::span<const double> row) {
    const double largest = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (const double v : row) sum += std::exp(v - largest);
    return largest + std::log(sum);
}

// Distance of row[best] from the largest of the others.
double lead(std::span<const double> row, std::int32_t best_id) {
    double other = -HUGE_VAL;
    for (std::size_t v = 0; v < row.size(); ++v)
        if (std::int32_t(v) != best_id) other = std::max(other, row[v]);
    return row[std::size_t(best_id)] - other;
}

}  // namespace

Deviation deviation(std::span<const double> exact, std::span<const double> other, const Ids& ids) {
    Deviation out;
    const std::size_t V = exact.size() / ids.size();
    for (std::size_t t = 0; t < ids.size(); ++t) {
        const auto a = exact.subspan(t * V, V), b = other.subspan(t * V, V);
        for (std::size_t v = 0; v < V; ++v) {
            const double d = std::fabs(a[v] - b[v]);
            if (!(d <= out.logit)) out.logit = std::isnan(d) ? HUGE_VAL : d;
        }
        const auto top = std::int32_t(std::max_element(a.begin(), a.end()) - a.begin());
        out.gap = std::max(out.gap, std::fabs(lead(a, top) - lead(b, top)));
        if (t + 1 == ids.size()) break;
        const auto next = std::size_t(ids[t + 1]);
        out.logprob =
            std::max(out.logprob, std::fabs((a[next] - log_of_sum(a)) - (b[next] - log_of_sum(b))));
    }
    return out;
}

Deviation deviation(std::span<const double> exact, const std::vector<float>& other,
                    const Ids& ids) {
    const std::vector<double> wide(other.begin(), other.end());
    return deviation(exact, wide, ids);
}

Deviation rounding_bound(const Reference& reference, const std::vector<Ids>& sequences,
                         const std::vector<std::vector<double>>& exact, const Rounding& like,
                         int n_runs, std::uint64_t seed, double n_spreads) {
    std::vector<Deviation> runs(static_cast<std::size_t>(n_runs));
    std::atomic<int> next = 0;
    const auto work = [&] {
        for (int run = next++; run < n_runs; run = next++)
            for (std::size_t i = 0; i < sequences.size(); ++i) {
                Rounding rounding = like;
                rounding.seed = seed + std::uint64_t(run) * sequences.size() + i;
                runs[std::size_t(run)].worse(
                    deviation(exact[i], reference.logits(sequences[i], &rounding), sequences[i]));
            }
    };
    std::vector<std::thread> threads;
    for (unsigned i = 1; i < std::min(4u, std::thread::hardware_concurrency()); ++i)
        threads.emplace_back(work);
    work();
    for (auto& thread : threads) thread.join();
    const auto bound = [&](double Deviation::* what) {
        double mean = 0, squares = 0;
        for (const auto& run : runs) mean += run.*what / n_runs;
        for (const auto& run : runs) squares += std::pow(run.*what - mean, 2);
        return mean + n_spreads * std::sqrt(squares / (n_runs - 1));
    };
    return {bound(&Deviation::logit), bound(&Deviation::logprob), bound(&Deviation::gap)};
}

double cautious_spreads(int n_runs) {
    const double k = n_runs - 1, of_99_percent = 2.326;
    const double root = 1 - 2 / (9 * k) - of_99_percent * std::sqrt(2 / (9 * k));
    return 6 / std::sqrt(root * root * root);
}

Rounding rounding_of(std::string_view isa, const std::string& kv) {
    const std::string name(isa);
    const hearth_kernels* kernels = hearth_kernels_pick(name.empty() ? nullptr : name.c_str());
    if (!kernels) throw std::runtime_error("no ISA " + name);
    Rounding out{.seed = 0, .kv = kv, .acts = {}};
    for (const hearth_format* const* at = kernels->formats; *at; ++at)
        out.acts[(*at)->gguf_type] = (*at)->act == HEARTH_ACT_F32    ? Act::f32
                                     : (*at)->act == HEARTH_ACT_BF16 ? Act::bf16
                                                                     : Act::q8_blocks_of_32;
    return out;
}

std::vector<double> gaps(std::span<const double> logits, std::int64_t n_vocab) {
    const auto V = std::size_t(n_vocab);
    std::vector<double> out;
    const Ids top = best(logits, n_vocab);
    for (std::size_t t = 0; t * V < logits.size(); ++t)
        out.push_back(lead(logits.subspan(t * V, V), top[t]));
    return out;
}

Ids best(std::span<const double> logits, std::int64_t n_vocab) {
    const auto V = std::size_t(n_vocab);
    Ids out;
    for (std::size_t t = 0; t * V < logits.size(); ++t) {
        const auto row = logits.subspan(t * V, V);
        out.push_back(std::int32_t(std::max_element(row.begin(), row.end()) - row.begin()));
    }
    return out;
}

std::vector<double> logprobs(std::span<const double> logits, const Ids& ids) {
    const std::size_t V = logits.size() / ids.size();
    std::vector<double> out;
    for (std::size_t t = 0; t + 1 < ids.size(); ++t) {
        const auto row = logits.subspan(t * V, V);
        out.push_back(row[std::size_t(ids[t + 1])] - log_of_sum(row));
    }
    return out;
}

namespace {

using model::Mat;
using model::Slice;
using model::Weight;

class MistakenDevice final : public model::Device {
  public:
    MistakenDevice(model::Device& right, Mistake mistake) : right_(right), mistake_(mistake) {}
    std::string name() const override { return right_.name(); }
    std::string_view isa() const override { return right_.isa(); }
    Result<Weight> load(const model::GgufTensor& tensor) override { return right_.load(tensor); }
    Result<std::size_t> kv_row_bytes(const std::string& type,
                                     std::int64_t head_dim) const override {
        return right_.kv_row_bytes(type, head_dim);
    }
    Result<std::unique_ptr<model::KvStore>> make_kv(const model::KvShape& shape) override {
        return right_.make_kv(shape);
    }
    Mat make_mat(std::int64_t rows, std::int64_t cols) override {
        return right_.make_mat(rows, cols);
    }
    void reserve(std::int64_t rows, std::int64_t k) override { right_.reserve(rows, k); }
    std::size_t scratch_bytes() const override { return right_.scratch_bytes(); }
    void embed(Mat out, const Weight& w, std::span<const TokenId> ids) override {
        right_.embed(out, w, ids);
    }
    void matmul(Mat out, Mat x, const Weight& w) override { right_.matmul(out, x, w); }
    void matmul_shared(std::span<const Mat> outs, Mat x,
                       std::span<const Weight* const> ws) override {
        right_.matmul_shared(outs, x, ws);
    }
    void rms_norm(Mat out, Mat x, const Weight& w, float eps) override {
        if (mistake_ == Mistake::eps_smaller) eps *= 0.1f;
        if (mistake_ == Mistake::eps_larger) eps *= 100.0f;
        right_.rms_norm(out, x, w, eps);
    }
    void rms_norm_heads(Mat out, Mat x, const Weight& w, float eps) override {
        if (mistake_ == Mistake::eps_smaller) eps *= 0.1f;
        if (mistake_ == Mistake::eps_larger) eps *= 100.0f;
        if (mistake_ == Mistake::no_head_norm) {
            CHECK(out.data == x.data);
            return;
        }
        right_.rms_norm_heads(out, x, w, eps);
    }
    void add_bias(Mat x, const Weight& bias) override {
        if (mistake_ != Mistake::no_bias) right_.add_bias(x, bias);
    }
    std::unique_ptr<model::Routing> make_routing(std::int64_t max_rows, std::int64_t n_expert,
                                                 std::int64_t n_used) override {
        return right_.make_routing(max_rows, n_expert, n_used);
    }
    void route(model::Routing& routing, Mat logits, const model::RouteParams& params) override {
        model::RouteParams used = params;
        if (mistake_ == Mistake::weights_of_all) used.normalize = !params.normalize;
        right_.route(routing, logits, used);
    }
    void matmul_experts(std::span<const Mat> outs, Mat x, std::span<const Weight* const> ws,
                        const model::Routing& routing) override {
        right_.matmul_experts(outs, x, ws, routing);
    }
    void matmul_slots(Mat out, Mat x, const Weight& w, const model::Routing& routing) override {
        right_.matmul_slots(out, x, w, routing);
    }
    void combine_experts(Mat out, Mat y, const model::Routing& routing) override {
        right_.combine_experts(out, y, routing);
    }
    void rope(Mat x, std::int64_t head_dim, std::span<const Slice> slices,
              const model::RopeParams& params) override {
        model::RopeParams used = params;
        if (mistake_ == Mistake::freq_base) used.freq_base *= 3.0f;
        if (mistake_ == Mistake::other_rope)
            used.style = params.style == model::RopeStyle::pairs ? model::RopeStyle::halves
                                                                 : model::RopeStyle::pairs;
        right_.rope(x, head_dim, slices, used);
    }
    void store_kv(model::KvStore& kv, std::int64_t layer, Mat k, Mat v,
                  std::span<const Slice> slices) override {
        right_.store_kv(kv, layer, k, v, slices);
    }
    void attention(Mat out, Mat q, const model::KvStore& kv, std::int64_t layer,
                   std::span<const Slice> slices, float scale) override {
        if (mistake_ == Mistake::scale_by_head_dim) scale *= scale;
        if (mistake_ == Mistake::scale_5_percent) scale *= 1.05f;
        right_.attention(out, q, kv, layer, slices, scale);
    }
    void silu_mul(Mat out, Mat gate, Mat up) override { right_.silu_mul(out, gate, up); }
    void add(Mat x, Mat y) override { right_.add(x, y); }
    void gather(Mat out, Mat x, std::span<const std::int64_t> rows) override {
        right_.gather(out, x, rows);
    }
    std::span<const float> read(Mat x) override { return right_.read(x); }

  private:
    model::Device& right_;
    Mistake mistake_;
};

}  // namespace

std::unique_ptr<model::Device> mistaken(model::Device& right, Mistake mistake) {
    return std::make_unique<MistakenDevice>(right, mistake);
}

const char* name_of(Mistake mistake) {
    switch (mistake) {
        case Mistake::none:
            return "none";
        case Mistake::other_rope:
            return "the other rope";
        case Mistake::freq_base:
            return "freq_base * 3";
        case Mistake::eps_smaller:
            return "eps / 10";
        case Mistake::eps_larger:
            return "eps * 100";
        case Mistake::scale_by_head_dim:
            return "scale 1 / Dh";
        case Mistake::scale_5_percent:
            return "scale * 1.05";
        case Mistake::no_bias:
            return "no biases";
        case Mistake::no_head_norm:
            return "no norm of heads";
        case Mistake::weights_of_all:
            return "weights of all experts";
    }
    return "?";
}

}  // namespace hearth::test
