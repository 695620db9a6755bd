// replay: a recorded local request once more, and whether its tokens are the same, bit for bit.
//
// The record has what determines an answer's tokens but for the prompt: the model's digests,
// numerics_id, ISA, KV type, sampling, seed. The prompt is given again, or taken from what the
// journal has kept; its keyed digest tells that it is the same one. All that differs is named, and
// only where nothing does the answer is compared.
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <nlohmann/json.hpp>

#include "app/content.h"
#include "app/open.h"
#include "base/format.h"
#include "chat/dialect.h"
#include "journal/content.h"
#include "serve/body.h"
#include "serve/digests.h"

namespace hearth::app {
namespace {

// Newest records that are looked through for the request.
constexpr std::int64_t kLookedThrough = 100'000;

class Collector final : public chat::EventSink {
  public:
    explicit Collector(const Secret& key) : key_(key) {}
    void on_event(chat::Event event) override {
        const std::lock_guard lock(mutex_);
        if (const auto* done = std::get_if<chat::AnswerDone>(&event)) {
            digests_[done->index] = serve::tokens_digest(key_, done->tokens);
            n_tokens_ += std::int64_t(done->tokens.size());
        }
        if (!chat::is_terminal(event)) return;
        end_ = std::move(event);
        ended_.notify_all();
    }
    bool ready() const override { return true; }
    bool cancelled() const override { return false; }

    chat::Event wait() {
        std::unique_lock lock(mutex_);
        ended_.wait(lock, [&] { return end_.has_value(); });
        return *end_;
    }
    // After wait().
    const std::map<std::int64_t, std::string>& digests() const { return digests_; }
    std::int64_t n_tokens() const { return n_tokens_; }

