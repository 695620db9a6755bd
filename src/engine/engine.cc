// Engine::start: options → model, memory plan, KV cache, thread.
#include "engine/engine.h"

#include <pthread.h>

#include <algorithm>
#include <system_error>
#include <thread>

#include "base/check.h"
#include "base/format.h"
#include "base/log.h"
#include "engine/limits.h"
#include "engine/memory_at_hand.h"
#include "engine/model/limits.h"
#include "engine/step.h"

namespace hearth::engine {
namespace {

Status check_range(const char* name, std::int64_t value, std::int64_t low, std::int64_t high) {
    if (value >= low && value <= high) return {};
    return fail(ErrorKind::invalid_request,
                format("engine option {} is {}, expected {} to {}", name, value, low, high));
}

Status check_options(const EngineOptions& o) {
    HEARTH_CHECK_OK(check_range("n_ctx", o.n_ctx == 0 ? 2 : o.n_ctx, 2, kMaxContext));
    HEARTH_CHECK_OK(check_range("n_parallel", o.n_parallel, 1, kMaxParallel));
    HEARTH_CHECK_OK(check_range("n_batch_tokens", o.n_batch_tokens, 1, kMaxBatchTokens));
    HEARTH_CHECK_OK(check_range("n_queue", o.n_queue, 0, kMaxQueue));
    HEARTH_CHECK_OK(check_range("prefill_chunk", o.prefill_chunk, 0, kMaxBatchTokens));
    HEARTH_CHECK_OK(check_range("pause_timeout_ms", o.pause_timeout_ms, 1, INT32_MAX));
    HEARTH_CHECK_OK(check_range("n_prefix_tokens", o.n_prefix_tokens, -1, INT64_MAX));
    HEARTH_CHECK_OK(check_range("prefix_idle_ms", o.prefix_idle_ms, 1, INT32_MAX));
    return check_range("n_blocks", o.n_blocks, 0, INT32_MAX);
}

std::string mib(std::size_t bytes) {
    return format("{:.1f} MiB", double(bytes) / double(1 << 20));
}

// Settles the number of KV blocks: what is asked for, or what full contexts take, or what fits.
// Errors: does_not_fit when not even one context does.
Status plan_memory(EngineOptions& options, std::size_t block_bytes, std::size_t at_hand,
                   MemoryPlan& memory) {
    const std::int64_t n_least = blocks_for(options.n_ctx);
    const std::int64_t n_full = n_least * options.n_parallel;
    memory.at_hand_bytes = at_hand;
    memory.kv_token_bytes = block_bytes / std::size_t(model::kBlockTokens);
    const std::size_t others = memory.weights_bytes + memory.compute_bytes;
    const std::size_t room = at_hand - std::min(at_hand, others);
    std::int64_t n_blocks = options.n_blocks;
    if (n_blocks == 0) {
        const auto n_fit = std::int64_t(std::min<std::size_t>(room / block_bytes, INT32_MAX));
        n_blocks = std::clamp(n_fit, n_least, std::min<std::int64_t>(n_full, INT32_MAX));
    }
    if (n_blocks < n_least)
        return fail(
            ErrorKind::invalid_request,
            format("engine option n_blocks is {}, but one context of {} tokens takes {} blocks "
                   "of {}",
                   n_blocks, options.n_ctx, n_least, model::kBlockTokens));
    memory.kv_bytes = std::size_t(n_blocks) * block_bytes;
    memory.n_kv_tokens = n_blocks * model::kBlockTokens;
    if (memory.kv_bytes > room)
        return fail(ErrorKind::does_not_fit,
                    format("the model does not fit:\n{}\nUse a smaller context (now {} tokens), "
                           "{}or a smaller model.",
                           memory.text(), options.n_ctx,
                           memory.kv_type == "q8_0" ? "" : "a smaller KV type (q8_0), "));
    if (n_blocks < n_full && options.n_blocks == 0)
        log_warn("kv_cache_shared", {{"n_blocks", n_blocks},
                                     {"n_blocks_full", n_full},
                                     {"n_ctx", options.n_ctx},
                                     {"n_parallel", options.n_parallel}});
    options.n_blocks = n_blocks;
    return {};
}

class LocalEngine final : public Engine {
  public:
    LocalEngine(std::unique_ptr<model::Device> device, std::unique_ptr<model::Model> model,
                std::unique_ptr<model::KvStore> kv, const EngineOptions& options,
                const MemoryPlan& memory, const Clock& clock)
        : device_(std::move(device)),
          model_(std::move(model)),
          kv_(std::move(kv)),
          options_(options),
          memory_(memory),
          loop_(Machine{.network = model_->network(),
                        .device = *device_,
                        .kv = *kv_,
                        .tokenizer = model_->tokenizer(),
                        .n_vocab = model_->config().n_vocab,
                        .renew = [this] { renew(); },
                        .intact = [this] { return model_->unchanged(); }},
                options, clock) {}

    ~LocalEngine() override {
        loop_.stop();
        if (thread_.joinable()) thread_.join();
    }

    Status run_thread() {
        try {
            thread_ = std::thread([this] {
                pthread_setname_np(pthread_self(), "engine");
                loop_.run();
            });
        } catch (const std::system_error& e) {
            return fail(ErrorKind::internal,
                        format("cannot start the engine thread: {}", e.what()));
        }
        return {};
    }

