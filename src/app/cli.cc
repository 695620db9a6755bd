// The one place that knows CLI11: every command and flag, in the order people read them in --help.
// A flag that is a row of kSettings goes to Invocation::flags; one made by flag() takes its value
// from HEARTH_<FLAG> when it is not given. The rest belong to one call (files, ids, switches) and
// have no variable.
#include "app/cli.h"

#include <CLI/CLI.hpp>
#include <memory>

namespace hearth::app {
namespace {

class Builder {
  public:
    Builder() : app_("Local AI by default, cloud when it pays.", "hearth") {
        app_.set_version_flag("--version", "hearth " HEARTH_VERSION);
        app_.require_subcommand(1);
        app_.fallthrough();
        app_.add_flag("--json", in_->json, "print exactly one JSON document on stdout");
        app_.add_flag("--quiet", in_->quiet, "no progress, no notes");
        app_.add_flag("-v,--verbose", in_->verbose, "log what happens (info)");
        app_.add_option("--config", in_->config_path, "configuration file")
            ->envname("HEARTH_CONFIG");
        run();
        serve();
        tokens();
        logprobs();
        templates();
        route();
        scan();
        audit();
        bench();
        quantize();
        config();
    }

    Parsed parse(int argc, char** argv) {
        try {
            app_.parse(argc, argv);
        } catch (const CLI::ParseError& error) {
            const int code = app_.exit(error);
            return {std::nullopt, code == 0 ? kDone : kUsage};
        }
        for (const auto& [name, text] : given_) {
            if (text->second) in_->flags[name] = text->first;
        }
        return {std::move(*in_), kDone};
    }

  private:
    using Command = CLI::App;

    Command* command(CLI::App* parent, const char* name, const char* help,
                     std::function<int(Context&)> body) {
        Command* c = parent->add_subcommand(name, help);
        c->callback([this, body] { in_->body = body; });
        return c;
    }

    // A flag that is a setting: kept as text, so that Settings can say where a bad value came from.
    void setting(Command* c, std::initializer_list<const char*> names) {
        for (const SettingSpec& spec : kSettings) {
            for (const char* name : names) {
                if (std::string_view(spec.name) != name) continue;
                auto text = std::make_shared<std::pair<std::string, bool>>();
                given_.emplace_back(spec.name, text);
                std::string help = spec.help;
                if (*spec.choices) help += std::string(" (") + spec.choices + ")";
                if (*spec.fallback) help += std::string(" [") + spec.fallback + "]";
                const std::string flags =
                    *spec.letter ? std::string(spec.letter) + "," + spec.flag : spec.flag;
                c->add_option_function<std::string>(
                    flags, [text](const std::string& value) { *text = {value, true}; }, help);
            }
        }
    }

    template <class T>
    CLI::Option* flag(Command* c, const std::string& names, T& to, const char* help) {
        CLI::Option* option = c->add_option(names, to, help);
        std::string env = "HEARTH_";
        for (const char ch : option->get_lnames().at(0))
            env += ch == '-' ? '_' : char(std::toupper(ch));
        return option->envname(env);
    }

    void engine_settings(Command* c) {
        setting(c, {"engine.ctx", "engine.threads", "engine.kv", "engine.isa", "log.level",
                    "log.style"});
    }

