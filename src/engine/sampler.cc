#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/check.h"
#include "base/format.h"
#include "engine/limits.h"
#include "engine/philox.h"

namespace hearth::engine {
namespace {

// Most answers need few candidates: ranks are sorted out in portions that grow by a factor of 8.
constexpr std::int64_t kFirstRanks = 64;

// The logit of a token that cannot be drawn.
constexpr float kBanned = -std::numeric_limits<float>::infinity();

struct Best {
    float logit;
    std::int32_t id;
};

// The best logit, lowest id first. Errors: see Sampler::draw.
Result<Best> find_best(std::span<const float> logits) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    Best best{-kInfinity, -1};
    bool bad = false;
    for (std::size_t i = 0; i < logits.size(); ++i) {
        bad |= !(logits[i] < kInfinity);  // true for NaN as well
        if (logits[i] > best.logit) best = {logits[i], std::int32_t(i)};
    }
    if (bad || best.id < 0)
        return fail(
            ErrorKind::internal,
            "the model's output is not a number (NaN or infinity among the logits); its file "
            "is damaged, or its values overflow in this format");
    return best;
}

std::unexpected<Error> bad_field(const char* name, std::string message) {
    return fail(
        Error{.kind = ErrorKind::invalid_request, .message = std::move(message), .param = name});
}

Status check_penalties(const Sampling& s, std::int64_t n_vocab) {
    if (!(s.repeat_penalty > 0 && s.repeat_penalty <= kMaxRepeatPenalty))
        return bad_field("repeat_penalty",
                         format("repeat_penalty is {}, expected more than 0, at most {}; 1 is off",
                                s.repeat_penalty, kMaxRepeatPenalty));
    if (s.repeat_last_n < -1)
        return bad_field("repeat_last_n",
                         format("repeat_last_n is {}, expected 0 (off) or more, or -1 for the "
                                "whole text",
                                s.repeat_last_n));
    const std::pair<const char*, double> penalties[] = {{"presence_penalty", s.presence_penalty},
                                                        {"frequency_penalty", s.frequency_penalty}};
    for (const auto& [name, value] : penalties)
        if (!(value >= -kMaxPenalty && value <= kMaxPenalty))
            return bad_field(name, format("{} is {}, expected {} to {}; 0 is off", name, value,
                                          -kMaxPenalty, kMaxPenalty));
    if (s.logit_bias.size() > kMaxBiases)
        return bad_field("logit_bias", format("logit_bias has {} tokens, at most {} are allowed",
                                              s.logit_bias.size(), kMaxBiases));
    for (const TokenBias& b : s.logit_bias) {
        if (b.id.value < 0 || b.id.value >= n_vocab)
            return bad_field("logit_bias",
                             format("logit_bias names token {}, but the model's vocabulary has {}",
                                    b.id.value, n_vocab));
        if (!(b.bias >= -kMaxBias && b.bias <= kMaxBias))
            return bad_field("logit_bias", format("the bias of token {} is {}, expected {} to {}",
                                                  b.id.value, b.bias, -kMaxBias, kMaxBias));
    }
    return {};
}

bool changes_logits(const Sampling& s, const History& history) {
    const bool repeats = s.repeat_penalty != 1 && s.repeat_last_n != 0;
    const bool counts = s.presence_penalty != 0 || s.frequency_penalty != 0;
    return !s.logit_bias.empty() || (repeats && !history.tokens.empty()) ||
           (counts && history.tokens.size() > history.n_prompt);
}

// What a logit comes to, kept finite: a penalty may weigh a token down, only a ban removes it.
float finite(double logit) {
    constexpr double kMost = std::numeric_limits<float>::max();
    return float(std::clamp(logit, -kMost, kMost));
}

}  // namespace

