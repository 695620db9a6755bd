// The commands: what each takes, and the function that does it. cli.cc fills the arguments; main.cc
// closes the sandbox before any command's body runs.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "app/settings.h"
#include "base/result.h"
#include "egress/door.h"
#include "net/http_server.h"
#include "store/paths.h"

namespace hearth::app {

// Exit codes of INTERFACE §1.
enum Exit : int {
    kDone = 0,
    kFailed = 1,
    kUsage = 2,
    kRefused = 3,
    kNotFound = 4,
    kDoesNotFit = 5,
    kUnreachable = 6
};
int exit_code_of(ErrorKind kind);
// Prints the message to stderr (with --json: the error document to stdout); returns the exit code.
int report(const Error& error, bool json);

// What every command gets.
struct Context {
    Settings settings;
    store::Folders folders;
    bool json = false, quiet = false;
    // Opened before the sandbox closes, by commands that need them.
    std::vector<net::Listener> listeners = {};
    std::unique_ptr<egress::Door> door = nullptr;
    std::function<void(egress::Receipt)> on_receipt =
        nullptr;  // set by the body; the door calls it
};

struct SamplingFlags {
    std::optional<double> temperature, top_p, min_p;
    std::optional<std::int64_t> top_k, seed, max_tokens;
    std::vector<std::string> stop;
};
struct RunArgs {
    std::string model;
    std::vector<std::string> prompt;
    std::string system, messages_file, tools_file, prompt_ids;
    SamplingFlags sampling;
    bool raw = false;
};
struct ServeArgs {
    std::vector<std::string> models;
};
struct TokenizeArgs {
    std::string model, file;
    std::string ids;  // detokenize
    bool no_special = false, parse_special = false, pieces = false, jsonl = false;
};
struct LogprobsArgs {
    std::string model, file, ids;
    std::int64_t top = 0;
};
struct TemplateArgs {
    std::string model, input, now;
};
struct ScanArgs {
    std::string file;
    bool jsonl = false;
};
struct RouteArgs {
    std::string file = "-", model;
    std::string sensitivity;
};
struct AuditArgs {
    std::int64_t n = 20;
    bool follow = false;
};
struct BenchArgs {
    std::string model;
    std::int64_t n_prompt = 512, n_generate = 128, depth = 0, parallel = 1, repeats = 5;
    bool ceilings = false, history = false;
};

struct QuantizeArgs {
    std::string from, to, type;
    bool overwrite = false;
};

// Before the sandbox: listeners, the broker. Bodies run inside it.
Status prepare_serve(Context& context);
Status prepare_door(Context& context);
// The door, unless MODEL is answered on this machine: then the upstreams are forgotten.
Status prepare_run(Context& context, const RunArgs& args);
int run_command(Context& context, const RunArgs& args);
int serve_command(Context& context, const ServeArgs& args);
int tokenize_command(Context& context, const TokenizeArgs& args);
int detokenize_command(Context& context, const TokenizeArgs& args);
int logprobs_command(Context& context, const LogprobsArgs& args);
int template_command(Context& context, const TemplateArgs& args);
int scan_command(Context& context, const ScanArgs& args);
int route_explain_command(Context& context, const RouteArgs& args);
int audit_tail_command(Context& context, const AuditArgs& args);
int bench_command(Context& context, const BenchArgs& args);
int quantize_command(Context& context, const QuantizeArgs& args);
int config_show_command(Context& context);

}  // namespace hearth::app
