// The sampler against definitions written out plainly here, published numbers, and chi-square.
#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>

#include "engine/limits.h"
#include "engine/philox.h"

namespace hearth::engine {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Probabilities after the filters, by their definitions, on whole sorted lists.
std::map<int, double> distribution(const std::vector<float>& logits, const Sampling& s) {
    std::vector<std::pair<double, int>> p;  // (probability, id)
    const double max = *std::max_element(logits.begin(), logits.end());
    for (std::size_t i = 0; i < logits.size(); ++i)
        p.emplace_back(std::exp((double(logits[i]) - max) / s.temperature), int(i));
    const auto normalise = [&] {
        double sum = 0;
        for (const auto& [w, id] : p) sum += w;
        for (auto& [w, id] : p) w /= sum;
    };
    std::stable_sort(p.begin(), p.end(), [&](const auto& a, const auto& b) {
        return logits[std::size_t(a.second)] > logits[std::size_t(b.second)];
    });
    normalise();
    if (s.top_k > 0 && s.top_k < std::int64_t(p.size())) p.resize(std::size_t(s.top_k));
    normalise();
    if (s.top_p < 1) {
        std::size_t n = 0;
        double sum = 0;
        while (n < p.size() && (n == 0 || sum < s.top_p)) sum += p[n++].first;
        p.resize(n);
    }
    normalise();
    if (s.min_p > 0) {
        const double least = s.min_p * p[0].first;
        std::erase_if(p, [&](const auto& e) { return e.first < least && e.second != p[0].second; });
    }
    normalise();
    std::map<int, double> out;
    for (const auto& [w, id] : p) out[id] = w;
    return out;
}

std::vector<float> random_logits(std::mt19937& random, std::size_t n, float spread) {
    std::normal_distribution<float> normal(0, spread);
    std::vector<float> logits(n);
    for (float& x : logits) x = normal(random);
    return logits;
}

TokenId draw(const std::vector<float>& logits, const Sampling& s, std::uint64_t position = 0) {
    Sampler sampler(std::int64_t(logits.size()));
    const auto id = sampler.draw(logits, s, position);
    EXPECT_TRUE(id) << id.error().message;
    return id.value_or(TokenId(-1));
}

// Known answers of the authors' library: Random123 1.14, tests/kat_vectors, philox4x32 10 rounds.
TEST(Philox, gives_the_published_answers) {
    EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}),
              (PhiloxWords{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
    EXPECT_EQ(philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
              (PhiloxWords{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
    EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
              (PhiloxWords{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, uniform_numbers_use_both_halves_of_seed_and_position) {
    const double base = uniform(1, 1);
    EXPECT_NE(base, uniform(2, 1));
    EXPECT_NE(base, uniform(1, 2));
    EXPECT_NE(base, uniform(1 + (1ull << 32), 1));
    EXPECT_NE(base, uniform(1, 1 + (1ull << 32)));
    EXPECT_EQ(base, uniform(1, 1));
    double sum = 0;
    constexpr int kDraws = 100000;
    for (int i = 0; i < kDraws; ++i) {
        const double u = uniform(42, std::uint64_t(i));
        ASSERT_GE(u, 0);
        ASSERT_LT(u, 1);
        sum += u;
    }
    // The mean of n uniform numbers has deviation 1 / sqrt(12 n); six of them.
    EXPECT_NEAR(sum / kDraws, 0.5, 6 / std::sqrt(12.0 * kDraws));
}

TEST(Sampler, temperature_zero_takes_the_best_and_of_equals_the_lowest_id) {
    EXPECT_EQ(draw({1, 5, 5, 2}, {.temperature = 0}), TokenId(1));
    EXPECT_EQ(draw({7, 7, 7}, {.temperature = 0}), TokenId(0));
    EXPECT_EQ(draw({-kInf, -3, -kInf}, {.temperature = 0}), TokenId(1));
}

TEST(Sampler, top_k_of_equals_keeps_the_lowest_ids) {
    const std::vector<float> logits{1, 9, 9, 9, 1};
    for (std::uint64_t i = 0; i < 200; ++i) {
        const TokenId id = draw(logits, {.temperature = 1, .top_k = 2, .top_p = 1, .min_p = 0}, i);
        EXPECT_TRUE(id == TokenId(1) || id == TokenId(2)) << id.value;
    }
}

TEST(Sampler, top_p_zero_and_min_p_one_keep_the_best_only) {
    std::mt19937 random(3);
    const auto logits = random_logits(random, 500, 1);
    const TokenId best = draw(logits, {.temperature = 0});
    for (std::uint64_t i = 0; i < 50; ++i) {
        EXPECT_EQ(draw(logits, {.temperature = 2, .top_k = 0, .top_p = 0, .min_p = 0}, i), best);
        EXPECT_EQ(draw(logits, {.temperature = 2, .top_k = 0, .top_p = 1, .min_p = 1}, i), best);
        EXPECT_EQ(draw(logits, {.temperature = 2, .top_k = 1, .top_p = 1, .min_p = 0}, i), best);
        EXPECT_EQ(draw(logits, {.temperature = 1e-300, .top_k = 0, .top_p = 1, .min_p = 0}, i),
                  best);
    }
}

TEST(Sampler, never_draws_a_token_of_probability_zero) {
    const std::vector<float> logits{-kInf, 0, -kInf, 0, -kInf, -1e30f};
    for (std::uint64_t i = 0; i < 500; ++i) {
        const TokenId id = draw(logits, {.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0}, i);
        EXPECT_TRUE(id == TokenId(1) || id == TokenId(3)) << id.value;
    }
}

TEST(Sampler, logits_that_are_no_numbers_are_an_error_and_not_a_token) {
    Sampler sampler(3);
    for (const double temperature : {0.0, 1.0}) {
        const Sampling s{.temperature = temperature};
        for (const std::vector<float>& logits :
             {std::vector<float>{1, kNan, 2}, {kNan, 1, 2}, {1, kInf, 2}, {-kInf, -kInf, -kInf}}) {
            const auto id = sampler.draw(logits, s, 0);
            ASSERT_FALSE(id);
            EXPECT_EQ(id.error().kind, ErrorKind::internal);
            EXPECT_FALSE(sampler.log_sum(logits));
        }
    }
}

// Each filter alone and all together, on vocabularies below and above the first portion of ranks.
TEST(Sampler, draws_follow_the_definition_by_chi_square) {
    struct Case {
        std::size_t n_vocab;
        float spread;
        Sampling sampling;
    };
    const std::vector<Case> cases{
        {10, 1, {.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0, .seed = 1}},
        {10, 3, {.temperature = 0.5, .top_k = 0, .top_p = 1, .min_p = 0, .seed = 2}},
        {300, 1, {.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0, .seed = 3}},
        {300, 2, {.temperature = 1.5, .top_k = 20, .top_p = 1, .min_p = 0, .seed = 4}},
        {300, 2, {.temperature = 0.8, .top_k = 0, .top_p = 0.9, .min_p = 0, .seed = 5}},
        {600, 0.3f, {.temperature = 1, .top_k = 0, .top_p = 0.6, .min_p = 0, .seed = 6}},
        {600, 2, {.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0.05, .seed = 7}},
        {600, 2, {.temperature = 0.8, .top_k = 40, .top_p = 0.95, .min_p = 0.05, .seed = 8}},
        {2000, 2, {.temperature = 1.3, .top_k = 100, .top_p = 0.7, .min_p = 0.2, .seed = 9}},
    };
    for (const Case& c : cases) {
        std::mt19937 random(unsigned(c.sampling.seed));
        const auto logits = random_logits(random, c.n_vocab, c.spread);
        const auto expected = distribution(logits, c.sampling);
        constexpr int kDraws = 10000;
        std::map<int, int> seen;
        Sampler sampler(std::int64_t(c.n_vocab));
        for (int i = 0; i < kDraws; ++i)
            ++seen[sampler.draw(logits, c.sampling, std::uint64_t(i)).value().value];
        for (const auto& [id, n] : seen)
            ASSERT_TRUE(expected.contains(id))
                << "seed " << c.sampling.seed << " drew filtered " << id;
        // Cells expecting fewer than 5 are pooled, as the test asks for.
        double chi2 = 0, pooled_expected = 0;
        int pooled_seen = 0, cells = 0;
        const auto add = [&](double e, int n) {
            chi2 += (n - e) * (n - e) / e;
            ++cells;
        };
        for (const auto& [id, p] : expected) {
            if (p * kDraws >= 5) {
                add(p * kDraws, seen[id]);
            } else {
                pooled_expected += p * kDraws;
                pooled_seen += seen[id];
            }
        }
        if (pooled_expected >= 5) add(pooled_expected, pooled_seen);
        // Wilson and Hilferty: (chi2 / k)^(1/3) is nearly normal; five deviations.
        const double k = std::max(cells - 1, 1);
        const double z = (std::cbrt(chi2 / k) - (1 - 2 / (9 * k))) / std::sqrt(2 / (9 * k));
        EXPECT_LT(z, 5) << "seed " << c.sampling.seed << ": chi2 " << chi2 << " in " << cells
                        << " cells";
    }
}

// Which tokens survive is exact, so it is compared exactly: draws at all u reach each kept token.
TEST(Sampler, keeps_exactly_the_tokens_of_the_definition) {
    for (unsigned seed = 0; seed < 60; ++seed) {
        std::mt19937 random(seed);
        const std::size_t n_vocab = 1 + random() % 12;
        auto logits = random_logits(random, n_vocab, 1);
        for (float& x : logits) x = std::round(x * 2) / 2;  // ties
        const Sampling s{.temperature = 0.25 + double(random() % 8) / 4,
                         .top_k = std::int64_t(random() % 6),
                         .top_p = double(1 + random() % 10) / 10,
                         .min_p = double(random() % 4) / 10,
                         .seed = seed};
        const auto expected = distribution(logits, s);
        std::map<int, int> seen;
        Sampler sampler{std::int64_t(n_vocab)};
        for (std::uint64_t i = 0; i < 20000; ++i) ++seen[sampler.draw(logits, s, i).value().value];
        for (const auto& [id, n] : seen) EXPECT_TRUE(expected.contains(id)) << "seed " << seed;
        for (const auto& [id, p] : expected)
            EXPECT_TRUE(p < 1e-3 || seen.contains(id)) << "seed " << seed << " never drew " << id;
    }
}

TEST(Sampler, a_filter_that_removes_nothing_changes_no_draw) {
    std::mt19937 random(11);
    const auto logits = random_logits(random, 700, 1);
    const Sampling off{.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0, .seed = 5};
    Sampling wide = off;
    wide.top_k = 700;
    wide.min_p = 1e-12;
    for (std::uint64_t i = 0; i < 500; ++i) EXPECT_EQ(draw(logits, off, i), draw(logits, wide, i));
}

TEST(Sampler, a_draw_depends_on_seed_and_position_alone) {
    std::mt19937 random(12);
    const auto a = random_logits(random, 300, 1), b = random_logits(random, 300, 1);
    const Sampling s{.temperature = 1, .seed = 77};
    Sampler used(300);
    for (std::uint64_t i = 0; i < 50; ++i) {
        (void)used.draw(b, {.temperature = 0.3, .top_k = 0, .top_p = 0.99, .seed = i}, i * 3);
        EXPECT_EQ(used.draw(a, s, i).value(), draw(a, s, i));
    }
}

TEST(Sampler, logprobs_are_those_of_the_raw_softmax) {
    std::mt19937 random(13);
    const auto logits = random_logits(random, 400, 3);
    Sampler sampler(400);
    const double log_sum = sampler.log_sum(logits).value();
    long double sum = 0;
    for (const float x : logits) sum += std::exp((long double)x);
    std::vector<TokenScore> top;
    sampler.best(logits, 5, log_sum, top);
    ASSERT_EQ(top.size(), 5u);
    std::vector<int> ids(400);
    std::iota(ids.begin(), ids.end(), 0);
    std::stable_sort(ids.begin(), ids.end(),
                     [&](int i, int j) { return logits[std::size_t(i)] > logits[std::size_t(j)]; });
    for (std::size_t i = 0; i < 5; ++i) {
        EXPECT_EQ(top[i].id.value, ids[i]);
        const auto exact = std::log(std::exp((long double)logits[std::size_t(ids[i])]) / sum);
        EXPECT_NEAR(double(top[i].logprob), double(exact), 1e-6);
        EXPECT_EQ(top[i].logprob, Sampler::logprob(logits, top[i].id, log_sum));
    }
    double total = 0;
    for (int i = 0; i < 400; ++i) total += std::exp(Sampler::logprob(logits, TokenId(i), log_sum));
    EXPECT_NEAR(total, 1, 1e-5);
    sampler.best(logits, 1000, log_sum, top);
    EXPECT_EQ(top.size(), 400u);
    sampler.best(logits, 0, log_sum, top);
    EXPECT_TRUE(top.empty());
}

TEST(Sampler, logprobs_of_equal_logits_rank_by_id_and_huge_logits_do_not_overflow) {
    Sampler sampler(4);
    const std::vector<float> logits{3e38f, 3e38f, -3e38f, 3e38f};
    const double log_sum = sampler.log_sum(logits).value();
    std::vector<TokenScore> top;
    sampler.best(logits, 3, log_sum, top);
    EXPECT_EQ(top[0].id, TokenId(0));
    EXPECT_EQ(top[1].id, TokenId(1));
    EXPECT_EQ(top[2].id, TokenId(3));
    EXPECT_TRUE(std::isfinite(top[0].logprob));
}

TEST(Sampler, refuses_values_without_a_meaning_and_names_the_field) {
    const auto refused = [](const Sampling& s) {
        const Status status = check_sampling(s);
        return status ? std::string() : status.error().param;
    };
    EXPECT_EQ(refused({}), "");
    EXPECT_EQ(refused({.temperature = -0.1}), "temperature");
    EXPECT_EQ(refused({.temperature = double(kNan)}), "temperature");
    EXPECT_EQ(refused({.temperature = double(kInf)}), "temperature");
    EXPECT_EQ(refused({.top_k = -1}), "top_k");
    EXPECT_EQ(refused({.top_p = 1.1}), "top_p");
    EXPECT_EQ(refused({.top_p = double(kNan)}), "top_p");
    EXPECT_EQ(refused({.min_p = -1}), "min_p");
    EXPECT_EQ(refused({.n_logprobs = -2}), "top_logprobs");
    EXPECT_EQ(refused({.n_logprobs = kMaxLogprobs + 1}), "top_logprobs");
    EXPECT_EQ(refused({.temperature = 0, .top_k = 0, .top_p = 1, .min_p = 0, .n_logprobs = 20}),
              "");
}

}  // namespace
}  // namespace hearth::engine
