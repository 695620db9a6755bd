// Penalties and biases against their definitions, written out plainly and drawn greedily.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "engine/limits.h"
#include "engine/sampler.h"

namespace hearth::engine {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<TokenId> ids(std::initializer_list<int> values) {
    std::vector<TokenId> out;
    for (const int v : values) out.emplace_back(v);
    return out;
}

int draw(const std::vector<float>& logits, const Sampling& s, const std::vector<TokenId>& tokens,
         std::size_t n_prompt) {
    Sampler sampler(std::int64_t(logits.size()));
    const auto id = sampler.draw(logits, s, 0, {tokens, n_prompt});
    EXPECT_TRUE(id) << id.error().message;
    return id ? id->value : -1;
}

// The adjusted logits by the text in engine.h, in f64.
std::vector<double> adjusted(const std::vector<float>& logits, const Sampling& s,
                             const std::vector<TokenId>& tokens, std::size_t n_prompt) {
    std::vector<double> out(logits.begin(), logits.end());
    bool only = false;
    for (const TokenBias& b : s.logit_bias) {
        out[std::size_t(b.id.value)] += b.bias == -100 ? -double(kInf) : b.bias;
        only |= b.bias == 100;
    }
    for (std::size_t v = 0; v < out.size(); ++v) {
        const auto is_v = [&](TokenId id) { return id.value == int(v); };
        const std::size_t n_last = s.repeat_last_n < 0
                                       ? tokens.size()
                                       : std::min(tokens.size(), std::size_t(s.repeat_last_n));
        if (std::any_of(tokens.end() - std::ptrdiff_t(n_last), tokens.end(), is_v))
            out[v] = out[v] > 0 ? out[v] / s.repeat_penalty : out[v] * s.repeat_penalty;
        const auto n = std::count_if(tokens.begin() + std::ptrdiff_t(n_prompt), tokens.end(), is_v);
        if (n > 0) out[v] -= double(n) * s.frequency_penalty + s.presence_penalty;
        const bool forced =
            std::any_of(s.logit_bias.begin(), s.logit_bias.end(),
                        [&](const TokenBias& b) { return b.id.value == int(v) && b.bias == 100; });
        if (only && !forced) out[v] = -double(kInf);
    }
    return out;
}

TEST(Penalties, random_ones_give_the_best_token_of_the_definition) {
    const unsigned seed = 21;
    std::mt19937 random(seed);
    const auto chance = [&](unsigned percent) { return random() % 100 < percent; };
    const auto real = [&](double low, double high) {
        return std::uniform_real_distribution<double>(low, high)(random);
    };
    Sampler sampler(12);  // one for all: nothing may stay behind in its scratch
    for (int i = 0; i < 5000; ++i) {
        std::vector<float> logits(12);
        for (float& x : logits) x = float(real(-4, 4));
        std::vector<TokenId> tokens;
        for (std::size_t n = random() % 20; n > 0; --n) tokens.emplace_back(int(random() % 12));
        const std::size_t n_prompt = tokens.empty() ? 0 : random() % (tokens.size() + 1);
        Sampling s{.temperature = 0};
        if (chance(60)) s.repeat_penalty = real(0.5, 2);
        s.repeat_last_n = std::int64_t(random() % 25) - 1;
        if (chance(60)) s.presence_penalty = real(-2, 2);
        if (chance(60)) s.frequency_penalty = real(-2, 2);
        for (int b = 0; b < 12; ++b)
            if (chance(10))
                s.logit_bias.push_back({TokenId(b), chance(30)   ? -100.0
                                                    : chance(20) ? 100.0
                                                                 : real(-5, 5)});
        const auto expected = adjusted(logits, s, tokens, n_prompt);
        const auto got = sampler.draw(logits, s, 0, {tokens, n_prompt});
        ASSERT_TRUE(got) << got.error().message;
        const double best = *std::max_element(expected.begin(), expected.end());
        EXPECT_NEAR(expected[std::size_t(got->value)], best, 1e-4)
            << "case " << i << " of seed " << seed;
    }
}

TEST(Penalties, act_in_the_stated_order) {
    // Bias before the repeat penalty: -1 + 3 = 2, halved is 1; the other way round it would be 1.5.
    const Sampling s{.temperature = 0, .repeat_penalty = 2, .logit_bias = {{TokenId(1), 3}}};
    EXPECT_EQ(draw({1.2f, -1.0f}, s, ids({1}), 1), 0);
    EXPECT_EQ(draw({0.9f, -1.0f}, s, ids({1}), 1), 1);
    // The repeat penalty before presence: 4 / 2 - 1 = 1, not (4 - 1) / 2 = 1.5.
    const Sampling t{.temperature = 0, .repeat_penalty = 2, .presence_penalty = 1};
    EXPECT_EQ(draw({1.2f, 4.0f}, t, ids({1}), 0), 0);
    EXPECT_EQ(draw({0.9f, 4.0f}, t, ids({1}), 0), 1);
}

TEST(Penalties, presence_and_frequency_look_at_the_answer_repeat_at_prompt_and_answer) {
    const std::vector<float> logits{1.0f, 1.5f};
    EXPECT_EQ(draw(logits, {.temperature = 0, .presence_penalty = 1}, ids({1, 1, 0}), 3), 1);
    EXPECT_EQ(draw(logits, {.temperature = 0, .presence_penalty = 1}, ids({0, 1}), 1), 0);
    EXPECT_EQ(draw(logits, {.temperature = 0, .frequency_penalty = 0.3}, ids({1}), 0), 1);
    EXPECT_EQ(draw(logits, {.temperature = 0, .frequency_penalty = 0.3}, ids({1, 1}), 0), 0);
    EXPECT_EQ(draw(logits, {.temperature = 0, .repeat_penalty = 2}, ids({1, 1}), 2), 0);
}

TEST(Penalties, the_window_of_the_repeat_penalty_ends_where_it_should) {
    const std::vector<float> logits{1.0f, 1.5f};
    std::vector<TokenId> tokens = ids({1});
    tokens.resize(64, TokenId(0));
    Sampling s{.temperature = 0, .repeat_penalty = 8};
    EXPECT_EQ(s.repeat_last_n, 64);
    EXPECT_EQ(draw(logits, s, tokens, 0), 1);  // both stand in it: 1.5 / 8 beats 1 / 8
    tokens.push_back(TokenId(0));
    EXPECT_EQ(draw(logits, s, tokens, 0), 1);  // the 1 has left it
    s.repeat_last_n = 0;
    EXPECT_EQ(draw({2.0f, 1.5f}, s, tokens, 0), 0);
    s.repeat_last_n = 64;
    EXPECT_EQ(draw({2.0f, 1.5f}, s, tokens, 0), 1);
    s.repeat_last_n = -1;
    EXPECT_EQ(draw({2.0f, 1.5f}, s, tokens, 0), 0);
}

TEST(Penalties, a_bias_of_100_leaves_only_those_tokens_and_one_of_minus_100_none) {
    const std::vector<float> logits{5, 0, 1, 500};
    Sampling s{.temperature = 0};
    s.logit_bias = {{TokenId(3), -100}};
    EXPECT_EQ(draw(logits, s, {}, 0), 0);
    s.logit_bias = {{TokenId(1), 100}, {TokenId(2), 100}};
    EXPECT_EQ(draw(logits, s, {}, 0), 2);
    s.temperature = 2;
    Sampler sampler(4);
    for (std::uint64_t i = 0; i < 200; ++i) {
        const auto id = sampler.draw(logits, s, i);
        ASSERT_TRUE(id);
        EXPECT_TRUE(id->value == 1 || id->value == 2);
    }
    s.logit_bias.clear();
    for (int i = 0; i < 4; ++i) s.logit_bias.push_back({TokenId(i), -100});
    const auto none = sampler.draw(logits, s, 0);
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().kind, ErrorKind::invalid_request);
    EXPECT_EQ(none.error().param, "logit_bias");
}

