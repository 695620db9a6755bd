// What an HTTP client sees of an exchange while it waits, and when an answer does not end.
#include "serve/http_exchange.h"

#include <gtest/gtest.h>

#include "base/clock.h"
#include "serve/gate.h"
#include "unit/serve/house.h"

namespace hearth::serve {
namespace {

std::shared_ptr<HttpExchange> begin(TestHouse& h, const std::string& model, bool stream,
                                    const std::shared_ptr<TestReply>& reply) {
    net::HttpRequest request;
    request.method = "POST";
    request.path = "/v1/chat/completions";
    request.body = R"({"model":")" + model + R"(","stream":)" + (stream ? "true" : "false") +
                   R"(,"messages":[{"role":"user","content":"Where to?"}]})";
    auto who = std::make_shared<Admitted>();
    who->open = std::make_unique<OpenRequest>(h.metrics);
    request.held = std::move(who);
    auto exchange = std::make_shared<HttpExchange>(h.house, *chat::find_dialect("openai"),
                                                   std::move(request), reply);
    exchange->run();
    return exchange;
}

TEST(HttpExchange, a_stream_that_waits_for_its_first_word_gets_headers_and_comment_lines) {
    TestHouse h({"big"});
    const auto reply = std::make_shared<TestReply>();
    const auto exchange = begin(h, "acme/big", true, reply);
    h.door.wait();  // it is placed, and nothing has come
    exchange->keep_waiting(kKeepWaitingMs * kNsPerMs - 1);
    EXPECT_EQ(reply->status, 0);
    exchange->keep_waiting(kKeepWaitingMs * kNsPerMs);
    EXPECT_EQ(reply->status, 200);
    EXPECT_EQ(reply->headers.find("x-hearth-model"), "acme/big");
    EXPECT_EQ(reply->text(), ": waiting\n\n");
    const Fd far = h.door.accept();
    send_all(far, kStreamHead);
    send_all(far, text_event("Over"));
    send_all(far, kStreamEnd);
    ASSERT_TRUE(reply->wait());
    const std::string text = reply->text();
    EXPECT_TRUE(text.starts_with(": waiting\n\ndata: ")) << text;
    EXPECT_NE(text.find("Over"), std::string::npos);
    EXPECT_TRUE(text.ends_with("data: [DONE]\n\n")) << text;
    exchange->keep_waiting(10 * kKeepWaitingMs * kNsPerMs);
    EXPECT_EQ(reply->text(), text);
}

// What has gone out long after the model was asked, when it has said nothing.
void expect_nothing_sent(TestHouse& h, const std::string& model, bool stream) {
    const auto reply = std::make_shared<TestReply>();
    const auto exchange = begin(h, model, stream, reply);
    h.door.wait();
    exchange->keep_waiting(10 * kKeepWaitingMs * kNsPerMs);
    EXPECT_EQ(reply->status, 0);
    EXPECT_EQ(reply->text(), "");
}

TEST(HttpExchange, headers_wait_while_another_place_may_take_over) {
    TestHouse h({"big", "bigger"});
    expect_nothing_sent(h, "cloud", true);
}

TEST(HttpExchange, a_whole_answer_gets_no_comment_lines) {
    TestHouse h({"big"});
    expect_nothing_sent(h, "acme/big", false);
}

// The far side speaks until it is cut off, far past the bound.
bool speak_endlessly(const Fd& far) {
    send_all(far, kStreamHead);
    const std::string event = text_event(std::string(60'000, 'x'));
    for (int i = 0; i < 500; ++i) {
        if (!send_all(far, event)) return false;
    }
    return true;
}

TEST(HttpExchange, a_whole_answer_without_an_end_is_cut_and_a_502) {
    TestHouse h({"big"});
    h.house.answer_bytes_max = 100'000;
    const auto reply = std::make_shared<TestReply>();
    const auto exchange = begin(h, "acme/big", false, reply);
    const Fd far = h.door.accept();
    EXPECT_FALSE(speak_endlessly(far)) << "nobody hung up";
    ASSERT_TRUE(reply->wait());
    EXPECT_EQ(reply->sent.status, 502);
    EXPECT_NE(reply->sent.body.find("100000 bytes"), std::string::npos) << reply->sent.body;
    ASSERT_TRUE(h.journal->flush());
    EXPECT_NE(h.metrics.print({}).find("outcome=\"failed\"} 1\n"), std::string::npos);
    EXPECT_GE(h.metrics.output_tokens.load(), 100'000 / 4) << "what came is paid for";
}

TEST(HttpExchange, a_streamed_answer_may_be_longer_than_what_is_kept) {
    TestHouse h({"big"});
    h.house.answer_bytes_max = 100'000;
    const auto reply = std::make_shared<TestReply>();
    const auto exchange = begin(h, "acme/big", true, reply);
    const Fd far = h.door.accept();
    EXPECT_TRUE(speak_endlessly(far));
    send_all(far, kStreamEnd);
    ASSERT_TRUE(reply->wait());
    EXPECT_GT(reply->text().size(), 500u * 60'000u);
}

TEST(HttpExchange, the_queue_figure_is_of_local_answers_only) {
    TestHouse h({"big"});
    const auto reply = std::make_shared<TestReply>();
    const auto exchange = begin(h, "acme/big", false, reply);
    const Fd far = h.door.accept();
    send_all(far, kStreamHead);
    send_all(far, text_event("Over"));
    send_all(far, kStreamEnd);
    ASSERT_TRUE(reply->wait());
    EXPECT_EQ(reply->sent.status, 200);
    const std::string text = h.metrics.print({});
    EXPECT_NE(text.find("hearth_request_duration_seconds_count 1\n"), std::string::npos);
    EXPECT_NE(text.find("hearth_queue_seconds_count 0\n"), std::string::npos) << text;
}

}  // namespace
}  // namespace hearth::serve
