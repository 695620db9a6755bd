#include "backend/local.h"

#include <atomic>
#include <mutex>
#include <utility>

#include "backend/limits.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/format.h"
#include "base/json.h"
#include "base/log.h"

namespace hearth::backend {
namespace {

using chat::Event;
using chat::FinishReason;

FinishReason reason_of(engine::StopReason reason) {
    return reason == engine::StopReason::length ? FinishReason::length : FinishReason::stop;
}

// What the n answers of one request share: the sink, and the sums for the one Finished at the end.
// The engine calls every sequence's sink from its one thread, so nothing here needs a lock.
struct Answers {
    std::shared_ptr<chat::EventSink> sink;
    std::shared_ptr<const chat::ChatRequest> request;
    const model::Tokenizer* tokenizer = nullptr;
    std::string model;
    std::int64_t n_open = 0;
    bool started = false, ended = false;
    bool counted = false;  // some answer's usage
    chat::Usage usage;
    chat::Timings timings;

    void emit(Event event) {
        if (ended) return;
        if (!started) {
            started = true;
            sink->on_event(chat::Started{model});
        }
        ended = chat::is_terminal(event);
        sink->on_event(std::move(event));
    }
};

// One answer's way from engine outputs to events.
class AnswerSink final : public engine::OutputSink {
  public:
    AnswerSink(std::shared_ptr<Answers> answers, std::int64_t index,
               std::unique_ptr<chat::AnswerParser> parser)
        : answers_(std::move(answers)), index_(index), parser_(std::move(parser)) {}

    void on_output(engine::Output output) override {
        tokens_.push_back(output.id.value);
        if (output.score) scores_.push_back(score_of(output));
        forward(parser_->feed(output.text));
    }

    void on_finish(engine::Finish finish) override {
        Answers& all = *answers_;
        count(finish);
        if (finish.reason == engine::StopReason::failed) {
            all.emit(chat::Failed{std::move(finish.error), all.usage});
        } else if (finish.reason == engine::StopReason::cancelled) {
            all.emit(chat::Failed{{ErrorKind::cancelled, "the caller went away"}, all.usage});
        } else {
            forward(parser_->feed(finish.text));
            FinishReason reason = reason_of(finish.reason);
            forward(parser_->finish(reason));
            if (!scores_.empty()) forward({chat::TextDelta{index_, "", {}}});
            all.emit(chat::AnswerDone{index_, reason, std::move(tokens_)});
        }
        if (--all.n_open == 0) all.emit(chat::Finished{all.usage, all.timings});
    }

    bool ready() const override { return answers_->sink->ready(); }
    bool cancelled() const override { return answers_->ended || answers_->sink->cancelled(); }

  private:
    // Scores wait for the next piece of text: the parser may hold the text they belong to.
    void forward(std::vector<Event> events) {
        for (Event& event : events) {
            if (auto* text = std::get_if<chat::TextDelta>(&event)) {
                text->logprobs = std::move(scores_);
                scores_.clear();
            }
            answers_->emit(std::move(event));
        }
    }

    chat::TokenLogprob score_of(const engine::Output& output) const {
        const model::Tokenizer& words = *answers_->tokenizer;
        const auto bytes = [&](TokenId id) { return words.piece(id, false, true); };
        chat::TokenLogprob score{bytes(output.id), output.score->logprob, {}};
        for (const auto& [id, logprob] : output.top) score.top.push_back({bytes(id), logprob});
        return score;
    }

    void count(const engine::Finish& finish) {
        chat::Usage& usage = answers_->usage;
        chat::Timings& t = answers_->timings;
        // The prompt is one prompt, however many answers it gets. Of it counts as cached what no
        // answer computed; what one computed and its siblings shared was computed here.
        usage.input_tokens = finish.n_prompt;
        usage.cached_tokens = std::exchange(answers_->counted, true)
                                  ? std::min(usage.cached_tokens, finish.n_cached)
                                  : finish.n_cached;
        usage.output_tokens += finish.n_generated;
        t.queue_ns = std::max(t.queue_ns, finish.queue_ns);
        t.prefill_ns = std::max(t.prefill_ns, finish.prefill_ns);
        t.decode_ns = std::max(t.decode_ns, finish.decode_ns);
        t.ttft_ns = t.ttft_ns == 0 ? finish.ttft_ns : std::min(t.ttft_ns, finish.ttft_ns);
    }

