// serve: the server's life, from its first line to SIGTERM.
#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <cstdio>

#include "app/open.h"
#include "base/format.h"
#include "base/log.h"
#include "serve/limits.h"
#include "serve/server.h"

namespace hearth::app {
namespace {

sigset_t stop_signals() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    return set;
}

std::vector<std::string> split_names(const std::string& text) {
    std::vector<std::string> names;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t comma = std::min(text.find(',', at), text.size());
        std::string name = text.substr(at, comma - at);
        std::erase(name, ' ');
        if (!name.empty()) names.push_back(std::move(name));
        at = comma + 1;
    }
    return names;
}

void print_hints(const std::string& address, bool needs_key) {
    const char* const header = needs_key ? " -H 'authorization: Bearer hk-…'" : "";
    std::fprintf(
        stderr,
        "OpenAI base URL: http://%s/v1 (%s)\n"
        "try: curl http://%s/v1/chat/completions -H 'content-type: application/json'%s \\\n"
        "     -d '{\"model\":\"auto\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'\n",
        address.c_str(), needs_key ? "hearth keys create makes a key" : "any key", address.c_str(),
        header);
}

// Each model is asked for by its name, so the second of one name would never be.
Status check_names(const std::vector<std::string>& given,
                   const std::vector<model::ModelSource>& models) {
    for (std::size_t i = 0; i < models.size(); ++i) {
        for (std::size_t k = 0; k < i; ++k) {
            if (models[i].name != models[k].name) continue;
            return fail(ErrorKind::invalid_request,
                        format("--model {} and --model {} are both called {}, so that requests "
                               "could not tell them apart; rename one file",
                               given[k], given[i], models[i].name));
        }
    }
    return {};
}

// Other machines may come in once there is a key that tells them apart.
Status check_keys(const Context& context, const std::string& host) {
    serve::KeyStore store(context.folders.state);
    HEARTH_TRY(const auto snapshot, store.current());
    const auto is_active = [&](const serve::Key& key) {
        return serve::state_of(key, store.now_s()) == serve::KeyState::active;
    };
    if (!std::ranges::any_of(snapshot->file.keys, is_active))
        return fail(ErrorKind::forbidden_by_policy,
                    format("listening on {} would let other machines in, and there are no keys to "
                           "tell them apart; make one with `hearth keys create`, or use --host "
                           "127.0.0.1",
                           host));
    log_warn("plain_http", {{"host", host},
                            {"why",
                             "keys, prompts and answers cross the network as they are; put "
                             "a proxy with TLS before this port"}});
    return {};
}

}  // namespace

Status prepare_serve(Context& context) {
    // Before any thread exists, so that all inherit it: stop signals are waited for, not delivered.
    const sigset_t set = stop_signals();
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    const std::string& host = context.settings.text("serve.host");
    if (!net::is_loopback(host)) HEARTH_CHECK_OK(check_keys(context, host));
    HEARTH_TRY(net::Listener tcp,
               net::listen_tcp(host, int(context.settings.integer("serve.port"))));
    context.listeners.push_back(std::move(tcp));
    HEARTH_CHECK_OK(make_folders(context.folders.state));
    auto local = net::listen_unix(context.folders.state + "/hearth.sock");
    // A second server on another port is fine; the socket belongs to the first.
    if (local) {
        context.listeners.push_back(std::move(*local));
    } else {
        log_warn("no_unix_socket", {{"why", local.error().message}});
    }
    return {};
}

int serve_command(Context& context, const ServeArgs& args) {
    std::vector<model::ModelSource> models;
    for (const std::string& name : args.models) {
        auto source = find_model(context, name);
        if (!source) return report(source.error(), context.json);
        models.push_back(std::move(*source));
    }
    if (Status ok = check_names(args.models, models); !ok)
        return report(ok.error(), context.json), kUsage;
    if (models.empty()) {
        auto all = all_models(context);
        if (!all) return report(all.error(), context.json);
        models = std::move(*all);
    }
    auto owned = open_house(context, std::move(models));
    if (!owned) return report(owned.error(), context.json);
    serve::House& house = *(*owned)->house;
    if (Status ok = open_gate(context, **owned); !ok) return report(ok.error(), context.json);
    // Models that were named must load now, so that a wrong one is said at once; of the store's,
    // the first is what most requests ask for.
    const std::size_t n_eager = std::max<std::size_t>(1, args.models.size());
    for (std::size_t i = 0; i < n_eager; ++i) {
        auto local = house.places.local(i);
        if (!local) return report(local.error(), context.json);
        const engine::Engine& engine = (*local)->engine();
        if (!context.quiet)
            std::fprintf(stderr, "%s on %s:\n%s\n", engine.model().info().name.c_str(),
                         engine.device_name().c_str(), engine.memory().text().c_str());
    }
    const std::string address = context.listeners.front().address;
    serve::AdmissionRules rules;
    rules.host_names = split_names(context.settings.text("serve.host_names"));
    // Keys are needed then; what a page of a rebound name could use without one is not there.
    rules.any_host = !net::is_loopback(context.settings.text("serve.host"));
    auto server =
        serve::Server::start(house, std::move(context.listeners), rules, (*owned)->gate.get());
    std::printf("listening on http://%s\n", address.c_str());
    std::fflush(stdout);
    const auto keys = (*owned)->keys->current();
    if (!context.quiet) print_hints(address, keys && (*keys)->required);

    const sigset_t set = stop_signals();
    int signal = 0;
    sigwait(&set, &signal);
    log_info("stopping", {{"signal", signal}});
    const bool whole = server->drain(serve::kDrainMs);
    server.reset();
    if (!whole) log_warn("requests_cut", {{"after_ms", serve::kDrainMs}});
    return kDone;
}

}  // namespace hearth::app