    void run() {
        auto args = std::make_shared<RunArgs>();
        Command* c =
            command(&app_, "run", "chat with a model in the terminal, or answer one prompt",
                    [args](Context& context) { return run_command(context, *args); });
        c->preparse_callback([this, args](std::size_t) {
            in_->prepare = [args](Context& context) { return prepare_run(context, *args); };
        });
        c->add_option("MODEL", args->model,
                      "demo, a name in the store, a .gguf file, an upstream's model")
            ->required();
        c->add_option(
            "PROMPT", args->prompt,
            "the prompt; a last - stands for stdin; without it and without piped stdin: a chat");
        flag(c, "--system", args->system, "system message");
        flag(c, "--max-tokens", args->sampling.max_tokens, "most tokens of an answer");
        flag(c, "--temperature", args->sampling.temperature, "0: always the likeliest token")
            ->check(CLI::Range(0.0, 100.0));
        flag(c, "--top-p", args->sampling.top_p, "keep the likeliest tokens up to this probability")
            ->check(CLI::Range(0.0, 1.0));
        flag(c, "--top-k", args->sampling.top_k, "keep the k likeliest tokens; 0: all")
            ->check(CLI::NonNegativeNumber);
        flag(c, "--min-p", args->sampling.min_p, "drop tokens below this share of the likeliest")
            ->check(CLI::Range(0.0, 1.0));
        flag(c, "--seed", args->sampling.seed, "the same seed gives the same answer");
        c->add_option("--stop", args->sampling.stop, "end the answer before this text (repeatable)")
            ->take_all();
        flag(c, "--messages", args->messages_file, "chat messages, a JSON array, from this file");
        flag(c, "--tools", args->tools_file, "tools that the model may call, a JSON array");
        c->add_option("--prompt-ids", args->prompt_ids, "exactly these token ids, nothing added");
        c->add_flag("--raw", args->raw, "the prompt as it is, no chat template");
        engine_settings(c);
        setting(c, {"route.keep_from", "route.offline", "journal.sync"});
    }

    void serve() {
        auto args = std::make_shared<ServeArgs>();
        Command* c = command(&app_, "serve", "serve the APIs on one port",
                             [args](Context& context) { return serve_command(context, *args); });
        c->preparse_callback([this](std::size_t) {
            in_->serves = true;
            in_->prepare = prepare_door;
        });
        c->add_option("--model", args->models, "what to serve (repeatable) [the store, and demo]")
            ->take_all();
        setting(c, {"serve.host", "serve.port", "serve.host_names", "engine.parallel",
                    "engine.batch_tokens", "engine.queue", "route.keep_from", "route.fallback",
                    "route.offline", "journal.sync"});
        engine_settings(c);
    }

    void tokens() {
        auto args = std::make_shared<TokenizeArgs>();
        Command* t = command(&app_, "tokenize", "text to token ids",
                             [args](Context& context) { return tokenize_command(context, *args); });
        t->add_option("MODEL", args->model, "a model; its tokenizer is enough")->required();
        t->add_option("--file", args->file, "the text; - or nothing: stdin");
        t->add_flag("--no-special", args->no_special,
                    "add no BOS or EOS, read special texts as text");
        t->add_flag("--parse-special", args->parse_special, "special texts become their tokens");
        t->add_flag("--pieces", args->pieces, "show each token's text");
        t->add_flag("--jsonl", args->jsonl, "each line is a JSON string, each answer a JSON array");
        setting(t, {"log.level", "log.style"});
        Command* d = command(&app_, "detokenize", "token ids to text", [args](Context& context) {
            return detokenize_command(context, *args);
        });
        d->add_option("MODEL", args->model, "a model; its tokenizer is enough")->required();
        d->add_option("--ids", args->ids, "token ids, separated by commas")->required();
        setting(d, {"log.level", "log.style"});
    }

    void logprobs() {
        auto args = std::make_shared<LogprobsArgs>();
        Command* c = command(&app_, "logprobs", "how likely a model finds each token of a text",
                             [args](Context& context) { return logprobs_command(context, *args); });
        c->add_option("MODEL", args->model)->required();
        c->add_option("--file", args->file, "the text; - for stdin");
        c->add_option("--ids", args->ids, "token ids instead of text");
        flag(c, "--top", args->top, "also the k likeliest tokens of each place")
            ->check(CLI::Range(0, 100));
        engine_settings(c);
    }

    void templates() {
        auto args = std::make_shared<TemplateArgs>();
        Command* t = app_.add_subcommand("template", "chat templates");
        t->require_subcommand(1);
        Command* c = command(t, "render", "the prompt text that a chat template makes",
                             [args](Context& context) { return template_command(context, *args); });
        c->add_option("MODEL", args->model, "a model, or a .jinja file")->required();
        c->add_option("--input", args->input,
                      "JSON object; every key becomes a variable; - for stdin")
            ->required();
        c->add_option("--now", args->now, "the time for strftime_now, e.g. 2026-03-14T15:09:26");
        setting(c, {"log.level", "log.style"});
    }

