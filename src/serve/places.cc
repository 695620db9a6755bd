#include "serve/places.h"

#include "base/check.h"
#include "base/format.h"
#include "base/log.h"

namespace hearth::serve {

Places::Places(std::vector<LocalPlace> locals, std::vector<backend::UpstreamConfig> upstreams,
               egress::Door* door) {
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

route::Signals Places::signals() const {
    route::Signals signals;
    for (const auto& upstream : upstreams_) signals.upstreams.push_back(upstream->health());
    return signals;
}

Result<backend::LocalBackend*> Places::local(std::size_t target) {
    CHECK(is_local(target));
    Local& local = *locals_[target];
    const std::lock_guard lock(local.mutex);
    if (!local.backend) {
        HEARTH_TRY(local.backend,
                   backend::LocalBackend::open(local.place.source, local.place.options));
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

const backend::LocalBackend* Places::loaded(std::size_t target) const {
    const Local& local = *locals_[target];
    const std::lock_guard lock(local.mutex);
    return local.backend.get();
}

std::optional<std::size_t> Places::local_candidate(std::string_view model) const {
    for (std::size_t i = 0; i < locals_.size(); ++i) {
        if (model == locals_[i]->place.source.name) return i;
    }
    const bool is_virtual = model == "auto" || model == "local" || model == "cloud";
    return is_virtual && !locals_.empty() ? std::optional<std::size_t>(0) : std::nullopt;
}

}  // namespace hearth::serve
