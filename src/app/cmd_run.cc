// run: one answer, or a chat in the terminal. The same exchange as over HTTP: the request is
// decided and journalled, then answered here or, where policy allows, by an upstream.
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/open.h"
#include "base/clock.h"
#include "base/format.h"
#include "base/ids.h"
#include "chat/dialect.h"
#include "route/policy.h"

namespace hearth::app {
namespace {

std::atomic<bool> g_interrupted{false};

// Collects one answer and, in the terminal, prints it as it comes.
class TerminalClient final : public serve::ExchangeClient {
  public:
    TerminalClient(bool print, serve::Metrics& metrics) : print_(print), open_(metrics) {}

    void on_placed(const serve::Placement& placement) override {
        const std::lock_guard lock(mutex_);
        placement_ = placement;
    }

    void on_event(chat::Event event) override {
        const std::lock_guard lock(mutex_);
        if (auto* text = std::get_if<chat::TextDelta>(&event)) {
            text_ += text->text;
            show(text->text);
        } else if (auto* thinking = std::get_if<chat::ThinkingDelta>(&event)) {
            thinking_ += thinking->text;
        } else if (auto* start = std::get_if<chat::ToolCallStart>(&event)) {
            calls_.push_back({start->id, start->name, ""});
        } else if (auto* delta = std::get_if<chat::ToolCallDelta>(&event)) {
            if (!calls_.empty()) calls_.back().arguments += delta->arguments;
        } else if (auto* done = std::get_if<chat::AnswerDone>(&event)) {
            reason_ = done->reason;
            tokens_ = std::move(done->tokens);
        } else if (chat::is_terminal(event)) {
            end_ = std::move(event);
            ended_.notify_all();
        }
    }

    bool cancelled() const override { return g_interrupted; }
    bool keeps_answer() const override { return true; }

    chat::Event wait() {
        std::unique_lock lock(mutex_);
        ended_.wait(lock, [&] { return end_.has_value(); });
        return *end_;
    }

    // After wait().
    const std::string& text() const { return text_; }
    const std::vector<chat::ToolCall>& calls() const { return calls_; }
    const std::string& thinking() const { return thinking_; }
    const std::vector<std::int32_t>& tokens() const { return tokens_; }
    chat::FinishReason reason() const { return reason_; }
    const serve::Placement& placement() const { return placement_; }

  private:
    void show(const std::string& text) {
        if (!print_) return;
        std::fwrite(text.data(), 1, text.size(), stdout);
        std::fflush(stdout);
    }

