// decide(): where a request goes. A pure function of facts, signals and policy: the same inputs
// give the same decision, so every decision can be explained and replayed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/chat.h"
#include "egress/permit.h"

namespace hearth::route {

enum class Tier : std::uint8_t { local, fleet, cloud };
const char* name_of(Tier tier);

// One place that could answer: a local model, or a model of an upstream.
struct Target {
    std::string model;     // the name callers use: "demo", "big-1"
    std::string upstream;  // "" for local
    Tier tier = Tier::local;
    egress::Destination destination = {};  // upstreams only
    std::int64_t n_ctx = 0;                // 0: unknown
    bool takes_images = false;
    bool takes_tools = true;
    double input_usd_per_mtok = 0, output_usd_per_mtok = 0;
    // Of input tokens from the provider's cache; nothing: they cost what others do. Bounds and
    // therefore decisions do not use it.
    std::optional<double> cached_input_usd_per_mtok = {};
    std::string price_source = {};  // "configuration", "price table of 2026-07-24"; empty: no price
};

// How often detectors found a kind of entity.
struct EntityCount {
    std::string entity;  // "credit_card"
    std::int64_t n = 0;
};

// What is known of the request, without its text.
struct Facts {
    std::string model;                 // as asked: concrete | auto | local | cloud
    std::int64_t n_prompt_tokens = 0;  // measured or estimated for local models; see estimated
    bool tokens_estimated = true;
    // No vocabulary makes more tokens of the prompt, images aside: what a bound of the cost is
    // computed from, because an upstream counts with a vocabulary of its own. 0: n_prompt_tokens
    // is exact there too.
    std::int64_t n_prompt_tokens_max = 0;
    std::int64_t max_output_tokens = 0;  // of one answer; 0: not stated
    std::int64_t n_answers = 1;
    bool has_images = false, has_tools = false;
    std::optional<chat::Sensitivity> stated_sensitivity = {};
    std::optional<std::int64_t> cost_microusd_max = {};
    std::string task = {}, lane = {};
    // What detectors found in all of its texts; nothing where nobody looked.
    std::optional<chat::Sensitivity> detected_sensitivity = {};
    std::vector<EntityCount> entities = {};
    // What an earlier request has marked, and the mark's id.
    std::optional<chat::Sensitivity> taint_sensitivity = {};
    std::string taint = {};
    // What the caller's key allows: the tiers, the highest class that may leave, and the lowest
    // that a statement may lower the class to (nothing: it only raises).
    bool may_use_local = true, may_use_fleet = true, may_use_cloud = true;
    chat::Sensitivity max_class_out = chat::Sensitivity::restricted;
    std::optional<chat::Sensitivity> may_lower_to = {};
    // The class that is left when pseudonyms stand for what was found; nothing where that was not
    // asked for, or does not help.
    std::optional<chat::Sensitivity> redacted_sensitivity = {};
};

// What is known of the world at this moment.
struct Signals {
    struct Health {
        std::string upstream;
        bool healthy = true;
        std::string why = {};  // "3 failures in 30 s"
    };
    std::vector<Health> upstreams;  // absent: healthy
    bool local_overloaded = false;
    bool offline = false;
};

struct PolicySettings {
    std::string name = "default";
    // Content at or above this class never leaves the machine.
    chat::Sensitivity keep_from = chat::Sensitivity::confidential;
    // The class of content about which nothing is stated.
    chat::Sensitivity unstated = chat::Sensitivity::internal;
    // May a request for a cloud model fall back to a local one, and the reverse, before the first
    // delta?
    bool fallback = true;
    // Content up to this class may leave with pseudonyms in place of what was found; nothing:
    // never.
    std::optional<chat::Sensitivity> redact_to = {};
};

// One rule that was applied: what it looked at and what it removed.
struct Step {
    // In this order: "name", "tier", "caller", "sensitivity", "modality", "context", "cost",
    // "offline", "health", and at the end the name of the policy that chose among what was left
    // ("default").
    std::string rule;
    std::string input;                 // "stated restricted, kept from confidential"
    std::vector<std::string> removed;  // targets, "acme/big-1"
    std::string reason;                // reason code, where the rule decides: "sensitive"
};

struct Decision {
    bool refused = false;
    Error error;                         // refused only
    std::size_t target = 0;              // index into the targets, else
    std::vector<std::size_t> fallbacks;  // tried in order, before the first delta only
    std::string reason;                  // reason code of INTERFACE §4
    chat::Sensitivity sensitivity = chat::Sensitivity::internal;
    // What was stated lowered the class.
    bool lowered = false;
    // Whatever leaves this machine leaves redacted: the class alone would keep it here.
    bool redacted = false;
    std::vector<Step> steps;
    std::string policy_version;  // hash of the policy's settings
    // At most this is paid at the target: the prompt's largest count of tokens and the longest
    // answers, rounded up. The longest answer is what the request states, else what the context
    // leaves; 0 where there is no bound.
    std::int64_t cost_microusd_max = 0;
    // What it was decided from, kept so that a record of the decision can be replayed.
    Signals signals;
    PolicySettings policy;
};

// Requires: targets' order is the operator's preference.
Decision decide(const Facts& facts, const Signals& signals, const PolicySettings& policy,
                const std::vector<Target>& targets);

// An upper bound of what the request costs there, in micro-dollars; nothing where there is none.
std::optional<std::int64_t> cost_bound(const Facts& facts, const Target& target);

// "acme/big-1", or "demo" for local.
std::string label_of(const Target& target);
// {"target":…, "reason":…, "steps":[…], …} as `hearth route explain --json` prints it.
// Holds everything that decide() was given, so that replay() can decide again.
std::string to_json(const Decision& decision, const Facts& facts,
                    const std::vector<Target>& targets);

// What a recorded decision was made from.
struct Inputs {
    Facts facts;
    Signals signals;
    PolicySettings policy;
    std::vector<Target> targets;
};
// Reads what to_json() wrote. Errors: invalid_request with the member that is missing or wrong.
Result<Inputs> inputs_from_json(std::string_view json);
// Decides a recorded decision again. The same text comes back unless the rules have changed since
// (then policy_version tells) or the record was altered.
Result<std::string> replay(std::string_view json);

// Makes the permits that a decision allows, and no others.
class PermitMint {
  public:
    // Nothing for a local target, a refusal, or a target that is neither chosen nor a fallback.
    // who: the caller's key id, for the receipt.
    static std::optional<egress::EgressPermit> mint(const Decision& decision,
                                                    const std::vector<Target>& targets,
                                                    std::size_t target,
                                                    const std::string& request_id,
                                                    const std::string& who = {});
};

}  // namespace hearth::route
