// audit tail: the newest records of the journal.
#include <csignal>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "base/clock.h"
#include "base/format.h"
#include "base/utf8.h"
#include "journal/journal.h"

namespace hearth::app {
namespace {

volatile std::sig_atomic_t g_stop = 0;

// Records of one slot that a turn of --follow takes; the rest is for the next, a quarter of a
// second later.
constexpr std::int64_t kFollowedMax = 10'000;

// The fields that tell a person what happened, in one line; --json has all.
std::string line_of(const journal::JournalEntry& entry) {
    std::string line =
        format("{} {:<8} {}", rfc3339(entry.wall_ns).substr(0, 19), entry.event, entry.request_id);
    const auto record = parse_json(entry.json);
    if (!record || !record->is_object()) return line;
    for (const char* key : {"actor", "route", "model", "upstream", "reason", "sensitivity",
                            "outcome", "error", "host", "port", "bytes_out", "bytes_in",
                            "http_status", "output_tokens", "cost_microusd"}) {
        const auto it = record->find(key);
        if (it == record->end() || it->is_null() || *it == "" || *it == 0) continue;
        line += format(" {}={}", key, it->is_string() ? it->get<std::string>() : to_text(*it));
    }
    if (const auto detail = record->find("detail"); detail != record->end())
        for (const auto& [key, value] : detail->items())
            if (value.is_primitive() && !value.is_null() && value != "")
                line += format(" {}={}", key,
                               value.is_string() ? value.get<std::string>() : to_text(value));
    // Names and messages hold what callers sent.
    return utf8_visible(line);
}

void print_json(const journal::JournalEntry& entry, JsonWriter& out) {
    out.begin_object()
        .field("seq", entry.seq)
        .field("ts", rfc3339(entry.wall_ns))
        .field("event", entry.event)
        .field("request_id", entry.request_id)
        .key("record")
        .raw(entry.json)
        .end_object();
}

}  // namespace

int audit_tail_command(Context& context, const AuditArgs& args) {
    const std::string folder = context.folders.journal();
    std::signal(SIGINT, [](int) { g_stop = 1; });
    // Taken before the tail is read: what comes in between is shown by one of them.
    auto cursor = journal::cursor_at_end(folder);
    if (!cursor) return report(cursor.error(), context.json);
    bool first = true;
    do {
        const auto shown = args.all ? journal::Shown::all : journal::Shown::records;
        auto entries = first ? journal::read_tail(folder, args.n, 0, shown)
                             : journal::read_after(folder, *cursor, kFollowedMax, shown);
        if (!entries) return report(entries.error(), context.json);
        if (context.json && !args.follow) {
            JsonWriter out;
            out.begin_object().key("records").begin_array();
            for (const auto& entry : *entries) print_json(entry, out);
            std::puts(out.end_array().end_object().text().c_str());
            return kDone;
        }
        for (const auto& entry : *entries) {
            JsonWriter out;
            if (context.json) print_json(entry, out);
            std::puts(context.json ? out.text().c_str() : line_of(entry).c_str());
            std::int64_t& seen = (*cursor)[entry.slot];
            seen = std::max(seen, entry.seq);
        }
        std::fflush(stdout);
        if (first && entries->empty() && !args.follow && !context.quiet)
            std::fprintf(stderr, "the journal in %s is empty\n", folder.c_str());
        first = false;
        if (args.follow) {
            const timespec pause{0, 250'000'000};
            nanosleep(&pause, nullptr);
        }
    } while (args.follow && !g_stop);
    return kDone;
}

}  // namespace hearth::app
