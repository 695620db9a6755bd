// The commands: what each takes, and the function that does it. cli.cc fills the arguments; main.cc
// closes the sandbox before any command's body runs.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "app/settings.h"
#include "audit/run.h"
#include "base/file.h"
#include "base/result.h"
#include "egress/door.h"
#include "net/http_server.h"
#include "route/prices.h"
#include "serve/key_file.h"
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
    route::PriceTable prices = {};  // read before the sandbox closes
    // Opened before the sandbox closes, by commands that need them.
    std::vector<net::Listener> listeners = {};
    std::unique_ptr<egress::Door> door = nullptr;
    bool may_leave = false;                          // the door's allow-list is not empty
    OpenFile open_model = MappedFile::open_regular;  // in the sandbox: by the opener
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
    bool all = false;  // also what the journal says of itself
};
struct AuditVerifyArgs {
    audit::VerifyRequest request;  // an empty path: this machine's journal
    bool require_complete = false;
};
struct AuditAnchorArgs {
    std::string output;
};
struct AuditExportArgs {
    std::string format = "jsonl", after;
};
struct AuditShowArgs {
    std::string request_id;
};
struct AuditEraseArgs {
    std::string request_id, before;
    bool yes = false;
};
struct TaintArgs {
    std::string id;
};
struct ReplayArgs {
    std::string request_id, prompt, system, messages_file, prompt_ids;
    std::string isa;  // empty: the record's
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

struct EgressArgs {
    std::string since = "30d";
    std::string counters;  // the broker's, read before the sandbox; empty: there are none
};
struct DoctorCheck {
    std::string name, verdict, text, advice;  // verdict: "ok", "warn", "fail"
};
struct DoctorArgs {
    std::vector<DoctorCheck> checks;  // of what must be tried before the sandbox
};

struct KeysArgs {
    serve::KeyWish wish;          // create
    std::string key;              // an id or a name
    std::string overlap = "24h";  // rotate
};
struct UsersArgs {
    std::string name, role;
};

struct CostReportArgs {
    std::string since = "30d", by = "model";
    bool rows = false;
};
struct BreakevenArgs {
    std::string hardware, device, cloud;  // file, its entry, "openai/gpt-5-mini"
    std::string model_gb = "4.9", model_params_b = "8";
    std::string prefill_tps, decode_tps;  // measured elsewhere; empty: from benchmark or data sheet
    std::int64_t n_input = 1000, n_output = 300;  // tokens of a typical request
    std::string hardware_text, sheets_text;       // read before the sandbox
};

// Before the sandbox: listeners, the broker. Bodies run inside it.
Status prepare_serve(Context& context);
Status prepare_door(Context& context);
// The door; where MODEL is answered on this machine the upstreams are forgotten first.
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
Status prepare_audit_verify(Context& context, AuditVerifyArgs& args);
int audit_verify_command(Context& context, const AuditVerifyArgs& args);
int audit_anchor_command(Context& context, const AuditAnchorArgs& args);
int audit_export_command(Context& context, const AuditExportArgs& args);
int audit_show_command(Context& context, const AuditShowArgs& args);
int audit_erase_command(Context& context, const AuditEraseArgs& args);
int taint_list_command(Context& context);
int taint_release_command(Context& context, const TaintArgs& args);
int replay_command(Context& context, const ReplayArgs& args);
int bench_command(Context& context, const BenchArgs& args);
int quantize_command(Context& context, const QuantizeArgs& args);
int config_show_command(Context& context);
// The broker alone, for the journal's checkpoints.
Status prepare_keys(Context& context);
int keys_create_command(Context& context, const KeysArgs& args);
int keys_list_command(Context& context, const KeysArgs& args);
int keys_show_command(Context& context, const KeysArgs& args);
int keys_revoke_command(Context& context, const KeysArgs& args);
int keys_rotate_command(Context& context, const KeysArgs& args);
int users_add_command(Context& context, const UsersArgs& args);
int users_list_command(Context& context, const UsersArgs& args);
int users_role_command(Context& context, const UsersArgs& args);
int users_remove_command(Context& context, const UsersArgs& args);
int cost_report_command(Context& context, const CostReportArgs& args);
Status prepare_breakeven(Context& context, BreakevenArgs& args);
int cost_breakeven_command(Context& context, const BreakevenArgs& args);
int cost_prices_command(Context& context, bool as_toml);
Status prepare_egress(Context& context, EgressArgs& args);
int egress_report_command(Context& context, const EgressArgs& args);
Status prepare_doctor(Context& context, DoctorArgs& args);
int doctor_command(Context& context, const DoctorArgs& args);

}  // namespace hearth::app
