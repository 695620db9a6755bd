#include "serve/places.h"

#include "base/check.h"
#include "base/format.h"
#include "base/log.h"
#include "route/policy.h"

namespace hearth::serve {

Places::Places(std::vector<LocalPlace> locals, std::vector<backend::UpstreamConfig> upstreams,
               egress::Door* door, Load load)
    : load_(std::move(load)) {
    for (LocalPlace& place : locals) {
        locals_.push_back(std::make_unique<Local>());
        locals_.back()->place = std::move(place);
    }
    for (std::size_t i = 0; i < upstreams.size(); ++i) {
        for (const route::Target& target : upstreams[i].models) remotes_.push_back({target, i});
        if (door) upstreams_.push_back(backend::UpstreamBackend::open(upstreams[i], *door));
    }
}

Places::~Places() = default;

Result<std::unique_ptr<backend::LocalBackend>> Places::load_model(const LocalPlace& place) {
    return backend::LocalBackend::open(place.source, place.options);
}

std::vector<route::Target> Places::targets() const {
    std::vector<route::Target> targets;
    for (std::size_t i = 0; i < locals_.size(); ++i) {
        route::Target target;
        target.model = locals_[i]->place.source.name;
        if (const auto* local = loaded(i)) target.n_ctx = local->engine().n_ctx();
        targets.push_back(std::move(target));
    }
    for (const Remote& remote : remotes_) targets.push_back(remote.target);
    return targets;
}

// Another request of one answer would be refused by the engine. A place that is not loaded has
// room.
bool Places::is_full(std::size_t target) const {
    const auto* local = loaded(target);
    if (!local) return false;
    const engine::EngineOptions& options = locals_[target]->place.options.engine;
    return local->engine().stats().n_open >= options.n_parallel + options.n_queue;
}

route::Signals Places::signals(std::string_view model) const {
    route::Signals signals;
    for (const auto& upstream : upstreams_) signals.upstreams.push_back(upstream->health());
    // A virtual name may be answered by any local model: while one has room, the machine has.
    const auto candidate = local_candidate(model);
    const bool named = candidate && model == locals_[*candidate]->place.source.name;
    signals.local_overloaded = candidate && is_full(*candidate);
    for (std::size_t i = 0; !named && i < locals_.size(); ++i)
        signals.local_overloaded = signals.local_overloaded && is_full(i);
    return signals;
}

Result<backend::LocalBackend*> Places::local(std::size_t target) {
    CHECK(is_local(target));
    Local& local = *locals_[target];
    if (auto* ready = local.ready.load(std::memory_order_acquire)) return ready;
    const std::lock_guard lock(local.mutex);
    if (!local.backend) {
        HEARTH_TRY(local.backend, load_(local.place));
        local.ready.store(local.backend.get(), std::memory_order_release);
        log_info("model_loaded", {{"model", local.place.source.name},
                                  {"device", local.backend->engine().device_name()},
                                  {"n_ctx", local.backend->engine().n_ctx()}});
    }
    return local.backend.get();
}

Result<backend::Backend*> Places::backend(std::size_t target) {
    if (is_local(target)) {
        HEARTH_TRY(backend::Backend * found, local(target));
        return found;
    }
    const Remote& remote = remotes_[target - locals_.size()];
    if (upstreams_.empty())
        return fail(ErrorKind::internal, format("upstream {} has no door", remote.target.upstream));
    return upstreams_[remote.upstream].get();
}

void Places::forget(const std::string& owner) {
    for (const auto& local : locals_)
        if (auto* ready = local->ready.load(std::memory_order_acquire))
            ready->engine().forget(owner);
}

const backend::LocalBackend* Places::loaded(std::size_t target) const {
    return locals_[target]->ready.load(std::memory_order_acquire);
}

std::optional<std::size_t> Places::local_candidate(std::string_view model) const {
    for (std::size_t i = 0; i < locals_.size(); ++i) {
        if (model == locals_[i]->place.source.name) return i;
    }
    const bool is_virtual = route::asked_for(std::string(model)) != route::Asked::concrete;
    return is_virtual && !locals_.empty() ? std::optional<std::size_t>(0) : std::nullopt;
}

}  // namespace hearth::serve
