#include "serve/http_exchange.h"

#include <charconv>

#include "base/format.h"
#include "base/ids.h"
#include "base/suggest.h"
#include "base/utf8.h"
#include "serve/admission.h"
#include "serve/gate.h"
#include "serve/limits.h"

namespace hearth::serve {
namespace {

// JSON in a header: every character outside ASCII as \uXXXX, so that the document survives.
std::string ascii_json(std::string_view json) {
    std::string out;
    for (std::size_t at = 0; at < json.size();) {
        if ((unsigned char)json[at] < 0x80) {
            out += json[at++];
            continue;
        }
        const char32_t c = utf8_next(json, at);
        if (c < 0x10000) {
            out += format("\\u{:04x}", std::uint32_t(c));
        } else {
            const auto v = std::uint32_t(c) - 0x10000;
            out += format("\\u{:04x}\\u{:04x}", 0xd800 + (v >> 10), 0xdc00 + (v & 0x3ff));
        }
    }
    return out;
}

Error bad_header(const char* name, const char* allowed) {
    return {.kind = ErrorKind::invalid_request,
            .message = format("header {} must be {}", name, allowed),
            .param = name};
}

}  // namespace

HttpExchange::HttpExchange(House& house, const chat::Dialect& dialect, net::HttpRequest request,
                           std::shared_ptr<net::Reply> reply)
    : house_(house),
      dialect_(dialect),
      http_(std::move(request)),
      reply_(std::move(reply)),
      request_id_(random_id("req-")),
      received_ns_(house.clock.mono_ns()) {
    placement_.request_id = request_id_;
}

Status HttpExchange::read_headers(chat::ChatRequest& request) const {
    const net::Headers& headers = http_.headers;
    if (const auto text = headers.find("x-hearth-sensitivity")) {
        request.stated_sensitivity = chat::sensitivity_from(*text);
        if (!request.stated_sensitivity)
            return fail(
                bad_header("x-hearth-sensitivity", "public, internal, confidential or restricted"));
    }
    if (const auto text = headers.find("x-hearth-task")) request.task = *text;
    if (const auto text = headers.find("x-hearth-lane")) {
        if (*text != "interactive" && *text != "batch" && *text != "fim")
            return fail(bad_header("x-hearth-lane", "interactive, batch or fim"));
        request.lane = *text;
    }
    if (const auto text = headers.find("x-hearth-max-cost")) {
        std::int64_t cost = -1;
        const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), cost);
        if (error != std::errc() || end != text->data() + text->size() || cost < 0)
            return fail(bad_header("x-hearth-max-cost", "a whole number of micro-dollars"));
        request.cost_microusd_max = cost;
    }
    return {};
}

void HttpExchange::run() {
    auto request = dialect_.read_request(http_.path, http_.body);
    if (!request) return send_error(request.error());
    if (Status status = read_headers(*request); !status) return send_error(status.error());
    const Admitted* who = admitted(http_);
    if (who && !who->caller.scopes.allows_model(request->model))
        return send_error({.kind = ErrorKind::forbidden_by_policy,
                           .message = format("key {} may not ask for the model {}: its models do "
                                             "not name it",
                                             who->caller.key_id, shown_name(request->model)),
                           .param = "model"});
    const std::size_t n_body_bytes = http_.body.size();
    http_.body = {};  // the waist has it; a long answer should not keep it twice
    request_ = std::make_shared<chat::ChatRequest>(std::move(*request));
    head_ = {.id = dialect_.id_prefix + request_id_.substr(request_id_.find('-') + 1),
             .created_s = house_.clock.wall_ns() / kNsPerS,
             .model = request_->model,
             .include_usage = request_->include_usage,
             .system_fingerprint = "hearth-" HEARTH_VERSION};
    Exchange::begin(house_, request_,
                    {.request_id = request_id_,
                     .endpoint = http_.path,
                     .peer = http_.peer,
                     .received_ns = received_ns_,
                     .n_body_bytes = n_body_bytes,
                     .caller = who ? who->caller : local_operator(),
                     .ticket = who ? who->ticket : nullptr},
                    shared_from_this());
}