TEST(Penalties, extreme_values_stay_numbers) {
    const float huge = std::numeric_limits<float>::max();
    const Sampling s{.temperature = 0,
                     .repeat_penalty = 0.001,
                     .presence_penalty = -100,
                     .logit_bias = {{TokenId(0), 99}}};
    EXPECT_EQ(draw({huge, -huge, -kInf}, s, ids({0, 1, 2}), 0), 0);
    EXPECT_EQ(draw({-kInf, -huge, -kInf}, {.temperature = 0, .repeat_penalty = 100}, ids({1}), 0),
              1);
}

TEST(Penalties, that_change_nothing_change_no_draw) {
    std::mt19937 random(3);
    std::normal_distribution<float> normal(0, 2);
    Sampler sampler(50);
    for (std::uint64_t i = 0; i < 300; ++i) {
        std::vector<float> logits(50);
        for (float& x : logits) x = normal(random);
        const Sampling plain{.seed = 4};
        Sampling off = plain;
        off.repeat_penalty = 3;
        off.repeat_last_n = 0;
        off.presence_penalty = 1;  // the answer is empty
        off.logit_bias = {{TokenId(3), 0}};
        const auto tokens = ids({1, 2, 3});
        EXPECT_EQ(*sampler.draw(logits, plain, i), *sampler.draw(logits, off, i, {tokens, 3}));
    }
}

TEST(Penalties, values_without_a_meaning_are_refused_by_name) {
    const auto param = [](const Sampling& s) {
        const Status status = check_sampling(s, 100);
        return status ? std::string() : status.error().param;
    };
    EXPECT_EQ(param({.repeat_penalty = 1.1,
                     .repeat_last_n = -1,
                     .presence_penalty = -2,
                     .frequency_penalty = 2,
                     .logit_bias = {{TokenId(99), -100}}}),
              "");
    for (const double bad : {0.0, -1.0, 101.0, double(NAN)})
        EXPECT_EQ(param({.repeat_penalty = bad}), "repeat_penalty");
    EXPECT_EQ(param({.repeat_last_n = -2}), "repeat_last_n");
    EXPECT_EQ(param({.presence_penalty = double(kInf)}), "presence_penalty");
    EXPECT_EQ(param({.frequency_penalty = double(NAN)}), "frequency_penalty");
    EXPECT_EQ(param({.logit_bias = {{TokenId(100), 1}}}), "logit_bias");
    EXPECT_EQ(param({.logit_bias = {{TokenId(-1), 1}}}), "logit_bias");
    EXPECT_EQ(param({.logit_bias = {{TokenId(1), 100.5}}}), "logit_bias");
    EXPECT_EQ(param({.logit_bias = {{TokenId(1), double(NAN)}}}), "logit_bias");
    EXPECT_EQ(param({.logit_bias = std::vector<TokenBias>(kMaxBiases + 1)}), "logit_bias");
}

}  // namespace
}  // namespace hearth::engine
