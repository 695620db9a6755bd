#include "app/settings.h"

#include <algorithm>
#include <charconv>

#include "base/check.h"
#include "base/format.h"
#include "engine/limits.h"
#include "route/cost.h"

namespace hearth::app {

const std::vector<SettingSpec> kSettings{
    {"serve.host", "--host", Kind::text, "127.0.0.1", "address to listen on"},
    {"serve.port", "--port", Kind::integer, "11435", "port to listen on; 0 picks a free one", "", 0,
     65535},
    {"serve.host_names", "--host-names", Kind::text, "",
     "further names that browsers may call this server by, separated by commas"},
    {"engine.ctx", "--ctx", Kind::integer, "0",
     "context in tokens; 0: what the model was trained for, at most 8192", "", 0, 1 << 24},
    {"engine.parallel", "--parallel", Kind::integer, "8", "answers computed together", "", 1, 256},
    {"engine.batch_tokens", "--batch-tokens", Kind::integer, "512",
     "most tokens computed in one step", "", 1, engine::kMaxBatchTokens},
    {"engine.queue", "--queue", Kind::integer, "128", "requests that may wait for a place", "", 1,
     engine::kMaxQueue},
    {"engine.prefix_tokens", "--prefix-tokens", Kind::integer, "-1",
     "tokens of earlier prompts and answers kept computed; -1: half of the cache, 0: none", "", -1,
     1 << 30},
    {"engine.prefix_idle_s", "--prefix-idle-s", Kind::integer, "600",
     "seconds after which what nobody used of them is forgotten", "", 1, 86'400},
    {"engine.threads", "--threads", Kind::integer, "0", "compute threads; 0: one per usable core",
     "", 0, 1024, "-t"},
    {"engine.kv", "--kv", Kind::text, "f16", "type of the key/value cache", "f32|f16|bf16|q8_0"},
    {"engine.isa", "--isa", Kind::text, "", "instruction set to compute with; empty: the best"},
    {"route.keep_from", "--keep-from", Kind::text, "confidential",
     "content of this class and above never leaves", "public|internal|confidential|restricted"},
    {"route.redact", "--redact", Kind::text, "never",
     "content up to this class may leave with pseudonyms in place of what was found",
     "never|confidential|restricted"},
    {"route.fallback", "--fallback", Kind::boolean, "true",
     "try another place when one fails before its first word", "true|false"},
    {"route.offline", "--offline", Kind::boolean, "false", "never use an upstream", "true|false"},
    {"sandbox.require", "--require-sandbox", Kind::boolean, "false",
     "refuse to start where the kernel cannot close the sandbox whole", "true|false"},
    {"cost.electricity_usd_per_kwh", "--electricity-usd-per-kwh", Kind::decimal, "0.30",
     "what a kilowatt-hour costs", "", 0, 100},
    {"cost.hardware_usd", "--hardware-usd", Kind::decimal, "1000", "what this machine cost", "", 0,
     10'000'000},
    {"cost.lifetime_years", "--lifetime-years", Kind::decimal, "4",
     "years of being switched on over which it is written off", "", 0, 100},
    {"cost.active_watts", "--active-watts", Kind::decimal, "65",
     "what it draws while all cores compute, where no counter can be read", "", 0, 100'000},
    {"cost.idle_watts", "--idle-watts", Kind::decimal, "15", "what it draws while it waits", "", 0,
     100'000},
    {"cost.utilisation_percent", "--utilisation-percent", Kind::integer, "10",
     "share of its time in which it is expected to compute; the rest is charged as idle", "", 1,
     100},
    {"cost.reference", "--reference-model", Kind::text, "openai/gpt-5-mini",
     "cloud model that local answers are compared with; empty: none"},
    {"cost.prices", "--prices", Kind::text, "",
     "file that replaces the price table; empty: prices.toml beside config.toml, if it is there"},
    {"journal.sync", "--journal-sync", Kind::text, "group",
     "safety of the journal against power loss", "none|group|each"},
    {"journal.rotate_mib", "--journal-rotate-mib", Kind::integer, "1024",
     "size in MiB at which the journal goes on in another file; 0: never", "", 0, 1 << 20},
    {"journal.keep_days", "--journal-keep-days", Kind::integer, "0",
     "days after which a full file of the journal is deleted; 0: never", "", 0, 36'500},
    {"journal.content", "--journal-content", Kind::text, "none",
     "what is kept of prompts and answers, encrypted beside the journal",
     "none|request|request_response"},
    {"journal.content_class", "--journal-content-class", Kind::text, "internal",
     "highest class of content that is kept", "public|internal|confidential|restricted"},
    {"log.level", "--log-level", Kind::text, "warn", "least level that is logged",
     "debug|info|warn|error|off"},
    {"log.style", "--log-style", Kind::text, "text", "form of the log lines", "text|json"},
};

namespace {

bool is_choice(std::string_view choices, std::string_view value) {
    while (!choices.empty()) {
        const auto bar = choices.find('|');
        if (choices.substr(0, bar) == value) return true;
        if (bar == std::string_view::npos) break;
        choices.remove_prefix(bar + 1);
    }
    return false;
}

Status check(const Setting& s) {
    const SettingSpec& spec = *s.spec;
    const auto refuse = [&](std::string allowed) {
        return fail(ErrorKind::invalid_request, format("{} = \"{}\" (from {}) must be {}",
                                                       spec.name, s.value, s.source, allowed));
    };
    if (*spec.choices && !is_choice(spec.choices, s.value)) return refuse(spec.choices);
    if (spec.kind == Kind::integer) {
        std::int64_t v = 0;
        const char* end = s.value.data() + s.value.size();
        const auto [at, error] = std::from_chars(s.value.data(), end, v);
        if (error != std::errc() || at != end) return refuse("a whole number");
        if (v < spec.low || v > spec.high)
            return refuse(format("between {} and {}", spec.low, spec.high));
    }
    if (spec.kind == Kind::decimal) {
        const auto v = route::parse_decimal(s.value, 6, spec.high * 1'000'000);
        if (!v || *v < spec.low * 1'000'000)
            return refuse(format("a decimal from {} to {} with at most six digits behind its point",
                                 spec.low, spec.high));
    }
    return {};
}

}  // namespace

std::string SettingSpec::env() const {
    std::string name = "HEARTH_";
    for (const char* c = flag + 2; *c; ++c) name += *c == '-' ? '_' : char(*c - 'a' + 'A');
    return name;
}

Result<Settings> Settings::resolve(const std::map<std::string, std::string>& flags,
                                   const Environment& environment, ConfigFile config) {
    Settings settings;
    for (const SettingSpec& spec : kSettings) {
        Setting s{&spec, spec.fallback, "default"};
        if (const auto it = config.values.find(spec.name); it != config.values.end())
            s = {&spec, it->second, config.path};
        // An empty variable counts as absent, as is usual in service files.
        if (const auto value = environment(spec.env()); value && !value->empty())
            s = {&spec, *value, "environment " + spec.env()};
        if (const auto it = flags.find(spec.name); it != flags.end())
            s = {&spec, it->second, "flag " + std::string(spec.flag)};
        HEARTH_CHECK_OK(check(s));
        settings.all_.push_back(std::move(s));
    }
    settings.config_ = std::move(config);
    return settings;
}

const Setting& Settings::at(std::string_view name) const {
    const auto it =
        std::ranges::find_if(all_, [&](const Setting& s) { return s.spec->name == name; });
    CHECK(it != all_.end());
    return *it;
}

std::int64_t Settings::millionths(std::string_view name) const {
    const Setting& s = at(name);
    const auto value = route::parse_decimal(s.value, 6, s.spec->high * 1'000'000);
    CHECK(value);  // checked when it was resolved
    return *value;
}

std::int64_t Settings::integer(std::string_view name) const {
    return std::strtoll(text(name).c_str(), nullptr, 10);
}

}  // namespace hearth::app
