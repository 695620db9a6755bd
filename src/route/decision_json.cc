// The decision as one JSON object, and back: what `hearth route explain --json` prints, what the
// journal keeps, and what replay() reads. docs/formats/journal.md lists the members.
//
// Reading takes nothing on trust: the text may come from a damaged or altered file.
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/format.h"
#include "base/json.h"
#include "route/decide.h"
#include "route/limits.h"
#include "route/policy.h"

namespace hearth::route {
namespace {

void write_class(JsonWriter& w, const char* name,
                 const std::optional<chat::Sensitivity>& sensitivity) {
    w.key(name);
    if (sensitivity)
        w.value(chat::name_of(*sensitivity));
    else
        w.null();
}

void write_facts(JsonWriter& w, const Facts& facts) {
    w.key("facts").begin_object();
    w.field("model", facts.model);
    w.field("n_prompt_tokens", facts.n_prompt_tokens);
    w.field("tokens_estimated", facts.tokens_estimated);
    w.field("n_prompt_tokens_max", facts.n_prompt_tokens_max);
    w.field("max_output_tokens", facts.max_output_tokens);
    w.field("n_answers", facts.n_answers);
    w.field("has_images", facts.has_images);
    w.field("has_tools", facts.has_tools);
    write_class(w, "stated_sensitivity", facts.stated_sensitivity);
    w.key("cost_microusd_max");
    if (facts.cost_microusd_max)
        w.value(*facts.cost_microusd_max);
    else
        w.null();
    w.field("task", facts.task).field("lane", facts.lane);
    write_class(w, "detected_sensitivity", facts.detected_sensitivity);
    w.key("entities").begin_array();
    for (const EntityCount& found : facts.entities)
        w.begin_object().field("entity", found.entity).field("n", found.n).end_object();
    w.end_array();
    write_class(w, "taint_sensitivity", facts.taint_sensitivity);
    w.field("taint", facts.taint);
    w.field("may_use_local", facts.may_use_local).field("may_use_fleet", facts.may_use_fleet);
    w.field("may_use_cloud", facts.may_use_cloud);
    w.field("max_class_out", chat::name_of(facts.max_class_out));
    write_class(w, "may_lower_to", facts.may_lower_to);
    write_class(w, "redacted_sensitivity", facts.redacted_sensitivity);
    w.end_object();
}

void write_signals(JsonWriter& w, const Signals& signals) {
    w.key("signals").begin_object();
    w.key("upstreams").begin_array();
    for (const auto& health : signals.upstreams) {
        w.begin_object().field("upstream", health.upstream);
        w.field("healthy", health.healthy).field("why", health.why).end_object();
    }
    w.end_array();
    w.field("local_overloaded", signals.local_overloaded).field("offline", signals.offline);
    w.end_object();
}

void write_policy(JsonWriter& w, const PolicySettings& policy) {
    w.key("policy").begin_object().field("name", policy.name);
    w.field("keep_from", chat::name_of(policy.keep_from));
    w.field("unstated", chat::name_of(policy.unstated));
    w.field("fallback", policy.fallback);
    write_class(w, "redact_to", policy.redact_to);
    w.end_object();
}

void write_target(JsonWriter& w, const Target& target) {
    w.begin_object().field("model", target.model).field("upstream", target.upstream);
    w.field("tier", name_of(target.tier));
    w.key("destination").begin_object().field("host", target.destination.host);
    w.field("port", target.destination.port).field("tls", target.destination.tls).end_object();
    w.field("n_ctx", target.n_ctx);
    w.field("takes_images", target.takes_images).field("takes_tools", target.takes_tools);
    w.field("input_usd_per_mtok", target.input_usd_per_mtok);
    w.field("output_usd_per_mtok", target.output_usd_per_mtok).end_object();
}

void write_steps(JsonWriter& w, const std::vector<Step>& steps) {
    w.key("steps").begin_array();
    for (const Step& step : steps) {
        w.begin_object().field("rule", step.rule).field("input", step.input);
        w.key("removed").begin_array();
        for (const std::string& label : step.removed) w.value(label);
        w.end_array().field("reason", step.reason).end_object();
    }
    w.end_array();
}

void write_error(JsonWriter& w, const Error& error) {
    w.key("error").begin_object();
    w.field("kind", name_of(error.kind)).field("message", error.message);
    if (!error.param.empty()) w.field("param", error.param);
    if (error.kind == ErrorKind::context_overflow)
        w.field("n_prompt_tokens", error.n_prompt_tokens).field("n_ctx", error.n_ctx);
    w.end_object();
}

// Reads members of one JSON object; the first thing wrong is kept, and what follows is skipped.
class Reader {
  public:
    Reader(const Json& object, std::string path, Status& status)
        : object_(object), path_(std::move(path)), status_(status) {
        if (!object_.is_object()) wrong("", "an object");
    }

