// route explain: the decision for a request, without running it or writing it down.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "app/content.h"
#include "app/open.h"
#include "base/format.h"
#include "chat/dialect.h"

namespace hearth::app {
namespace {

void print_decision(const route::Decision& decision, const std::vector<route::Target>& targets) {
    if (decision.refused) {
        std::printf("refused (%s): %s\n", decision.reason.c_str(), decision.error.message.c_str());
    } else {
        std::printf("%s (%s), reason %s\n", route::label_of(targets[decision.target]).c_str(),
                    route::name_of(targets[decision.target].tier), decision.reason.c_str());
        for (const std::size_t i : decision.fallbacks)
            std::printf("  else %s\n", route::label_of(targets[i]).c_str());
        std::printf("cost at most %lld micro-dollars\n", (long long)decision.cost_microusd_max);
    }
    std::printf("class %s; policy %s\n", chat::name_of(decision.sensitivity),
                decision.policy_version.c_str());
    for (const route::Step& step : decision.steps) {
        std::string removed;
        for (const std::string& label : step.removed)
            removed += (removed.empty() ? "" : ", ") + label;
        std::printf("  %-12s %s%s%s\n", step.rule.c_str(), step.input.c_str(),
                    removed.empty() ? "" : "; removed ", removed.c_str());
    }
}

}  // namespace

int route_explain_command(Context& context, const RouteArgs& args) {
    const auto text = read_text(args.file);
    if (!text) return report(text.error(), context.json);
    auto body = parse_json(*text);
    if (!body) return report(body.error(), context.json);
    // The flag stands for the document's model, and for one that is missing.
    if (!args.model.empty() && body->is_object()) (*body)["model"] = args.model;
    const chat::Dialect* openai = chat::find_dialect("openai");
    auto request = openai->read_request("/v1/chat/completions", to_text(*body));
    if (!request) return report(request.error(), context.json);
    if (!args.sensitivity.empty())
        request->stated_sensitivity = chat::sensitivity_from(args.sensitivity);

    auto models = all_models(context);
    if (!models) return report(models.error(), context.json);
    serve::Places places(local_places(context, std::move(*models)),
                         context.settings.config().upstreams, nullptr);
    auto inspector = open_inspector(context, true);
    if (!inspector) return report(inspector.error(), context.json);
    // As an HTTP client without a key would be judged: the terminal's own rights would show another
    // decision than the one that is asked about.
    serve::Explanation why = serve::explain(places, policy_settings(context), *request,
                                            context.settings.boolean("route.offline"),
                                            inspector->get(), serve::local_operator());
    if (context.json) {
        std::puts(why.json.c_str());
    } else {
        print_decision(why.decision, why.targets);
    }
    return why.decision.refused ? kRefused : kDone;
}

}  // namespace hearth::app
