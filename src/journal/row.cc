#include "journal/row.h"

#include <nlohmann/json.hpp>

#include "audit/receipt.h"
#include "base/format.h"
#include "base/json.h"
#include "base/utf8.h"
#include "journal/ledger.h"
#include "journal/limits.h"

namespace hearth::journal {
namespace {

// A member that is JSON already, when it really is: one record that is not would make the whole
// entry unreadable. What does not parse is kept as text under `name`_text.
void nested(JsonWriter& w, const char* name, const std::string& json) {
    if (json.empty()) return;
    if (parse_json(json))
        w.key(name).raw(json);
    else
        w.field(format("{}_text", name), json);
}

std::string json_of(const DecisionRecord& r) {
    JsonWriter w;
    w.begin_object().field("request_id", r.request_id);
    w.field("endpoint", r.endpoint).field("peer", r.peer);
    w.field("model_asked", r.model_asked).field("model", r.model);
    w.field("upstream", r.upstream).field("route", r.route).field("reason", r.reason);
    w.field("sensitivity", r.sensitivity).field("n_prompt_tokens", r.n_prompt_tokens);
    w.field("http_status", r.http_status);
    if (!r.key_id.empty()) w.field("key_id", r.key_id);
    if (!r.prompt_digest.empty()) w.field("prompt_digest", r.prompt_digest);
    nested(w, "body", r.body.json);
    nested(w, "decision", r.decision_json);
    w.end_object();
    return w.take();
}

void write_usage(JsonWriter& w, const char* name, const chat::Usage& usage) {
    w.key(name).begin_object();
    w.field("input_tokens", usage.input_tokens).field("cached_tokens", usage.cached_tokens);
    w.field("output_tokens", usage.output_tokens);
    w.field("reasoning_tokens", usage.reasoning_tokens).end_object();
}

std::string json_of(const OutcomeRecord& r) {
    JsonWriter w;
    w.begin_object().field("request_id", r.request_id);
    w.field("outcome", r.outcome);
    if (!r.error.empty()) w.field("error", r.error);
    w.field("model", r.model).field("upstream", r.upstream).field("route", r.route);
    w.field("n_fallbacks", r.n_fallbacks);
    write_usage(w, "usage", r.usage);
    if (r.usage_failed.input_tokens > 0 || r.usage_failed.output_tokens > 0)
        write_usage(w, "usage_failed", r.usage_failed);
    if (r.usage_estimated) w.field("usage_estimated", true);
    w.key("timings").begin_object();
    w.field("queue_ns", r.timings.queue_ns).field("prefill_ns", r.timings.prefill_ns);
    w.field("decode_ns", r.timings.decode_ns).field("ttft_ns", r.timings.ttft_ns);
    w.field("total_ns", r.total_ns).end_object();
    w.field("cost_microusd", r.cost_microusd);
    if (!r.key_id.empty()) w.field("key_id", r.key_id);
    if (!r.task.empty()) w.field("task", r.task);
    w.key("ledger");
    write_ledger(w, r.ledger);
    nested(w, "redaction", r.redaction_json);
    nested(w, "repro", r.repro_json);
    nested(w, "body", r.body.json);
    w.end_object();
    return w.take();
}

std::string json_of(const egress::Receipt& r) {
    return audit::to_json(r);
}

std::string json_of(const EventRecord& r) {
    JsonWriter w;
    w.begin_object().field("actor", r.actor);
    nested(w, "detail", r.json);
    w.end_object();
    return w.take();
}

// In the order of schema.h's kColumns.
std::vector<Row::Value> sums_of(const OutcomeRecord& r) {
    const route::LedgerRow& ledger = r.ledger;
    std::vector<Row::Value> values{{"outcome", utf8_repaired(r.outcome)},
                                   {"model", utf8_repaired(r.model)},
                                   {"upstream", utf8_repaired(r.upstream)},
                                   {"route", utf8_repaired(r.route)},
                                   {"input_tokens", r.usage.input_tokens},
                                   {"cached_tokens", r.usage.cached_tokens},
                                   {"output_tokens", r.usage.output_tokens},
                                   {"reasoning_tokens", r.usage.reasoning_tokens},
                                   {"cost_microusd", r.cost_microusd},
                                   {"key_id", utf8_repaired(r.key_id)},
                                   {"task", utf8_repaired(r.task)},
                                   {"total_ns", r.total_ns},
                                   {"busy_ns", ledger.busy_ns},
                                   {"idle_ns", ledger.idle_ns},
                                   {"energy_uj", ledger.energy_uj},
                                   {"energy_source", route::name_of(ledger.energy_source)},
                                   {"energy_microusd", ledger.energy_microusd},
                                   {"amortisation_microusd", ledger.amortisation_microusd},
                                   {"idle_microusd", ledger.idle_microusd}};
    if (ledger.other_microusd) {
        values.push_back({"other", utf8_repaired(ledger.other)});
        values.push_back({"other_microusd", *ledger.other_microusd});
    }
    return values;
}

struct ToRow {
    Row operator()(const DecisionRecord& r) const {
        return {.event = "decision",
                .request_id = r.request_id,
                .json = json_of(r),
                .sync_first = r.sync_first,
                .sums = {}};
    }
    Row operator()(const OutcomeRecord& r) const {
        return {.event = "outcome",
                .request_id = r.request_id,
                .json = json_of(r),
                .sync_first = false,
                .sums = sums_of(r)};
    }
    Row operator()(const egress::Receipt& r) const {
        return {.event = "egress",
                .request_id = r.request_id,
                .json = json_of(r),
                .sync_first = false,
                .sums = {}};
    }
    Row operator()(const EventRecord& r) const {
        return {.event = r.event,
                .request_id = {},
                .json = json_of(r),
                .sync_first = false,
                .sums = {}};
    }
    Row operator()(const ChainRecord& r) const {
        return {
            .event = r.event, .request_id = {}, .json = r.json, .sync_first = false, .sums = {}};
    }
};

struct BytesOf {
    std::size_t operator()(const DecisionRecord& r) const {
        return sizeof r + r.decision_json.size() + r.model_asked.size() + r.endpoint.size() +
               r.peer.size() + r.model.size() + r.upstream.size() + r.prompt_digest.size() +
               r.body.text.size();
    }
    std::size_t operator()(const OutcomeRecord& r) const {
        return sizeof r + r.error.size() + r.repro_json.size() + r.model.size() +
               r.upstream.size() + r.key_id.size() + r.task.size() + r.ledger.other.size() +
               r.body.text.size();
    }
    std::size_t operator()(const egress::Receipt& r) const {
        return sizeof r + r.outcome.size() + r.rule.size() + r.destination.host.size() +
               r.digest_out.size() + r.signature.size();
    }
    std::size_t operator()(const EventRecord& r) const {
        return sizeof r + r.event.size() + r.actor.size() + r.json.size();
    }
    std::size_t operator()(const ChainRecord& r) const { return sizeof r + r.json.size(); }
};

}  // namespace

Result<Row> to_row(const Record& record) {
    const auto too_long = [](std::size_t n_bytes) {
        return fail(
            ErrorKind::invalid_request,
            format("a journal record has {} bytes, the limit is {}", n_bytes, kRecordBytes));
    };
    // Before the work of making JSON of it, and after, because escapes lengthen it.
    if (bytes_of(record) > kRecordBytes) return too_long(bytes_of(record));
    Row row = std::visit(ToRow{}, record);
    if (row.json.size() > kRecordBytes) return too_long(row.json.size());
    // A line of the export says the same bytes as the row, or it could not be verified.
    row.event = utf8_repaired(row.event);
    row.request_id = utf8_repaired(row.request_id);
    return row;
}

std::size_t bytes_of(const Record& record) {
    return std::visit(BytesOf{}, record);
}

}  // namespace hearth::journal
