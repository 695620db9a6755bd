#include "app/open.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <thread>

#include "app/content.h"
#include "app/cost_setup.h"
#include "app/demo_model.h"
#include "base/file.h"
#include "base/format.h"
#include "base/log.h"
#include "store/store.h"

namespace hearth::app {
namespace {

// A text that a person feeds to a command; a context of a million tokens is about 4 MB.
constexpr std::size_t kTextBytesMax = 256u << 20;

store::Store store_of(const Context& context) {
    return store::Store(context.folders.models(), {{"demo", demo_model()}}, context.open_model);
}

chat::Sensitivity sensitivity_of(const std::string& name) {
    return chat::sensitivity_from(name).value_or(chat::Sensitivity::confidential);
}

journal::Sync sync_of(const std::string& name) {
    if (name == "none") return journal::Sync::none;
    return name == "each" ? journal::Sync::each : journal::Sync::group;
}

// Stands where no journal could be opened: every record fails with the reason. An exchange takes
// that for what it is, and sends nothing anywhere.
class ClosedJournal final : public journal::Journal {
  public:
    explicit ClosedJournal(Error why) : why_(std::move(why)) {}
    void append(journal::DecisionRecord, Done on_written) override { refuse(on_written); }
    void append(journal::OutcomeRecord, Done on_written) override { refuse(on_written); }
    void append(egress::Receipt, Done on_written) override { refuse(on_written); }
    void append(journal::EventRecord, Done on_written) override { refuse(on_written); }
    Status flush() override { return fail(why_); }

