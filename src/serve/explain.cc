// What is known of a request, and the decision that follows from it.
#include "base/format.h"
#include "chat/estimate.h"
#include "serve/exchange.h"

namespace hearth::serve {
namespace {

bool has_images(const chat::ChatRequest& request) {
    for (const chat::Message& message : request.messages) {
        for (const chat::Part& part : message.parts) {
            if (std::holds_alternative<chat::ImagePart>(part)) return true;
        }
    }
    return false;
}

void add_content(const Inspection& content, route::Facts& facts) {
    facts.detected_sensitivity = content.detected;
    facts.entities = content.entities;
    facts.redacted_sensitivity = content.redacted_sensitivity;
    if (!content.taint) return;
    facts.taint_sensitivity = content.taint->sensitivity;
    facts.taint = content.taint->id;
}

void add_caller(const Caller& caller, route::Facts& facts) {
    facts.may_use_local = caller.scopes.tiers.local;
    facts.may_use_fleet = caller.scopes.tiers.fleet;
    facts.may_use_cloud = caller.scopes.tiers.cloud;
    facts.max_class_out = caller.scopes.max_class_out;
    facts.may_lower_to = caller.scopes.may_lower_to;
}

}  // namespace

Status check_addresses(const chat::ChatRequest& request) {
    for (std::size_t i = 0; i < request.messages.size(); ++i) {
        for (const chat::Part& part : request.messages[i].parts) {
            const auto* image = std::get_if<chat::ImagePart>(&part);
            if (!image || image->url.starts_with("data:")) continue;
            return fail(Error{
                .kind = ErrorKind::invalid_request,
                .message = format("messages[{}] names an image by its address, and nothing is "
                                  "fetched from addresses in requests, here or elsewhere; send "
                                  "the image itself as a URL of the form "
                                  "data:image/png;base64,…",
                                  i),
                .param = "messages"});
        }
    }
    return {};
}

Explanation explain(Places& places, const route::PolicySettings& policy,
                    const chat::ChatRequest& request, bool offline, Inspector* inspector,
                    const Caller& caller) {
    Explanation why;
    route::Facts& facts = why.facts;
    facts.model = request.model;
    facts.max_output_tokens = request.max_output_tokens.value_or(0);
    facts.has_images = has_images(request);
    facts.has_tools = !request.tools.empty();
    facts.stated_sensitivity = request.stated_sensitivity;
    facts.cost_microusd_max = request.cost_microusd_max;
    facts.task = request.task;
    facts.lane = request.lane;
    facts.n_answers = request.n;
    const chat::PromptSize size = chat::size_of_prompt(request);
    facts.n_prompt_tokens = size.n_tokens;
    facts.n_prompt_tokens_max = size.n_tokens_max;
    if (inspector) {
        why.inspection = inspector->inspect(request, policy);
        add_content(why.inspection, facts);
    }
    add_caller(caller, facts);
    if (const auto candidate = places.local_candidate(request.model)) {
        // A model that cannot load or a template that refuses is reported by the place itself, if
        // the decision falls on it.
        if (auto local = places.local(*candidate)) {
            if (auto prompt = (*local)->prepare(request)) {
                facts.n_prompt_tokens = std::int64_t(prompt->ids.size());
                facts.tokens_estimated = false;
                why.prompt = std::make_shared<const backend::Prompt>(std::move(*prompt));
            }
        }
    }
    why.targets = places.targets();
    route::Signals signals = places.signals(request.model);
    signals.offline = signals.offline || offline;
    // Who forbids fallbacks across the machine's edge does not want a full queue to cross it
    // either: the engine then says itself that it is full.
    signals.local_overloaded = signals.local_overloaded && policy.fallback;
    why.decision = route::decide(facts, signals, policy, why.targets);
    why.json = route::to_json(why.decision, facts, why.targets);
    return why;
}

}  // namespace hearth::serve