    void read(const char* name, std::string& out) {
        if (const Json* v = member(name)) {
            if (v->is_string())
                out = v->get<std::string>();
            else
                wrong(name, "a string");
        }
    }
    void read(const char* name, bool& out) {
        if (const Json* v = member(name)) {
            if (v->is_boolean())
                out = v->get<bool>();
            else
                wrong(name, "true or false");
        }
    }
    void read(const char* name, std::int64_t& out) {
        if (const Json* v = member(name)) {
            // Unsigned numbers above int64_t would change their value.
            const bool fits = v->is_number_integer() &&
                              (!v->is_number_unsigned() ||
                               v->get<std::uint64_t>() <=
                                   std::uint64_t(std::numeric_limits<std::int64_t>::max()));
            if (fits)
                out = v->get<std::int64_t>();
            else
                wrong(name, "a whole number of 64 bits");
        }
    }
    void read(const char* name, int& out) {
        std::int64_t wide = 0;
        read(name, wide);
        if (wide < std::numeric_limits<int>::min() || wide > std::numeric_limits<int>::max())
            return wrong(name, "a whole number of 32 bits");
        out = int(wide);
    }
    // A price that is no number was written as null.
    void read(const char* name, double& out) {
        if (const Json* v = member(name)) {
            if (v->is_null())
                out = std::nan("");
            else if (v->is_number())
                out = v->get<double>();
            else
                wrong(name, "a number");
        }
    }
    void read(const char* name, chat::Sensitivity& out) {
        std::string text;
        read(name, text);
        if (!status_) return;
        if (const auto sensitivity = chat::sensitivity_from(text))
            out = *sensitivity;
        else
            wrong(name, "public, internal, confidential or restricted");
    }
    template <class T>
    void read(const char* name, std::optional<T>& out) {
        const Json* v = member(name);
        if (!v || v->is_null()) return;
        T value{};
        read(name, value);
        out = value;
    }
    // Null where it is missing; the error is kept.
    const Json* member(const char* name) {
        if (!status_) return nullptr;
        const auto it = object_.find(name);
        if (it != object_.end()) return &*it;
        wrong(name, "present");
        return nullptr;
    }
    bool has(const char* name) const { return ok() && object_.contains(name); }
    void wrong(std::string_view name, std::string_view wanted) {
        if (status_)
            status_ =
                fail(ErrorKind::invalid_request,
                     format("{}{}{} of the recorded decision is not {}; the record is damaged "
                            "or of another program",
                            path_, path_.empty() || name.empty() ? "" : ".", name, wanted));
    }
    bool ok() const { return status_.has_value(); }