Status check_sampling(const Sampling& s, std::int64_t n_vocab) {
    if (!(s.temperature >= 0 && std::isfinite(s.temperature)))
        return bad_field("temperature",
                         format("temperature is {}, expected 0 or more; 0 always takes "
                                "the best token",
                                s.temperature));
    if (s.top_k < 0)
        return bad_field("top_k", format("top_k is {}, expected 0 (off) or more", s.top_k));
    if (!(s.top_p >= 0 && s.top_p <= 1))
        return bad_field("top_p", format("top_p is {}, expected 0 to 1; 1 is off", s.top_p));
    if (!(s.min_p >= 0 && s.min_p <= 1))
        return bad_field("min_p", format("min_p is {}, expected 0 to 1; 0 is off", s.min_p));
    if (s.n_logprobs < -1 || s.n_logprobs > kMaxLogprobs)
        return bad_field("top_logprobs", format("{} log-probabilities asked for at each token, "
                                                "expected 0 to {}",
                                                s.n_logprobs, kMaxLogprobs));
    return check_penalties(s, n_vocab);
}

Sampler::Sampler(std::int64_t n_vocab)
    : candidates_(std::size_t(n_vocab)),
      weights_(std::size_t(n_vocab)),
      adjusted_(std::size_t(n_vocab)),
      counts_(std::size_t(n_vocab)) {}

// The logits with biases and penalties, into adjusted_. -infinity stays what it is.
void Sampler::adjust(std::span<const float> logits, const Sampling& s, const History& history) {
    CHECK(logits.size() == adjusted_.size());
    std::copy(logits.begin(), logits.end(), adjusted_.begin());
    for (const TokenBias& b : s.logit_bias) {
        float& logit = adjusted_[std::size_t(b.id.value)];
        if (logit == kBanned) continue;
        logit = b.bias <= -kMaxBias ? kBanned : finite(double(logit) + b.bias);
    }
    const auto count = [&](TokenId id) -> std::int32_t& { return counts_[std::size_t(id.value)]; };
    const auto size = history.tokens.size();
    if (s.repeat_penalty != 1) {
        const bool all = s.repeat_last_n < 0 || std::size_t(s.repeat_last_n) > size;
        const auto window = history.tokens.last(all ? size : std::size_t(s.repeat_last_n));
        for (const TokenId id : window) {
            if (count(id)++ > 0) continue;
            float& logit = adjusted_[std::size_t(id.value)];
            if (logit == kBanned) continue;
            logit = finite(logit > 0 ? double(logit) / s.repeat_penalty
                                     : double(logit) * s.repeat_penalty);
        }
        for (const TokenId id : window) count(id) = 0;
    }
    if (s.presence_penalty != 0 || s.frequency_penalty != 0) {
        const auto answer = history.tokens.subspan(std::min(history.n_prompt, size));
        for (const TokenId id : answer) ++count(id);
        for (const TokenId id : answer) {
            const std::int32_t n = std::exchange(count(id), 0);
            float& logit = adjusted_[std::size_t(id.value)];
            if (n == 0 || logit == kBanned) continue;
            logit = finite(double(logit) - n * s.frequency_penalty - s.presence_penalty);
        }
    }
    force(s, logits);
}

// Where some biases say "only these", bans all other tokens.
void Sampler::force(const Sampling& s, std::span<const float> logits) {
    std::int64_t n_forced = 0;
    for (const TokenBias& b : s.logit_bias) {
        if (b.bias < kMaxBias || logits[std::size_t(b.id.value)] == kBanned) continue;
        counts_[std::size_t(b.id.value)] = 1;
        ++n_forced;
    }
    if (n_forced == 0) return;
    for (std::size_t i = 0; i < adjusted_.size(); ++i)
        if (counts_[i] == 0) adjusted_[i] = kBanned;
    for (const TokenBias& b : s.logit_bias) counts_[std::size_t(b.id.value)] = 0;
}

std::size_t Sampler::bytes(std::int64_t n_vocab) {
    return std::size_t(n_vocab) *
           (sizeof(Candidate) + sizeof(double) + sizeof(float) + sizeof(std::int32_t));
}

