// Places: everything that could answer a request here, as one list of targets for route::decide,
// and the backend behind each. Local models load at first use; upstreams speak through the door.
//
// Thread: any after construction. A model loads once, under its own lock; others keep answering.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "backend/local.h"
#include "backend/upstream.h"
#include "route/decide.h"

namespace hearth::serve {

struct LocalPlace {
    model::ModelSource source;
    backend::LocalOptions options;
};

class Places {
  public:
    // Local places come first, in the order given: the first is what `auto` and `local` mean.
    // door may be nullptr when there are no upstreams.
    Places(std::vector<LocalPlace> locals, std::vector<backend::UpstreamConfig> upstreams,
           egress::Door* door);
    ~Places();

    // The targets now; a loaded model states its context.
    std::vector<route::Target> targets() const;
    route::Signals signals() const;

    bool is_local(std::size_t target) const { return target < locals_.size(); }
    // Loads the model if need be. Errors: what LocalBackend::open says.
    Result<backend::LocalBackend*> local(std::size_t target);
    Result<backend::Backend*> backend(std::size_t target);
    // nullptr while it is not loaded.
    const backend::LocalBackend* loaded(std::size_t target) const;
    // The local place that a request for this model name would ask first; nothing for a model of an
    // upstream.
    std::optional<std::size_t> local_candidate(std::string_view model) const;

  private:
    struct Local {
        LocalPlace place;
        mutable std::mutex mutex;  // guards loading; the pointer is read through it
        std::unique_ptr<backend::LocalBackend> backend;
    };
    struct Remote {
        route::Target target;
        std::size_t upstream;
    };
    std::vector<std::unique_ptr<Local>> locals_;
    std::vector<std::unique_ptr<backend::UpstreamBackend>> upstreams_;
    std::vector<Remote> remotes_;
};

}  // namespace hearth::serve
