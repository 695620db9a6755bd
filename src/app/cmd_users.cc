// users list|add|role|remove: owners of keys. A key is never more than its owner: a user whose role
// is taken away takes it from the keys, and one that is removed takes the keys along.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "app/keys_report.h"
#include "base/format.h"
#include "serve/key_api.h"

namespace hearth::app {
namespace {

int print_user(const Context& context, KeysDesk& desk, const serve::User& user, const char* event,
               const char* verb) {
    if (context.json) {
        const auto now = desk.store->current();
        if (!now) return report(now.error(), context.json);
        JsonWriter out;
        serve::write_user(out, user, (*now)->file, desk.store->now_s());
        std::puts(out.text().c_str());
    } else {
        std::printf("%s %s, %s\n", verb, user.name.c_str(), serve::name_of(user.role));
    }
    const Status told = desk.tell(serve::user_event(event, "terminal", user));
    return told ? kDone : report(told.error(), false);
}

}  // namespace

void print_members(const std::string& json) {
    const auto document = parse_json(json);
    if (!document) return;
    for (const auto& [name, value] : document->items()) {
        const std::string text = value.is_string() ? value.get<std::string>() : to_text(value);
        std::printf("%-16s  %s\n", name.c_str(), value.is_null() ? "-" : text.c_str());
    }
}

int users_add_command(Context& context, const UsersArgs& args) {
    auto desk = KeysDesk::open(context);
    if (!desk) return report(desk.error(), context.json);
    const auto user = (*desk)->store->add_user(args.name, args.role);
    if (!user) return report(user.error(), context.json);
    return print_user(context, **desk, *user, "user.created", "added");
}

int users_role_command(Context& context, const UsersArgs& args) {
    auto desk = KeysDesk::open(context);
    if (!desk) return report(desk.error(), context.json);
    const auto user = (*desk)->store->change_role(args.name, args.role);
    if (!user) return report(user.error(), context.json);
    return print_user(context, **desk, *user, "role.changed", "changed");
}

int users_remove_command(Context& context, const UsersArgs& args) {
    auto desk = KeysDesk::open(context);
    if (!desk) return report(desk.error(), context.json);
    const auto keys = (*desk)->store->remove_user(args.name);
    if (!keys) return report(keys.error(), context.json);
    if (context.json) {
        JsonWriter out;
        out.begin_object().field("name", args.name).key("revoked").begin_array();
        for (const serve::Key& key : *keys) out.value(key.id);
        std::puts(out.end_array().end_object().text().c_str());
    } else {
        std::printf("removed %s, revoked %zu keys\n", args.name.c_str(), keys->size());
    }
    Status told = (*desk)->tell(serve::user_event("user.removed", "terminal", {.name = args.name}));
    for (const serve::Key& key : *keys) {
        if (told) told = (*desk)->tell(serve::key_event("key.revoked", "terminal", key));
    }
    return told ? kDone : report(told.error(), false);
}

int users_list_command(Context& context, const UsersArgs&) {
    serve::KeyStore store(context.folders.state);
    const auto now = store.current();
    if (!now) return report(now.error(), context.json);
    const serve::KeyFile& file = (*now)->file;
    if (context.json) {
        JsonWriter out;
        out.begin_object().key("users").begin_array();
        for (const serve::User& user : file.users)
            serve::write_user(out, user, file, store.now_s());
        std::puts(out.end_array().end_object().text().c_str());
        return kDone;
    }
    if (file.users.empty() && !context.quiet)
        std::fprintf(stderr, "no users yet; `hearth users add NAME --role user` makes one\n");
    for (const serve::User& user : file.users)
        std::printf("%-24s  %-8s  %s\n", user.name.c_str(), serve::name_of(user.role),
                    serve::time_text(user.created_s).substr(0, 16).c_str());
    return kDone;
}

}  // namespace hearth::app