  private:
    void refuse(const Done& on_written) const {
        if (on_written) on_written(fail(why_));
    }
    const Error why_;
};

}  // namespace

Result<std::unique_ptr<journal::Journal>> open_journal(const Context& context, egress::Door* door,
                                                       std::function<std::int64_t()> n_served) {
    const std::string folder = context.folders.journal();
    HEARTH_CHECK_OK(make_folders(folder));
    journal::JournalOptions options;
    options.folder = folder;
    options.sync = sync_of(context.settings.text("journal.sync"));
    options.rotate_bytes = context.settings.integer("journal.rotate_mib") << 20;
    options.keep_ns = context.settings.integer("journal.keep_days") * 86'400 * kNsPerS;
    options.n_served = std::move(n_served);
    // The door outlives the journal: OwnedHouse.
    if (door)
        options.signer = [door](const journal::CheckpointRequest& request) {
            return door->sign(request);
        };
    return journal::Journal::open(options);
}

Result<model::ModelSource> find_model(const Context& context, const std::string& name) {
    return store_of(context).resolve(name);
}

Result<std::vector<model::ModelSource>> all_models(const Context& context) {
    const store::Store store = store_of(context);
    HEARTH_TRY(const auto entries, store.list());
    std::vector<model::ModelSource> models;
    for (const store::ModelEntry& entry : entries) {
        HEARTH_TRY(model::ModelSource source, store.resolve(entry.name));
        models.push_back(std::move(source));
    }
    return models;
}

engine::EngineOptions engine_options(const Context& context) {
    const Settings& s = context.settings;
    engine::EngineOptions options;
    options.n_ctx = s.integer("engine.ctx");
    options.n_parallel = s.integer("engine.parallel");
    options.n_batch_tokens = s.integer("engine.batch_tokens");
    options.n_queue = s.integer("engine.queue");
    options.kv_type = s.text("engine.kv");
    options.n_prefix_tokens = s.integer("engine.prefix_tokens");
    options.prefix_idle_ms = s.integer("engine.prefix_idle_s") * 1000;
    options.packed_folder = context.folders.packed();
    return options;
}

backend::LocalOptions local_options(const Context& context, const std::string& model) {
    backend::LocalOptions options;
    options.engine = engine_options(context);
    options.isa = context.settings.text("engine.isa");
    options.n_threads = int(context.settings.integer("engine.threads"));
    options.public_prefixes = context.settings.config().public_prefixes;
    // demo was trained for tasks with one right answer; chance only spoils them.
    if (model == "demo") options.defaults.temperature = 0;
    return options;
}

std::vector<serve::LocalPlace> local_places(const Context& context,
                                            std::vector<model::ModelSource> models) {
    std::vector<serve::LocalPlace> places;
    for (model::ModelSource& source : models) {
        backend::LocalOptions options = local_options(context, source.name);
        places.push_back({std::move(source), std::move(options)});
    }
    return places;
}

Result<std::unique_ptr<engine::Engine>> open_engine(const Context& context,
                                                    const std::string& model,
                                                    engine::EngineOptions options) {
    HEARTH_TRY(const model::ModelSource source, find_model(context, model));
    HEARTH_TRY(auto device,
               model::make_cpu_device(context.settings.text("engine.isa"),
                                      int(context.settings.integer("engine.threads"))));
    return engine::Engine::start(source, std::move(device), options);
}

route::PolicySettings policy_settings(const Context& context) {
    route::PolicySettings policy;
    policy.keep_from = sensitivity_of(context.settings.text("route.keep_from"));
    policy.fallback = context.settings.boolean("route.fallback");
    // "never" names no class.
    policy.redact_to = chat::sensitivity_from(context.settings.text("route.redact"));
    return policy;
}

serve::KeptContent kept_content(const Context& context) {
    const std::string kept = context.settings.text("journal.content");
    return {.prompts = kept != "none",
            .answers = kept == "request_response",
            .class_max = chat::sensitivity_from(context.settings.text("journal.content_class"))
                             .value_or(chat::Sensitivity::internal)};
}

Status prepare_door(Context& context) {
    std::vector<egress::AllowRule> rules;
    const bool offline = context.settings.boolean("route.offline");
    for (backend::UpstreamConfig& upstream : context.settings.upstreams()) {
        if (offline) break;
        if (!upstream.key_env.empty()) {
            const char* key = std::getenv(upstream.key_env.c_str());
            if (!key || !*key)
                return fail(ErrorKind::invalid_request,
                            format("upstream {} takes its key from the environment variable {}, "
                                   "which is not set",
                                   upstream.name, upstream.key_env));
            upstream.key = Secret(key);
        }
        rules.push_back(backend::allow_rule(upstream));
    }
    context.may_leave = !rules.empty();
    auto door = egress::Door::open(
        std::move(rules),
        [&context](egress::Receipt r) {
            if (context.on_receipt) context.on_receipt(std::move(r));
        },
        context.folders.broker);
    if (!door && context.may_leave) return fail(std::move(door.error()));
    // Where nothing may leave, answers go on; the journal's checkpoints stay unsigned, which
    // `audit verify` says.
    if (!door)
        log_warn("no_broker", {{"error", door.error().message}});
    else
        context.door = std::move(*door);
    return {};
}

OwnedHouse::~OwnedHouse() {
    // What waits for a prep thread runs to its end now, and later steps are refused: from here on
    // exchanges only end.
    if (prep) prep->close();
    // Readers are gone by now; engines notice at their next step, upstreams at once.
    constexpr int kTries = 500;
    for (int i = 0; metrics.open_requests > 0 && i < kTries; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    if (metrics.open_requests > 0)
        log_error("requests_open_at_exit", {{"n", metrics.open_requests.load()}});
    if (door) door->shut();  // else the end would wait for connects to time out
    places.reset();
    if (door) door->finish();  // receipts of what is still open come now
    // The last records' callbacks run while all that they touch is there.
    if (journal) (void)journal->flush();
}

Result<std::unique_ptr<OwnedHouse>> open_house(Context& context,
                                               std::vector<model::ModelSource> locals,
                                               NoJournal no_journal) {
    auto owned = std::make_unique<OwnedHouse>();
    auto journal = open_journal(context, context.door.get(),
                                [&metrics = owned->metrics] { return metrics.served.load(); });
    if (!journal) {
        if (no_journal == NoJournal::fails || context.may_leave)
            return fail(std::move(journal.error()));
        log_warn("no_journal", {{"error", journal.error().message}});
        journal = std::make_unique<ClosedJournal>(std::move(journal.error()));
    }
    owned->journal = std::move(*journal);
    owned->door = std::move(context.door);
    if (egress::Door* const door = owned->door.get())
        owned->metrics.broker_alive = [door] { return door->alive(); };
    owned->places = std::make_unique<serve::Places>(
        local_places(context, std::move(locals)), context.settings.upstreams(),
        context.may_leave ? owned->door.get() : nullptr);
    owned->ledger = std::make_unique<journal::Ledger>(ledger_options(context));
    HEARTH_TRY(owned->inspector, open_inspector(context, no_journal == NoJournal::answers_locally &&
                                                             !context.may_leave));
    owned->prep = std::make_unique<serve::PrepPool>();
    owned->house.reset(new serve::House{.places = *owned->places,
                                        .journal = *owned->journal,
                                        .metrics = owned->metrics,
                                        .prep = *owned->prep,
                                        .policy = policy_settings(context),
                                        .offline = context.settings.boolean("route.offline"),
                                        .inspector = owned->inspector.get()});
    owned->house->ledger = owned->ledger.get();
    owned->house->content = kept_content(context);
    context.on_receipt = [owned = owned.get()](egress::Receipt receipt) {
        serve::Metrics& m = owned->metrics;
        m.egress_bytes_out += receipt.bytes_out;
        m.egress_bytes_in += receipt.bytes_in;
        (receipt.address.empty() ? m.egress_refused : m.egress_connections) += 1;
        if (owned->quota) owned->quota->count_egress(receipt);
        owned->journal->append(std::move(receipt));
    };
    return owned;
}

Result<std::vector<TokenId>> parse_ids(const std::string& text) {
    std::vector<TokenId> ids;
    const char* at = text.data();
    const char* const end = at + text.size();
    while (at < end) {
        while (at < end && (*at == ' ' || *at == ',' || *at == '\n')) ++at;
        if (at == end) break;
        std::int32_t id = 0;
        const auto [next, error] = std::from_chars(at, end, id);
        if (error != std::errc() || (next < end && *next != ' ' && *next != ',' && *next != '\n'))
            return fail(
                ErrorKind::invalid_request,
                format("token ids are whole numbers separated by commas; found \"{}\"",
                       std::string(at, std::size_t(std::min<std::ptrdiff_t>(end - at, 20)))));
        ids.emplace_back(id);
        at = next;
    }
    if (ids.empty()) return fail(ErrorKind::invalid_request, "no token ids were given");
    return ids;
}

Result<std::string> read_text(const std::string& file) {
    return file.empty() || file == "-" ? read_stdin(kTextBytesMax) : read_file(file, kTextBytesMax);
}

}  // namespace hearth::app