void HttpExchange::on_placed(const Placement& placement) {
    const std::lock_guard lock(mutex_);
    placement_ = placement;
    head_.model = placement.model.empty() ? request_->model : placement.model;
}

std::string HttpExchange::decision_header() const {
    std::string text = ascii_json(placement_.decision_json);
    if (text.size() <= kDecisionHeaderBytesMax) return text;
    return format(R"({{"too_long_for_a_header":{},"see":"hearth audit tail","request_id":"{}"}})",
                  text.size(), request_id_);
}

net::Headers HttpExchange::response_headers(const char* content_type) const {
    net::Headers headers;
    headers.add("Content-Type", content_type);
    add_common(http_, request_id_, headers);
    if (const Admitted* who = admitted(http_); who && who->ticket)
        who->ticket->add_headers(headers);
    if (!placement_.route.empty()) {
        headers.add("x-hearth-route", placement_.route);
        // Header values are ASCII on the wire; names of models and upstreams may not be.
        if (!placement_.model.empty())
            headers.add("x-hearth-model", printable_ascii(placement_.model));
        headers.add("x-hearth-reason", placement_.reason);
        if (http_.headers.find("x-hearth-explain") == "1")
            headers.add("x-hearth-decision", decision_header());
    }
    return headers;
}

void HttpExchange::send_error(const Error& error) {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    ended_ = true;
    auto response = error_response(http_.path, error);
    net::Headers headers = response_headers("application/json");
    if (const auto wait = response.headers.find("Retry-After"))
        headers.add("Retry-After", std::string(*wait));
    response.headers = std::move(headers);
    reply_->send(std::move(response));
}

void HttpExchange::begin_stream() {
    streaming_ = true;
    state_ = dialect_.new_write_state(*request_, head_);
    net::Headers headers = response_headers("text/event-stream");
    headers.add("Cache-Control", "no-cache");
    headers.add("X-Accel-Buffering", "no");
    reply_->begin(200, std::move(headers));
    last_write_ns_ = house_.clock.mono_ns();
}

void HttpExchange::write(const chat::Event& event) {
    std::string bytes = dialect_.write_event(*state_, event);
    if (bytes.empty()) return;
    reply_->write(std::move(bytes));
    last_write_ns_ = house_.clock.mono_ns();
}

void HttpExchange::answer_whole(const chat::Event& terminal) {
    events_.push_back(terminal);
    net::HttpResponse response;
    response.headers = response_headers("application/json");
    response.body = dialect_.write_response(*request_, head_, events_);
    reply_->send(std::move(response));
    ended_ = true;
}

void HttpExchange::on_event(chat::Event event) {
    std::unique_lock lock(mutex_);
    if (ended_) return;
    if (!request_->stream) {
        if (const auto* failed = std::get_if<chat::Failed>(&event)) {
            lock.unlock();
            return send_error(failed->error);
        }
        if (chat::is_terminal(event)) return answer_whole(event);
        events_.push_back(std::move(event));
        return;
    }
    if (!streaming_) {
        // Nothing has been sent: a failure is still a proper HTTP error.
        if (const auto* failed = std::get_if<chat::Failed>(&event)) {
            lock.unlock();
            return send_error(failed->error);
        }
        // Headers name the place, so they wait until no other place can take over.
        if (std::holds_alternative<chat::Started>(event) && !placement_.final) return;
        begin_stream();
        if (!std::holds_alternative<chat::Started>(event)) write(chat::Started{head_.model});
    }
    write(event);
    if (chat::is_terminal(event)) {
        ended_ = true;
        reply_->end();
    }
}

void HttpExchange::keep_waiting(std::int64_t now_ns) {
    const std::lock_guard lock(mutex_);
    const std::int64_t since_ns = streaming_ ? last_write_ns_ : received_ns_;
    if (ended_ || now_ns - since_ns < kKeepWaitingMs * kNsPerMs) return;
    if (!streaming_) {
        // Headers name the place: they wait until it is known and no other can take over. A refusal
        // is on its way as a proper HTTP error.
        if (placement_.route.empty() || placement_.route == "refused" || !placement_.final) return;
        if (!request_->stream) return;
        begin_stream();
    }
    reply_->write(": waiting\n\n");
    last_write_ns_ = now_ns;
}

}  // namespace hearth::serve
