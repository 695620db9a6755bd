// decide() against a brute-force reading of the rules, over random worlds. The oracle below is
// written from the rules' text alone: a target is allowed or it is not, one at a time, without
// order or steps.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>

#include "route/decide.h"
#include "route/policy.h"

namespace hearth::route {
namespace {

using chat::Sensitivity;

struct World {
    Facts facts;
    Signals signals;
    PolicySettings policy;
    std::vector<Target> targets;
};

class Dice {
  public:
    explicit Dice(std::uint64_t seed) : engine_(seed) {}
    std::int64_t below(std::int64_t n) { return std::int64_t(engine_() % std::uint64_t(n)); }
    bool one_in(std::int64_t n) { return below(n) == 0; }
    template <class T>
    T of(std::initializer_list<T> items) {
        return items.begin()[below(std::int64_t(items.size()))];
    }

  private:
    std::mt19937_64 engine_;
};

constexpr auto kClasses = {Sensitivity::public_, Sensitivity::internal, Sensitivity::confidential,
                           Sensitivity::restricted};

Target random_target(Dice& dice) {
    Target t;
    t.model = dice.of<const char*>({"demo", "tiny", "big-1", "mid", "local"});
    t.tier = dice.of({Tier::local, Tier::fleet, Tier::cloud});
    if (t.tier != Tier::local) {
        t.upstream = dice.of<const char*>({"acme", "ours", "other"});
        t.destination = {.host = t.upstream + ".example.com", .port = 443, .tls = true};
        if (dice.one_in(20)) t.destination.port = 0;
    }
    t.n_ctx = dice.of<std::int64_t>({0, 128, 1024, 200'000});
    t.takes_images = dice.one_in(2);
    t.takes_tools = !dice.one_in(4);
    if (t.tier != Tier::local) {
        t.input_usd_per_mtok = dice.of({0.0, 0.25, 2.5});
        t.output_usd_per_mtok = dice.of({0.0, 1.75, 10.0, std::nan("")});
    }
    return t;
}

World random_world(Dice& dice) {
    World w;
    for (std::int64_t n = dice.below(7); n > 0; --n) w.targets.push_back(random_target(dice));
    w.facts.model = dice.of<const char*>({"auto", "local", "cloud", "", "demo", "big-1",
                                          "acme/big-1", "ours/mid", "acme/demo", "nobody"});
    w.facts.n_prompt_tokens = dice.of<std::int64_t>({0, 1, 100, 127, 128, 1000, 300'000});
    w.facts.tokens_estimated = dice.one_in(2);
    w.facts.n_prompt_tokens_max = dice.one_in(2) ? 0 : 4 * w.facts.n_prompt_tokens + 1;
    w.facts.n_answers = dice.of<std::int64_t>({1, 1, 3});
    w.facts.max_output_tokens = dice.of<std::int64_t>({0, 0, 1, 28, 500});
    w.facts.has_images = dice.one_in(4);
    w.facts.has_tools = dice.one_in(4);
    if (dice.one_in(2)) w.facts.stated_sensitivity = dice.of(kClasses);
    if (dice.one_in(3)) w.facts.cost_microusd_max = dice.of<std::int64_t>({0, 300, 5000, 1 << 30});
    for (const char* upstream : {"acme", "ours", "other"})
        if (dice.one_in(3))
            w.signals.upstreams.push_back(
                {.upstream = upstream, .healthy = dice.one_in(2), .why = "3 failures in 30 s"});
    w.signals.local_overloaded = dice.one_in(6);
    w.signals.offline = dice.one_in(8);
    w.policy.keep_from = dice.of(kClasses);
    w.policy.unstated = dice.of(kClasses);
    w.policy.fallback = !dice.one_in(3);
    return w;
}

bool is_away(const Target& t) {
    return t.tier != Tier::local;
}

// Does the caller's name mean this target?
bool is_meant(const World& w, const Target& t) {
    const std::string& asked = w.facts.model;
    if (asked == "auto" || asked.empty()) return true;
    if (asked == "local") return !is_away(t);
    if (asked == "cloud") return w.policy.fallback || is_away(t);
    const auto label = [](const Target& x) {
        return is_away(x) ? x.upstream + "/" + x.model : x.model;
    };
    for (const Target& other : w.targets)
        if (label(other) == asked) return label(t) == asked;
    return t.model == asked;
}

bool is_kept_here(const World& w) {
    Sensitivity held = w.policy.unstated;
    if (w.facts.stated_sensitivity && *w.facts.stated_sensitivity > held)
        held = *w.facts.stated_sensitivity;
    return held >= w.policy.keep_from;
}

bool is_affordable(const World& w, const Target& t) {
    if (!w.facts.cost_microusd_max) return true;
    double n_out = double(w.facts.max_output_tokens);
    const bool bounded = w.facts.n_prompt_tokens_max > 0;
    const double n_in = double(bounded ? w.facts.n_prompt_tokens_max : w.facts.n_prompt_tokens);
    if (n_out == 0 && t.n_ctx > 0)
        n_out = double(bounded ? t.n_ctx : t.n_ctx - w.facts.n_prompt_tokens);
    if (n_out == 0 && t.n_ctx == 0 && t.output_usd_per_mtok != 0) return false;
    if (w.facts.has_images && t.input_usd_per_mtok != 0) return false;
    // Prices are quarters and counts small: exact in a double. NaN fails the comparison.
    return n_in * t.input_usd_per_mtok +
               n_out * double(w.facts.n_answers) * t.output_usd_per_mtok <=
           double(*w.facts.cost_microusd_max);
}

bool is_up(const World& w, const Target& t) {
    if (!is_away(t)) return !w.signals.local_overloaded;
    if (w.signals.offline) return false;
    return std::ranges::none_of(w.signals.upstreams, [&](const Signals::Health& h) {
        return h.upstream == t.upstream && !h.healthy;
    });
}

bool is_able(const World& w, const Target& t) {
    if (w.facts.has_images && !t.takes_images) return false;
    if (w.facts.has_tools && !t.takes_tools) return false;
    const std::int64_t n_answer = std::max<std::int64_t>(w.facts.max_output_tokens, 1);
    return t.n_ctx == 0 || w.facts.n_prompt_tokens + n_answer <= t.n_ctx;
}

bool is_allowed(const World& w, const Target& t) {
    return is_meant(w, t) && !(is_away(t) && is_kept_here(w)) && is_able(w, t) &&
           is_affordable(w, t) && is_up(w, t);
}

class DecideProperty : public testing::Test {
  protected:
    // Calls check(world, decision) for many random worlds; the seed of a failing one is printed.
    template <class Check>
    void for_many(Check&& check, std::uint64_t n_worlds = 20'000) {
        for (std::uint64_t seed = 1; seed <= n_worlds && !HasFailure(); ++seed) {
            SCOPED_TRACE("seed " + std::to_string(seed));
            Dice dice(seed);
            const World w = random_world(dice);
            check(w, decide(w.facts, w.signals, w.policy, w.targets));
        }
    }
};

TEST_F(DecideProperty, refuses_exactly_when_no_target_is_allowed) {
    int n_refused = 0, n_answered = 0;
    for_many([&](const World& w, const Decision& d) {
        const bool any =
            std::ranges::any_of(w.targets, [&](const Target& t) { return is_allowed(w, t); });
        EXPECT_EQ(d.refused, !any) << to_json(d, w.facts, w.targets);
        (d.refused ? n_refused : n_answered)++;
    });
    // The worlds are worth something only if both happen often.
    EXPECT_GT(n_refused, 3000);
    EXPECT_GT(n_answered, 3000);
}

TEST_F(DecideProperty, the_target_and_every_fallback_are_allowed) {
    for_many([](const World& w, const Decision& d) {
        if (d.refused) return;
        std::set<std::size_t> seen;
        for (std::size_t k = 0; k <= d.fallbacks.size(); ++k) {
            const std::size_t i = k == 0 ? d.target : d.fallbacks[k - 1];
            ASSERT_LT(i, w.targets.size());
            EXPECT_TRUE(seen.insert(i).second) << "tried twice";
            EXPECT_TRUE(is_allowed(w, w.targets[i])) << label_of(w.targets[i]);
            const bool crosses = is_away(w.targets[i]) != is_away(w.targets[d.target]);
            EXPECT_TRUE(w.policy.fallback || !crosses);
        }
    });
}

TEST_F(DecideProperty, content_that_is_kept_has_no_way_out) {
    for_many([](const World& w, const Decision& d) {
        if (!is_kept_here(w) && w.facts.model != "local") return;
        if (!d.refused) {
            EXPECT_FALSE(is_away(w.targets[d.target]));
            for (const std::size_t i : d.fallbacks) EXPECT_FALSE(is_away(w.targets[i]));
        }
        for (std::size_t i = 0; i < w.targets.size() + 2; ++i)
            EXPECT_FALSE(PermitMint::mint(d, w.targets, i, "req"));
    });
}

TEST_F(DecideProperty, permits_exist_for_the_choice_and_its_fallbacks_and_nothing_else) {
    int n_permits = 0;
    for_many([&](const World& w, const Decision& d) {
        for (std::size_t i = 0; i < w.targets.size() + 2; ++i) {
            const bool tried =
                !d.refused && (i == d.target || std::ranges::count(d.fallbacks, i) > 0);
            const bool expected =
                tried && is_away(w.targets[i]) && w.targets[i].destination.port != 0;
            const auto permit = PermitMint::mint(d, w.targets, i, "req");
            ASSERT_EQ(permit.has_value(), expected) << i;
            if (!permit) continue;
            ++n_permits;
            EXPECT_EQ(permit->destination(), w.targets[i].destination);
        }
    });
    EXPECT_GT(n_permits, 1000);
}

TEST_F(DecideProperty, preferences_hold_among_what_is_allowed) {
    for_many([](const World& w, const Decision& d) {
        if (d.refused) return;
        const auto first = [&](auto&& wanted) -> std::int64_t {
            for (std::size_t i = 0; i < w.targets.size(); ++i)
                if (is_allowed(w, w.targets[i]) && wanted(w.targets[i])) return std::int64_t(i);
            return -1;
        };
        const auto by_tier = [&](std::initializer_list<Tier> tiers) -> std::int64_t {
            for (const Tier tier : tiers)
                if (const auto i = first([&](const Target& t) { return t.tier == tier; }); i >= 0)
                    return i;
            return -1;
        };
        const std::string& asked = w.facts.model;
        const std::int64_t expected = asked == "cloud"
                                          ? by_tier({Tier::cloud, Tier::fleet, Tier::local})
                                      : asked == "auto" || asked.empty() || asked == "local"
                                          ? by_tier({Tier::local, Tier::fleet, Tier::cloud})
                                          : first([](const Target&) { return true; });
        EXPECT_EQ(std::int64_t(d.target), expected);
    });
}

TEST_F(DecideProperty, every_target_is_removed_once_or_left) {
    for_many([](const World& w, const Decision& d) {
        std::size_t n_removed = 0;
        for (const Step& step : d.steps) n_removed += step.removed.size();
        const auto n_allowed =
            std::ranges::count_if(w.targets, [&](const Target& t) { return is_allowed(w, t); });
        EXPECT_EQ(n_removed + std::size_t(n_allowed), w.targets.size());
        EXPECT_FALSE(d.reason.empty());
        EXPECT_EQ(d.refused, !d.error.message.empty());
    });
}

TEST_F(DecideProperty, the_kind_of_a_refusal_tells_what_would_help) {
    for_many([](const World& w, const Decision& d) {
        if (!d.refused) return;
        const auto any = [&](auto&& wanted) { return std::ranges::any_of(w.targets, wanted); };
        const bool waiting_helps = any([&](const Target& t) {
            return is_meant(w, t) && !(is_away(t) && is_kept_here(w)) && is_able(w, t) &&
                   is_affordable(w, t);
        });
        const bool is_transient =
            d.error.kind == ErrorKind::overloaded || d.error.kind == ErrorKind::upstream_failed;
        EXPECT_EQ(is_transient, waiting_helps) << d.error.message;
        if (d.error.kind == ErrorKind::context_overflow) {
            EXPECT_EQ(d.error.n_prompt_tokens, w.facts.n_prompt_tokens);
            EXPECT_GT(d.error.n_ctx, 0);
        }
        const bool is_kept_away =
            is_kept_here(w) && any([&](const Target& t) { return is_meant(w, t) && is_away(t); });
        if (is_kept_away && !waiting_helps) {
            EXPECT_EQ(d.error.kind, ErrorKind::forbidden_by_policy) << d.error.message;
        }
    });
}

TEST_F(DecideProperty, the_same_inputs_give_the_same_bytes_and_records_replay) {
    for_many(
        [](const World& w, const Decision& d) {
            const std::string json = to_json(d, w.facts, w.targets);
            const Decision again = decide(w.facts, w.signals, w.policy, w.targets);
            EXPECT_EQ(to_json(again, w.facts, w.targets), json);
            const auto replayed = replay(json);
            ASSERT_TRUE(replayed) << replayed.error().message;
            EXPECT_EQ(*replayed, json);
        },
        4000);
}

}  // namespace
}  // namespace hearth::route