    const bool print_;
    const serve::OpenRequest open_;
    std::mutex mutex_;  // guards all below: events come on other threads
    std::condition_variable ended_;
    serve::Placement placement_;
    std::string text_, thinking_;
    std::vector<chat::ToolCall> calls_;
    std::vector<std::int32_t> tokens_;
    chat::FinishReason reason_ = chat::FinishReason::stop;
    std::optional<chat::Event> end_;
};

// Everything of the flags but the conversation.
chat::ChatRequest request_from(const RunArgs& args, const std::string& model) {
    chat::ChatRequest request;
    request.model = model;
    request.stream = true;
    request.return_tokens = true;
    const SamplingFlags& s = args.sampling;
    request.sampling.temperature = s.temperature;
    request.sampling.top_p = s.top_p;
    request.sampling.min_p = s.min_p;
    request.sampling.top_k = s.top_k;
    if (s.seed) request.sampling.seed = std::uint64_t(*s.seed);
    request.max_output_tokens = s.max_tokens;
    request.stop = s.stop;
    return request;
}

chat::Message message(chat::Role role, std::string text) {
    chat::Message m;
    m.role = role;
    m.parts.push_back(chat::TextPart{std::move(text)});
    return m;
}

// Messages and tools are read by the dialect that defines their form.
Status read_documents(const RunArgs& args, chat::ChatRequest& request) {
    if (args.messages_file.empty() && args.tools_file.empty()) return {};
    Json body = Json::object();
    body["model"] = request.model;
    body["messages"] = Json::array({{{"role", "user"}, {"content", ""}}});
    if (!args.messages_file.empty()) {
        HEARTH_TRY(const std::string text, read_text(args.messages_file));
        HEARTH_TRY(body["messages"], parse_json(text));
    }
    if (!args.tools_file.empty()) {
        HEARTH_TRY(const std::string text, read_text(args.tools_file));
        HEARTH_TRY(body["tools"], parse_json(text));
    }
    const chat::Dialect* openai = chat::find_dialect("openai");
    HEARTH_TRY(chat::ChatRequest read, openai->read_request("/v1/chat/completions", to_text(body)));
    if (!args.messages_file.empty()) request.messages = std::move(read.messages);
    request.tools = std::move(read.tools);
    return {};
}

std::string joined(const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
    return text;
}

void print_document(const TerminalClient& client, const chat::Finished& end,
                    const serve::House& house, double load_ms) {
    const chat::Timings& t = end.timings;
    const auto rate = [](std::int64_t n, std::int64_t ns) {
        return ns > 0 ? double(n) * kNsPerS / double(ns) : 0.0;
    };
    JsonWriter out;
    out.begin_object().field("text", client.text()).key("tokens").begin_array();
    for (const std::int32_t id : client.tokens()) out.value(std::int64_t(id));
    out.end_array();
    if (!client.calls().empty()) {
        out.key("tool_calls").begin_array();
        for (const chat::ToolCall& call : client.calls())
            out.begin_object()
                .field("id", call.id)
                .field("name", call.name)
                .field("arguments", call.arguments)
                .end_object();
        out.end_array();
    }
    if (!client.thinking().empty()) out.field("thinking", client.thinking());
    out.field("finish_reason", chat::name_of(client.reason()));
    out.key("usage")
        .begin_object()
        .field("input_tokens", end.usage.input_tokens)
        .field("cached_tokens", end.usage.cached_tokens)
        .field("output_tokens", end.usage.output_tokens)
        .end_object();
    out.key("timings")
        .begin_object()
        .field("load_ms", load_ms)
        .field("ttft_ms", double(t.ttft_ns) / kNsPerMs)
        .field("prefill_tps", rate(end.usage.input_tokens - end.usage.cached_tokens, t.prefill_ns))
        .field("decode_tps", rate(end.usage.output_tokens - 1, t.decode_ns))
        .end_object();
    out.key("model").begin_object().field("name", client.placement().model);
    if (const auto target = house.places.local_candidate(client.placement().model)) {
        if (const auto* local = house.places.loaded(*target)) {
            const model::ModelInfo& info = local->engine().model().info();
            out.field("arch", info.arch)
                .field("format", info.format)
                .field("n_params", info.n_params)
                .field("isa", local->engine().isa());
        }
    }
    out.end_object().field("route", client.placement().route);
    out.field("reason", client.placement().reason)
        .field("request_id", client.placement().request_id);
    std::puts(out.end_object().text().c_str());
}

class Run {
  public:
    Run(Context& context, serve::House& house, chat::ChatRequest base, double load_ms)
        : context_(context), house_(house), base_(std::move(base)), load_ms_(load_ms) {}

    // One exchange with these messages; the exit code.
    int ask(chat::ChatRequest request) {
        const bool json = context_.json;
        auto client = std::make_shared<TerminalClient>(!json, house_.metrics);
        serve::Exchange::begin(house_, std::make_shared<chat::ChatRequest>(std::move(request)),
                               {.request_id = random_id("req-"),
                                .endpoint = "cli run",
                                .peer = "terminal",
                                .received_ns = house_.clock.mono_ns(),
                                .caller = serve::local_admin("terminal")},
                               client);
        const chat::Event end = client->wait();
        answer_ = client->text();
        calls_ = client->calls();
        if (const auto* failed = std::get_if<chat::Failed>(&end)) {
            if (!json && !answer_.empty()) std::puts("");
            return report(failed->error, json);
        }
        if (json) {
            print_document(*client, std::get<chat::Finished>(end), house_, load_ms_);
            return kDone;
        }
        for (const chat::ToolCall& call : calls_)
            std::printf("%s[calls %s(%s)]\n", answer_.empty() ? "" : "\n", call.name.c_str(),
                        call.arguments.c_str());
        if (!answer_.empty()) std::puts("");
        return kDone;
    }

    int once(const std::string& prompt) {
        chat::ChatRequest request = base_;
        if (request.raw) {
            request.raw->text = prompt;
        } else if (!prompt.empty()) {
            request.messages.push_back(message(chat::Role::user, prompt));
        }
        return ask(std::move(request));
    }

