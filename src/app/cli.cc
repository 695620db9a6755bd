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
        app_.add_flag("--require-sandbox", require_sandbox_,
                      "refuse to start (exit 3) where the kernel cannot close the sandbox whole");
        run();
        serve();
        tokens();
        logprobs();
        templates();
        route();
        scan();
        audit();
        taint();
        replay();
        cost();
        bench();
        quantize();
        config();
        keys();
        users();
        egress();
        doctor();
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
        if (require_sandbox_) in_->flags["sandbox.require"] = "true";
        in_->named.assign(argv + 1, argv + argc);
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

    // For commands that read models.
    void opens_models(Command* c) {
        c->parse_complete_callback([this] { in_->opens_models = true; });
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
        opens_models(c);
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
        setting(c, {"route.keep_from", "route.redact", "route.offline", "journal.sync",
                    "journal.content", "journal.content_class"});
    }

    void serve() {
        auto args = std::make_shared<ServeArgs>();
        Command* c = command(&app_, "serve", "serve the APIs on one port",
                             [args](Context& context) { return serve_command(context, *args); });
        opens_models(c);
        c->preparse_callback([this](std::size_t) {
            in_->serves = true;
            in_->prepare = prepare_door;
        });
        c->add_option("--model", args->models, "what to serve (repeatable) [the store, and demo]")
            ->take_all();
        setting(c, {"serve.host", "serve.port", "serve.host_names", "engine.parallel",
                    "engine.batch_tokens", "engine.queue", "engine.prefix_tokens",
                    "engine.prefix_idle_s", "route.keep_from", "route.redact", "route.fallback",
                    "route.offline", "journal.sync", "journal.rotate_mib", "journal.keep_days",
                    "journal.content", "journal.content_class"});
        engine_settings(c);
    }

    void tokens() {
        auto args = std::make_shared<TokenizeArgs>();
        Command* t = command(&app_, "tokenize", "text to token ids",
                             [args](Context& context) { return tokenize_command(context, *args); });
        opens_models(t);
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
        opens_models(d);
        d->add_option("MODEL", args->model, "a model; its tokenizer is enough")->required();
        d->add_option("--ids", args->ids, "token ids, separated by commas")->required();
        setting(d, {"log.level", "log.style"});
    }

    void logprobs() {
        auto args = std::make_shared<LogprobsArgs>();
        Command* c = command(&app_, "logprobs", "how likely a model finds each token of a text",
                             [args](Context& context) { return logprobs_command(context, *args); });
        opens_models(c);
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
        opens_models(c);
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
        opens_models(c);
        c->add_option("--file", args->file, "a chat completion request as JSON; - for stdin [-]");
        c->add_option("--model", args->model, "ask for this model instead");
        c->add_option("--sensitivity", args->sensitivity,
                      "as the header x-hearth-sensitivity would")
            ->check(CLI::IsMember({"public", "internal", "confidential", "restricted"}));
        setting(c, {"route.keep_from", "route.redact", "route.fallback", "route.offline",
                    "log.level", "log.style"});
    }

    void scan() {
        auto args = std::make_shared<ScanArgs>();
        Command* c = command(&app_, "scan", "what in a text must not travel freely, and its class",
                             [args](Context& context) { return scan_command(context, *args); });
        c->add_option("--file", args->file, "the text; - or nothing: stdin");
        c->add_flag("--jsonl", args->jsonl,
                    "each line is a JSON string, each answer a JSON object");
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
        c->add_flag("--all", args->all, "also what the journal says of itself");
        audit_verify(a);
        audit_export(a);
        audit_content(a);
    }

    void audit_verify(Command* a) {
        auto args = std::make_shared<AuditVerifyArgs>();
        Command* c =
            command(a, "verify", "is the journal what was written, and all of it?",
                    [args](Context& context) { return audit_verify_command(context, *args); });
        c->preparse_callback([this, args](std::size_t) {
            in_->prepare = [args](Context& context) {
                return prepare_audit_verify(context, *args);
            };
            in_->input = [args] { return args->request.path; };
        });
        audit::VerifyRequest& request = args->request;
        c->add_option("PATH", request.path,
                      "another journal's folder, or an export in JSONL [this machine's journal]");
        c->add_option("--anchor", request.anchors,
                      "checkpoints kept elsewhere: finds what is missing at the end (repeatable)")
            ->take_all();
        c->add_option("--public-key", request.public_keys,
                      "trust this key's signatures only, PEM or hex (repeatable)")
            ->take_all();
        c->add_option("--chain-key", request.chain_key, "the chain's key, of a journal named PATH");
        c->add_option("--from", request.from_seq, "begin at the last checkpoint before this entry")
            ->check(CLI::NonNegativeNumber);
        c->add_flag("--require-complete", args->require_complete,
                    "fail (exit 1) also where it is not known whether entries are missing");
    }

    void audit_export(Command* a) {
        auto anchor = std::make_shared<AuditAnchorArgs>();
        Command* c =
            command(a, "anchor", "the last signed checkpoints, to be kept elsewhere",
                    [anchor](Context& context) { return audit_anchor_command(context, *anchor); });
        c->preparse_callback(
            [this, anchor](std::size_t) { in_->output = [anchor] { return anchor->output; }; });
        c->add_option("-o,--output", anchor->output, "write to this file [stdout]");

        auto args = std::make_shared<AuditExportArgs>();
        c = command(a, "export", "all records as lines for another system",
                    [args](Context& context) { return audit_export_command(context, *args); });
        c->preparse_callback([this](std::size_t) { in_->prepare = prepare_keys; });
        c->add_option("--format", args->format, "jsonl can be verified by itself [jsonl]")
            ->check(CLI::IsMember({"jsonl", "cef", "rfc5424"}));
        c->add_option("--after", args->after, "go on after this cursor, as an export prints it");
    }

    void audit_content(Command* a) {
        auto show = std::make_shared<AuditShowArgs>();
        Command* c =
            command(a, "show", "all entries of one request, and what was kept of its texts",
                    [show](Context& context) { return audit_show_command(context, *show); });
        c->preparse_callback([this](std::size_t) { in_->prepare = prepare_keys; });
        c->add_option("REQUEST_ID", show->request_id, "req-…")->required();

        auto erase = std::make_shared<AuditEraseArgs>();
        c = command(a, "erase", "destroy the keys of what was kept; written down first",
                    [erase](Context& context) { return audit_erase_command(context, *erase); });
        c->preparse_callback([this](std::size_t) { in_->prepare = prepare_keys; });
        CLI::Option* one = c->add_option("--request", erase->request_id, "of this request");
        c->add_option("--before", erase->before,
                      "of all requests before this time: 2026-03-14, or 2026-03-14T15:09:26Z")
            ->excludes(one);
        c->add_flag("--yes", erase->yes, "do not ask");
        setting(c, {"journal.sync", "log.level", "log.style"});
    }

    void taint() {
        CLI::App* t = app_.add_subcommand("taint", "conversations that are held to be sensitive");
        t->require_subcommand(1);
        Command* list = command(t, "list", "what is marked", taint_list_command);
        setting(list, {"log.level", "log.style"});
        auto args = std::make_shared<TaintArgs>();
        Command* c =
            command(t, "release", "forget the marks of a conversation; written down",
                    [args](Context& context) { return taint_release_command(context, *args); });
        c->add_option("ID", args->id, "taint-…, as `taint list` and decisions name it")->required();
        setting(c, {"journal.sync", "log.level", "log.style"});
    }

    void replay() {
        auto args = std::make_shared<ReplayArgs>();
        Command* c = command(&app_, "replay", "run a recorded local request again and compare",
                             [args](Context& context) { return replay_command(context, *args); });
        opens_models(c);
        c->add_option("REQUEST_ID", args->request_id,
                      "req-…, as the answer and the journal name it")
            ->required();
        c->add_option("PROMPT", args->prompt, "the prompt again, as it was given to `run`");
        c->add_option(
            "--messages", args->messages_file,
            "the messages again, a JSON array, or the whole request as JSON; - for stdin");
        c->add_option("--system", args->system, "the system message that went with PROMPT");
        c->add_option("--prompt-ids", args->prompt_ids, "the prompt's token ids");
        c->add_option("--isa", args->isa,
                      "instruction set to compute with, where it is not to be the record's");
        setting(c, {"engine.threads", "log.level", "log.style"});
    }

    void cost() {
        CLI::App* group = app_.add_subcommand("cost", "what answers cost, here and in the cloud");
        group->require_subcommand(1);
        cost_report(group);
        cost_breakeven(group);
        auto as_toml = std::make_shared<bool>(false);
        Command* c =
            command(group, "prices", "the price table, in USD per million tokens",
                    [as_toml](Context& context) { return cost_prices_command(context, *as_toml); });
        c->add_flag("--toml", *as_toml, "as a prices.toml to edit");
        setting(c, {"cost.prices"});
    }

    void cost_settings(Command* c) {
        setting(c, {"cost.electricity_usd_per_kwh", "cost.hardware_usd", "cost.lifetime_years",
                    "cost.active_watts", "cost.idle_watts", "cost.prices", "engine.threads"});
    }

    void cost_report(CLI::App* group) {
        auto args = std::make_shared<CostReportArgs>();
        Command* c =
            command(group, "report", "what was spent here and there, from the journal",
                    [args](Context& context) { return cost_report_command(context, *args); });
        flag(c, "--since", args->since, "how far back: 30d, 12h, or all [30d]");
        flag(c, "--by", args->by, "a line for each of these [model]")
            ->check(CLI::IsMember({"task", "key", "model", "tier", "day"}));
        c->add_flag("--rows", args->rows, "every request by itself: CSV, or JSON with --json");
        cost_settings(c);
        setting(c, {"cost.utilisation_percent", "cost.reference"});
    }

    void cost_breakeven(CLI::App* group) {
        auto args = std::make_shared<BreakevenArgs>();
        Command* c =
            command(group, "breakeven", "from how many requests a day on a machine is cheaper",
                    [args](Context& context) { return cost_breakeven_command(context, *args); });
        c->preparse_callback([this, args](std::size_t) {
            in_->prepare = [args](Context& context) { return prepare_breakeven(context, *args); };
        });
        c->add_option("--hardware", args->hardware,
                      "a file of machines instead of this one (docs/COST.md)");
        c->add_option("--device", args->device, "only this entry of the file");
        flag(c, "--cloud", args->cloud, "the cloud model to compare with [cost.reference]");
        flag(c, "--input", args->n_input, "input tokens of a request [1000]")
            ->check(CLI::Range(0, 100'000'000));
        flag(c, "--output", args->n_output, "output tokens of a request [300]")
            ->check(CLI::Range(0, 100'000'000));
        flag(c, "--model-gb", args->model_gb, "with a file: the model's weights in GB [4.9]");
        flag(c, "--model-params", args->model_params_b,
             "with a file: its parameters in billions [8]");
        flag(c, "--prefill-tps", args->prefill_tps, "tokens/s, where they were measured elsewhere");
        flag(c, "--decode-tps", args->decode_tps, "likewise");
        cost_settings(c);
        setting(c, {"cost.reference"});
    }

    void bench() {
        auto args = std::make_shared<BenchArgs>();
        Command* c = command(&app_, "bench", "measure prefill and decode rates on this machine",
                             [args](Context& context) { return bench_command(context, *args); });
        opens_models(c);
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
        opens_models(c);
        c->add_option("IN", args->from, "the model to read; best an f32, f16 or bf16 file")
            ->required();
        c->add_option("OUT", args->to, "the .gguf file to write")->required();
        c->preparse_callback(
            [this, args](std::size_t) { in_->output = [args] { return args->to; }; });
        flag(c, "--type", args->type, "f16, bf16, q8_0, q4_0, q4_k_m, q5_k_m, q6_k, …")->required();
        c->add_flag("--overwrite", args->overwrite, "replace OUT if it exists");
        setting(c, {"engine.threads", "log.level", "log.style"});
    }

    void config() {
        Command* g = app_.add_subcommand("config", "settings");
        g->require_subcommand(1);
        command(g, "show", "the effective values, and where each came from", config_show_command);
    }

    void egress() {
        auto args = std::make_shared<EgressArgs>();
        CLI::App* e = app_.add_subcommand("egress", "what left this machine");
        e->require_subcommand(1);
        Command* c =
            command(e, "report", "connections and bytes, beside what the broker counted",
                    [args](Context& context) { return egress_report_command(context, *args); });
        c->preparse_callback([this, args](std::size_t) {
            in_->prepare = [args](Context& context) { return prepare_egress(context, *args); };
        });
        flag(c, "--since", args->since, "how far back: 30d, 12h (whole UTC days), or all [30d]");
        setting(c, {"log.level", "log.style"});
    }

    void doctor() {
        auto args = std::make_shared<DoctorArgs>();
        Command* c = command(&app_, "doctor", "what works here, what does not, what to do",
                             [args](Context& context) { return doctor_command(context, *args); });
        c->preparse_callback([this, args](std::size_t) {
            in_->prepare = [args](Context& context) { return prepare_doctor(context, *args); };
        });
        engine_settings(c);
        setting(c, {"serve.host", "serve.port"});
    }

    bool require_sandbox_ = false;
    // A command that changes keys: its record in the journal is signed.
    Command* key_command(CLI::App* parent, const char* name, const char* help,
                         std::function<int(Context&)> body) {
        Command* c = command(parent, name, help, std::move(body));
        c->preparse_callback([this](std::size_t) { in_->prepare = prepare_keys; });
        setting(c, {"log.level", "log.style"});
        return c;
    }

    void keys() {
        auto args = std::make_shared<KeysArgs>();
        CLI::App* k =
            app_.add_subcommand("keys", "who may ask this machine's server, and for what");
        k->require_subcommand(1);
        Command* c = key_command(k, "create", "make a key; it is printed once",
                                 [args](Context& x) { return keys_create_command(x, *args); });
        key_scopes(c, args->wish);
        key_limits(c, args->wish);
        c = command(k, "list", "all keys, without their secrets",
                    [args](Context& x) { return keys_list_command(x, *args); });
        setting(c, {"log.level", "log.style"});
        c = command(k, "show", "one key",
                    [args](Context& x) { return keys_show_command(x, *args); });
        c->add_option("KEY", args->key, "its id or its name")->required();
        setting(c, {"log.level", "log.style"});
        c = key_command(k, "revoke", "refuse a key from its next request on",
                        [args](Context& x) { return keys_revoke_command(x, *args); });
        c->add_option("KEY", args->key, "its id or its name")->required();
        c = key_command(k, "rotate", "a new secret for a key; the old one stays valid for a while",
                        [args](Context& x) { return keys_rotate_command(x, *args); });
        c->add_option("KEY", args->key, "its id or its name")->required();
        c->add_option("--overlap", args->overlap, "how long the old secret stays valid [24h]");
    }

    void key_scopes(Command* c, serve::KeyWish& wish) {
        c->add_option("--name", wish.name, "what to call it");
        c->add_option("--user,--owner", wish.owner, "whose it is (hearth users add)");
        c->add_option("--role", wish.role, "user, operator, auditor or admin [the user's; user]");
        c->add_option("--models", wish.models,
                      "models it may ask for, auto, local and cloud too; x* for all that begin so")
            ->delimiter(',');
        c->add_option("--routes", wish.routes, "paths it may use [all of its role]")
            ->delimiter(',');
        c->add_option("--tiers", wish.tiers, "where its requests may go: local,fleet,cloud [all]")
            ->delimiter(',');
        c->add_option("--class", wish.max_class_out,
                      "content above this class leaves for nobody with this key [internal]");
        c->add_option("--may-lower-to", wish.may_lower_to,
                      "the lowest class its requests may state against what is found [none]");
        c->add_option("--expires", wish.expires, "30d, 12h, 2027-01-31, or never [never]");
    }

    void key_limits(Command* c, serve::KeyWish& wish) {
        const auto limit = [&](const char* flag, serve::Bound bound, const char* help) {
            c->add_option(flag, wish.limits.at(std::size_t(bound)), help);
        };
        limit("--rpm", serve::Bound::requests_minute, "requests in any 60 seconds");
        limit("--tpm", serve::Bound::tokens_minute, "tokens, in and out, in any 60 seconds");
        limit("--tokens-day", serve::Bound::tokens_day, "tokens, in and out, in a day (UTC)");
        limit("--budget-usd-day", serve::Bound::microusd_day, "paid upstream in a day (UTC)");
        limit("--budget-usd-month", serve::Bound::microusd_month, "paid upstream in a month (UTC)");
        limit("--egress-bytes-day", serve::Bound::egress_bytes_day, "bytes that leave in a day");
        c->add_option("--soft-percent", wish.soft_percent,
                      "warn from this share of a limit on [80]");
    }

    void users() {
        auto args = std::make_shared<UsersArgs>();
        CLI::App* u = app_.add_subcommand("users", "the owners of keys");
        u->require_subcommand(1);
        Command* c = command(u, "list", "all users",
                             [args](Context& x) { return users_list_command(x, *args); });
        setting(c, {"log.level", "log.style"});
        c = key_command(u, "add", "a new user",
                        [args](Context& x) { return users_add_command(x, *args); });
        c->add_option("NAME", args->name)->required();
        c->add_option("--role", args->role, "user, operator, auditor or admin [user]");
        c = key_command(u, "role", "change a user's role, and that of the user's keys",
                        [args](Context& x) { return users_role_command(x, *args); });
        c->add_option("NAME", args->name)->required();
        c->add_option("ROLE", args->role)->required();
        c = key_command(u, "remove", "remove a user and revoke the user's keys",
                        [args](Context& x) { return users_remove_command(x, *args); });
        c->add_option("NAME", args->name)->required();
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
