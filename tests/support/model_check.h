// Running a loaded model directly, without the engine, and comparing what it says with
// Reference.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/sanitized.h"
#include "engine/model/device.h"
#include "engine/model/model.h"
#include "support/reference_model.h"

namespace hearth::test {

using Ids = std::vector<std::int32_t>;

// Unoptimised and sanitized builds compute a tenth as fast and look for other things than numbers:
// tests take fewer passes and the shorter cases there.
#if !defined(__OPTIMIZE__) || HEARTH_SANITIZED
inline constexpr bool kSlowBuild = true;
#else
inline constexpr bool kSlowBuild = false;
#endif

// The ISAs that this machine runs, the scalar oracle first.
std::vector<std::string> supported_isas();

// One sequence through a network. Its cache blocks are scattered, so that block tables matter.
class Runner {
  public:
    // kv: "f32" or "f16". Requires: the model was loaded on the device with max_rows = max_logits
    // = 64.
    Runner(model::Model& model, model::Device& device, const std::string& kv, std::int64_t n_ctx);
    // Appends ids, in steps of `chunk` rows at most (64 at most). Logits [ids.size(), V] of all
    // rows.
    std::vector<float> feed(const Ids& ids, std::int64_t chunk = 64);
    // Feeds the prompt, then takes the largest logit each time. Stops before an end token and after
    // n.
    Ids greedy(const Ids& prompt, std::int64_t n);

  private:
    model::Model& model_;
    model::Device& device_;
    std::unique_ptr<model::KvStore> kv_;
    std::vector<BlockId> blocks_;
    std::int64_t pos_ = 0;
};

// How far logits are from exact ones, at worst over all positions of a sequence.
struct Deviation {
    double logit = 0;    // of any token
    double logprob = 0;  // of the token that follows in the sequence
    double gap = 0;      // between the exact best token and the best other one
    Deviation& worse(const Deviation& other);
};
Deviation deviation(std::span<const double> exact, std::span<const double> other, const Ids& ids);
Deviation deviation(std::span<const double> exact, const std::vector<float>& other, const Ids& ids);

// The bound on Deviation that rounding explains: mean + 6 standard deviations, over n_runs Monte
// Carlo passes, of the worst deviation of a pass over all sequences. The worst of some 10^6 logits
// varies little from pass to pass, so 6 of its standard deviations is far beyond what a sound
// engine reaches, and wrong arithmetic is farther still: the mutations in the tests show it.
// exact: the reference's logits of each sequence. like: all but the seed of each pass.
Deviation rounding_bound(const Reference& reference, const std::vector<Ids>& sequences,
                         const std::vector<std::vector<double>>& exact, const Rounding& like,
                         int n_runs, std::uint64_t seed, double n_spreads = 6);
// 6 times how much larger than its estimate from n_runs passes a standard deviation may be (99 %
// confidence, chi-squared by Wilson and Hilferty 1931): for bounds from few passes.
double cautious_spreads(int n_runs);
// What that ISA does to activations before each type of matrix, read from its table; empty isa: the
// one that make_cpu_device("") picks.
Rounding rounding_of(std::string_view isa, const std::string& kv);

// Differences between the best and the second-best logit at each position.
std::vector<double> gaps(std::span<const double> logits, std::int64_t n_vocab);
// The best token at each position.
Ids best(std::span<const double> logits, std::int64_t n_vocab);
// Log-probability of ids[t + 1] at each position t.
std::vector<double> logprobs(std::span<const double> logits, const Ids& ids);

// A device with one thing wrong: what the comparisons must be able to see.
enum class Mistake {
    none,
    other_rope,         // pairs (i, i + n_rot / 2) instead of neighbours, or the reverse
    freq_base,          // 3 times the file's
    eps_smaller,        // a tenth of the file's
    eps_larger,         // 100 times the file's
    scale_by_head_dim,  // 1 / Dh instead of 1 / sqrt(Dh)
    scale_5_percent,    // 5 % too large
    no_bias,            // q, k and v without their biases
    no_head_norm,       // heads of q and k as they come
    weights_of_all,     // experts weighted by the softmax over all of them
};
std::unique_ptr<model::Device> mistaken(model::Device& right, Mistake mistake);
const char* name_of(Mistake mistake);
// Those that every family must notice.
inline constexpr Mistake kMistakes[] = {Mistake::other_rope,        Mistake::freq_base,
                                        Mistake::eps_smaller,       Mistake::eps_larger,
                                        Mistake::scale_by_head_dim, Mistake::scale_5_percent};

}  // namespace hearth::test