  private:
    const Json& object_;
    const std::string path_;
    Status& status_;
};

const Json kNothing = nullptr;
const Json& of(const Json* value) {
    return value ? *value : kNothing;
}

void read_facts(const Json& json, Facts& facts, Status& status) {
    Reader r(json, "inputs.facts", status);
    r.read("model", facts.model);
    r.read("n_prompt_tokens", facts.n_prompt_tokens);
    r.read("tokens_estimated", facts.tokens_estimated);
    // Records of rules=1 have neither.
    if (r.has("n_prompt_tokens_max")) r.read("n_prompt_tokens_max", facts.n_prompt_tokens_max);
    r.read("max_output_tokens", facts.max_output_tokens);
    if (r.has("n_answers")) r.read("n_answers", facts.n_answers);
    r.read("has_images", facts.has_images);
    r.read("has_tools", facts.has_tools);
    r.read("stated_sensitivity", facts.stated_sensitivity);
    r.read("cost_microusd_max", facts.cost_microusd_max);
    r.read("task", facts.task);
    r.read("lane", facts.lane);
    // Records of rules=2 have none of what follows.
    if (!r.has("detected_sensitivity")) return;
    r.read("detected_sensitivity", facts.detected_sensitivity);
    r.read("taint_sensitivity", facts.taint_sensitivity);
    r.read("taint", facts.taint);
    r.read("may_use_local", facts.may_use_local);
    r.read("may_use_fleet", facts.may_use_fleet);
    r.read("may_use_cloud", facts.may_use_cloud);
    r.read("max_class_out", facts.max_class_out);
    r.read("may_lower_to", facts.may_lower_to);
    r.read("redacted_sensitivity", facts.redacted_sensitivity);
    const Json* entities = r.member("entities");
    if (entities && !entities->is_array()) return r.wrong("entities", "a list");
    for (const Json& item : of(entities)) {
        Reader e(item, "inputs.facts.entities[]", status);
        EntityCount found;
        e.read("entity", found.entity);
        e.read("n", found.n);
        facts.entities.push_back(std::move(found));
    }
}

void read_signals(const Json& json, Signals& signals, Status& status) {
    Reader r(json, "inputs.signals", status);
    r.read("local_overloaded", signals.local_overloaded);
    r.read("offline", signals.offline);
    const Json* upstreams = r.member("upstreams");
    if (upstreams && !upstreams->is_array()) return r.wrong("upstreams", "a list");
    for (const Json& item : of(upstreams)) {
        Reader h(item, "inputs.signals.upstreams[]", status);
        Signals::Health health;
        h.read("upstream", health.upstream);
        h.read("healthy", health.healthy);
        h.read("why", health.why);
        signals.upstreams.push_back(std::move(health));
    }
}

void read_policy(const Json& json, PolicySettings& policy, Status& status) {
    Reader r(json, "inputs.policy", status);
    r.read("name", policy.name);
    r.read("keep_from", policy.keep_from);
    r.read("unstated", policy.unstated);
    r.read("fallback", policy.fallback);
    if (r.has("redact_to")) r.read("redact_to", policy.redact_to);
}

Target read_target(const Json& json, Status& status) {
    Reader r(json, "inputs.targets[]", status);
    Target target;
    std::string tier;
    r.read("model", target.model);
    r.read("upstream", target.upstream);
    r.read("tier", tier);
    bool known = false;
    for (const Tier t : {Tier::local, Tier::fleet, Tier::cloud}) {
        if (tier != name_of(t)) continue;
        target.tier = t;
        known = true;
    }
    if (!known) r.wrong("tier", "local, fleet or cloud");
    if (const Json* destination = r.member("destination")) {
        Reader d(*destination, "inputs.targets[].destination", status);
        d.read("host", target.destination.host);
        d.read("port", target.destination.port);
        d.read("tls", target.destination.tls);
    }
    r.read("n_ctx", target.n_ctx);
    r.read("takes_images", target.takes_images);
    r.read("takes_tools", target.takes_tools);
    r.read("input_usd_per_mtok", target.input_usd_per_mtok);
    r.read("output_usd_per_mtok", target.output_usd_per_mtok);
    return target;
}

}  // namespace

std::string to_json(const Decision& decision, const Facts& facts,
                    const std::vector<Target>& targets) {
    JsonWriter w;
    w.begin_object();
    w.field("refused", decision.refused);
    if (decision.refused) {
        w.field("route", "refused");
        write_error(w, decision.error);
    } else {
        const Target& target = targets[decision.target];
        w.field("route", name_of(target.tier)).field("target", label_of(target));
        w.field("model", target.model).field("upstream", target.upstream);
    }
    w.field("reason", decision.reason);
    w.key("fallbacks").begin_array();
    for (const std::size_t i : decision.fallbacks) w.value(label_of(targets[i]));
    w.end_array();
    w.field("sensitivity", chat::name_of(decision.sensitivity));
    w.field("lowered", decision.lowered).field("redacted", decision.redacted);
    w.field("cost_microusd_max", decision.cost_microusd_max);
    w.field("policy_version", decision.policy_version);
    write_steps(w, decision.steps);
    w.key("inputs").begin_object();
    write_facts(w, facts);
    write_signals(w, decision.signals);
    write_policy(w, decision.policy);
    w.key("targets").begin_array();
    for (const Target& target : targets) write_target(w, target);
    w.end_array().end_object().end_object();
    return w.take();
}

Result<Inputs> inputs_from_json(std::string_view json) {
    if (json.size() > kRecordedBytesMax)
        return fail(ErrorKind::invalid_request,
                    format("the recorded decision has {} bytes, the limit is {}", json.size(),
                           kRecordedBytesMax));
    HEARTH_TRY(const Json document, parse_json(json));
    Status status;
    Reader top(document, "", status);
    const Json* inputs = top.ok() ? top.member("inputs") : nullptr;
    Reader r(of(inputs), "inputs", status);
    Inputs out;
    if (r.ok()) read_facts(of(r.member("facts")), out.facts, status);
    if (r.ok()) read_signals(of(r.member("signals")), out.signals, status);
    if (r.ok()) read_policy(of(r.member("policy")), out.policy, status);
    const Json* targets = r.ok() ? r.member("targets") : nullptr;
    if (targets && !targets->is_array()) r.wrong("targets", "a list");
    if (r.ok())
        for (const Json& item : of(targets)) out.targets.push_back(read_target(item, status));
    if (!status) return std::unexpected(status.error());
    return out;
}

Result<std::string> replay(std::string_view json) {
    HEARTH_TRY(const Inputs inputs, inputs_from_json(json));
    const Decision decision = decide(inputs.facts, inputs.signals, inputs.policy, inputs.targets);
    return to_json(decision, inputs.facts, inputs.targets);
}

}  // namespace hearth::route
