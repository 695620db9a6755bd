// LocalBackend: a model on this machine behind the Backend interface. Renders the request through
// the model's format, tokenizes, submits to the engine, and turns its outputs into events.
//
// Thread: start() and prepare() on a `prep` thread; events come from the `engine` thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "chat/format.h"
#include "engine/engine.h"

namespace hearth::backend {

struct LocalOptions {
    engine::EngineOptions engine;
    // What a request gets that states nothing.
    engine::Sampling defaults;
    std::string isa;    // "": the best
    int n_threads = 0;  // 0: one per usable core
};

class LocalBackend final : public Backend {
  public:
    // Errors: what engine::Engine::start says.
    static Result<std::unique_ptr<LocalBackend>> open(const model::ModelSource& source,
                                                      const LocalOptions& options);

    // The prompt as the model would see it: its text and its tokens.
    // Errors: invalid_request (no template, the template refuses, unsupported content).
    Result<Prompt> prepare(const chat::ChatRequest& request) const;

    void start(Job job) override;

    engine::Engine& engine() { return *engine_; }
    const engine::Engine& engine() const { return *engine_; }
    // What a request's sampling comes to here. Requires: a seed is set for repeatable answers.
    engine::Sampling sampling_for(const chat::SamplingRequest& asked) const;
    // {"model","format","numerics_id","isa","kv",sampling…}: what, with the prompt, determines an
    // answer's tokens.
    std::string repro_json(const chat::SamplingRequest& asked) const;

  private:
    LocalBackend() = default;

    std::unique_ptr<engine::Engine> engine_;
    const chat::Format* format_ = nullptr;  // nullptr: the model has no template
    chat::FormatModel format_model_;        // with the parsed template
    Error no_format_;
    LocalOptions options_;
};

}  // namespace hearth::backend