    // Reads lines until the end of input. Ctrl-C stops an answer; at the prompt it leaves.
    int chat() {
        std::fprintf(stderr, "%s — /clear starts anew, /bye leaves, Ctrl-C stops an answer\n",
                     base_.model.c_str());
        chat::ChatRequest conversation = base_;
        std::string line;
        for (;;) {
            std::fputs("> ", stderr);
            g_interrupted = false;
            if (!std::getline(std::cin, line)) break;
            if (line == "/bye" || line == "/exit" || line == "/quit") break;
            if (line == "/clear") {
                conversation.messages = base_.messages;
                continue;
            }
            if (line.starts_with('/')) {
                std::fputs("commands: /clear /bye\n", stderr);
                continue;
            }
            if (line.empty()) continue;
            conversation.messages.push_back(message(chat::Role::user, line));
            const int code = ask(conversation);
            if (code != kDone && !g_interrupted) {
                conversation.messages.pop_back();  // a refused turn is not part of the conversation
                continue;
            }
            chat::Message answer = message(chat::Role::assistant, answer_);
            answer.tool_calls = calls_;
            conversation.messages.push_back(std::move(answer));
        }
        std::fputs("\n", stderr);
        return kDone;
    }

  private:
    Context& context_;
    serve::House& house_;
    const chat::ChatRequest base_;
    const double load_ms_;
    std::string answer_;
    std::vector<chat::ToolCall> calls_;
};

void on_interrupt(int) {
    // The first one asks the answer to stop, or breaks the read at the prompt, which is the end of
    // input. A second one before the next prompt: the person does not want to wait for that.
    if (g_interrupted) _exit(130);
    g_interrupted = true;
}

// Which local models the house needs, and the name to ask for.
Result<std::pair<std::vector<model::ModelSource>, std::string>> places_for(
    const Context& context, const std::string& name) {
    for (const char* virtual_name : route::kVirtualModels) {
        if (name != virtual_name) continue;
        HEARTH_TRY(auto models, all_models(context));
        return std::pair(std::move(models), name);
    }
    auto source = find_model(context, name);
    if (source) return std::pair(std::vector{*source}, source->name);
    for (const backend::UpstreamConfig& upstream : context.settings.config().upstreams) {
        for (const route::Target& target : upstream.models) {
            if (name == target.model || name == route::label_of(target))
                return std::pair(std::vector<model::ModelSource>(), name);
        }
    }
    return fail(source.error());
}

// Flags that would drop each other's text. Errors: what cannot be said together.
Status check_flags(const RunArgs& args) {
    const struct {
        const char* name;
        bool given;
    } raw[] = {{"--raw", args.raw}, {"--prompt-ids", !args.prompt_ids.empty()}},
      chat[] = {{"--messages", !args.messages_file.empty()},
                {"--system", !args.system.empty()},
                {"--tools", !args.tools_file.empty()}};
    for (const auto& one : raw) {
        for (const auto& other : chat) {
            if (one.given && other.given)
                return fail(ErrorKind::invalid_request,
                            format("{} sends no chat template, and without one {} cannot be said; "
                                   "give one of them",
                                   one.name, other.name));
        }
    }
    if (!args.prompt_ids.empty() && !args.prompt.empty())
        return fail(ErrorKind::invalid_request,
                    "--prompt-ids sends exactly these ids, so PROMPT would be dropped; give one of "
                    "them");
    return {};
}

// A model that continues text has no place for these.
Status check_without_template(const RunArgs& args) {
    const char* flag = !args.system.empty() ? "--system" : "--tools";
    if (args.system.empty() && args.tools_file.empty()) return {};
    return fail(ErrorKind::invalid_request,
                format("this model has no chat template, and without one {} cannot be said; give "
                       "all of the text as PROMPT",
                       flag));
}

// The last word of PROMPT that stands for what stdin holds.
constexpr std::string_view kStdin = "-";

// Text that waits in a pipe and will not be read. A file is no such sign: `while read` loops leave
// theirs to us.
bool pipe_has_text() {
    struct stat info;
    int n_bytes = 0;
    return ::fstat(STDIN_FILENO, &info) == 0 && S_ISFIFO(info.st_mode) &&
           ::ioctl(STDIN_FILENO, FIONREAD, &n_bytes) == 0 && n_bytes > 0;
}

// PROMPT, or what is piped; with `-` as its last word PROMPT, a blank line, and what is piped.
// Beside a PROMPT stdin is read only when it is asked for: whoever started us may have left open
// one that never ends, or one that is not ours.
Result<std::string> whole_prompt(const Context& context, const RunArgs& args) {
    std::vector<std::string> words = args.prompt;
    const bool joins = !words.empty() && words.back() == kStdin;
    if (joins) words.pop_back();
    std::string prompt = joined(words);
    const bool taken = args.messages_file == kStdin || args.tools_file == kStdin;
    const bool complete = !args.prompt_ids.empty() || !args.messages_file.empty();
    if (joins && taken)
        return fail(ErrorKind::invalid_request, "stdin cannot be both a file and part of PROMPT");
    if (!joins && (taken || complete || !prompt.empty() || isatty(STDIN_FILENO))) {
        if (!taken && !context.quiet && pipe_has_text())
            std::fputs(
                "note: what is piped is not read beside a PROMPT; to append it, end with -\n",
                stderr);
        return prompt;
    }
    HEARTH_TRY(std::string text, read_text("-"));
    while (text.ends_with('\n') || text.ends_with('\r')) text.pop_back();
    if (prompt.empty()) return text;
    return text.empty() ? prompt : prompt + "\n\n" + text;
}

// The request but for its prompt: flags, documents, and whether a template is used.
Status complete(const Context& context, const RunArgs& args, bool has_template,
                chat::ChatRequest& request) {
    if (args.raw || !args.prompt_ids.empty() || (!has_template && args.messages_file.empty())) {
        request.raw.emplace();
        if (!has_template && !args.raw && args.prompt_ids.empty() && !context.quiet)
            std::fputs("note: this model has no chat template; it continues the prompt\n", stderr);
    }
    if (!args.prompt_ids.empty()) {
        HEARTH_TRY(const auto ids, parse_ids(args.prompt_ids));
        for (const TokenId id : ids) request.raw->ids.push_back(id.value);
    }
    HEARTH_CHECK_OK(read_documents(args, request));
    if (!args.system.empty())
        request.messages.insert(request.messages.begin(), message(chat::Role::system, args.system));
    return {};
}

}  // namespace

Status prepare_run(Context& context, const RunArgs& args) {
    const bool may_leave = args.model == "auto" || args.model == "cloud";
    // Looks at names only; no model is read before the sandbox closes.
    if (!may_leave && (args.model == "local" || find_model(context, args.model)))
        context.settings.upstreams().clear();
    return prepare_door(context);
}

int run_command(Context& context, const RunArgs& args) {
    const auto fail_with = [&](const Error& error) { return report(error, context.json); };
    if (Status ok = check_flags(args); !ok) return fail_with(ok.error()), kUsage;
    const std::int64_t started_ns = system_clock().mono_ns();
    auto named = places_for(context, args.model);
    if (!named) return fail_with(named.error());
    // prepare_run() has left no upstreams where the model is here.
    const bool stays = context.settings.upstreams().empty();
    auto owned = open_house(context, std::move(named->first),
                            stays ? NoJournal::answers_locally : NoJournal::fails);
    if (!owned) return fail_with(owned.error());
    serve::House& house = *(*owned)->house;

    chat::ChatRequest request = request_from(args, named->second);
    bool has_template = true;
    if (const auto target = house.places.local_candidate(request.model)) {
        auto local = house.places.local(*target);
        if (!local) return fail_with(local.error());
        has_template = !(*local)->engine().model().chat_template().empty();
    }
    const double load_ms = double(system_clock().mono_ns() - started_ns) / kNsPerMs;
    if (!has_template && args.messages_file.empty())
        if (Status ok = check_without_template(args); !ok) return fail_with(ok.error()), kUsage;
    if (Status ok = complete(context, args, has_template, request); !ok)
        return fail_with(ok.error());
    auto prompt = whole_prompt(context, args);
    if (!prompt) return fail_with(prompt.error());

    struct sigaction action = {};
    action.sa_handler = on_interrupt;
    sigaction(SIGINT, &action, nullptr);
    const bool asked = !prompt->empty() || !args.messages_file.empty() || !args.prompt_ids.empty();
    const bool once = asked || !isatty(STDIN_FILENO);
    if (!once && request.raw)
        return fail_with(
            {.kind = ErrorKind::invalid_request,
             .message = "this model has no chat template: give it a PROMPT to continue"});
    if (once && !asked && !request.raw)
        return fail_with({.kind = ErrorKind::invalid_request,
                          .message = "the prompt is empty: give a PROMPT, or text on stdin"});
    Run run(context, house, std::move(request), load_ms);
    return once ? run.once(*prompt) : run.chat();
}

}  // namespace hearth::app
