// LocalBackend: a model on this machine behind the Backend interface. Renders the request through
// the model's format, tokenizes, submits to the engine, and turns its outputs into events.
//
// Thread: start() and prepare() on a `prep` thread; events come from the `engine` thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "backend/backend.h"
#include "backend/public_prefix.h"
#include "base/json.h"
#include "chat/format.h"
#include "engine/engine.h"

namespace hearth::backend {

struct LocalOptions {
    engine::EngineOptions engine;
    // What a request gets that states nothing.
    engine::Sampling defaults;
    std::string isa;    // "": the best
    int n_threads = 0;  // 0: one per usable core
    std::vector<PublicPrefix> public_prefixes = {};
};

class LocalBackend final : public Backend {
  public:
    ~LocalBackend() override;
    // Errors: what engine::Engine::start says.
    static Result<std::unique_ptr<LocalBackend>> open(const model::ModelSource& source,
                                                      const LocalOptions& options);

    // The prompt as the model would see it: its text and its tokens.
    // now_unix_s: the time that a template is told; nothing: the present.
    // Errors: invalid_request (no template, the template refuses, unsupported content).
    Result<Prompt> prepare(const chat::ChatRequest& request,
                           std::optional<std::int64_t> now_unix_s = {}) const;

    void start(Job job) override;

    engine::Engine& engine() { return *engine_; }
    const engine::Engine& engine() const { return *engine_; }
    // What a request's sampling comes to here. Requires: a seed is set for repeatable answers.
    engine::Sampling sampling_for(const chat::SamplingRequest& asked) const;
    // {"model","model_sha256","template_sha256","numerics_id","isa","kv",sampling…}: what, with the
    // prompt, determines an answer's tokens. `more` adds members of the caller's.
    std::string repro_json(const chat::ChatRequest& request,
                           const std::function<void(JsonWriter&)>& more = nullptr) const;
    // SHA-256 of the model's file, hex; empty until it is known. Small files are read when they are
    // opened, others beside what follows the first record: a second for each GB.
    std::string model_sha256() const;
    // Reads the file where nobody has.
    std::string wait_for_model_sha256() const;
    // SHA-256 of what a file says of itself: names, shapes and the vocabulary, and its length.
    const std::string& header_sha256() const { return header_sha256_; }
    const std::string& template_sha256() const { return template_sha256_; }

  private:
    LocalBackend() = default;
    std::vector<TokenId> ids_of(const std::string& rendered) const;
    void publish_prefixes();
    std::unique_ptr<engine::Engine> engine_;
    const chat::Format* format_ = nullptr;  // nullptr: the model has no template
    chat::FormatModel format_model_;        // with the parsed template
    Error no_format_;
    LocalOptions options_;
    std::string header_sha256_, template_sha256_;
    mutable std::mutex hash_mutex_;  // guards what follows
    mutable std::string model_sha256_;
    mutable std::thread hashing_;  // reads the engine's model; joined before that goes
    mutable std::atomic<bool> stop_hashing_ = false;
};

}  // namespace hearth::backend