bool Sampler::ranks_before(Candidate a, Candidate b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

void Sampler::start_ranking(std::span<const float> logits) {
    CHECK(logits.size() == candidates_.size());
    for (std::size_t i = 0; i < logits.size(); ++i) candidates_[i] = {logits[i], std::int32_t(i)};
    n_ranked_ = 0;
}

// Makes the first n candidates the n best, in order. What is ranked already stays: the rest is
// worse.
void Sampler::rank(std::int64_t n) {
    if (n <= n_ranked_) return;
    const auto n_vocab = std::int64_t(candidates_.size());
    n = std::min(n_vocab, std::max({n, kFirstRanks, n_ranked_ * 8}));
    const auto first = candidates_.begin();
    std::partial_sort(first + n_ranked_, first + n, candidates_.end(), ranks_before);
    for (std::int64_t i = n_ranked_; i < n; ++i)
        weights_[std::size_t(i)] =
            std::exp((double(candidates_[std::size_t(i)].logit) - max_) / temperature_);
    n_ranked_ = n;
}

double Sampler::weight(std::int64_t i) {
    rank(i + 1);
    return weights_[std::size_t(i)];
}

// The first candidate at which the running sum of weights passes target.
TokenId Sampler::pick(double target, std::int64_t n_keep) {
    double sum = 0;
    std::int64_t last = 0;
    for (std::int64_t i = 0; i < n_keep; ++i) {
        const double w = weight(i);
        if (w == 0) break;
        sum += w;
        last = i;
        if (sum > target) break;
    }
    return TokenId(candidates_[std::size_t(last)].id);
}

Result<TokenId> Sampler::draw(std::span<const float> logits, const Sampling& sampling,
                              std::uint64_t position, const History& history) {
    HEARTH_TRY(Best top, find_best(logits));
    if (changes_logits(sampling, history)) {
        adjust(logits, sampling, history);
        logits = adjusted_;
        auto left = find_best(logits);
        if (!left) return bad_field("logit_bias", "logit_bias bans every token that there is");
        top = *left;
    }
    if (sampling.temperature == 0) return TokenId(top.id);
    max_ = double(top.logit);
    temperature_ = sampling.temperature;
    start_ranking(logits);

    const auto n_vocab = std::int64_t(logits.size());
    const bool all = sampling.top_k == 0 || sampling.top_k >= n_vocab;
    std::int64_t n_keep = all ? n_vocab : sampling.top_k;
    // The whole distribution is summed in id order, so that its tail need not be ranked.
    const auto sum_kept = [&] {
        double sum = 0;
        if (n_keep == n_vocab) {
            for (const float logit : logits) sum += std::exp((double(logit) - max_) / temperature_);
        } else {
            for (std::int64_t i = 0; i < n_keep; ++i) sum += weight(i);
        }
        return sum;
    };
    double mass = -1;  // not known yet
    if (sampling.top_p < 1) {
        mass = sum_kept();
        double sum = 0;
        for (std::int64_t i = 0; i < n_keep; ++i) {
            sum += weight(i);
            if (sum < sampling.top_p * mass) continue;
            if (i + 1 < n_keep) mass = sum;
            n_keep = i + 1;
            break;
        }
    }
    if (sampling.min_p > 0) {
        std::int64_t n = 1;
        while (n < n_keep && weight(n) >= sampling.min_p) ++n;
        if (n < n_keep) mass = -1;
        n_keep = n;
    }
    if (mass < 0) mass = sum_kept();
    return pick(uniform(sampling.seed, position) * mass, n_keep);
}

Result<double> Sampler::log_sum(std::span<const float> logits) const {
    HEARTH_TRY(const Best top, find_best(logits));
    double sum = 0;
    for (const float logit : logits) sum += std::exp(double(logit) - double(top.logit));
    return double(top.logit) + std::log(sum);
}

float Sampler::logprob(std::span<const float> logits, TokenId id, double log_sum) {
    return float(double(logits[std::size_t(id.value)]) - log_sum);
}

void Sampler::best(std::span<const float> logits, std::int64_t n, double log_sum,
                   std::vector<TokenScore>& out) {
    n = std::min(n, std::int64_t(logits.size()));
    start_ranking(logits);
    const auto first = candidates_.begin();
    std::partial_sort(first, first + n, candidates_.end(), ranks_before);
    out.clear();
    out.reserve(std::size_t(n));
    for (std::int64_t i = 0; i < n; ++i) {
        const TokenId id(candidates_[std::size_t(i)].id);
        out.push_back({id, logprob(logits, id, log_sum)});
    }
}

}  // namespace hearth::engine
