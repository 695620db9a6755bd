// The upstream backend against the double, through a real door: what it answers, how each kind of
// bad upstream ends, and that every job has exactly one end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "backend/limits.h"
#include "base/format.h"
#include "double/rig.h"

namespace hearth::backend {
namespace {

// What a job fails with that ends once; nothing if it does not fail.
std::optional<ErrorKind> refusal(UpstreamBackend& backend,
                                 std::shared_ptr<const chat::ChatRequest> request,
                                 std::unique_ptr<egress::EgressPermit> permit) {
    const auto sink = std::make_shared<Sink>();
    backend.start(job(std::move(request), sink, std::move(permit)));
    const auto end = sink->wait();
    sink->expect_ended_once();
    if (!end || !std::holds_alternative<chat::Failed>(*end)) return std::nullopt;
    return std::get<chat::Failed>(*end).error.kind;
}

TEST(Upstream, an_answer_is_started_deltas_finished) {
    Rig rig("ok");
    const auto sink = rig.start();
    const auto end = sink->wait();
    ASSERT_TRUE(end && std::holds_alternative<chat::Finished>(*end));
    sink->expect_ended_once();
    EXPECT_EQ(sink->text(), "The double answers in plain words.");
    const auto events = sink->events();
    ASSERT_TRUE(std::holds_alternative<chat::Started>(events[0]));
    EXPECT_EQ(std::get<chat::Started>(events[0]).model, "double-1");
    EXPECT_EQ(std::get<chat::Finished>(*end).usage.input_tokens, 7);
    EXPECT_EQ(std::get<chat::Finished>(*end).usage.output_tokens, 6);
    EXPECT_TRUE(rig.backend->health().healthy);
}

TEST(Upstream, the_request_carries_model_key_and_a_stream_wish) {
    Rig rig("ok");
    rig.start()->wait();
    const std::string head = rig.server->last_head(), body = rig.server->last_body();
    EXPECT_TRUE(head.starts_with("POST /ok/v1/chat/completions HTTP/1.1\r\n")) << head;
    EXPECT_NE(head.find("Authorization: Bearer sk-test-key"), std::string::npos);
    EXPECT_NE(head.find(format("Host: 127.0.0.1:{}\r\n", rig.server->port())), std::string::npos);
    EXPECT_NE(body.find(R"("model":"big-1")"), std::string::npos);
    EXPECT_NE(body.find(R"("stream":true)"), std::string::npos);
    EXPECT_NE(body.find("a question"), std::string::npos);
}

// The far side decides again: it must know the class that was found here.
TEST(Upstream, a_server_of_our_own_is_told_the_class_and_a_provider_is_not) {
    const auto head = [](route::Tier tier, chat::Sensitivity sensitivity) {
        Rig rig("ok", false, [&](UpstreamConfig& config) { config.tier = tier; });
        auto request = std::make_shared<chat::ChatRequest>();
        const auto sink = std::make_shared<Sink>();
        Job one = job(request, sink, rig.permit());
        one.sensitivity = sensitivity;
        rig.backend->start(std::move(one));
        sink->wait();
        return rig.server->last_head();
    };
    using chat::Sensitivity;
    EXPECT_THAT(head(route::Tier::fleet, Sensitivity::confidential),
                testing::HasSubstr("\r\nx-hearth-sensitivity: confidential\r\n"));
    EXPECT_THAT(head(route::Tier::fleet, Sensitivity::public_),
                testing::HasSubstr("\r\nx-hearth-sensitivity: public\r\n"));
    EXPECT_THAT(head(route::Tier::cloud, Sensitivity::confidential),
                testing::Not(testing::HasSubstr("hearth-sensitivity")));
}

TEST(Upstream, a_raw_prompt_is_refused_and_nothing_is_asked) {
    Rig rig("ok");
    auto request = std::make_shared<chat::ChatRequest>();
    request->raw = chat::RawPrompt{.text = "Once upon", .ids = {}};
    EXPECT_EQ(refusal(*rig.backend, request, rig.permit()), ErrorKind::invalid_request);
    EXPECT_EQ(rig.server->counts().connections, 0);
}

TEST(Upstream, what_a_failed_answer_used_up_is_said_or_estimated) {
    {  // "Two words": nine bytes are three tokens; the question has ten and a frame of four.
        Rig rig("cut");
        const chat::Usage usage = rig.failed().usage;
        EXPECT_EQ(usage.output_tokens, 3);
        EXPECT_EQ(usage.input_tokens, 3 + 4);
        EXPECT_TRUE(usage.estimated);
    }
    {
        Rig rig("cut-usage");
        const chat::Usage usage = rig.failed().usage;
        EXPECT_EQ(usage.input_tokens, 7);
        EXPECT_EQ(usage.output_tokens, 2);
        EXPECT_FALSE(usage.estimated);
    }
    for (const char* free : {"500", "close", "html", "error-first"}) {
        Rig rig(free);
        const chat::Usage usage = rig.failed().usage;
        EXPECT_EQ(usage.input_tokens + usage.output_tokens, 0) << free;
        EXPECT_FALSE(usage.estimated) << free;
    }
}

TEST(Upstream, an_answer_without_usage_is_estimated) {
    Rig rig("no-usage");
    const auto end = rig.start()->wait();
    ASSERT_TRUE(end && std::holds_alternative<chat::Finished>(*end));
    const chat::Usage& usage = std::get<chat::Finished>(*end).usage;
    EXPECT_EQ(usage.output_tokens, 9);  // "The double answers in plain words." has 34 bytes
    EXPECT_GT(usage.input_tokens, 0);
    EXPECT_TRUE(usage.estimated);
}

TEST(Upstream, no_key_means_no_authorization_header) {
    Rig rig("ok", false, [](UpstreamConfig& c) { c.key = Secret(); });
    rig.start()->wait();
    EXPECT_EQ(rig.server->last_head().find("Authorization"), std::string::npos);
}

TEST(Upstream, a_receipt_accounts_for_the_connection) {
    Rig rig("ok");
    rig.start()->wait();
    ASSERT_TRUE(rig.comes_true([&] {
        const std::lock_guard lock(rig.mutex);
        return !rig.receipts.empty();
    }));
    const std::lock_guard lock(rig.mutex);
    ASSERT_EQ(rig.receipts.size(), 1u);
    EXPECT_EQ(rig.receipts[0].request_id, "req-7");
    EXPECT_EQ(rig.receipts[0].rule, "upstream acme");
    EXPECT_GT(rig.receipts[0].bytes_out, std::int64_t(rig.server->last_body().size()));
    EXPECT_EQ(rig.receipts[0].wire_bytes_out, rig.receipts[0].bytes_out);
}

TEST(Upstream, tls_works_end_to_end) {
    Rig rig("ok", true);
    const auto sink = rig.start();
    const auto end = sink->wait();
    ASSERT_TRUE(end && std::holds_alternative<chat::Finished>(*end));
    EXPECT_EQ(sink->text(), "The double answers in plain words.");
}

TEST(Upstream, tool_calls_arrive) {
    Rig rig("tool");
    const auto sink = rig.start();
    const auto end = sink->wait();
    ASSERT_TRUE(end && std::holds_alternative<chat::Finished>(*end));
    std::string name, arguments;
    for (const Event& event : sink->events()) {
        if (const auto* start = std::get_if<chat::ToolCallStart>(&event)) name = start->name;
        if (const auto* delta = std::get_if<chat::ToolCallDelta>(&event))
            arguments += delta->arguments;
    }
    EXPECT_EQ(name, "lookup");
    EXPECT_EQ(arguments, R"({"city":"Paris"})");
}

TEST(Upstream, an_answer_without_the_last_line_is_complete) {
    Rig rig("no-done");
    const auto sink = rig.start();
    const auto end = sink->wait();
    ASSERT_TRUE(end && std::holds_alternative<chat::Finished>(*end));
    EXPECT_EQ(sink->text(), "The double answers in plain words.");
}

// ---- bad upstreams

struct Bad {
    const char* behaviour;
    ErrorKind kind;
    const char* word;
};

TEST(Upstream, each_kind_of_bad_answer_fails_once_with_a_clear_message) {
    const Bad table[] = {
        {"cut", ErrorKind::upstream_failed, "acme"},
        {"cut-clean", ErrorKind::upstream_failed, "acme"},
        {"garbage", ErrorKind::upstream_failed, "answered badly"},
        {"garbage-sse", ErrorKind::upstream_failed, "acme"},
        {"huge-header", ErrorKind::upstream_failed, "answered badly"},
        {"huge-event", ErrorKind::upstream_failed, "acme"},
        {"html", ErrorKind::upstream_failed, "text/html"},
        {"close", ErrorKind::upstream_failed, "before it answered"},
        {"redirect", ErrorKind::upstream_failed, "302"},
        {"error-event", ErrorKind::upstream_failed, "fell over"},
        {"error-first", ErrorKind::upstream_failed, "fell over"},
        {"400", ErrorKind::invalid_request, "400"},
        {"401", ErrorKind::upstream_failed, "key"},
        {"404", ErrorKind::upstream_failed, "404"},
        {"429", ErrorKind::overloaded, "429"},
        {"500", ErrorKind::upstream_failed, "500"},
        {"503", ErrorKind::overloaded, "503"},
    };
    for (const Bad& row : table) {
        SCOPED_TRACE(row.behaviour);
        Rig rig(row.behaviour);
        const Error error = rig.failure();
        EXPECT_EQ(name_of(error.kind), std::string(name_of(row.kind))) << error.message;
        EXPECT_NE(error.message.find(row.word), std::string::npos) << error.message;
        EXPECT_NE(error.message.find("acme"), std::string::npos) << error.message;
        EXPECT_EQ(error.message.find("sk-test-key"), std::string::npos);
        EXPECT_EQ(error.retry_after_s, std::string(row.behaviour) == "429" ? 7 : 0);
    }
}

TEST(Upstream, what_came_before_a_cut_is_delivered) {
    Rig rig("cut");
    const auto sink = rig.start();
    sink->wait();
    EXPECT_EQ(sink->text(), "Two words");
    sink->expect_ended_once();
}

TEST(Upstream, silence_before_the_head_is_a_timeout) {
    Rig rig("never", false, [](UpstreamConfig& c) { c.head_timeout_ms = 200; });
    EXPECT_EQ(rig.failure().kind, ErrorKind::timeout);
    EXPECT_TRUE(rig.comes_true([&] { return rig.server->counts().open == 0; }));
}

TEST(Upstream, silence_in_the_stream_is_a_timeout) {
    Rig rig("stall", false, [](UpstreamConfig& c) { c.idle_timeout_ms = 200; });
    const auto sink = rig.start();
    const auto end = sink->wait();
    ASSERT_TRUE(end && std::holds_alternative<chat::Failed>(*end));
    EXPECT_EQ(std::get<chat::Failed>(*end).error.kind, ErrorKind::timeout);
    EXPECT_EQ(sink->text(), "Two words");
    EXPECT_TRUE(rig.comes_true([&] { return rig.server->counts().open == 0; }));
}

TEST(Upstream, a_bad_request_leaves_it_healthy) {
    Rig rig("400");
    for (int i = 0; i < 2 * kFailuresToOpen; ++i) rig.failure();
    EXPECT_TRUE(rig.backend->health().healthy);
}

// ---- cancel and backpressure

TEST(Upstream, cancelling_a_stream_closes_the_connection) {
    Rig rig("slow");
    const auto sink = rig.start();
    ASSERT_TRUE(sink->wait_events(3));
    sink->cancelled_ = true;
    const auto end = sink->wait();
    ASSERT_TRUE(end && std::holds_alternative<chat::Failed>(*end));
    EXPECT_EQ(std::get<chat::Failed>(*end).error.kind, ErrorKind::cancelled);
    EXPECT_TRUE(rig.comes_true([&] { return rig.server->counts().aborted == 1; }));
    sink->expect_ended_once();
    EXPECT_TRUE(rig.backend->health().healthy);
}

TEST(Upstream, cancelling_a_silent_upstream_needs_no_byte_from_it) {
    for (const char* behaviour : {"never", "stall"}) {
        Rig rig(behaviour);
        const auto sink = rig.start();
        ASSERT_TRUE(rig.comes_true([&] { return rig.server->counts().requests == 1; }));
        sink->cancelled_ = true;
        const auto end = sink->wait();
        ASSERT_TRUE(end && std::holds_alternative<chat::Failed>(*end)) << behaviour;
        EXPECT_TRUE(rig.comes_true([&] { return rig.server->counts().open == 0; })) << behaviour;
    }
}

TEST(Upstream, cancelled_before_it_starts_it_asks_nobody) {
    Rig rig("ok");
    EXPECT_EQ(rig.failure([](Sink& sink) { sink.cancelled_ = true; }).kind, ErrorKind::cancelled);
    std::this_thread::sleep_for(20ms);
    EXPECT_EQ(rig.server->counts().connections, 0);
}

TEST(Upstream, a_slow_reader_pauses_the_upstream) {
    Rig rig("flood");
    const auto sink = rig.start([](Sink& s) {
        s.ready_ = false;
        s.keep_events_ = false;
    });
    // The first bytes are read before anybody looks at the reader; they may hold a single event.
    ASSERT_TRUE(sink->wait_events(1));
    // Paused means that the count stands still while 64 MiB wait; a batch may still be on its way.
    std::int64_t before = -1;
    EXPECT_TRUE(rig.comes_true([&] {
        const std::int64_t now = sink->n_events();
        std::this_thread::sleep_for(100ms);
        return std::exchange(before, now) == now;
    }));
    EXPECT_LT(sink->text().size(), 1u << 20);
    sink->ready_ = true;
    const auto end = sink->wait();
    ASSERT_TRUE(end && std::holds_alternative<chat::Finished>(*end));
    EXPECT_GE(sink->text().size(), std::size_t(60u << 20));
}

// ---- permits

TEST(Upstream, without_a_permit_nothing_is_asked) {
    Rig rig("ok");
    EXPECT_EQ(refusal(*rig.backend, std::make_shared<chat::ChatRequest>(), nullptr),
              ErrorKind::internal);
    EXPECT_EQ(rig.server->counts().connections, 0);
}

TEST(Upstream, a_permit_for_another_place_is_not_used) {
    Rig rig("ok"), other("ok");
    EXPECT_EQ(refusal(*rig.backend, std::make_shared<chat::ChatRequest>(), other.permit()),
              ErrorKind::internal);
    EXPECT_EQ(rig.server->counts().connections, 0);
    EXPECT_EQ(other.server->counts().connections, 0);
}

TEST(Upstream, a_place_off_the_allow_list_is_refused_by_the_broker) {
    Rig rig("ok");
    const auto door = egress::Door::open({}, [](egress::Receipt) {});
    ASSERT_TRUE(door);
    const auto backend = UpstreamBackend::open(rig.config, **door);
    EXPECT_EQ(refusal(*backend, std::make_shared<chat::ChatRequest>(), rig.permit()),
              ErrorKind::forbidden_by_policy);
    EXPECT_EQ(rig.server->counts().connections, 0);
}

}  // namespace
}  // namespace hearth::backend