  private:
    const Secret& key_;
    std::mutex mutex_;  // guards all below
    std::condition_variable ended_;
    std::map<std::int64_t, std::string> digests_;
    std::int64_t n_tokens_ = 0;
    std::optional<chat::Event> end_;
};

std::string text_of(const Json& object, const char* name) {
    const auto it = object.find(name);
    return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}
std::int64_t integer_of(const Json& object, const char* name, std::int64_t otherwise) {
    const auto it = object.find(name);
    return it != object.end() && it->is_number_integer() ? it->get<std::int64_t>() : otherwise;
}
std::optional<double> number_of(const Json& object, const char* name) {
    const auto it = object.find(name);
    return it != object.end() && it->is_number() ? std::optional(it->get<double>()) : std::nullopt;
}

// The outcome's `repro`. Errors: not_found, and what cannot be replayed.
Result<Json> recorded(const Context& context, const std::string& request_id) {
    HEARTH_TRY(const auto entries, journal::read_tail(context.folders.journal(), kLookedThrough));
    bool known = false;
    for (const journal::JournalEntry& entry : entries) {
        if (entry.request_id != request_id) continue;
        known = true;
        if (entry.event != "outcome") continue;
        HEARTH_TRY(const Json record, parse_json(entry.json));
        const auto repro = record.find("repro");
        if (repro == record.end() || !repro->is_object() ||
            text_of(*repro, "answer_digest").empty())
            return fail(ErrorKind::invalid_request,
                        format("{} was {} ({}): only answers that this machine finished can be "
                               "run again",
                               request_id, text_of(record, "outcome"), text_of(record, "route")));
        return *repro;
    }
    return fail(ErrorKind::not_found,
                known ? format("{} has no outcome yet", request_id)
                      : format("no request {} among the newest {} records of {}", request_id,
                               kLookedThrough, context.folders.journal()));
}

// The prompt as the journal has kept it, where it was asked to.
Result<chat::ChatRequest> kept(const Context& context, const std::string& request_id) {
    const std::string folder = context.folders.journal();
    const auto store = journal::ContentStore::open(
        folder, journal::keys_folder_of({.folder = folder}), journal::ContentStore::Mode::existing);
    if (!store && store.error().kind != ErrorKind::not_found) return std::unexpected(store.error());
    std::vector<journal::Body> bodies;
    if (store) {
        HEARTH_TRY(bodies, (*store)->read(request_id));
    }
    for (const journal::Body& body : bodies) {
        if (body.kind != journal::BodyKind::prompt) continue;
        if (!body.error.empty()) return fail(ErrorKind::invalid_request, body.error);
        return serve::request_from_body(body.text);
    }
    return fail(ErrorKind::invalid_request,
                "the prompt is not kept in the journal: give it again as PROMPT, with "
                "--messages FILE or with --prompt-ids; its digest tells whether it is the same");
}

// The messages or the whole request, as the user has kept them; else as the journal has.
Result<chat::ChatRequest> given(const Context& context, const ReplayArgs& args, const Json& repro) {
    chat::ChatRequest request;
    const bool raw = repro.value("raw", false);
    if (!args.prompt_ids.empty()) {
        HEARTH_TRY(const auto ids, parse_ids(args.prompt_ids));
        request.raw.emplace();
        for (const TokenId id : ids) request.raw->ids.push_back(id.value);
    } else if (!args.messages_file.empty()) {
        HEARTH_TRY(const std::string text, read_text(args.messages_file));
        HEARTH_TRY(Json body, parse_json(text));
        if (body.is_array()) {
            Json object = Json::object();
            object["messages"] = std::move(body);
            body = std::move(object);
        }
        if (!body.is_object())
            return fail(ErrorKind::invalid_request,
                        "--messages takes a JSON array of messages, or a request as an object");
        body["model"] = text_of(repro, "model");
        const chat::Dialect* openai = chat::find_dialect("openai");
        HEARTH_TRY(request, openai->read_request("/v1/chat/completions", to_text(body)));
    } else if (!args.prompt.empty() && raw) {
        request.raw.emplace().text = args.prompt;
    } else if (!args.prompt.empty()) {
        const auto add = [&](chat::Role role, const std::string& text) {
            chat::Message message;
            message.role = role;
            message.parts.push_back(chat::TextPart{text});
            request.messages.push_back(std::move(message));
        };
        if (!args.system.empty()) add(chat::Role::system, args.system);
        add(chat::Role::user, args.prompt);
    } else {
        return kept(context, args.request_id);
    }
    return request;
}

// What the record says replaces what the request would get by default.
void restore_sampling(const Json& repro, chat::ChatRequest& request) {
    chat::SamplingRequest& s = request.sampling;
    s.temperature = number_of(repro, "temperature");
    s.top_p = number_of(repro, "top_p");
    s.min_p = number_of(repro, "min_p");
    s.top_k = integer_of(repro, "top_k", 0);
    s.repeat_penalty = number_of(repro, "repeat_penalty");
    s.presence_penalty = number_of(repro, "presence_penalty");
    s.frequency_penalty = number_of(repro, "frequency_penalty");
    s.repeat_last_n = integer_of(repro, "repeat_last_n", 0);
    if (const auto seed = repro.find("seed"); seed != repro.end() && seed->is_number())
        s.seed = seed->get<std::uint64_t>();
    s.logit_bias.clear();
    if (const auto bias = repro.find("logit_bias"); bias != repro.end() && bias->is_object())
        for (const auto& [id, value] : bias->items())
            if (value.is_number()) s.logit_bias[std::atoi(id.c_str())] = value.get<double>();
    request.n = integer_of(repro, "n_answers", 1);
    const std::int64_t n_max = integer_of(repro, "max_tokens", -1);
    request.max_output_tokens = n_max >= 0 ? std::optional(n_max) : std::nullopt;
}

struct Verdict {
    std::vector<std::string> differs;  // "model: …"
    std::int64_t n_tokens = 0;
    std::string unchecked;  // what the record could not say
};

void compare(Verdict& verdict, const char* what, const std::string& then, const std::string& now) {
    if (then != now) verdict.differs.push_back(format("{}: {} then, {} now", what, then, now));
}

void compare_model(Verdict& verdict, const Json& repro, const backend::LocalBackend& local) {
    if (const std::string then = text_of(repro, "model_sha256"); !then.empty()) {
        compare(verdict, "model", then, local.wait_for_model_sha256());
    } else {
        verdict.unchecked =
            "the model's digest was not known yet when the request ended: its header was compared";
        compare(verdict, "model header", text_of(repro, "model_header_sha256"),
                local.header_sha256());
    }
    compare(verdict, "template", text_of(repro, "template_sha256"), local.template_sha256());
    compare(verdict, "numerics_id", std::to_string(integer_of(repro, "numerics_id", 0)),
            std::to_string(model::kNumericsId));
    compare(verdict, "isa", text_of(repro, "isa"), std::string(local.engine().isa()));
}

int print(const Context& context, const ReplayArgs& args, const Verdict& verdict) {
    const bool same = verdict.differs.empty();
    if (context.json) {
        JsonWriter out;
        out.begin_object().field("request_id", args.request_id).field("identical", same);
        out.field("n_tokens", verdict.n_tokens).key("differs").begin_array();
        for (const std::string& one : verdict.differs) out.value(one);
        out.end_array();
        if (!verdict.unchecked.empty()) out.field("unchecked", verdict.unchecked);
        std::puts(out.end_object().text().c_str());
        return same ? kDone : kFailed;
    }
    if (!verdict.unchecked.empty() && !context.quiet)
        std::fprintf(stderr, "note: %s\n", verdict.unchecked.c_str());
    if (same)
        std::printf("identical: %lld tokens\n", (long long)verdict.n_tokens);
    else
        std::puts("not identical");
    for (const std::string& one : verdict.differs) std::printf("  %s\n", one.c_str());
    return same ? kDone : kFailed;
}

// Runs the request; fills the verdict. Errors: it cannot be run.
Status run(backend::LocalBackend& local, const Secret& key, const Json& repro,
           chat::ChatRequest request, Verdict& verdict) {
    const std::int64_t now_s = integer_of(repro, "prompt_unix_s", 0);
    HEARTH_TRY(backend::Prompt prompt, local.prepare(request, now_s));
    if (serve::prompt_digest(key, request, &prompt) != text_of(repro, "prompt_digest"))
        verdict.differs.push_back("prompt: another text or other settings of its template");
    const std::string stop = text_of(repro, "stop_digest");
    if (stop != (request.stop.empty() ? std::string() : serve::stop_digest(key, request.stop)))
        verdict.differs.push_back(format(
            "stop: {} texts that end the answer were given then; give the whole request with "
            "--messages",
            integer_of(repro, "n_stop", 0)));
    if (!verdict.differs.empty()) return {};
    auto sink = std::make_shared<Collector>(key);
    backend::Job job;
    job.model = text_of(repro, "model");
    job.request = std::make_shared<chat::ChatRequest>(std::move(request));
    job.prompt = std::make_shared<backend::Prompt>(std::move(prompt));
    job.sink = sink;
    local.start(std::move(job));
    const chat::Event end = sink->wait();
    if (const auto* failed = std::get_if<chat::Failed>(&end)) return fail(failed->error);
    verdict.n_tokens = sink->n_tokens();
    if (serve::answer_digest(key, sink->digests()) != text_of(repro, "answer_digest"))
        verdict.differs.push_back("tokens: another answer from the same inputs");
    return {};
}

}  // namespace

int replay_command(Context& context, const ReplayArgs& args) {
    const auto fail_with = [&](const Error& error) { return report(error, context.json); };
    auto repro = recorded(context, args.request_id);
    if (!repro) return fail_with(repro.error());
    auto request = given(context, args, *repro);
    if (!request) return fail_with(request.error());
    restore_sampling(*repro, *request);
    auto key = content_key(context);
    if (!key) return fail_with(key.error());
    const std::string name = text_of(*repro, "model");
    auto source = find_model(context, name);
    if (!source) return fail_with(source.error());
    backend::LocalOptions options = local_options(context, name);
    options.isa = args.isa.empty() ? text_of(*repro, "isa") : args.isa;
    options.engine.kv_type = text_of(*repro, "kv");
    options.engine.n_ctx = integer_of(*repro, "n_ctx", 0);
    Verdict verdict;
    auto local = backend::LocalBackend::open(*source, options);
    if (!local) {
        verdict.differs.push_back(format("machine: {}", local.error().message));
        return print(context, args, verdict);
    }
    compare_model(verdict, *repro, **local);
    if (verdict.differs.empty())
        if (Status ok = run(**local, *key, *repro, std::move(*request), verdict); !ok)
            return fail_with(ok.error());
    return print(context, args, verdict);
}

}  // namespace hearth::app