    void route() {
        auto args = std::make_shared<RouteArgs>();
        Command* r = app_.add_subcommand("route", "where requests go");
        r->require_subcommand(1);
        Command* c =
            command(r, "explain", "the decision for a request, without running it",
                    [args](Context& context) { return route_explain_command(context, *args); });
        c->add_option("--file", args->file, "a chat completion request as JSON; - for stdin [-]");
        c->add_option("--model", args->model, "ask for this model instead");
        c->add_option("--sensitivity", args->sensitivity,
                      "as the header x-hearth-sensitivity would")
            ->check(CLI::IsMember({"public", "internal", "confidential", "restricted"}));
        setting(c,
                {"route.keep_from", "route.fallback", "route.offline", "log.level", "log.style"});
    }

    void scan() {
        auto args = std::make_shared<ScanArgs>();
        Command* c = command(&app_, "scan", "what in a text must not travel freely, and its class",
                             [args](Context& context) { return scan_command(context, *args); });
        c->add_option("--file", args->file, "the text; - or nothing: stdin");
        c->add_flag("--jsonl", args->jsonl, "each line is a JSON string, each answer a JSON object");
        setting(c, {"log.level", "log.style"});
    }

    void audit() {
        auto args = std::make_shared<AuditArgs>();
        Command* a = app_.add_subcommand("audit", "what was decided and what came of it");
        a->require_subcommand(1);
        Command* c = command(a, "tail", "the newest records", [args](Context& context) {
            return audit_tail_command(context, *args);
        });
        flag(c, "-n,--lines", args->n, "how many")->check(CLI::Range(1, 100'000));
        c->add_flag("-f,--follow", args->follow, "wait for more until interrupted");
    }

    void bench() {
        auto args = std::make_shared<BenchArgs>();
        Command* c = command(&app_, "bench", "measure prefill and decode rates on this machine",
                             [args](Context& context) { return bench_command(context, *args); });
        c->add_option("MODEL", args->model, "what to measure; not needed with the next two");
        c->add_flag("--ceilings", args->ceilings, "print what memory and arithmetic allow at most");
        c->add_flag("--history", args->history, "print the benchmarks of before");
        c->add_option("-p,--n-prompt", args->n_prompt, "prompt tokens of the prefill test [512]")
            ->check(CLI::NonNegativeNumber);
        c->add_option("-n,--n-generate", args->n_generate, "tokens of the decode test [128]")
            ->check(CLI::NonNegativeNumber);
        c->add_option("-d,--depth", args->depth, "tokens in the context before the decode test [0]")
            ->check(CLI::NonNegativeNumber);
        c->add_option("-r,--repeats", args->repeats, "runs of each test [5]")
            ->check(CLI::Range(1, 1000));
        c->add_option("--parallel", args->parallel, "sequences at a time; rates are their sum [1]")
            ->check(CLI::Range(1, 256));
        engine_settings(c);
    }

    void quantize() {
        auto args = std::make_shared<QuantizeArgs>();
        Command* c = command(&app_, "quantize", "write a model file in another format",
                             [args](Context& context) { return quantize_command(context, *args); });
        c->add_option("IN", args->from, "the model to read; best an f32, f16 or bf16 file")
            ->required();
        c->add_option("OUT", args->to, "the .gguf file to write")->required();
        flag(c, "--type", args->type, "f16, bf16, q8_0, q4_0, q4_k_m, q5_k_m, q6_k, …")->required();
        c->add_flag("--overwrite", args->overwrite, "replace OUT if it exists");
        setting(c, {"engine.threads", "log.level", "log.style"});
    }

    void config() {
        Command* g = app_.add_subcommand("config", "settings");
        g->require_subcommand(1);
        command(g, "show", "the effective values, and where each came from", config_show_command);
    }

    std::shared_ptr<Invocation> in_ = std::make_shared<Invocation>();
    std::vector<std::pair<std::string, std::shared_ptr<std::pair<std::string, bool>>>> given_;
    CLI::App app_;
};

}  // namespace

Parsed parse_command_line(int argc, char** argv) {
    return Builder().parse(argc, argv);
}

}  // namespace hearth::app
