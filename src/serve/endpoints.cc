// The endpoints that do not generate: what is served, and how it fares.
#include "base/format.h"
#include "base/json.h"
#include "route/policy.h"
#include "serve/server.h"

namespace hearth::serve {
namespace {

void write_local_details(JsonWriter& out, const backend::LocalBackend& local) {
    const model::Model& model = local.engine().model();
    const model::Config& c = model.config();
    out.field("context_length", local.engine().n_ctx())
        .field("max_context_length", c.n_ctx_train)
        .field("max_model_len", local.engine().n_ctx())
        .field("native_context_length", c.n_ctx_train);
    out.key("meta")
        .begin_object()
        .field("n_vocab", c.n_vocab)
        .field("n_ctx_train", c.n_ctx_train)
        .field("n_ctx", local.engine().n_ctx())
        .field("n_embd", c.n_embd)
        .field("n_params", model.info().n_params)
        .field("size", std::uint64_t(model.info().weights_bytes))
        .end_object();
}

void write_model(JsonWriter& out, const Places& places, const std::vector<route::Target>& targets,
                 std::size_t i, std::int64_t created_s) {
    const route::Target& target = targets[i];
    const backend::LocalBackend* local = places.is_local(i) ? places.loaded(i) : nullptr;
    out.begin_object()
        .field("id", route::label_of(target))
        .field("object", "model")
        .field("created", created_s)
        .field("owned_by", target.upstream.empty() ? "local" : target.upstream)
        .field("tier", route::name_of(target.tier));
    if (local) {
        write_local_details(out, *local);
    } else if (target.n_ctx > 0) {
        out.field("context_length", target.n_ctx).field("max_model_len", target.n_ctx);
    }
    const bool loaded = local != nullptr || !places.is_local(i);
    out.field("loaded", loaded);
    out.key("status").begin_object().field("value", loaded ? "loaded" : "unloaded").end_object();
    out.key("architecture").begin_object().key("input_modalities").begin_array().value("text");
    if (target.takes_images) out.value("image");
    out.end_array().key("output_modalities").begin_array().value("text").end_array().end_object();
    out.key("capabilities")
        .begin_object()
        .field("tools", target.takes_tools)
        .field("vision", target.takes_images)
        .end_object();
    out.end_object();
}

void write_virtual(JsonWriter& out, const char* name, std::int64_t created_s) {
    out.begin_object()
        .field("id", name)
        .field("object", "model")
        .field("created", created_s)
        .field("owned_by", "hearth")
        .end_object();
}

// A target is asked for by its label, or by its model's name alone; its tier must be the key's too.
bool may_ask_for(const Scopes& scopes, const route::Target& target) {
    return scopes.tiers.has(target.tier) &&
           (scopes.allows_model(route::label_of(target)) || scopes.allows_model(target.model));
}

}  // namespace

std::string models_json(const Places& places, std::int64_t created_s, const Scopes& scopes) {
    JsonWriter out;
    out.begin_object().field("object", "list").key("data").begin_array();
    const auto targets = places.targets();
    for (std::size_t i = 0; i < targets.size(); ++i) {
        if (may_ask_for(scopes, targets[i])) write_model(out, places, targets, i, created_s);
    }
    for (const char* name : route::kVirtualModels) {
        if (scopes.allows_model(name)) write_virtual(out, name, created_s);
    }
    out.end_array().end_object();
    return out.take();
}

Result<std::string> model_json(const Places& places, std::string_view id, std::int64_t created_s,
                               const Scopes& scopes) {
    JsonWriter out;
    for (const char* name : route::kVirtualModels) {
        if (id == name && scopes.allows_model(name)) {
            write_virtual(out, name, created_s);
            return out.take();
        }
    }
    const auto targets = places.targets();
    for (std::size_t i = 0; i < targets.size(); ++i) {
        if ((id == route::label_of(targets[i]) || id == targets[i].model) &&
            may_ask_for(scopes, targets[i])) {
            write_model(out, places, targets, i, created_s);
            return out.take();
        }
    }
    return fail(ErrorKind::not_found, format("no model {}; GET /v1/models lists what there is",
                                             json_text(id.substr(0, 200))));
}

std::string metrics_text(const House& house, const Gate* gate) {
    engine::EngineStats sum;
    const auto targets = house.places.targets();
    for (std::size_t i = 0; i < targets.size() && house.places.is_local(i); ++i) {
        const backend::LocalBackend* local = house.places.loaded(i);
        if (!local) continue;
        const engine::EngineStats s = local->engine().stats();
        sum.n_running += s.n_running;
        sum.n_waiting += s.n_waiting;
        sum.n_paused += s.n_paused;
        sum.n_blocks += s.n_blocks;
        sum.n_blocks_used += s.n_blocks_used;
        sum.n_blocks_remembered += s.n_blocks_remembered;
        sum.steps_total += s.steps_total;
        sum.prompt_tokens_total += s.prompt_tokens_total;
        sum.cached_tokens_total += s.cached_tokens_total;
        sum.output_tokens_total += s.output_tokens_total;
    }
    const double share = sum.n_blocks ? double(sum.n_blocks_used) / double(sum.n_blocks) : 0.0;
    std::string text = house.metrics.print({
        {"hearth_open_requests", "Requests between their headers and their end.",
         double(house.metrics.open_requests)},
        {"hearth_sequences_running", "Sequences that step together.", double(sum.n_running)},
        {"hearth_sequences_waiting", "Requests waiting for a place.", double(sum.n_waiting)},
        {"hearth_sequences_paused", "Sequences whose reader is behind.", double(sum.n_paused)},
        {"hearth_kv_usage_ratio", "Share of the KV cache's blocks in use.", share},
        {"hearth_kv_blocks_remembered", "Blocks of the KV cache kept for prompts that begin alike.",
         double(sum.n_blocks_remembered)},
        {"hearth_engine_steps_total", "Forward passes since start.", double(sum.steps_total),
         "counter"},
        {"hearth_engine_prompt_tokens_total", "Prompt tokens computed since start.",
         double(sum.prompt_tokens_total), "counter"},
        {"hearth_engine_cached_tokens_total",
         "Prompt tokens found computed by earlier requests since start.",
         double(sum.cached_tokens_total), "counter"},
        {"hearth_engine_output_tokens_total", "Tokens generated since start, wanted or not.",
         double(sum.output_tokens_total), "counter"},
    });
    if (gate) gate->print(text);
    return text;
}

}  // namespace hearth::serve
