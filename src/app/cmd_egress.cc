// egress report: what left this machine, from the receipts in the journal, beside what the broker
// counted by itself. Both count the same sockets (TCP_INFO at close), in two processes and two
// files, of which the one that writes the journal cannot open the other.
#include <algorithm>
#include <cstdio>
#include <map>
#include <tuple>

#include "app/commands.h"
#include "app/input.h"
#include "audit/receipt.h"
#include "base/clock.h"
#include "base/format.h"
#include "egress/broker_state.h"
#include "egress/limits.h"
#include "journal/journal.h"

namespace hearth::app {
namespace {

constexpr std::int64_t kNsPerDay = 86'400 * kNsPerS;
constexpr std::int64_t kEntriesPerTurn = 10'000;

struct Line {
    std::int64_t n_connections = 0, n_refused = 0;
    std::int64_t bytes_out = 0, bytes_in = 0, wire_bytes_out = 0, wire_bytes_in = 0;
    std::int64_t first_wall_ns = 0, last_wall_ns = 0;
    void add(const egress::Receipt& r, bool refused) {
        (refused ? n_refused : n_connections) += 1;
        bytes_out += r.bytes_out;
        bytes_in += r.bytes_in;
        wire_bytes_out += r.wire_bytes_out;
        wire_bytes_in += r.wire_bytes_in;
        first_wall_ns =
            first_wall_ns == 0 ? r.opened_wall_ns : std::min(first_wall_ns, r.opened_wall_ns);
        last_wall_ns = std::max(last_wall_ns, r.closed_wall_ns);
    }
};
using LineKey = std::tuple<std::string, std::string, std::string, std::string>;

struct Signatures {
    std::int64_t n_valid = 0, n_invalid = 0, n_unsigned = 0, n_other_key = 0;
};

struct Report {
    std::map<LineKey, Line> lines;  // destination, purpose, rule, caller's key
    Line total;
    egress::ConnectionCounts counted;  // of the journal's receipts, as the broker counts
    std::int64_t n_unknown = 0;        // the broker was killed: their bytes are not known
    Signatures signatures;
};

// The broker counts what it set out to connect; refusals never got so far.
bool is_refusal(const egress::Receipt& r) {
    return r.number == 0 || r.outcome.starts_with("refused");
}

void add(Report& report, const egress::Receipt& r, const std::string& public_key) {
    const bool unknown = r.outcome.starts_with("broker ended");
    const bool refused = is_refusal(r) && !unknown;
    report.lines[{egress::to_text(r.destination), egress::name_of(r.purpose), r.rule, r.who}].add(
        r, refused);
    report.total.add(r, refused);
    if (unknown) ++report.n_unknown;
    if (!is_refusal(r)) {
        report.counted += {.n_opened = 0,
                           .n_closed = 1,
                           .bytes_out = r.bytes_out,
                           .bytes_in = r.bytes_in,
                           .wire_bytes_out = r.wire_bytes_out,
                           .wire_bytes_in = r.wire_bytes_in};
    }
    Signatures& s = report.signatures;
    if (r.signature.empty())
        ++s.n_unsigned;
    else if (public_key.empty() || r.key_id != audit::key_id(public_key))
        ++s.n_other_key;
    else
        ++(audit::verify_receipt(r, public_key) ? s.n_valid : s.n_invalid);
}

Result<Report> read_report(const std::string& folder, std::int64_t since_ns,
                           const std::string& public_key) {
    Report report;
    journal::Cursor cursor;
    for (;;) {
        HEARTH_TRY(const auto entries, journal::read_after(folder, cursor, kEntriesPerTurn));
        if (entries.empty()) return report;
        for (const journal::JournalEntry& entry : entries) {
            if (entry.event != "egress") continue;
            HEARTH_TRY(const egress::Receipt receipt, audit::parse_receipt(entry.json));
            if (receipt.closed_wall_ns >= since_ns) add(report, receipt, public_key);
        }
    }
}

// What the broker counted in the same time; nothing where it no longer knows.
std::optional<egress::ConnectionCounts> counted_since(const egress::BrokerCounters& counters,
                                                      std::int64_t since_ns) {
    if (since_ns <= counters.since_wall_ns - counters.since_wall_ns % kNsPerDay)
        return counters.total;
    const std::string from = egress::day_of(since_ns);
    if (counters.days.empty() || counters.days.begin()->first > from) {
        const bool cut = counters.days.size() >= egress::kCounterDaysMax;
        if (cut) return std::nullopt;
    }
    egress::ConnectionCounts sum;
    for (const auto& [day, counts] : counters.days)
        if (day >= from) sum += counts;
    return sum;
}

bool equal(const egress::ConnectionCounts& journal, const egress::ConnectionCounts& broker) {
    return journal.n_closed == broker.n_closed && journal.bytes_out == broker.bytes_out &&
           journal.bytes_in == broker.bytes_in && journal.wire_bytes_out == broker.wire_bytes_out &&
           journal.wire_bytes_in == broker.wire_bytes_in;
}

struct Verdict {
    std::optional<egress::ConnectionCounts> broker;
    bool agree = false;
    std::string text;
};

Verdict judge(const Report& report, const std::optional<egress::BrokerCounters>& counters,
              std::int64_t since_ns) {
    Verdict out;
    const Signatures& s = report.signatures;
    if (counters) out.broker = counted_since(*counters, since_ns);
    if (!counters) {
        out.agree = report.counted.n_closed == 0;
        out.text = out.agree ? "no broker ever ran here, and no receipt says otherwise"
                             : "the broker's counters are not there to compare with";
    } else if (!out.broker) {
        out.text = "the broker's counters no longer reach so far back; ask for less, or for all";
    } else if (!equal(report.counted, *out.broker)) {
        out.text =
            "the journal and the broker's counters differ: records are missing or were added";
    } else if (s.n_invalid > 0) {
        out.text = format("{} receipts are not as the broker signed them", s.n_invalid);
    } else {
        out.agree = true;
        out.text = "the journal and the broker's counters agree";
    }
    if (out.broker && out.broker->n_opened > out.broker->n_closed)
        out.text += format("; {} connections are open or were cut when the broker was killed",
                           out.broker->n_opened - out.broker->n_closed);
    return out;
}

void write_bytes(JsonWriter& w, std::int64_t bytes_out, std::int64_t bytes_in,
                 std::int64_t wire_bytes_out, std::int64_t wire_bytes_in) {
    w.field("bytes_out", bytes_out).field("bytes_in", bytes_in);
    w.field("wire_bytes_out", wire_bytes_out).field("wire_bytes_in", wire_bytes_in);
}

void print_json(const Report& report, const Verdict& verdict, std::int64_t since_ns) {
    JsonWriter w;
    w.begin_object().field("since", rfc3339(since_ns)).key("rows").begin_array();
    for (const auto& [key, line] : report.lines) {
        w.begin_object().field("destination", std::get<0>(key)).field("purpose", std::get<1>(key));
        w.field("rule", std::get<2>(key)).field("key", std::get<3>(key));
        w.field("connections", line.n_connections).field("refused", line.n_refused);
        write_bytes(w, line.bytes_out, line.bytes_in, line.wire_bytes_out, line.wire_bytes_in);
        w.field("first", rfc3339(line.first_wall_ns)).field("last", rfc3339(line.last_wall_ns));
        w.end_object();
    }
    w.end_array().key("total").begin_object();
    const Line& total = report.total;
    w.field("connections", total.n_connections).field("refused", total.n_refused);
    w.field("unknown", report.n_unknown);
    write_bytes(w, total.bytes_out, total.bytes_in, total.wire_bytes_out, total.wire_bytes_in);
    w.end_object().key("broker");
    if (verdict.broker) {
        const egress::ConnectionCounts& b = *verdict.broker;
        w.begin_object().field("opened", b.n_opened).field("connections", b.n_closed);
        write_bytes(w, b.bytes_out, b.bytes_in, b.wire_bytes_out, b.wire_bytes_in);
        w.end_object();
    } else {
        w.null();
    }
    const Signatures& s = report.signatures;
    w.key("signatures").begin_object().field("valid", s.n_valid).field("invalid", s.n_invalid);
    w.field("unsigned", s.n_unsigned).field("other_key", s.n_other_key).end_object();
    w.field("agree", verdict.agree).field("verdict", verdict.text).end_object();
    std::puts(w.text().c_str());
}

void print_text(const Report& report, const Verdict& verdict) {
    std::puts(format("{:<32} {:<10} {:<18} {:<14} {:>6} {:>8} {:>12} {:>12} {:>12} {:>12}  {}",
                     "destination", "purpose", "rule", "key", "conns", "refused", "out", "in",
                     "wire out", "wire in", "first … last")
                  .c_str());
    for (const auto& [key, l] : report.lines)
        std::puts(format("{:<32} {:<10} {:<18} {:<14} {:>6} {:>8} {:>12} {:>12} {:>12} {:>12}  "
                         "{} … {}",
                         std::get<0>(key), std::get<1>(key), std::get<2>(key),
                         std::get<3>(key).empty() ? "-" : std::get<3>(key), l.n_connections,
                         l.n_refused, l.bytes_out, l.bytes_in, l.wire_bytes_out, l.wire_bytes_in,
                         rfc3339(l.first_wall_ns).substr(0, 19),
                         rfc3339(l.last_wall_ns).substr(0, 19))
                      .c_str());
    const auto sum = [](const char* name, const egress::ConnectionCounts& c) {
        std::puts(format("{:<8} {} connections, {} bytes out, {} in; on the wire {} out, {} in",
                         name, c.n_closed, c.bytes_out, c.bytes_in, c.wire_bytes_out,
                         c.wire_bytes_in)
                      .c_str());
    };
    sum("journal", report.counted);
    if (verdict.broker) sum("broker", *verdict.broker);
    const Signatures& s = report.signatures;
    std::puts(format("signatures: {} valid, {} invalid, {} of another key, {} unsigned", s.n_valid,
                     s.n_invalid, s.n_other_key, s.n_unsigned)
                  .c_str());
    std::puts(verdict.text.c_str());
}

}  // namespace

// The one place where the counters are read: after the sandbox they cannot be.
Status prepare_egress(Context& context, EgressArgs& args) {
    auto text = read_file(context.folders.broker + "/counters.json", egress::kCounterBytesMax);
    if (text)
        args.counters = std::move(*text);
    else if (text.error().kind != ErrorKind::not_found)
        return fail(std::move(text.error()));
    return {};
}

int egress_report_command(Context& context, const EgressArgs& args) {
    auto since = since_from(args.since);
    if (!since) return report(since.error(), context.json), kUsage;
    *since -= *since % kNsPerDay;  // the broker counts by days
    std::optional<egress::BrokerCounters> counters;
    if (!args.counters.empty()) {
        auto parsed = egress::parse_counters(args.counters);
        if (!parsed) return report(parsed.error(), context.json);
        counters = std::move(*parsed);
    }
    auto made = read_report(context.folders.journal(), *since,
                            counters ? counters->public_key : std::string());
    if (!made) return report(made.error(), context.json);
    const Verdict verdict = judge(*made, counters, *since);
    if (context.json)
        print_json(*made, verdict, *since);
    else
        print_text(*made, verdict);
    return verdict.agree ? kDone : kFailed;
}

}  // namespace hearth::app
