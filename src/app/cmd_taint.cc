// taint: conversations that are held to be sensitive, and their release.
#include <cstdio>
#include <future>
#include <nlohmann/json.hpp>

#include "app/content.h"
#include "base/clock.h"
#include "base/format.h"
#include "journal/journal.h"

namespace hearth::app {
namespace {

// Written before the marks go: a release that nobody can see did not happen.
Status write_down(const Context& context, const std::string& id) {
    journal::JournalOptions options;
    options.folder = context.folders.journal();
    options.sync = journal::Sync::each;
    HEARTH_CHECK_OK(make_folders(options.folder));
    HEARTH_TRY(const auto journal, journal::Journal::open(options));
    std::promise<Status> written;
    JsonWriter out;
    out.begin_object().field("taint", id).end_object();
    journal->append(
        journal::EventRecord{.event = "taint.release", .actor = "terminal", .json = out.take()},
        [&](Status status) { written.set_value(std::move(status)); });
    return written.get_future().get();
}

}  // namespace

int taint_list_command(Context& context) {
    auto store = open_taint(context);
    if (!store) return report(store.error(), context.json);
    JsonWriter out;
    out.begin_object().key("taints").begin_array();
    for (const auto& s : (*store)->list()) {
        if (!context.json)
            std::printf("%s  %-12s  %6lld marks  since %s\n", s.id.c_str(),
                        chat::name_of(s.sensitivity), (long long)s.n_marks,
                        rfc3339(s.first_wall_ns).substr(0, 19).c_str());
        out.begin_object().field("id", s.id).field("sensitivity", chat::name_of(s.sensitivity));
        out.field("n_marks", s.n_marks).field("since", rfc3339(s.first_wall_ns)).end_object();
    }
    out.end_array().end_object();
    if (context.json) std::puts(out.text().c_str());
    return kDone;
}

int taint_release_command(Context& context, const TaintArgs& args) {
    auto store = open_taint(context);
    if (!store) return report(store.error(), context.json);
    // A name that is not marked leaves no record of a release.
    const auto all = (*store)->list();
    const bool known = std::ranges::any_of(all, [&](const auto& s) { return s.id == args.id; });
    if (known)
        if (Status ok = write_down(context, args.id); !ok) return report(ok.error(), context.json);
    auto released = (*store)->release(args.id);
    if (!released) return report(released.error(), context.json);
    if (context.json) {
        JsonWriter out;
        out.begin_object().field("id", args.id).field("n_marks", *released).end_object();
        std::puts(out.text().c_str());
    } else {
        std::printf(
            "released %s: %lld marks are forgotten. What detectors find by themselves, they "
            "find again.\n",
            args.id.c_str(), (long long)*released);
    }
    return kDone;
}

}  // namespace hearth::app
