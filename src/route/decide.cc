// The hard constraints, in a fixed order; then a policy chooses among what they left.
//
// clang-format off
//   name         which targets the model's name means; unknown: not_found
//   tier         `local` removes all that leaves; `cloud` without fallback all that does not
//   caller       tiers that the caller's key may not use
//   sensitivity  content at or above policy.keep_from removes all that leaves, unless the policy
//                lets it leave redacted and nothing of that class is left then
//   modality     images, tools
//   context      prompt + answer > n_ctx
//   cost         the caller's cap
//   offline      all that leaves
//   health       open circuits, a full machine
// clang-format on
//
// A rule looks only at targets that are still left, so each target is removed by exactly one. What
// can change by waiting comes last: a target removed by `health` has passed everything else, which
// is what tells "try again later" from "never". Privacy comes before all that could be worked
// around, and nothing after it can add a target: rules only remove.
//
// Source: ROUTING §1.1 (constraints before any preference).
#include "route/decide.h"

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "base/file.h"
#include "base/format.h"
#include "base/suggest.h"
#include "route/cost.h"
#include "route/limits.h"
#include "route/policy.h"

namespace hearth::route {
namespace {

// Part of policy_version. Counts up whenever the same inputs could give another decision.
constexpr int kRulesRevision = 3;

std::int64_t add_saturated(std::int64_t a, std::int64_t b) {
    std::int64_t sum = 0;
    return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<std::int64_t>::max() : sum;
}

// Counts come from outside; a negative one is none.
std::int64_t n_prompt(const Facts& facts) {
    return std::max<std::int64_t>(facts.n_prompt_tokens, 0);
}
std::int64_t n_output(const Facts& facts) {
    return std::max<std::int64_t>(facts.max_output_tokens, 0);
}

// The targets that are left, and the steps that removed the others.
class Narrowing {
  public:
    Narrowing(const std::vector<Target>& targets, std::vector<Step>& steps)
        : targets_(targets), steps_(steps) {
        for (std::size_t i = 0; i < targets.size(); ++i) left_.push_back(i);
    }

    template <class Removes>
    void apply(const char* rule, std::string input, const char* reason, Removes&& removes) {
        Step step{.rule = rule, .input = std::move(input), .removed = {}, .reason = reason};
        std::erase_if(left_, [&](std::size_t i) {
            if (!removes(targets_[i])) return false;
            step.removed.push_back(label_of(targets_[i]));
            removed_by_[i] = steps_.size();
            return true;
        });
        steps_.push_back(std::move(step));
    }

    const std::vector<std::size_t>& left() const { return left_; }
    // The step that removed a target; null while it is left.
    const Step* remover(std::size_t target) const {
        const std::size_t step = removed_by_[target];
        return step == kLeft ? nullptr : &steps_[step];
    }
    bool removed_any(std::string_view rule) const {
        return std::ranges::any_of(
            steps_, [&](const Step& step) { return step.rule == rule && !step.removed.empty(); });
    }
    bool removed(std::size_t target, std::string_view rule) const {
        const Step* step = remover(target);
        return step != nullptr && step->rule == rule;
    }

