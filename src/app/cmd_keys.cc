// keys create|list|show|revoke|rotate: who may ask this machine's server, and for what. A running
// server sees each change at its next request. A secret is on stdout once and nowhere else.
#include <algorithm>
#include <cstdio>

#include "app/keys_report.h"
#include "app/open.h"
#include "base/format.h"
#include "serve/key_api.h"

namespace hearth::app {
namespace {

int report_store(const Context& context) {
    // For those who look for where it is.
    if (!context.quiet)
        std::fprintf(stderr,
                     "no keys yet: whoever reaches a loopback port is the local operator; "
                     "`hearth keys create` makes the first\n");
    return kDone;
}

// "never", or when with the day's precision that a list has room for.
std::string when(std::optional<std::int64_t> time_s, const char* none) {
    return time_s ? serve::time_text(*time_s).substr(0, 16) : std::string(none);
}

std::int64_t last_used(const std::vector<serve::KeyUsage>& usage, const std::string& id) {
    const auto it = std::ranges::find(usage, id, &serve::KeyUsage::key_id);
    return it == usage.end() ? 0 : it->last_used_s;
}

std::string limits_text(const serve::Limits& limits) {
    std::string text;
    for (std::size_t i = 0; i < serve::kBounds; ++i) {
        if (!limits.hard.at(i)) continue;
        if (!text.empty()) text += ' ';
        text += format("{}={}", serve::kBoundNames.at(i), *limits.hard.at(i));
    }
    return text.empty() ? "-" : text;
}

void print_issued(const Context& context, const serve::IssuedKey& issued,
                  const serve::KeyFile& file, std::int64_t now_s) {
    if (context.json) {
        JsonWriter out;
        out.begin_object().key("key");
        serve::write_key(out, issued.key, file, now_s, 0);
        out.field("secret", issued.token.reveal()).end_object();
        std::puts(out.text().c_str());
        return;
    }
    std::puts(issued.token.reveal().c_str());
    if (!context.quiet)
        std::fprintf(stderr,
                     "key %s (%s), role %s. The line above is shown once and kept nowhere: store "
                     "it now.\n",
                     issued.key.id.c_str(), issued.key.name.c_str(),
                     serve::name_of(serve::role_of(issued.key, file)));
}

}  // namespace

Status prepare_keys(Context& context) {
    // The broker signs the journal's checkpoints; nothing may leave for this command.
    context.settings.upstreams().clear();
    return prepare_door(context);
}

// The journal first: a change that cannot be recorded is not made.
Result<std::unique_ptr<KeysDesk>> KeysDesk::open(Context& context) {
    auto desk = std::make_unique<KeysDesk>();
    desk->door = std::move(context.door);
    context.door = nullptr;
    HEARTH_CHECK_OK(make_folders(context.folders.state));
    HEARTH_TRY(desk->journal, open_journal(context, desk->door.get()));
    desk->store = std::make_unique<serve::KeyStore>(context.folders.state);
    return desk;
}

Status KeysDesk::tell(journal::EventRecord event) {
    journal->append(std::move(event));
    if (Status written = journal->flush(); !written)
        return fail(ErrorKind::internal,
                    "the change was made, but not recorded: " + written.error().message);
    return {};
}

int keys_create_command(Context& context, const KeysArgs& args) {
    auto desk = KeysDesk::open(context);
    if (!desk) return report(desk.error(), context.json);
    auto issued = (*desk)->store->create(args.wish);
    if (!issued) return report(issued.error(), context.json);
    const auto now = (*desk)->store->current();
    if (!now) return report(now.error(), context.json);
    print_issued(context, *issued, (*now)->file, (*desk)->store->now_s());
    const Status told =
        (*desk)->tell(serve::key_event("key.created", "terminal", issued->key, &(*now)->file));
    return told ? kDone : report(told.error(), false);
}

int keys_rotate_command(Context& context, const KeysArgs& args) {
    const auto overlap_s = serve::duration_s(args.overlap);
    if (!overlap_s) return report(overlap_s.error(), context.json), kUsage;
    auto desk = KeysDesk::open(context);
    if (!desk) return report(desk.error(), context.json);
    auto issued = (*desk)->store->rotate(args.key, *overlap_s);
    if (!issued) return report(issued.error(), context.json);
    const auto now = (*desk)->store->current();
    if (!now) return report(now.error(), context.json);
    print_issued(context, *issued, (*now)->file, (*desk)->store->now_s());
    const Status told =
        (*desk)->tell(serve::key_event("key.rotated", "terminal", issued->key, &(*now)->file));
    return told ? kDone : report(told.error(), false);
}

int keys_revoke_command(Context& context, const KeysArgs& args) {
    auto desk = KeysDesk::open(context);
    if (!desk) return report(desk.error(), context.json);
    auto key = (*desk)->store->revoke(args.key);
    if (!key) return report(key.error(), context.json);
    const auto now = (*desk)->store->current();
    if (!now) return report(now.error(), context.json);
    if (context.json) {
        JsonWriter out;
        out.begin_object().key("key");
        serve::write_key(out, *key, (*now)->file, (*desk)->store->now_s(), 0);
        std::puts(out.end_object().text().c_str());
    } else {
        std::printf("revoked %s (%s)\n", key->id.c_str(), key->name.c_str());
    }
    const Status told =
        (*desk)->tell(serve::key_event("key.revoked", "terminal", *key, &(*now)->file));
    return told ? kDone : report(told.error(), false);
}

int keys_list_command(Context& context, const KeysArgs&) {
    serve::KeyStore store(context.folders.state);
    const auto now = store.current();
    if (!now) return report(now.error(), context.json);
    const serve::KeyFile& file = (*now)->file;
    const auto usage = serve::read_usage(store.usage_path());
    if (context.json) {
        std::puts(serve::keys_json(file, usage, store.now_s()).c_str());
        return kDone;
    }
    if (file.keys.empty()) return report_store(context);
    std::printf("%-11s  %-20s  %-12s  %-8s  %-7s  %-16s  %-16s  %s\n", "ID", "NAME", "OWNER",
                "ROLE", "STATE", "EXPIRES", "LAST USED", "LIMITS");
    for (const serve::Key& key : file.keys) {
        const std::int64_t used_s = last_used(usage, key.id);
        std::printf("%-11s  %-20s  %-12s  %-8s  %-7s  %-16s  %-16s  %s\n", key.id.c_str(),
                    key.name.c_str(), key.owner.empty() ? "-" : key.owner.c_str(),
                    serve::name_of(serve::role_of(key, file)),
                    serve::name_of(serve::state_of(key, store.now_s())),
                    when(key.expires_s, "never").c_str(),
                    when(used_s > 0 ? std::optional(used_s) : std::nullopt, "never").c_str(),
                    limits_text(key.limits).c_str());
    }
    return kDone;
}

int keys_show_command(Context& context, const KeysArgs& args) {
    serve::KeyStore store(context.folders.state);
    const auto now = store.current();
    if (!now) return report(now.error(), context.json);
    const auto key = serve::find_key((*now)->file, args.key);
    if (!key) return report(key.error(), context.json);
    JsonWriter out;
    const auto usage = serve::read_usage(store.usage_path());
    serve::write_key(out, **key, (*now)->file, store.now_s(), last_used(usage, (*key)->id));
    if (context.json) {
        std::puts(out.text().c_str());
        return kDone;
    }
    print_members(out.text());
    return kDone;
}

}  // namespace hearth::app