    const std::shared_ptr<Answers> answers_;
    const std::int64_t index_;
    const std::unique_ptr<chat::AnswerParser> parser_;
    std::vector<chat::TokenLogprob> scores_;
    std::vector<std::int32_t> tokens_;
};

void fail_job(const Job& job, Error error) {
    job.sink->on_event(chat::Failed{std::move(error)});
}

// Text as it comes: for prompts without a template.
class PlainParser final : public chat::AnswerParser {
  public:
    explicit PlainParser(std::int64_t index) : index_(index) {}
    std::vector<Event> feed(std::string_view text) override {
        if (text.empty()) return {};
        return {chat::TextDelta{index_, std::string(text), {}}};
    }
    std::vector<Event> finish(FinishReason&) override { return {}; }

  private:
    const std::int64_t index_;
};

// What a file says of itself, without its weights.
std::string header_digest(const model::Model& model) {
    Sha256 hash;
    const auto add = [&](std::string_view text) {
        hash.add(std::as_bytes(std::span(text)));
        hash.add(std::as_bytes(std::span("\n", 1)));
    };
    for (const auto& [key, value] : model.gguf().metadata()) {
        add(key);
        if (const auto* text = std::get_if<std::string_view>(&value)) add(*text);
        if (const auto* array = std::get_if<model::GgufArray>(&value)) hash.add(array->bytes);
        if (const auto* n = std::get_if<std::uint64_t>(&value)) add(std::to_string(*n));
        if (const auto* n = std::get_if<std::int64_t>(&value)) add(std::to_string(*n));
        if (const auto* n = std::get_if<double>(&value)) add(format("{}", *n));
        if (const auto* b = std::get_if<bool>(&value)) add(*b ? "true" : "false");
    }
    for (const model::GgufTensor& tensor : model.gguf().tensors()) {
        add(tensor.name);
        add(format("{} {}", tensor.type, tensor.bytes.size()));
    }
    return hash.hex();
}

Status check_content(const chat::ChatRequest& request) {
    for (const chat::Message& message : request.messages) {
        for (const chat::Part& part : message.parts) {
            if (!std::holds_alternative<chat::TextPart>(part))
                return fail({ErrorKind::invalid_request,
                             "local models take text only; send the message without images or "
                             "audio, or name a model that takes them",
                             "messages"});
        }
    }
    return {};
}

}  // namespace

Result<std::unique_ptr<LocalBackend>> LocalBackend::open(const model::ModelSource& source,
                                                         const LocalOptions& options) {
    HEARTH_TRY(auto device, model::make_cpu_device(options.isa, options.n_threads));
    std::unique_ptr<LocalBackend> backend(new LocalBackend);
    HEARTH_TRY(backend->engine_, engine::Engine::start(source, std::move(device), options.engine));
    backend->options_ = options;
    const model::Model& model = backend->engine_->model();
    backend->header_sha256_ = header_digest(model);
    backend->template_sha256_ = sha256_hex(model.chat_template());
    if (model.info().weights_bytes <= kHashAtOpenBytes) (void)backend->wait_for_model_sha256();
    const auto text = [&](std::optional<TokenId> id) {
        return id ? std::string(model.tokenizer().text(*id)) : std::string();
    };
    chat::FormatModel& about = backend->format_model_;
    about.chat_template = model.chat_template();
    about.bos_token = text(model.tokenizer().bos());
    about.eos_token = text(model.tokenizer().eos());
    auto format = chat::find_format(about);
    Status parsed = format ? chat::prepare(about) : Status();
    if (format && parsed) {
        backend->format_ = *format;
    } else {
        // Not fatal: raw prompts need no template. Who asks for a chat gets this error.
        backend->no_format_ = std::move(format ? parsed.error() : format.error());
    }
    backend->publish_prefixes();
    return backend;
}

// A mark that cannot be public is a warning: prompts are answered all the same.
void LocalBackend::publish_prefixes() {
    engine::PublicPrefixes prefixes;
    for (const PublicPrefix& mark : options_.public_prefixes) {
        chat::FormatModel now = format_model_;
        now.now_unix_s = system_clock().wall_ns() / kNsPerS;
        const auto text = format_ ? public_part(*format_, std::move(now), mark.text)
                                  : Result<std::string>(fail(no_format_));
        std::vector<TokenId> ids = text ? ids_of(*text) : std::vector<TokenId>();
        std::string why = text ? "" : text.error().message;
        if (text && std::int64_t(ids.size()) < model::kBlockTokens)
            why = format("it is {} tokens, and nothing shorter than {} is shared", ids.size(),
                         model::kBlockTokens);
        if (!why.empty()) {
            log_warn(
                "prefix_not_public",
                {{"prefix", mark.name}, {"model", engine_->model().info().name}, {"why", why}});
            continue;
        }
        prefixes.push_back(std::move(ids));
    }
    if (!prefixes.empty()) engine_->set_public_prefixes(std::move(prefixes));
}

LocalBackend::~LocalBackend() {
    stop_hashing_ = true;
    if (hashing_.joinable()) hashing_.join();
}

std::string LocalBackend::model_sha256() const {
    const std::lock_guard lock(hash_mutex_);
    // A process that answers once should not read a large file for a record that nobody asked for:
    // it ends before the thread has.
    if (model_sha256_.empty() && !hashing_.joinable() && !stop_hashing_)
        hashing_ = std::thread([this] { (void)wait_for_model_sha256(); });
    return model_sha256_;
}

std::string LocalBackend::wait_for_model_sha256() const {
    {
        const std::lock_guard lock(hash_mutex_);
        if (!model_sha256_.empty()) return model_sha256_;
    }
    const std::string digest = engine_->model().sha256(&stop_hashing_);
    const std::lock_guard lock(hash_mutex_);
    model_sha256_ = digest;
    return digest;
}

Result<Prompt> LocalBackend::prepare(const chat::ChatRequest& request,
                                     std::optional<std::int64_t> now_unix_s) const {
    const model::Tokenizer& words = engine_->model().tokenizer();
    Prompt prompt;
    if (request.raw && !request.raw->ids.empty()) {
        for (const std::int32_t id : request.raw->ids) prompt.ids.emplace_back(id);
        return prompt;
    }
    if (request.raw) {
        prompt.text = request.raw->text;
        prompt.ids = words.encode(prompt.text, {});
        return prompt;
    }
    HEARTH_CHECK_OK(check_content(request));
    if (!format_) return fail(no_format_);
    chat::FormatModel now = format_model_;
    now.now_unix_s = now_unix_s.value_or(system_clock().wall_ns() / kNsPerS);
    prompt.now_unix_s = now.now_unix_s;
    HEARTH_TRY(prompt.text, format_->render(now, request));
    prompt.ids = ids_of(prompt.text);
    return prompt;
}

std::vector<TokenId> LocalBackend::ids_of(const std::string& rendered) const {
    const model::Tokenizer& words = engine_->model().tokenizer();
    // A template that writes BOS itself must not get a second one.
    const bool has_bos = words.bos() && rendered.starts_with(words.text(*words.bos()));
    return words.encode(rendered, {.add_special = !has_bos, .parse_special = true});
}

engine::Sampling LocalBackend::sampling_for(const chat::SamplingRequest& asked) const {
    engine::Sampling s = options_.defaults;
    s.temperature = asked.temperature.value_or(s.temperature);
    s.top_k = asked.top_k.value_or(s.top_k);
    s.top_p = asked.top_p.value_or(s.top_p);
    s.min_p = asked.min_p.value_or(s.min_p);
    s.seed = asked.seed.value_or(s.seed);
    s.repeat_penalty = asked.repeat_penalty.value_or(s.repeat_penalty);
    s.repeat_last_n = asked.repeat_last_n.value_or(s.repeat_last_n);
    s.presence_penalty = asked.presence_penalty.value_or(s.presence_penalty);
    s.frequency_penalty = asked.frequency_penalty.value_or(s.frequency_penalty);
    if (!asked.logit_bias.empty()) s.logit_bias.clear();
    for (const auto& [id, bias] : asked.logit_bias) s.logit_bias.push_back({TokenId(id), bias});
    return s;
}

void LocalBackend::start(Job job) {
    auto prompt = job.prompt ? Result<Prompt>(*job.prompt) : prepare(*job.request);
    if (!prompt) return fail_job(job, std::move(prompt.error()));

    const chat::ChatRequest& request = *job.request;
    auto answers = std::make_shared<Answers>();
    answers->sink = job.sink;
    answers->request = job.request;
    answers->tokenizer = &engine_->model().tokenizer();
    answers->model = job.model;
    answers->n_open = request.n;

    std::vector<engine::Request> requests;
    for (std::int64_t i = 0; i < request.n; ++i) {
        engine::Request r;
        r.prompt = prompt->ids;
        r.owner = job.owner;
        r.sampling = sampling_for(request.sampling);
        r.sampling.seed += std::uint64_t(i);
        if (request.logprobs) r.sampling.n_logprobs = request.top_logprobs;
        r.max_tokens = request.max_output_tokens.value_or(-1);
        r.stop = request.stop;
        std::unique_ptr<chat::AnswerParser> parser;
        if (request.raw)
            parser = std::make_unique<PlainParser>(i);
        else
            parser = format_->new_parser(format_model_, request, prompt->text, i);
        r.sink = std::make_shared<AnswerSink>(answers, i, std::move(parser));
        requests.push_back(std::move(r));
    }
    // All or none: an answer refused after its siblings began would leave half a response.
    if (Status status = engine_->submit_all(std::move(requests)); !status)
        fail_job(job, std::move(status.error()));
}

std::string LocalBackend::repro_json(const chat::ChatRequest& request,
                                     const std::function<void(JsonWriter&)>& more) const {
    JsonWriter out;
    const model::ModelInfo& info = engine_->model().info();
    const engine::Sampling sampling = sampling_for(request.sampling);
    out.begin_object()
        .field("model", info.name)
        .field("format", info.format)
        .field("weights_bytes", std::uint64_t(info.weights_bytes))
        .field("model_header_sha256", header_sha256_)
        .field("template_sha256", template_sha256_)
        .field("numerics_id", model::kNumericsId)
        .field("isa", engine_->isa())
        .field("kv", options_.engine.kv_type)
        .field("temperature", sampling.temperature)
        .field("top_k", sampling.top_k)
        .field("top_p", sampling.top_p)
        .field("min_p", sampling.min_p)
        .field("seed", sampling.seed)
        .field("repeat_penalty", sampling.repeat_penalty)
        .field("repeat_last_n", sampling.repeat_last_n)
        .field("presence_penalty", sampling.presence_penalty)
        .field("frequency_penalty", sampling.frequency_penalty);
    out.key("logit_bias").begin_object();
    for (const engine::TokenBias& b : sampling.logit_bias)
        out.field(std::to_string(b.id.value), b.bias);
    out.end_object();
    if (const std::string digest = model_sha256(); !digest.empty())
        out.field("model_sha256", digest);
    out.field("n_ctx", engine_->n_ctx()).field("n_answers", request.n);
    out.field("max_tokens", request.max_output_tokens.value_or(-1));
    out.field("n_stop", std::int64_t(request.stop.size())).field("raw", request.raw.has_value());
    if (more) more(out);
    out.end_object();
    return out.take();
}

}  // namespace hearth::backend