  private:
    static constexpr std::size_t kLeft = std::size_t(-1);
    const std::vector<Target>& targets_;
    std::vector<Step>& steps_;
    std::vector<std::size_t> left_;
    std::vector<std::size_t> removed_by_ = std::vector<std::size_t>(targets_.size(), kLeft);
};

// The longest answers a target could give, all together; nothing where neither request nor target
// bounds them.
std::optional<std::int64_t> n_output_max(const Facts& facts, const Target& target) {
    std::int64_t n_one = n_output(facts);
    if (n_one == 0) {
        if (target.n_ctx <= 0) return std::nullopt;
        // A prompt that is only bounded may turn out short, and leaves the whole context then.
        const std::int64_t n_least = facts.n_prompt_tokens_max > 0 ? 0 : n_prompt(facts);
        n_one = std::max<std::int64_t>(target.n_ctx - n_least, 0);
    }
    std::int64_t n_all = 0;
    return __builtin_mul_overflow(n_one, std::max<std::int64_t>(facts.n_answers, 1), &n_all)
               ? std::numeric_limits<std::int64_t>::max()
               : n_all;
}

}  // namespace

// What an image costs follows from its size in pixels and each provider's rules: no bound of ours
// holds.
std::optional<std::int64_t> cost_bound(const Facts& facts, const Target& target) {
    const auto price = price_of(target.input_usd_per_mtok, target.output_usd_per_mtok);
    if (!price || (facts.has_images && price->input_picousd > 0)) return std::nullopt;
    const auto n_out = n_output_max(facts, target);
    if (!n_out && price->output_picousd > 0) return std::nullopt;
    return cost_microusd(*price, std::max(facts.n_prompt_tokens_max, n_prompt(facts)),
                         n_out.value_or(0), Rounding::up);
}

namespace {

// The class that everything but the caller's word gives.
chat::Sensitivity found_class(const Facts& facts, const PolicySettings& policy) {
    return std::max({policy.unstated, facts.detected_sensitivity.value_or(policy.unstated),
                     facts.taint_sensitivity.value_or(policy.unstated)});
}

// What a caller states raises the class; it lowers it only where the role allows that.
chat::Sensitivity class_of(const Facts& facts, const PolicySettings& policy) {
    const chat::Sensitivity found = found_class(facts, policy);
    if (!facts.stated_sensitivity) return found;
    const chat::Sensitivity stated = *facts.stated_sensitivity;
    if (stated >= found) return stated;
    return facts.may_lower_to ? std::min(found, std::max(stated, *facts.may_lower_to)) : found;
}

// Pseudonyms stand for what detectors found. They do not change what a caller states, and
// redacted_sensitivity has looked at marks.
bool may_leave_redacted(const Facts& facts, const Decision& decision) {
    const PolicySettings& policy = decision.policy;
    return policy.redact_to && decision.sensitivity <= *policy.redact_to &&
           facts.redacted_sensitivity && *facts.redacted_sensitivity < policy.keep_from &&
           *facts.redacted_sensitivity <= facts.max_class_out &&
           facts.stated_sensitivity.value_or(chat::Sensitivity::public_) < policy.keep_from &&
           policy.unstated < policy.keep_from;
}

// The targets that a name means: all for the virtual models; else the one with this label; else all
// upstreams' models of this name. A label is exclusive, so that naming a local model never falls
// back to an upstream's model that happens to be called the same.
std::vector<bool> named(const std::string& model, const std::vector<Target>& targets) {
    const bool any = asked_for(model) != Asked::concrete;
    std::vector<bool> means(targets.size(), any);
    if (any) return means;
    for (const bool by_label : {true, false}) {
        for (std::size_t i = 0; i < targets.size(); ++i)
            means[i] = model == (by_label ? label_of(targets[i]) : targets[i].model);
        if (std::ranges::find(means, true) != means.end()) break;
    }
    return means;
}

void apply_tier(Narrowing& narrowing, const Facts& facts, const PolicySettings& policy) {
    switch (asked_for(facts.model)) {
        case Asked::local:
            narrowing.apply("tier", "\"local\" never leaves this machine", "tier", leaves_machine);
            break;
        case Asked::cloud:
            if (!policy.fallback)
                narrowing.apply("tier", "\"cloud\" asked and fallback is off", "tier",
                                [](const Target& t) { return !leaves_machine(t); });
            break;
        case Asked::automatic:
        case Asked::concrete:
            break;
    }
}

// What the class alone keeps on this machine.
bool is_kept(const Facts& facts, const Decision& decision) {
    return decision.sensitivity >= decision.policy.keep_from ||
           decision.sensitivity > facts.max_class_out;
}
bool stays_here(const Facts& facts, const Decision& decision) {
    return is_kept(facts, decision) && !decision.redacted;
}

// "stated internal, found credit_card ×1 (restricted), taken as restricted, kept from confidential"
std::string sensitivity_input(const Facts& facts, const Decision& decision) {
    std::string input = facts.stated_sensitivity
                            ? format("stated {}", chat::name_of(*facts.stated_sensitivity))
                            : std::string("nothing stated");
    if (!facts.entities.empty()) {
        input += ", found";
        for (std::size_t i = 0; i < std::min(facts.entities.size(), kListedMax); ++i)
            input += format("{} {} ×{}", i > 0 ? "," : "", facts.entities[i].entity,
                            facts.entities[i].n);
        if (facts.entities.size() > kListedMax)
            input += format(" and {} kinds more", facts.entities.size() - kListedMax);
        if (facts.detected_sensitivity)
            input += format(" ({})", chat::name_of(*facts.detected_sensitivity));
    }
    if (facts.taint_sensitivity)
        input += format(", marked {} by {}", chat::name_of(*facts.taint_sensitivity), facts.taint);
    input += format(", taken as {}", chat::name_of(decision.sensitivity));
    if (decision.lowered) input += " because the caller may lower the class";
    input += format(", kept from {}", chat::name_of(decision.policy.keep_from));
    if (facts.max_class_out < chat::Sensitivity::restricted)
        input +=
            format(", the key's highest class to leave is {}", chat::name_of(facts.max_class_out));
    if (decision.redacted) input += ", may leave redacted";
    return input;
}

void apply_caller(Narrowing& narrowing, const Facts& facts) {
    if (facts.may_use_local && facts.may_use_fleet && facts.may_use_cloud) return;
    const auto may_use = [&](Tier tier) {
        return tier == Tier::local   ? facts.may_use_local
               : tier == Tier::fleet ? facts.may_use_fleet
                                     : facts.may_use_cloud;
    };
    std::string allowed;
    for (const Tier tier : {Tier::local, Tier::fleet, Tier::cloud})
        if (may_use(tier)) allowed += format("{}{}", allowed.empty() ? "" : ", ", name_of(tier));
    narrowing.apply("caller",
                    format("the key may use {}", allowed.empty() ? "no tier" : allowed.c_str()),
                    "caller", [&](const Target& t) { return !may_use(t.tier); });
}

void apply_sensitivity(Narrowing& narrowing, const Facts& facts, const Decision& decision) {
    const bool kept = stays_here(facts, decision);
    narrowing.apply("sensitivity", sensitivity_input(facts, decision), kept ? "sensitive" : "",
                    [&](const Target& t) { return kept && leaves_machine(t); });
}

void apply_capabilities(Narrowing& narrowing, const Facts& facts) {
    if (facts.has_images || facts.has_tools) {
        const char* input = !facts.has_tools    ? "images"
                            : !facts.has_images ? "tools"
                                                : "images and tools";
        narrowing.apply("modality", input, "modality", [&](const Target& t) {
            return (facts.has_images && !t.takes_images) || (facts.has_tools && !t.takes_tools);
        });
    }
    // At least one token must be answered.
    const std::int64_t n_needed =
        add_saturated(n_prompt(facts), std::max<std::int64_t>(n_output(facts), 1));
    narrowing.apply("context",
                    format("{} prompt tokens{} + {}", n_prompt(facts),
                           facts.tokens_estimated ? " (estimated)" : "",
                           n_output(facts) > 0 ? format("{} for the answer", n_output(facts))
                                               : std::string("at least 1 for the answer")),
                    "context", [&](const Target& t) { return t.n_ctx > 0 && n_needed > t.n_ctx; });
}

void apply_cost(Narrowing& narrowing, const Facts& facts) {
    if (!facts.cost_microusd_max) return;
    narrowing.apply("cost", format("at most {} micro-dollars", *facts.cost_microusd_max), "budget",
                    [&](const Target& t) {
                        const auto bound = cost_bound(facts, t);
                        return !bound || *bound > *facts.cost_microusd_max;
                    });
}

const Signals::Health* unhealthy(const Signals& signals, const std::string& upstream) {
    for (const auto& health : signals.upstreams)
        if (!health.healthy && health.upstream == upstream) return &health;
    return nullptr;
}

void apply_health(Narrowing& narrowing, const Signals& signals) {
    if (signals.offline)
        narrowing.apply("offline", "the machine is offline", "offline", leaves_machine);
    std::string input;
    for (const auto& health : signals.upstreams)
        if (!health.healthy)
            input += format("{}{}: {}", input.empty() ? "" : "; ", health.upstream, health.why);
    if (!input.empty())
        narrowing.apply("health", std::move(input), "failover", [&](const Target& t) {
            return leaves_machine(t) && unhealthy(signals, t.upstream) != nullptr;
        });
    if (signals.local_overloaded)
        narrowing.apply("health", "this machine's queue is full", "burst",
                        [](const Target& t) { return !leaves_machine(t); });
}

std::string listed(const std::vector<std::string>& labels) {
    std::string text;
    for (std::size_t i = 0; i < std::min(labels.size(), kListedMax); ++i)
        text += format("{}{}", i > 0 ? ", " : "", shown_name(labels[i]));
    if (labels.size() > kListedMax) text += format(" and {} more", labels.size() - kListedMax);
    return text;
}

// "sensitivity (stated restricted, …) removed acme/big-1; context (…) removed demo"
std::string collided(const std::vector<Step>& steps) {
    std::string text;
    for (const Step& step : steps) {
        if (step.removed.empty() || step.rule == "name") continue;
        text += format("{}{} ({}) removed {}", text.empty() ? "" : "; ", step.rule, step.input,
                       listed(step.removed));
    }
    return text;
}

Decision refused(Decision decision, ErrorKind kind, std::string reason, std::string message) {
    decision.refused = true;
    decision.reason = std::move(reason);
    decision.error = Error{.kind = kind, .message = std::move(message)};
    return decision;
}

Decision refuse_unknown(Decision decision, const Facts& facts, const std::vector<Target>& targets) {
    std::vector<std::string> names;
    for (const Target& target : targets) names.push_back(label_of(target));
    for (const char* name : kVirtualModels) names.emplace_back(name);
    decision = refused(std::move(decision), ErrorKind::not_found, "unknown-model",
                       not_found_text("model", facts.model, names));
    decision.error.param = "model";
    return decision;
}

// The prompt fits none of the targets that nothing else removed: the largest of them is reported.
Decision refuse_context(Decision decision, const Facts& facts, const std::vector<Target>& targets,
                        const Narrowing& narrowing) {
    const Target* largest = nullptr;
    for (std::size_t i = 0; i < targets.size(); ++i)
        if (narrowing.removed(i, "context") && (!largest || targets[i].n_ctx > largest->n_ctx))
            largest = &targets[i];
    CHECK(largest != nullptr);
    const std::string answer = n_output(facts) > 0
                                   ? format("{} for the answer were asked", n_output(facts))
                                   : std::string("the answer needs at least 1");
    std::string message =
        format("the prompt has {}{} tokens and {}; {} takes {} in all. Shorten the prompt{}.",
               facts.tokens_estimated ? "about " : "", n_prompt(facts), answer,
               shown_name(label_of(*largest)), largest->n_ctx,
               n_output(facts) > 0 ? " or ask for a shorter answer" : "");
    decision =
        refused(std::move(decision), ErrorKind::context_overflow, "context", std::move(message));
    decision.error.param = "messages";
    decision.error.n_prompt_tokens = n_prompt(facts);
    decision.error.n_ctx = largest->n_ctx;
    return decision;
}

// What the caller can do about a refusal.
struct Refusal {
    const char* rule;
    ErrorKind kind;
    const char* advice;
};

// Nothing is left: says which rules collided. The first row of the table whose rule removed
// anything gives the kind: what may pass by waiting first, then policy, then what can never be.
Decision refuse(Decision decision, const Facts& facts, const Signals& signals,
                const std::vector<Target>& targets, const Narrowing& narrowing) {
    static constexpr Refusal kRefusals[] = {
        {"health", ErrorKind::upstream_failed, "Try again later."},
        {"offline", ErrorKind::upstream_failed, "Name a local model, or go online."},
        {"sensitivity", ErrorKind::forbidden_by_policy,
         "Nothing has left the machine. Use the model \"local\"."},
        {"caller", ErrorKind::forbidden_by_policy,
         "Ask for a model that this key may use, or have its scopes widened."},
        {"cost", ErrorKind::forbidden_by_policy,
         "Nothing has left the machine. Raise the cap, or state a shorter longest answer."},
        {"context", ErrorKind::context_overflow, ""},
        {"modality", ErrorKind::invalid_request, "Name a model that takes this input."},
        {"tier", ErrorKind::not_found, "Serve a model of this kind, or ask for \"auto\"."},
    };
    for (const Refusal& refusal : kRefusals) {
        if (!narrowing.removed_any(refusal.rule)) continue;
        if (refusal.kind == ErrorKind::context_overflow)
            return refuse_context(std::move(decision), facts, targets, narrowing);
        const auto step = std::ranges::find_if(decision.steps, [&](const Step& s) {
            return s.rule == refusal.rule && !s.removed.empty();
        });
        std::string reason = step->reason;
        ErrorKind kind = refusal.kind;
        // A full machine is a queue to wait for; anything else of `health` is an upstream's.
        if (step->rule == "health") {
            const bool local = signals.local_overloaded &&
                               decision.steps.back().reason == "burst" &&
                               !decision.steps.back().removed.empty();
            kind = local ? ErrorKind::overloaded : ErrorKind::upstream_failed;
            reason = local ? "overloaded" : "unhealthy";
        }
        std::string message = format("no model is left for \"{}\": {}. {}", shown_name(facts.model),
                                     collided(decision.steps), refusal.advice);
        return refused(std::move(decision), kind, std::move(reason), std::move(message));
    }
    return refused(std::move(decision), ErrorKind::not_found, "no-model",
                   "no model is configured. Serve one with `hearth serve --model`, or add an "
                   "upstream to the configuration.");
}

// The policy's own preference, had no constraint spoken, tells why the answer is elsewhere.
std::string reason_of(const Decision& decision, const Choice& choice, const Choice& wanted,
                      const Facts& facts, const Target& target, const Narrowing& narrowing) {
    const Asked asked = asked_for(facts.model);
    const bool open = asked == Asked::automatic || asked == Asked::cloud;
    if (open && !leaves_machine(target) && stays_here(facts, decision)) return "sensitive";
    const Step* remover = narrowing.remover(wanted.target);
    return remover != nullptr ? remover->reason : choice.reason;
}

std::string version_of(const PolicySettings& policy) {
    return sha256_hex(format("rules={};name={};keep_from={};unstated={};fallback={};redact_to={}",
                             kRulesRevision, policy.name, chat::name_of(policy.keep_from),
                             chat::name_of(policy.unstated), policy.fallback,
                             policy.redact_to ? chat::name_of(*policy.redact_to) : "never"))
        .substr(0, 16);
}

}  // namespace

const char* name_of(Tier tier) {
    switch (tier) {
        case Tier::local:
            return "local";
        case Tier::fleet:
            return "fleet";
        case Tier::cloud:
            return "cloud";
    }
    return "cloud";
}

std::string label_of(const Target& target) {
    return target.upstream.empty() ? target.model : target.upstream + "/" + target.model;
}

bool leaves_machine(const Target& target) {
    return target.tier != Tier::local || !target.upstream.empty();
}

Asked asked_for(const std::string& model) {
    if (model.empty() || model == "auto") return Asked::automatic;
    if (model == "local") return Asked::local;
    if (model == "cloud") return Asked::cloud;
    return Asked::concrete;
}

const Policy* find_policy(const std::string& name) {
    for (std::size_t i = 0; i < policy_table_size; ++i)
        if (policy_table[i]->name == name) return policy_table[i];
    return nullptr;
}

Decision decide(const Facts& facts, const Signals& signals, const PolicySettings& policy,
                const std::vector<Target>& targets) {
    Decision decision;
    decision.signals = signals;
    decision.policy = policy;
    decision.sensitivity = class_of(facts, policy);
    decision.lowered = decision.sensitivity < found_class(facts, policy);
    decision.redacted = is_kept(facts, decision) && may_leave_redacted(facts, decision);
    decision.policy_version = version_of(policy);
    const Policy* const chooser = find_policy(policy.name);
    if (!chooser)
        return refused(std::move(decision), ErrorKind::internal, "no-policy",
                       format("no policy is called \"{}\"", shown_name(policy.name)));

    Narrowing narrowing(targets, decision.steps);
    const std::vector<bool> means = named(facts.model, targets);
    narrowing.apply("name", format("\"{}\" asked", shown_name(facts.model)), "pinned",
                    [&](const Target& t) { return !means[std::size_t(&t - targets.data())]; });
    const std::vector<std::size_t> candidates = narrowing.left();
    if (candidates.empty() && asked_for(facts.model) == Asked::concrete)
        return refuse_unknown(std::move(decision), facts, targets);
    apply_tier(narrowing, facts, policy);
    apply_caller(narrowing, facts);
    apply_sensitivity(narrowing, facts, decision);
    apply_capabilities(narrowing, facts);
    apply_cost(narrowing, facts);
    apply_health(narrowing, signals);
    if (narrowing.left().empty()) {
        // Copied, because the refusal moves the decision whose steps the narrowing looks at.
        Decision base = decision;
        return refuse(std::move(base), facts, signals, targets, narrowing);
    }

    const Choice choice = chooser->choose(facts, signals, policy, targets, narrowing.left());
    const Choice wanted = chooser->choose(facts, signals, policy, targets, candidates);
    const auto is_left = [&](std::size_t i) {
        return std::ranges::find(narrowing.left(), i) != narrowing.left().end();
    };
    CHECK(is_left(choice.target));
    CHECK(std::ranges::all_of(choice.fallbacks, is_left));
    const Target& target = targets[choice.target];
    decision.target = choice.target;
    decision.fallbacks = choice.fallbacks;
    decision.fallbacks.resize(std::min(decision.fallbacks.size(), kFallbacksMax));
    decision.reason = reason_of(decision, choice, wanted, facts, target, narrowing);
    decision.cost_microusd_max = cost_bound(facts, target).value_or(0);
    decision.steps.push_back({.rule = chooser->name,
                              .input = format("chose {}", label_of(target)),
                              .removed = {},
                              .reason = choice.reason});
    return decision;
}

}  // namespace hearth::route
