// hearth: the program's entry. The order here is the program's first promise:
//   1. as the broker or the opener of model files: nothing else
//   2. read the command line and the configuration
//   3. open what must be open beforehand: listening sockets, the broker with its allow-list, the
//      opener with its list of models
//   4. close the sandbox: from here on this process cannot connect, and opens no file but those
//      that app/confinement.h lists
//   5. the command's body, which is the first to read models, prompts and requests
#include <csignal>
#include <filesystem>
#include <memory>

#include "app/cli.h"
#include "app/confinement.h"
#include "app/cost_setup.h"
#include "app/prices_file.h"
#include "base/log.h"
#include "egress/opener.h"
#include "egress/sandbox.h"
#include "egress/tasks.h"

namespace hearth::app {
namespace {

Result<ConfigFile> load_config(const Invocation& invocation, const store::Folders& folders) {
    if (!invocation.config_path.empty()) return read_config(invocation.config_path);
    auto config = read_config(folders.config_file());
    // Without a file everything has its default; one that is named must exist.
    if (!config && config.error().kind == ErrorKind::not_found) return ConfigFile{};
    return config;
}

LogLevel level_of(const std::string& name) {
    if (name == "debug") return LogLevel::debug;
    if (name == "info") return LogLevel::info;
    if (name == "error") return LogLevel::error;
    if (name == "off") return LogLevel::off;
    return LogLevel::warn;
}

// What the kernel cannot do is said, and with --require-sandbox refused.
Status close_sandbox(const Invocation& invocation, Context& context) {
    if (const std::string missing = egress::what_is_missing(egress::protections());
        !missing.empty()) {
        if (context.settings.boolean("sandbox.require"))
            return fail(ErrorKind::forbidden_by_policy,
                        missing + " (or start without --require-sandbox)");
        log_warn("sandbox_incomplete", {{"why", missing}});
    }
    std::vector<std::string> outputs;
    if (invocation.output) outputs.push_back(invocation.output());
    Confinement rules = confinement(context, invocation.named, outputs);
    if (invocation.input && !invocation.input().empty())
        rules.files.read.push_back(invocation.input());
    if (invocation.opens_models) {
        HEARTH_TRY(std::shared_ptr<egress::Opener> opener, egress::Opener::start(rules.models));
        context.open_model = [opener](const std::string& path) { return opener->open(path); };
    }
    return egress::enter_sandbox(rules.files);
}

int run(Invocation& invocation) {
    const bool json = invocation.json;
    const store::Environment environment = store::process_environment();
    std::error_code ignored;
    auto folders =
        store::resolve_folders(environment, std::filesystem::current_path(ignored).string());
    if (!folders) return report(folders.error(), json);
    auto config = load_config(invocation, *folders);
    if (!config) return report(config.error(), json) == kNotFound ? kNotFound : kUsage;
    auto settings = Settings::resolve(invocation.flags, environment, std::move(*config));
    if (!settings) return report(settings.error(), json), kUsage;

    auto prices = load_prices(*settings, *folders);
    if (!prices) return report(prices.error(), json);
    take_prices(*settings, *prices);

    LogLevel level = level_of(settings->text("log.level"));
    if (invocation.verbose) level = std::min(level, LogLevel::info);
    const bool json_log = settings->text("log.style") == "json";
    set_log(level, json_log ? LogStyle::json : LogStyle::text);

    Context context{.settings = std::move(*settings), .folders = std::move(*folders)};
    context.json = json;
    context.quiet = invocation.quiet;
    context.prices = std::move(*prices);
    if (invocation.serves) {
        if (Status ok = prepare_serve(context); !ok) return report(ok.error(), json);
    }
    if (invocation.prepare) {
        if (Status ok = invocation.prepare(context); !ok) return report(ok.error(), json);
    }
    if (Status ok = close_sandbox(invocation, context); !ok) return report(ok.error(), json);
    return invocation.body(context);
}

}  // namespace
}  // namespace hearth::app

int main(int argc, char** argv) {
    std::signal(SIGPIPE, SIG_IGN);
    if (const auto code = hearth::egress::run_child_task(argc, argv)) return *code;
    hearth::app::Parsed parsed = hearth::app::parse_command_line(argc, argv);
    if (!parsed.invocation) return parsed.exit_code;
    return hearth::app::run(*parsed.invocation);
}