    Status submit(Request request) override {
        std::vector<Request> requests;
        requests.push_back(std::move(request));
        return loop_.submit(std::move(requests));
    }
    Status submit_all(std::vector<Request> requests) override {
        return loop_.submit(std::move(requests));
    }
    Result<Scores> score(std::vector<TokenId> ids, std::int64_t top_n) override {
        return loop_.score(std::move(ids), top_n);
    }
    void set_public_prefixes(PublicPrefixes prefixes) override {
        loop_.set_public_prefixes(std::move(prefixes));
    }
    void forget(std::string owner) override { loop_.forget(std::move(owner)); }
    void settle() override {
        if (model_->packing()) model_->packing()->settle();
    }
    const model::Model& model() const override { return *model_; }
    std::int64_t n_ctx() const override { return options_.n_ctx; }
    MemoryPlan memory() const override { return memory_; }
    EngineStats stats() const override { return loop_.stats(); }
    std::string device_name() const override { return device_->name(); }
    std::string_view isa() const override { return device_->isa(); }

  private:
    void renew() {
        if (model_->packing()) model_->packing()->adopt();
    }

    // Constant after construction; in this order, since each uses the ones before it.
    const std::unique_ptr<model::Device> device_;
    const std::unique_ptr<model::Model> model_;
    const std::unique_ptr<model::KvStore> kv_;
    const EngineOptions options_;
    const MemoryPlan memory_;
    StepLoop loop_;
    std::thread thread_;
};

}  // namespace

std::string MemoryPlan::text() const {
    return format(
        "  weights (mapped)  {:>15} bytes  {:>12}\n"
        "  KV cache          {:>15} bytes  {:>12}  {} tokens of {} bytes, {}\n"
        "  compute buffers   {:>15} bytes  {:>12}\n"
        "  total             {:>15} bytes  {:>12}\n"
        "  memory at hand    {}",
        weights_bytes, mib(weights_bytes), kv_bytes, mib(kv_bytes), n_kv_tokens, kv_token_bytes,
        kv_type, compute_bytes, mib(compute_bytes), total_bytes(), mib(total_bytes()),
        at_hand_bytes == SIZE_MAX
            ? std::string("unknown")
            : format("{:>15} bytes  {:>12}", at_hand_bytes, mib(at_hand_bytes)));
}

Result<std::unique_ptr<Engine>> Engine::start(const model::ModelSource& source,
                                              std::unique_ptr<model::Device> device,
                                              const EngineOptions& asked, const Clock& clock) {
    EngineOptions options = asked;
    HEARTH_CHECK_OK(check_options(options));
    // A name without a meaning is found before loading; this many values are whole blocks of any
    // type.
    HEARTH_CHECK_OK(device->kv_row_bytes(options.kv_type, model::kHeadDimMax));
    // A step must have a row for each sequence that decodes.
    options.n_batch_tokens = std::max(options.n_batch_tokens, options.n_parallel);
    // Asked before anything is loaded: what loading takes is then part of the plan, not of the
    // room.
    const std::size_t at_hand = options.memory_bytes ? options.memory_bytes : memory_at_hand();

    HEARTH_TRY(auto model, model::Model::load(source, *device,
                                              {.max_rows = options.n_batch_tokens,
                                               .max_logits = max_logits(options),
                                               .scratch_bytes_max = at_hand,
                                               .packed_folder = options.packed_folder}));
    const model::Config& config = model->config();
    if (options.n_ctx == 0)
        options.n_ctx = std::clamp<std::int64_t>(config.n_ctx_train, 2, kDefaultContext);
    if (options.n_ctx > config.n_ctx_train)
        log_warn("context_beyond_training",
                 {{"n_ctx", options.n_ctx}, {"n_ctx_train", config.n_ctx_train}});

    // Keys and values of every layer. The config's numbers are checked against the tensors, so the
    // product is within a few GiB per block at the very most.
    HEARTH_TRY(const std::size_t row_bytes, device->kv_row_bytes(options.kv_type, config.head_dim));
    const std::size_t block_bytes = std::size_t(model::kBlockTokens) * 2 * row_bytes *
                                    std::size_t(config.n_layer) * std::size_t(config.n_head_kv);
    MemoryPlan memory{.weights_bytes = model->info().weights_bytes,
                      .compute_bytes = device->scratch_bytes() + Sampler::bytes(config.n_vocab),
                      .kv_type = options.kv_type};
    HEARTH_CHECK_OK(plan_memory(options, block_bytes, at_hand, memory));
    HEARTH_TRY(auto kv, device->make_kv({.n_layer = config.n_layer,
                                         .n_head_kv = config.n_head_kv,
                                         .head_dim = config.head_dim,
                                         .n_block = options.n_blocks,
                                         .type = options.kv_type}));
    CHECK(kv->bytes() == memory.kv_bytes);  // the plan is kept to the byte
    log_info("engine_started", {{"model", source.name},
                                {"device", device->name()},
                                {"isa", device->isa()},
                                {"n_ctx", options.n_ctx},
                                {"n_parallel", options.n_parallel},
                                {"n_blocks", options.n_blocks},
                                {"weights_bytes", memory.weights_bytes},
                                {"kv", memory.kv_type},
                                {"kv_bytes", memory.kv_bytes},
                                {"compute_bytes", memory.compute_bytes}});
    auto engine = std::make_unique<LocalEngine>(std::move(device), std::move(model), std::move(kv),
                                                options, memory, clock);
    HEARTH_CHECK_OK(engine->run_thread());
    return engine;
}

}  // namespace hearth::engine
