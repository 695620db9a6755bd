// audit show, audit erase: one request's entries with what was kept of its texts, and the end of
// what was kept. Both are on record before they happen: who is shown a text, and what is erased.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <iostream>

#include "app/commands.h"
#include "app/open.h"
#include "base/format.h"
#include "journal/content.h"

namespace hearth::app {
namespace {

Result<std::unique_ptr<journal::ContentStore>> open_content(const Context& context) {
    const std::string folder = context.folders.journal();
    return journal::ContentStore::open(folder, journal::keys_folder_of({.folder = folder}),
                                       journal::ContentStore::Mode::existing);
}

// "2026-03-14", "2026-03-14T15:09:26Z", UTC.
Result<std::int64_t> time_of(const std::string& text) {
    std::tm tm{};
    const char* end = ::strptime(text.c_str(), "%Y-%m-%d", &tm);
    if (end && *end == 'T') end = ::strptime(end, "T%H:%M:%SZ", &tm);
    if (!end || *end)
        return fail(ErrorKind::invalid_request,
                    format("\"{}\" is no time: 2026-03-14, or 2026-03-14T15:09:26Z (UTC)", text));
    std::tm same = tm;
    const std::time_t seconds = ::timegm(&same);
    if (same.tm_mday != tm.tm_mday || same.tm_mon != tm.tm_mon)
        return fail(ErrorKind::invalid_request, format("there is no day \"{}\"", text));
    // Nanoseconds in 64 bits reach from 1678 to 2262.
    constexpr std::int64_t kSecondsMax = INT64_MAX / kNsPerS;
    return std::clamp<std::int64_t>(seconds, -kSecondsMax, kSecondsMax) * kNsPerS;
}

void print_entry(const journal::JournalEntry& entry, bool json, JsonWriter& out) {
    if (!json) {
        std::printf("%s %s %lld %s\n%s\n", rfc3339(entry.wall_ns).substr(0, 19).c_str(),
                    entry.slot.c_str(), (long long)entry.seq, entry.event.c_str(),
                    entry.json.c_str());
        return;
    }
    out.begin_object().field("slot", entry.slot).field("seq", entry.seq);
    out.field("ts", rfc3339(entry.wall_ns)).field("event", entry.event);
    out.key("record").raw(entry.json).end_object();
}

// attested: an entry in the chain has this ciphertext's digest.
void print_body(const journal::Body& body, bool attested, bool json, JsonWriter& out) {
    if (!json) {
        std::printf("%s%s\n", journal::name_of(body.kind),
                    attested ? "" : " (no entry has its digest: it is not what was recorded)");
        std::puts(body.error.empty() ? body.text.c_str() : body.error.c_str());
        return;
    }
    out.begin_object().field("kind", journal::name_of(body.kind)).field("sha256", body.sha256);
    out.field("attested", attested);
    if (!body.error.empty())
        out.field("error", body.error);
    else if (parse_json(body.text))
        out.key("text").raw(body.text);
    out.end_object();
}

// The broker that signs the journal's end outlives it.
struct Desk {
    std::unique_ptr<egress::Door> door;
    std::unique_ptr<journal::Journal> journal;

    Status open(Context& context) {
        door = std::move(context.door);
        HEARTH_TRY(journal, open_journal(context, door.get()));
        return {};
    }
    Status tell(journal::EventRecord event) {
        journal->append(std::move(event));
        return journal->flush();
    }
};

Status tell_shown(Context& context, const std::string& request_id, std::int64_t n) {
    Desk desk;
    HEARTH_CHECK_OK(desk.open(context));
    JsonWriter out;
    out.begin_object().field("request_id", request_id).field("n_bodies", n).end_object();
    return desk.tell({.event = "content.shown", .actor = "terminal", .json = out.take()});
}

// Asks on the terminal; without one, --yes is needed.
Result<bool> confirmed(const AuditEraseArgs& args, std::int64_t n) {
    if (args.yes) return true;
    if (!isatty(STDIN_FILENO))
        return fail(ErrorKind::invalid_request,
                    format("{} texts would be erased for good: say --yes", n));
    std::fprintf(stderr, "%lld texts will be erased for good. Type yes: ", (long long)n);
    std::string line;
    return std::getline(std::cin, line) && line == "yes";
}

}  // namespace

int audit_show_command(Context& context, const AuditShowArgs& args) {
    const auto entries = journal::read_request(context.folders.journal(), args.request_id);
    if (!entries) return report(entries.error(), context.json);
    if (entries->empty())
        return report(
            {.kind = ErrorKind::not_found,
             .message = format("no request {} in {}", args.request_id, context.folders.journal())},
            context.json);
    std::vector<journal::Body> bodies;
    if (auto store = open_content(context)) {
        auto found = (*store)->read(args.request_id);
        if (!found) return report(found.error(), context.json);
        bodies = std::move(*found);
    } else if (store.error().kind != ErrorKind::not_found) {
        return report(store.error(), context.json);
    }
    if (!bodies.empty())
        if (Status ok = tell_shown(context, args.request_id, std::int64_t(bodies.size())); !ok)
            return report(ok.error(), context.json);
    JsonWriter out;
    out.begin_object().field("request_id", args.request_id).key("entries").begin_array();
    for (const auto& entry : *entries) print_entry(entry, context.json, out);
    out.end_array().key("bodies").begin_array();
    for (const journal::Body& body : bodies) {
        const bool attested = std::ranges::any_of(*entries, [&](const auto& entry) {
            return entry.json.find(body.sha256) != std::string::npos;
        });
        print_body(body, attested, context.json, out);
    }
    out.end_array().end_object();
    if (context.json) std::puts(out.text().c_str());
    return kDone;
}

int audit_erase_command(Context& context, const AuditEraseArgs& args) {
    journal::ErasureRange range{.request_id = args.request_id};
    if (args.request_id.empty() == args.before.empty())
        return report({.kind = ErrorKind::invalid_request,
                       .message = "say what is to be erased: --request ID or --before TIME"},
                      context.json),
               kUsage;
    if (!args.before.empty()) {
        const auto before = time_of(args.before);
        if (!before) return report(before.error(), context.json), kUsage;
        if (*before > system_clock().wall_ns())
            return report({.kind = ErrorKind::invalid_request,
                           .message = format("{} is still to come", args.before)},
                          context.json),
                   kUsage;
        range.before_wall_ns = *before;
    }
    auto store = open_content(context);
    if (!store) return report(store.error(), context.json);
    const auto n = (*store)->count(range);
    if (!n) return report(n.error(), context.json);
    if (*n == 0)
        return report({.kind = ErrorKind::not_found, .message = "nothing is kept of that"},
                      context.json);
    const auto sure = confirmed(args, *n);
    if (!sure) return report(sure.error(), context.json);
    if (!*sure) return kFailed;
    Desk desk;
    if (Status ok = desk.open(context); !ok) return report(ok.error(), context.json);
    const auto erased =
        (*store)->erase(range, [&](const journal::ErasureRange& what, std::int64_t n_bodies) {
            return desk.tell(journal::erasure_record("terminal", what, n_bodies));
        });
    if (!erased) return report(erased.error(), context.json);
    JsonWriter out;
    out.begin_object().field("erased", *erased).end_object();
    if (context.json)
        std::puts(out.text().c_str());
    else
        std::printf("erased %lld texts; the entries stay\n", (long long)*erased);
    return kDone;
}

}  // namespace hearth::app
