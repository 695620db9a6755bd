// Places: everything that could answer a request here, as one list of targets for route::decide,
// and the backend behind each. Local models load at first use; upstreams speak through the door.
//
// Thread: any after construction. A model loads once, under its own lock; others keep answering,
// and what asks about it (`io` does) hears "not loaded" instead of waiting.
#pragma once

#include <atomic>
#include <functional>
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
    // A parameter, so that tests own what loading does and how long it takes.
    using Load =
        std::function<Result<std::unique_ptr<backend::LocalBackend>>(const LocalPlace& place)>;
    static Result<std::unique_ptr<backend::LocalBackend>> load_model(const LocalPlace& place);

    // Local places come first, in the order given: the first is what `auto` and `local` mean.
    // door may be nullptr when there are no upstreams.
    Places(std::vector<LocalPlace> locals, std::vector<backend::UpstreamConfig> upstreams,
           egress::Door* door, Load load = load_model);
    ~Places();

    // The targets now; a loaded model states its context.
    std::vector<route::Target> targets() const;
    // model: as the request names it; whether its local place is full depends on it.
    route::Signals signals(std::string_view model) const;

    bool is_local(std::size_t target) const { return target < locals_.size(); }
    // Loads the model if need be. Errors: what LocalBackend::open says.
    Result<backend::LocalBackend*> local(std::size_t target);
    Result<backend::Backend*> backend(std::size_t target);
    // What loaded models remember of an owner's prompts is dropped.
    void forget(const std::string& owner);
    // nullptr while it is not loaded. Never waits.
    const backend::LocalBackend* loaded(std::size_t target) const;
    // The local place that a request for this model name would ask first; nothing for a model of an
    // upstream.
    std::optional<std::size_t> local_candidate(std::string_view model) const;

  private:
    struct Local {
        LocalPlace place;
        std::mutex mutex;  // guards loading and nothing else; held while the file is read
        std::unique_ptr<backend::LocalBackend> backend;
        std::atomic<backend::LocalBackend*> ready{nullptr};  // set once, after the load
    };
    struct Remote {
        route::Target target;
        std::size_t upstream;
    };
    bool is_full(std::size_t target) const;

    const Load load_;
    std::vector<std::unique_ptr<Local>> locals_;
    std::vector<std::unique_ptr<backend::UpstreamBackend>> upstreams_;
    std::vector<Remote> remotes_;
};

}  // namespace hearth::serve
