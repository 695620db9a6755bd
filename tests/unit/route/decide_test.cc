// decide(): each rule, each name, each refusal. Invariants over random inputs:
// decide_property_test.
#include "route/decide.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "route/limits.h"
#include "route/policy.h"

namespace hearth::route {
namespace {

using chat::Sensitivity;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Target local(std::string model, std::int64_t n_ctx = 2048) {
    return {.model = std::move(model),
            .upstream = "",
            .tier = Tier::local,
            .destination = {},
            .n_ctx = n_ctx};
}
Target remote(std::string upstream, std::string model, Tier tier = Tier::cloud) {
    return {.model = std::move(model),
            .upstream = upstream,
            .tier = tier,
            .destination = {.host = upstream + ".example.com", .port = 443, .tls = true},
            .n_ctx = 200'000,
            .takes_images = true,
            .takes_tools = true,
            .input_usd_per_mtok = 2.5,
            .output_usd_per_mtok = 10};
}

// demo here, ours/mid on a server of the operator's, acme/big-1 in the cloud.
struct World {
    std::vector<Target> targets = {local("demo"), remote("ours", "mid", Tier::fleet),
                                   remote("acme", "big-1")};
    Signals signals;
    PolicySettings policy;

    Decision ask(const Facts& facts) const { return decide(facts, signals, policy, targets); }
    Decision ask(const std::string& model, std::optional<Sensitivity> stated = {}) const {
        Facts facts{.model = model, .n_prompt_tokens = 100};
        facts.stated_sensitivity = stated;
        return ask(facts);
    }
    std::string chosen(const Decision& d) const {
        return d.refused ? "refused" : label_of(targets[d.target]);
    }
    std::vector<std::string> others(const Decision& d) const {
        std::vector<std::string> labels;
        for (const auto i : d.fallbacks) labels.push_back(label_of(targets[i]));
        return labels;
    }
};

const Step* step_of(const Decision& d, std::string_view rule) {
    for (const Step& step : d.steps)
        if (step.rule == rule) return &step;
    return nullptr;
}

TEST(Decide, local_is_the_default) {
    const World world;
    for (const char* name : {"auto", ""}) {
        const Decision d = world.ask(name);
        EXPECT_EQ(world.chosen(d), "demo");
        EXPECT_EQ(d.reason, "default-local");
        EXPECT_THAT(world.others(d), ElementsAre("ours/mid", "acme/big-1"));
        EXPECT_EQ(d.sensitivity, Sensitivity::internal);
    }
}

TEST(Decide, cloud_prefers_the_cloud_then_the_fleet_then_this_machine) {
    const World world;
    const Decision d = world.ask("cloud");
    EXPECT_EQ(world.chosen(d), "acme/big-1");
    EXPECT_EQ(d.reason, "preferred");
    EXPECT_THAT(world.others(d), ElementsAre("ours/mid", "demo"));
}

TEST(Decide, local_never_leaves_whatever_happens) {
    World world;
    const Decision d = world.ask("local");
    EXPECT_EQ(world.chosen(d), "demo");
    EXPECT_EQ(d.reason, "pinned");
    EXPECT_THAT(d.fallbacks, IsEmpty());
    EXPECT_THAT(step_of(d, "tier")->removed, ElementsAre("ours/mid", "acme/big-1"));

    world.signals.local_overloaded = true;
    const Decision full = world.ask("local");
    EXPECT_TRUE(full.refused);
    EXPECT_EQ(full.error.kind, ErrorKind::overloaded);

    world.targets.erase(world.targets.begin());
    const Decision none = world.ask("local");
    EXPECT_EQ(none.error.kind, ErrorKind::not_found);
    EXPECT_EQ(none.reason, "tier");
}

TEST(Decide, a_name_is_a_label_or_a_model_of_an_upstream) {
    const World world;
    EXPECT_EQ(world.chosen(world.ask("demo")), "demo");
    EXPECT_EQ(world.chosen(world.ask("acme/big-1")), "acme/big-1");
    EXPECT_EQ(world.chosen(world.ask("big-1")), "acme/big-1");
    EXPECT_EQ(world.ask("big-1").reason, "pinned");
    EXPECT_THAT(world.ask("big-1").fallbacks, IsEmpty());
}

TEST(Decide, a_bare_name_falls_back_to_the_same_model_elsewhere) {
    World world;
    world.targets.push_back(remote("other", "big-1"));
    const Decision d = world.ask("big-1");
    EXPECT_EQ(world.chosen(d), "acme/big-1");
    EXPECT_THAT(world.others(d), ElementsAre("other/big-1"));
    EXPECT_THAT(world.ask("acme/big-1").fallbacks, IsEmpty());
}

TEST(Decide, naming_a_local_model_excludes_an_upstreams_model_of_the_same_name) {
    World world;
    world.targets.push_back(remote("acme", "demo"));
    const Decision d = world.ask("demo");
    EXPECT_EQ(world.chosen(d), "demo");
    EXPECT_THAT(d.fallbacks, IsEmpty());
}

TEST(Decide, an_unknown_name_is_not_found_and_names_what_is_close) {
    const World world;
    const Decision d = world.ask("acme/bgi-1");
    EXPECT_TRUE(d.refused);
    EXPECT_EQ(d.error.kind, ErrorKind::not_found);
    EXPECT_EQ(d.error.param, "model");
    EXPECT_THAT(d.error.message, HasSubstr("Close: acme/big-1."));
    EXPECT_THAT(d.error.message, HasSubstr("Available: demo, ours/mid, acme/big-1, auto"));
    // A hostile name is shown short and as UTF-8.
    const Decision hostile = world.ask(std::string(100'000, '\xff'));
    EXPECT_LT(hostile.error.message.size(), 600u);
}

TEST(Decide, restricted_content_naming_the_cloud_is_forbidden) {
    const World world;
    for (const char* name : {"acme/big-1", "big-1", "ours/mid"}) {
        for (const auto stated : {Sensitivity::confidential, Sensitivity::restricted}) {
            const Decision d = world.ask(name, stated);
            ASSERT_TRUE(d.refused) << name;
            EXPECT_EQ(d.error.kind, ErrorKind::forbidden_by_policy);
            EXPECT_EQ(d.reason, "sensitive");
            EXPECT_EQ(d.sensitivity, stated);
            EXPECT_THAT(d.error.message, HasSubstr("kept from confidential)"));
            EXPECT_THAT(d.error.message, HasSubstr("Nothing has left the machine"));
        }
    }
}

TEST(Decide, restricted_content_stays_local_under_every_virtual_name) {
    const World world;
    for (const char* name : {"auto", "cloud", "local"}) {
        const Decision d = world.ask(name, Sensitivity::restricted);
        EXPECT_EQ(world.chosen(d), "demo") << name;
        EXPECT_THAT(d.fallbacks, IsEmpty());
        EXPECT_EQ(d.reason, std::string(name) == "local" ? "pinned" : "sensitive");
    }
}

TEST(Decide, what_a_caller_states_only_raises_the_class) {
    World world;
    world.policy.unstated = Sensitivity::restricted;
    EXPECT_TRUE(world.ask("acme/big-1").refused);
    EXPECT_TRUE(world.ask("acme/big-1", Sensitivity::public_).refused);
    EXPECT_EQ(world.ask("auto", Sensitivity::public_).sensitivity, Sensitivity::restricted);
}

TEST(Decide, keep_from_public_lets_nothing_leave) {
    World world;
    world.policy.keep_from = Sensitivity::public_;
    world.policy.unstated = Sensitivity::public_;
    EXPECT_TRUE(world.ask("acme/big-1", Sensitivity::public_).refused);
    EXPECT_EQ(world.chosen(world.ask("cloud")), "demo");
}

TEST(Decide, context_is_exact_at_its_edge) {
    const World world;
    Facts facts{.model = "demo", .n_prompt_tokens = 2000, .tokens_estimated = false};
    facts.max_output_tokens = 48;
    EXPECT_FALSE(world.ask(facts).refused);
    facts.max_output_tokens = 49;
    const Decision d = world.ask(facts);
    ASSERT_TRUE(d.refused);
    EXPECT_EQ(d.error.kind, ErrorKind::context_overflow);
    EXPECT_EQ(d.error.n_prompt_tokens, 2000);
    EXPECT_EQ(d.error.n_ctx, 2048);
    EXPECT_THAT(d.error.message, HasSubstr("the prompt has 2000 tokens and 49 for the answer"));
    EXPECT_THAT(d.error.message, HasSubstr("demo takes 2048 in all"));

    // With no answer length stated, at least one token must fit.
    facts.max_output_tokens = 0;
    facts.n_prompt_tokens = 2047;
    EXPECT_FALSE(world.ask(facts).refused);
    facts.n_prompt_tokens = 2048;
    EXPECT_TRUE(world.ask(facts).refused);
}

TEST(Decide, a_long_prompt_leaves_under_auto_where_it_may) {
    const World world;
    Facts facts{.model = "auto", .n_prompt_tokens = 10'000};
    const Decision d = world.ask(facts);
    EXPECT_EQ(world.chosen(d), "ours/mid");
    EXPECT_EQ(d.reason, "context");
    facts.stated_sensitivity = Sensitivity::restricted;
    const Decision kept = world.ask(facts);
    ASSERT_TRUE(kept.refused);
    EXPECT_EQ(kept.error.kind, ErrorKind::forbidden_by_policy);
    // Both rules that collided are named.
    EXPECT_THAT(kept.error.message, HasSubstr("sensitivity"));
    EXPECT_THAT(kept.error.message, HasSubstr("context"));
}

TEST(Decide, absurd_counts_do_not_overflow) {
    const World world;
    constexpr auto kMax = std::numeric_limits<std::int64_t>::max();
    Facts facts{.model = "auto", .n_prompt_tokens = kMax};
    facts.max_output_tokens = kMax;
    EXPECT_EQ(world.ask(facts).error.kind, ErrorKind::context_overflow);
    facts.n_prompt_tokens = facts.max_output_tokens = std::numeric_limits<std::int64_t>::min();
    EXPECT_EQ(world.chosen(world.ask(facts)), "demo");
}

TEST(Decide, an_open_circuit_moves_to_the_next_and_says_failover) {
    World world;
    world.signals.upstreams = {{.upstream = "acme", .healthy = false, .why = "3 failures in 30 s"}};
    const Decision d = world.ask("cloud");
    EXPECT_EQ(world.chosen(d), "ours/mid");
    EXPECT_EQ(d.reason, "failover");
    EXPECT_THAT(step_of(d, "health")->removed, ElementsAre("acme/big-1"));

    const Decision pinned = world.ask("acme/big-1");
    EXPECT_EQ(pinned.error.kind, ErrorKind::upstream_failed);
    EXPECT_EQ(pinned.reason, "unhealthy");
    EXPECT_THAT(pinned.error.message, HasSubstr("3 failures in 30 s"));
}

TEST(Decide, offline_removes_all_that_leaves) {
    World world;
    world.signals.offline = true;
    EXPECT_EQ(world.chosen(world.ask("cloud")), "demo");
    EXPECT_EQ(world.ask("cloud").reason, "offline");
    EXPECT_THAT(world.ask("auto").fallbacks, IsEmpty());
    EXPECT_EQ(world.ask("acme/big-1").error.kind, ErrorKind::upstream_failed);
}

TEST(Decide, a_full_machine_bursts_only_where_it_may) {
    World world;
    world.signals.local_overloaded = true;
    const Decision d = world.ask("auto");
    EXPECT_EQ(world.chosen(d), "ours/mid");
    EXPECT_EQ(d.reason, "burst");
    const Decision kept = world.ask("auto", Sensitivity::restricted);
    ASSERT_TRUE(kept.refused);
    EXPECT_EQ(kept.error.kind, ErrorKind::overloaded);
    EXPECT_EQ(kept.reason, "overloaded");
}

TEST(Decide, modality_removes_what_cannot_read_the_input) {
    World world;
    Facts facts{.model = "auto", .n_prompt_tokens = 10};
    facts.has_images = true;
    EXPECT_EQ(world.chosen(world.ask(facts)), "ours/mid");
    EXPECT_EQ(world.ask(facts).reason, "modality");
    facts.model = "local";
    EXPECT_EQ(world.ask(facts).error.kind, ErrorKind::invalid_request);
    facts.has_images = false;
    facts.has_tools = true;
    EXPECT_EQ(world.chosen(world.ask(facts)), "demo");
    world.targets[0].takes_tools = false;
    EXPECT_TRUE(world.ask(facts).refused);
}

TEST(Decide, a_cost_cap_removes_what_could_cost_more) {
    World world;
    // 100 prompt tokens at 2.5 and 50 answer tokens at 10 micro-dollars: 750.
    Facts facts{.model = "acme/big-1", .n_prompt_tokens = 100};
    facts.max_output_tokens = 50;
    facts.cost_microusd_max = 750;
    const Decision d = world.ask(facts);
    EXPECT_EQ(world.chosen(d), "acme/big-1");
    EXPECT_EQ(d.cost_microusd_max, 750);
    facts.cost_microusd_max = 749;
    const Decision capped = world.ask(facts);
    EXPECT_EQ(capped.error.kind, ErrorKind::forbidden_by_policy);
    EXPECT_EQ(capped.reason, "budget");
    facts.model = "cloud";
    EXPECT_EQ(world.chosen(world.ask(facts)), "demo");
    EXPECT_EQ(world.ask(facts).reason, "budget");
}

TEST(Decide, a_cost_is_bounded_by_the_largest_count_not_by_the_estimate) {
    World world;
    Facts facts{.model = "acme/big-1", .n_prompt_tokens = 100};
    facts.n_prompt_tokens_max = 500;
    facts.max_output_tokens = 50;
    facts.cost_microusd_max = 1749;  // 500 at 2.5 and 50 at 10 are 1750
    EXPECT_EQ(world.ask(facts).reason, "budget");
    facts.cost_microusd_max = 1750;
    EXPECT_EQ(world.ask(facts).cost_microusd_max, 1750);
    facts.n_answers = 3;  // 2750
    EXPECT_EQ(world.ask(facts).reason, "budget");
    facts.cost_microusd_max = 2750;
    EXPECT_EQ(world.chosen(world.ask(facts)), "acme/big-1");
    // A short prompt would leave the whole context to the answer.
    facts.n_answers = 1;
    facts.max_output_tokens = 0;
    facts.cost_microusd_max = 1250 + 2'000'000 - 1;
    EXPECT_EQ(world.ask(facts).reason, "budget");
    facts.cost_microusd_max = 1250 + 2'000'000;
    EXPECT_EQ(world.chosen(world.ask(facts)), "acme/big-1");
    facts.n_answers = std::numeric_limits<std::int64_t>::max();
    EXPECT_EQ(world.ask(facts).reason, "budget");
}

TEST(Decide, what_an_image_costs_has_no_bound) {
    World world;
    Facts facts{.model = "acme/big-1", .n_prompt_tokens = 100};
    facts.max_output_tokens = 10;
    facts.has_images = true;
    EXPECT_FALSE(world.ask(facts).refused);
    facts.cost_microusd_max = std::numeric_limits<std::int64_t>::max();
    EXPECT_EQ(world.ask(facts).reason, "budget");
    world.targets[2].input_usd_per_mtok = 0;
    EXPECT_FALSE(world.ask(facts).refused);
}

TEST(Decide, a_cost_that_has_no_bound_is_above_every_cap) {
    World world;
    Facts facts{.model = "acme/big-1", .n_prompt_tokens = 100};
    facts.cost_microusd_max = std::numeric_limits<std::int64_t>::max();
    EXPECT_FALSE(world.ask(facts).refused);  // the context bounds the answer
    world.targets[2].n_ctx = 0;
    EXPECT_TRUE(world.ask(facts).refused);
    facts.max_output_tokens = 10;
    EXPECT_FALSE(world.ask(facts).refused);
    world.targets[2].output_usd_per_mtok = std::numeric_limits<double>::quiet_NaN();
    EXPECT_TRUE(world.ask(facts).refused);
}

TEST(Decide, without_fallback_nothing_crosses_the_machines_edge) {
    World world;
    world.policy.fallback = false;
    EXPECT_THAT(world.ask("auto").fallbacks, IsEmpty());
    EXPECT_THAT(world.others(world.ask("cloud")), ElementsAre("ours/mid"));
    const Decision d = world.ask("cloud", Sensitivity::restricted);
    EXPECT_EQ(d.error.kind, ErrorKind::forbidden_by_policy);
}

TEST(Decide, refuses_when_nothing_is_configured) {
    World world;
    world.targets.clear();
    for (const char* name : {"auto", "local", "cloud", "demo"}) {
        const Decision d = world.ask(name);
        EXPECT_TRUE(d.refused) << name;
        EXPECT_EQ(d.error.kind, ErrorKind::not_found) << name;
    }
}

TEST(Decide, fallbacks_are_bounded) {
    World world;
    for (int i = 0; i < 20; ++i) world.targets.push_back(remote("u" + std::to_string(i), "m"));
    EXPECT_EQ(world.ask("auto").fallbacks.size(), kFallbacksMax);
}

TEST(Decide, what_is_found_or_marked_is_kept_whatever_is_stated) {
    const World world;
    for (const auto stated : {std::optional<Sensitivity>(), std::optional(Sensitivity::public_),
                              std::optional(Sensitivity::internal)}) {
        Facts found{.model = "cloud", .n_prompt_tokens = 100};
        found.stated_sensitivity = stated;
        found.detected_sensitivity = Sensitivity::restricted;
        found.entities = {{"credit_card", 1}, {"email", 2}};
        const Decision d = world.ask(found);
        EXPECT_EQ(world.chosen(d), "demo");
        EXPECT_EQ(d.sensitivity, Sensitivity::restricted);
        EXPECT_EQ(d.reason, "sensitive");
        EXPECT_THAT(step_of(d, "sensitivity")->input,
                    HasSubstr("found credit_card ×1, email ×2 (restricted)"));
        Facts marked = found;
        marked.detected_sensitivity = Sensitivity::internal;
        marked.entities = {};
        marked.taint_sensitivity = Sensitivity::confidential;
        marked.taint = "taint-0123456789abcdef";
        const Decision m = world.ask(marked);
        EXPECT_EQ(world.chosen(m), "demo");
        EXPECT_EQ(m.sensitivity, Sensitivity::confidential);
        EXPECT_THAT(step_of(m, "sensitivity")->input, HasSubstr("taint-0123456789abcdef"));
    }
}

TEST(Decide, a_statement_lowers_the_class_as_far_as_the_role_allows) {
    const World world;
    Facts facts{.model = "cloud", .n_prompt_tokens = 100};
    facts.detected_sensitivity = Sensitivity::restricted;
    facts.stated_sensitivity = Sensitivity::public_;
    EXPECT_EQ(world.ask(facts).sensitivity, Sensitivity::restricted);
    EXPECT_FALSE(world.ask(facts).lowered);
    for (const auto floor : {Sensitivity::public_, Sensitivity::internal, Sensitivity::confidential,
                             Sensitivity::restricted}) {
        facts.may_lower_to = floor;
        const Decision d = world.ask(facts);
        EXPECT_EQ(d.sensitivity, floor);
        EXPECT_EQ(d.lowered, floor != Sensitivity::restricted);
        EXPECT_EQ(world.chosen(d), floor < Sensitivity::confidential ? "acme/big-1" : "demo");
    }
    // Nothing stated: the right alone lowers nothing.
    facts.stated_sensitivity = {};
    EXPECT_EQ(world.ask(facts).sensitivity, Sensitivity::restricted);
    // Nothing found: `public` is a permitted role's word too.
    Facts plain{.model = "cloud", .n_prompt_tokens = 100};
    plain.stated_sensitivity = Sensitivity::public_;
    EXPECT_EQ(world.ask(plain).sensitivity, Sensitivity::internal);
    plain.may_lower_to = Sensitivity::public_;
    EXPECT_EQ(world.ask(plain).sensitivity, Sensitivity::public_);
}

TEST(Decide, redacted_content_leaves_where_the_policy_and_what_is_left_allow_it) {
    World world;
    Facts facts{.model = "cloud", .n_prompt_tokens = 100};
    facts.detected_sensitivity = Sensitivity::confidential;
    facts.redacted_sensitivity = Sensitivity::internal;
    EXPECT_EQ(world.chosen(world.ask(facts)), "demo");  // never, by default
    world.policy.redact_to = Sensitivity::confidential;
    const Decision d = world.ask(facts);
    EXPECT_EQ(world.chosen(d), "acme/big-1");
    EXPECT_TRUE(d.redacted);
    EXPECT_EQ(d.sensitivity, Sensitivity::confidential);
    EXPECT_TRUE(PermitMint::mint(d, world.targets, d.target, "req-1", "hk-1"));
    Decision forged = d;
    forged.redacted = false;
    EXPECT_FALSE(PermitMint::mint(forged, world.targets, d.target, "req-1"));
    for (const auto change : {0, 1, 2, 3, 4}) {
        Facts other = facts;
        if (change == 0) other.redacted_sensitivity = Sensitivity::confidential;
        if (change == 1) other.redacted_sensitivity = {};
        if (change == 2) other.detected_sensitivity = Sensitivity::restricted;
        if (change == 3) other.stated_sensitivity = Sensitivity::confidential;
        if (change == 4) other.max_class_out = Sensitivity::public_;
        const Decision kept = world.ask(other);
        EXPECT_EQ(world.chosen(kept), "demo") << change;
        EXPECT_FALSE(kept.redacted) << change;
        EXPECT_FALSE(PermitMint::mint(kept, world.targets, 2, "req-1")) << change;
    }
}

TEST(Decide, a_key_uses_its_tiers_and_lets_out_its_classes_only) {
    const World world;
    Facts facts{.model = "cloud", .n_prompt_tokens = 100};
    facts.may_use_cloud = false;
    EXPECT_EQ(world.chosen(world.ask(facts)), "ours/mid");
    facts.may_use_fleet = false;
    EXPECT_EQ(world.chosen(world.ask(facts)), "demo");
    facts.model = "acme/big-1";
    const Decision refused = world.ask(facts);
    EXPECT_TRUE(refused.refused);
    EXPECT_EQ(refused.error.kind, ErrorKind::forbidden_by_policy);
    EXPECT_EQ(refused.reason, "caller");
    Facts shy{.model = "cloud", .n_prompt_tokens = 100};
    shy.max_class_out = Sensitivity::public_;
    EXPECT_EQ(world.chosen(world.ask(shy)), "demo");
    EXPECT_EQ(world.ask(shy).reason, "sensitive");
}

TEST(Decide, the_policy_version_follows_the_settings) {
    World world;
    const std::string before = world.ask("auto").policy_version;
    EXPECT_EQ(before.size(), 16u);
    EXPECT_EQ(world.ask("cloud", Sensitivity::restricted).policy_version, before);
    world.policy.fallback = false;
    EXPECT_NE(world.ask("auto").policy_version, before);
}

TEST(Decide, an_unknown_policy_decides_nothing) {
    World world;
    world.policy.name = "no-such";
    EXPECT_EQ(world.ask("local").error.kind, ErrorKind::internal);
    EXPECT_EQ(find_policy("no-such"), nullptr);
    ASSERT_NE(find_policy("default"), nullptr);
}

TEST(PermitMint, mints_for_the_choice_and_its_fallbacks_only) {
    const World world;
    const Decision d = world.ask("cloud");
    const auto permit = PermitMint::mint(d, world.targets, 2, "req-1");
    ASSERT_TRUE(permit);
    EXPECT_EQ(permit->destination(), world.targets[2].destination);
    EXPECT_EQ(permit->purpose(), egress::Purpose::inference);
    EXPECT_EQ(permit->request_id(), "req-1");
    EXPECT_EQ(permit->rule(), "upstream acme");
    EXPECT_TRUE(PermitMint::mint(d, world.targets, 1, "req-1"));   // fallback
    EXPECT_FALSE(PermitMint::mint(d, world.targets, 0, "req-1"));  // local
    EXPECT_FALSE(PermitMint::mint(d, world.targets, 3, "req-1"));  // out of range
    EXPECT_FALSE(PermitMint::mint(world.ask("acme/big-1"), world.targets, 1, "req-1"));
    EXPECT_FALSE(PermitMint::mint(world.ask("local"), world.targets, 2, "req-1"));
    EXPECT_FALSE(PermitMint::mint(world.ask("acme/big-1", Sensitivity::restricted), world.targets,
                                  2, "req-1"));
}

TEST(PermitMint, refuses_a_decision_that_the_rules_could_not_have_made) {
    World world;
    Decision forged = world.ask("cloud");
    forged.sensitivity = Sensitivity::restricted;
    EXPECT_FALSE(PermitMint::mint(forged, world.targets, forged.target, "req-1"));
    const Decision d = world.ask("cloud");
    world.targets[2].destination.host.clear();
    EXPECT_FALSE(PermitMint::mint(d, world.targets, 2, "req-1"));
    world.targets[2].destination = {.host = "a", .port = 0, .tls = true};
    EXPECT_FALSE(PermitMint::mint(d, world.targets, 2, "req-1"));
}

}  // namespace
}  // namespace hearth::route
