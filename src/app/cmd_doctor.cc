// doctor: plain verdicts about this machine and this installation: what works, what does not, and
// what to do. What must be tried outside the sandbox (the broker, a port, the broker's counters)
// is tried by prepare_doctor(); the rest runs inside it, as every command does.
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "app/commands.h"
#include "app/open.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/format.h"
#include "base/ids.h"
#include "egress/broker_state.h"
#include "egress/sandbox.h"
#include "egress/tls.h"
#include "engine/memory_at_hand.h"
#include "engine/model/device.h"
#include "journal/journal.h"
#include "net/http_server.h"

namespace hearth::app {
namespace {

constexpr std::int64_t kMiB = 1 << 20, kGiB = 1 << 30;

DoctorCheck ok(std::string name, std::string text) {
    return {std::move(name), "ok", std::move(text), ""};
}
DoctorCheck warn(std::string name, std::string text, std::string advice) {
    return {std::move(name), "warn", std::move(text), std::move(advice)};
}
DoctorCheck failed(std::string name, std::string text, std::string advice) {
    return {std::move(name), "fail", std::move(text), std::move(advice)};
}

DoctorCheck check_sandbox(const Context& context) {
    const egress::Protections have = egress::protections();
    const std::string missing = egress::what_is_missing(have);
    if (missing.empty()) {
        std::string text = format("seccomp, Landlock ABI {}", have.landlock_abi);
        if (have.landlock_abi < 4) text += " (TCP is denied by seccomp alone)";
        return ok("sandbox", text);
    }
    const char* advice = "commands run without this protection unless --require-sandbox is set";
    if (context.settings.boolean("sandbox.require")) return failed("sandbox", missing, advice);
    return warn("sandbox", missing, advice);
}

DoctorCheck check_broker(const Context& context) {
    const auto started_ns = system_clock().mono_ns();
    auto door = egress::Door::open({}, nullptr, context.folders.broker);
    const double ms = double(system_clock().mono_ns() - started_ns) / kNsPerMs;
    if (!door)
        return failed("broker", door.error().message,
                      "without it nothing can leave and no checkpoint is signed");
    const std::string id = audit::key_id((*door)->public_key());
    const auto counters = egress::read_counters(context.folders.broker);
    if (!counters && counters.error().kind == ErrorKind::not_found)
        return ok("broker", format("starts in {:.1f} ms, key {}, nothing counted yet", ms, id));
    if (!counters)
        return warn("broker", "its counters cannot be read: " + counters.error().message,
                    "the next connection sets them aside and begins new ones");
    std::string text =
        format("starts in {:.1f} ms, key {}, {} connections and {} checkpoints so far", ms, id,
               counters->total.n_closed, counters->n_signed);
    if (counters->n_damaged > 0)
        return warn("broker",
                    text + format("; counters were begun anew {} times", counters->n_damaged),
                    "look at counters.damaged-*.json in " + context.folders.broker);
    return ok("broker", text);
}

DoctorCheck check_port(const Context& context) {
    const std::string& host = context.settings.text("serve.host");
    const auto port = int(context.settings.integer("serve.port"));
    auto listener = net::listen_tcp(host, port);
    if (listener) return ok("port", format("{} port {} is free", host, port));
    return warn("port", listener.error().message,
                "a server may run already; else choose another with --port");
}

void check_upstreams(const Context& context, std::vector<DoctorCheck>& out) {
    for (const backend::UpstreamConfig& upstream : context.settings.config().upstreams) {
        const std::string name = "upstream " + upstream.name;
        const egress::AllowRule rule = backend::allow_rule(upstream);
        const char* key = upstream.key_env.empty() ? "" : std::getenv(upstream.key_env.c_str());
        if (!upstream.key_env.empty() && (key == nullptr || *key == '\0')) {
            out.push_back(failed(name, format("its key is not set: {}", upstream.key_env),
                                 "set the variable, or remove the upstream"));
            continue;
        }
        if (rule.destination.tls)
            if (auto context_ok = egress::make_tls_context(rule.ca_file); !context_ok) {
                out.push_back(failed(name, context_ok.error().message, "see above"));
                continue;
            }
        out.push_back(ok(name, "allowed: " + egress::to_text(rule.destination)));
    }
}

void check_journal(const Context& context, std::vector<DoctorCheck>& out) {
    const std::string folder = context.folders.journal();
    const char* advice = "without a journal nothing leaves and `hearth serve` does not start";
    if (const Status made = make_folders(folder); !made) {
        out.push_back(failed("journal", made.error().message, advice));
        return;
    }
    const std::string probe = folder + "/" + random_id("doctor-");
    if (const Status written = write_file(probe, "x"); !written) {
        out.push_back(failed("journal", written.error().message, advice));
        return;
    }
    ::unlink(probe.c_str());
    const auto newest = journal::read_tail(folder, 1);
    if (!newest) {
        out.push_back(failed("journal", newest.error().message, "see docs/formats/journal.md"));
        return;
    }
    const std::string last =
        newest->empty() ? "no record yet" : "newest record " + rfc3339(newest->back().wall_ns);
    out.push_back(ok("journal",
                     folder + ", writable, " + last + " (`hearth audit verify` checks the whole)"));
    constexpr std::int64_t kSkewNs = 300 * kNsPerS;  // what time servers correct without a word
    const std::int64_t now = system_clock().wall_ns();
    constexpr std::int64_t k2025Ns = 1'735'689'600 * kNsPerS;
    if (now < k2025Ns || (!newest->empty() && newest->back().wall_ns > now + kSkewNs))
        out.push_back(failed("clock", "this machine's clock stands at " + rfc3339(now),
                             "set it: records, expiry of keys and certificates depend on it"));
    else
        out.push_back(ok("clock", rfc3339(now).substr(0, 19) + "Z"));
}

DoctorCheck check_disk(const Context& context) {
    struct statvfs info{};
    const std::string& folder = context.folders.state;
    if (::statvfs(folder.c_str(), &info) != 0)
        return failed("disk", folder + " cannot be looked at", "make it, or set HEARTH_HOME");
    const auto free_bytes = std::int64_t(info.f_bavail) * std::int64_t(info.f_frsize);
    const std::string text =
        format("{:.1f} GiB free for {}", double(free_bytes) / double(kGiB), folder);
    if (free_bytes < 100 * kMiB) return failed("disk", text, "free some: the journal needs it");
    if (free_bytes < kGiB) return warn("disk", text, "the journal and the cache will fill it");
    return ok("disk", text);
}

DoctorCheck check_memory() {
    const std::size_t bytes = engine::memory_at_hand();
    const std::string text = format("{:.1f} GiB at hand", double(bytes) / double(kGiB));
    if (std::int64_t(bytes) < kGiB)
        return warn("memory", text, "models of more than a few hundred MB will not fit");
    return ok("memory", text);
}

// One thread reading memory that no cache holds: a hint, `hearth bench --ceilings` measures it.
DoctorCheck check_bandwidth() {
    constexpr std::size_t kWords = 128u << 17;  // 128 MiB
    if (engine::memory_at_hand() < 4 * kWords * 8)
        return warn("bandwidth", "not measured: too little memory at hand", "");
    const std::vector<std::uint64_t> words(kWords, 1);
    double best_s = 1e9;
    std::uint64_t sum = 0;
    for (int i = 0; i < 3; ++i) {
        const std::int64_t started_ns = system_clock().mono_ns();
        sum += std::accumulate(words.begin(), words.end(), std::uint64_t{0});
        best_s = std::min(best_s, double(system_clock().mono_ns() - started_ns) / 1e9);
    }
    if (sum != 3 * kWords) return failed("bandwidth", "memory reads back wrong", "test the memory");
    return ok("bandwidth",
              format("about {:.1f} GB/s by one thread; a 4 GB model decodes at most {:.0f} "
                     "tokens/s per such thread",
                     double(kWords * 8) / best_s / 1e9, double(kWords * 8) / best_s / 4e9));
}

DoctorCheck check_cpu(const Context& context) {
    auto device = model::make_cpu_device(context.settings.text("engine.isa"),
                                         int(context.settings.integer("engine.threads")));
    if (!device) return failed("cpu", device.error().message, "choose another with --isa, or none");
    return ok("cpu", (*device)->name());
}

DoctorCheck check_descriptors() {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    const std::string text = format("{} descriptors", std::int64_t(limit.rlim_cur));
    if (limit.rlim_cur < 1024)
        return warn("descriptors", text, "raise `ulimit -n` to 1024: each client takes one");
    return ok("descriptors", text);
}

}  // namespace

Status prepare_doctor(Context& context, DoctorArgs& args) {
    args.checks.push_back(check_broker(context));
    args.checks.push_back(check_port(context));
    check_upstreams(context, args.checks);
    return {};
}

int doctor_command(Context& context, const DoctorArgs& args) {
    std::vector<DoctorCheck> all{check_sandbox(context)};
    all.insert(all.end(), args.checks.begin(), args.checks.end());
    check_journal(context, all);
    all.push_back(check_disk(context));
    all.push_back(check_memory());
    all.push_back(check_bandwidth());
    all.push_back(check_cpu(context));
    all.push_back(check_descriptors());
    bool good = true;
    JsonWriter w;
    w.begin_object().key("checks").begin_array();
    for (const DoctorCheck& check : all) {
        good = good && check.verdict != "fail";
        w.begin_object().field("name", check.name).field("verdict", check.verdict);
        w.field("text", check.text).field("advice", check.advice).end_object();
        if (context.json) continue;
        std::puts(format("{:<4}  {:<12} {}", check.verdict, check.name, check.text).c_str());
        if (!check.advice.empty()) std::puts(format("{:19}{}", "", check.advice).c_str());
    }
    w.end_array().field("ok", good).end_object();
    if (context.json) std::puts(w.text().c_str());
    return good ? kDone : kFailed;
}

}  // namespace hearth::app
