// Sampler: one row of logits → one token, and log-probabilities.
//
// Biases and penalties, where asked for, make a second row of adjusted logits (the order stands
// with Sampling, in engine.h). temperature 0 takes the best token of it. Otherwise p =
// softmax(logits / temperature), and the filters act in this order, each on what the one before it
// left, renormalised:
//
//   top_k   the k best
//   top_p   the shortest run of best tokens whose probabilities reach p (at least one token)
//   min_p   tokens with at least min_p times the best one's probability
//
// Then u = uniform(seed, output position) picks from the rest, walked from the best down. Equal
// logits rank by id, lowest first, so that a draw is a function of (logits, sampling, position)
// alone.
//
// Log-probabilities are those of the raw softmax: nothing above changes them.
//
// Thread: engine only; the buffers are its scratch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "engine/engine.h"

namespace hearth::engine {

// Errors: invalid_request that names the field, for values without a meaning.
Status check_sampling(const Sampling& sampling, std::int64_t n_vocab = INT32_MAX);

// The tokens so far that penalties look at.
struct History {
    std::span<const TokenId> tokens = {};  // prompt and answer
    std::size_t n_prompt = 0;
};

class Sampler {
  public:
    explicit Sampler(std::int64_t n_vocab);

    // Requires: logits [V], checked sampling, ids in history below V. Errors: internal when a logit
    // is NaN or +infinity, or none is finite: the model's file or a kernel is broken, and any token
    // would be made up. invalid_request when the biases ban every token.
    Result<TokenId> draw(std::span<const float> logits, const Sampling& sampling,
                         std::uint64_t position, const History& history = {});

    // Natural logarithm of the sum of exp(logit), in f64. Errors: as draw.
    Result<double> log_sum(std::span<const float> logits) const;
    static float logprob(std::span<const float> logits, TokenId id, double log_sum);
    // The n best (all, if the vocabulary is smaller), best first.
    void best(std::span<const float> logits, std::int64_t n, double log_sum,
              std::vector<TokenScore>& out);

    static std::size_t bytes(std::int64_t n_vocab);  // of the buffers

  private:
    struct Candidate {
        float logit;
        std::int32_t id;
    };
    void adjust(std::span<const float> logits, const Sampling& sampling, const History& history);
    void force(const Sampling& sampling, std::span<const float> logits);
    static bool ranks_before(Candidate a, Candidate b);
    void start_ranking(std::span<const float> logits);
    void rank(std::int64_t n);
    double weight(std::int64_t i);  // of the i-th best; 1 for the best
    TokenId pick(double target, std::int64_t n_keep);

    std::vector<Candidate> candidates_;  // [V]; the first n_ranked_ are the best, in order
    std::vector<double> weights_;        // [V]; of the ranked ones
    std::vector<float> adjusted_;        // [V]; logits with biases and penalties
    std::vector<std::int32_t> counts_;   // [V]; of tokens in the history; zero between draws
    std::int64_t n_ranked_ = 0;
    double max_ = 0, temperature_ = 1;
};

}  // namespace hearth::engine
