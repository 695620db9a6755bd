#include "journal/row.h"

#include <nlohmann/json.hpp>

#include "base/format.h"
#include "base/json.h"
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
    if (!r.prompt_digest.empty()) w.field("prompt_digest", r.prompt_digest);
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
    nested(w, "repro", r.repro_json);
    w.end_object();
    return w.take();
}

std::string json_of(const egress::Receipt& r) {
    JsonWriter w;
    w.begin_object().field("request_id", r.request_id);
    w.field("rule", r.rule).field("purpose", egress::name_of(r.purpose));
    w.field("host", r.destination.host).field("port", r.destination.port);
    w.field("tls", r.destination.tls).field("address", r.address);
    w.field("tls_spki_sha256", r.tls_spki_sha256).field("outcome", r.outcome);
    w.field("bytes_out", r.bytes_out).field("bytes_in", r.bytes_in);
    w.field("wire_bytes_out", r.wire_bytes_out).field("wire_bytes_in", r.wire_bytes_in);
    w.field("opened_wall_ns", r.opened_wall_ns).field("closed_wall_ns", r.closed_wall_ns);
    w.end_object();
    return w.take();
}

std::string json_of(const EventRecord& r) {
    JsonWriter w;
    w.begin_object().field("actor", r.actor);
    nested(w, "detail", r.json);
    w.end_object();
    return w.take();
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
                .sums = Row::Sums{.outcome = r.outcome,
                                  .model = r.model,
                                  .upstream = r.upstream,
                                  .route = r.route,
                                  .usage = r.usage,
                                  .cost_microusd = r.cost_microusd}};
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
};

struct BytesOf {
    std::size_t operator()(const DecisionRecord& r) const {
        return sizeof r + r.decision_json.size() + r.model_asked.size() + r.endpoint.size() +
               r.peer.size() + r.model.size() + r.upstream.size() + r.prompt_digest.size();
    }
    std::size_t operator()(const OutcomeRecord& r) const {
        return sizeof r + r.error.size() + r.repro_json.size() + r.model.size() + r.upstream.size();
    }
    std::size_t operator()(const egress::Receipt& r) const {
        return sizeof r + r.outcome.size() + r.rule.size() + r.destination.host.size();
    }
    std::size_t operator()(const EventRecord& r) const {
        return sizeof r + r.event.size() + r.actor.size() + r.json.size();
    }
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
    return row;
}

std::size_t bytes_of(const Record& record) {
    return std::visit(BytesOf{}, record);
}

}  // namespace hearth::journal
