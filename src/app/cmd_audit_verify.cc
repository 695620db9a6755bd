// audit verify, anchor, export: what the journal's chain is for. The work is in audit/; here is
// what these commands know besides, which is where things lie on this machine. An export is itself
// on record before its first line is written.
#include <unistd.h>

#include <cstdio>

#include "app/commands.h"
#include "app/open.h"
#include "audit/export.h"
#include "audit/folder.h"
#include "base/file.h"
#include "base/format.h"
#include "base/log.h"
#include "egress/broker_state.h"

namespace hearth::app {
namespace {

bool print(std::string_view text) {
    return std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
}

audit::Format format_of(const std::string& name) {
    if (name == "cef") return audit::Format::cef;
    return name == "rfc5424" ? audit::Format::rfc5424 : audit::Format::jsonl;
}

// The door's broker signs the journal's end: it must be there until the journal is closed.
Status write_export_down(Context& context, const AuditExportArgs& args) {
    const auto door = std::move(context.door);
    HEARTH_TRY(const auto journal, open_journal(context, door.get()));
    JsonWriter out;
    out.begin_object().field("format", args.format).field("after", args.after).end_object();
    journal->append(
        journal::EventRecord{.event = "audit.export", .actor = "terminal", .json = out.take()});
    return journal->flush();
}

}  // namespace

// The broker's folder is closed to the command's body: what it kept is read before.
Status prepare_audit_verify(Context& context, AuditVerifyArgs& args) {
    if (!args.request.path.empty()) return {};  // of another machine, or a copy
    const auto counters = egress::read_counters(context.folders.broker);
    if (!counters) {
        if (counters.error().kind == ErrorKind::not_found) return {};  // nothing was ever signed
        return std::unexpected(counters.error());
    }
    args.request.known.anchors = counters->checkpoints;
    if (args.request.public_keys.empty())
        args.request.known.public_keys.push_back(counters->public_key);
    return {};
}

int audit_verify_command(Context& context, const AuditVerifyArgs& args) {
    audit::VerifyRequest request = args.request;
    if (request.path.empty()) {
        request.path = context.folders.journal();
        const std::string key = request.path + "-keys/chain.key";
        if (request.chain_key.empty() && ::access(key.c_str(), F_OK) == 0) request.chain_key = key;
    }
    const auto verdict = audit::run_verify(request);
    if (!verdict) return report(verdict.error(), context.json);
    print(context.json ? audit::to_json(*verdict) + "\n" : audit::to_text(*verdict));
    return audit::is_bad(*verdict, args.require_complete) ? kFailed : kDone;
}

int audit_anchor_command(Context& context, const AuditAnchorArgs& args) {
    const auto checkpoints = audit::last_checkpoints(context.folders.journal());
    if (!checkpoints) return report(checkpoints.error(), context.json);
    if (checkpoints->empty())
        return report({.kind = ErrorKind::not_found,
                       .message = format("no entry in {} is under a signature yet",
                                         context.folders.journal())},
                      context.json);
    std::string text;
    for (const auto& checkpoint : *checkpoints) text += audit::to_json(checkpoint) + "\n";
    if (args.output.empty() || args.output == "-") return print(text) ? kDone : kFailed;
    if (const Status written = write_file(args.output, text, 0644); !written)
        return report(written.error(), context.json);
    return kDone;
}

int audit_export_command(Context& context, const AuditExportArgs& args) {
    audit::ExportCursor cursor;
    if (!args.after.empty()) {
        auto parsed = audit::parse_cursor(args.after);
        if (!parsed) return report(parsed.error(), context.json), kUsage;
        cursor = std::move(*parsed);
    }
    if (Status ok = write_export_down(context, args); !ok) return report(ok.error(), context.json);
    const Status done = audit::export_folder(
        context.folders.journal(), format_of(args.format), cursor,
        [](std::string_view line) { return print(line) && print("\n"); },
        [&](const std::string& part) {
            if (!context.quiet) std::fprintf(stderr, "left out: %s\n", part.c_str());
        });
    if (!done) return report(done.error(), context.json);
    if (std::fflush(stdout) != 0)
        return report({.kind = ErrorKind::internal, .message = "the lines cannot be written"},
                      context.json);
    if (!context.quiet)
        std::fprintf(stderr, "the next export goes on with --after %s\n",
                     audit::to_text(cursor).c_str());
    return kDone;
}

}  // namespace hearth::app
