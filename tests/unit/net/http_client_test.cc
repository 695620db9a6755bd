// The client against scripted peers on a socket pair.
#include "net/http_client.h"

#include <unistd.h>

#include <thread>

#include "unit/net/wire.h"

namespace hearth::net::test {
namespace {

// Collects what the callbacks say.
struct Heard {
    Signal head, body, done;
    int status = 0;
    Headers headers;
    std::string text;
    Status result;

    ClientCallbacks callbacks() {
        return {.on_head =
                    [this](int s, const Headers& h) {
                        status = s;
                        headers = h;
                        head.set();
                    },
                .on_body =
                    [this](std::string_view bytes) {
                        text += bytes;
                        body.set();
                    },
                .on_done =
                    [this](Status s) {
                        result = std::move(s);
                        done.set();
                    }};
    }
};

ClientRequest post(std::string body) {
    ClientRequest request;
    request.host = "example.test";
    request.target = "/v1/x";
    request.headers.add("Content-Type", "application/json");
    request.body = std::move(body);
    return request;
}

TEST(HttpClient, sends_a_request_and_hears_the_answer) {
    auto [ours, theirs] = socket_pair();
    Peer upstream(std::move(theirs));
    Heard heard;
    const auto loop = ClientLoop::start();
    const auto exchange = loop->run(std::move(ours), post("{}"), heard.callbacks());
    EXPECT_EQ(upstream.read_until("{}"),
              "POST /v1/x HTTP/1.1\r\nHost: example.test\r\nContent-Type: application/json\r\n"
              "Connection: close\r\nContent-Length: 2\r\n\r\n{}");
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Y: z\r\n\r\nhello");
    ASSERT_TRUE(heard.done.wait());
    EXPECT_TRUE(heard.result) << heard.result.error().message;
    EXPECT_EQ(heard.status, 200);
    EXPECT_EQ(heard.headers.find("x-y"), "z");
    EXPECT_EQ(heard.text, "hello");
}

// One exchange against a peer that sends these pieces and then, perhaps, closes.
struct Call {
    explicit Call(ClientRequest request = post("{}")) {
        auto [ours, theirs] = socket_pair();
        upstream = std::make_unique<Peer>(std::move(theirs));
        exchange = loop->run(std::move(ours), std::move(request), heard.callbacks());
    }
    ErrorKind failure() {
        EXPECT_TRUE(heard.done.wait());
        EXPECT_FALSE(heard.result);
        return heard.result ? ErrorKind::internal : heard.result.error().kind;
    }
    bool success() {
        EXPECT_TRUE(heard.done.wait());
        EXPECT_TRUE(heard.result) << heard.result.error().message;
        return bool(heard.result);
    }
    Heard heard;
    std::unique_ptr<ClientLoop> loop = ClientLoop::start();
    std::unique_ptr<Peer> upstream;
    std::shared_ptr<ClientExchange> exchange;
};

constexpr std::string_view kChunked =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";

TEST(HttpClient, hears_the_same_whatever_the_pieces) {
    for (const std::string_view bytes :
         {kChunked, std::string_view("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world"),
          std::string_view("HTTP/1.0 200 OK\r\n\r\nhello world")}) {
        for (std::size_t split = 1; split < bytes.size(); ++split) {
            Call run;
            run.upstream->send(bytes.substr(0, split));
            if (split > bytes.find("\r\n\r\n") + 4) {
                ASSERT_TRUE(run.heard.head.wait());
            }
            run.upstream->send(bytes.substr(split));
            run.upstream->half_close();
            ASSERT_TRUE(run.success()) << split;
            EXPECT_EQ(run.heard.text, "hello world") << split;
            EXPECT_EQ(run.heard.head.count(), 1);
            EXPECT_EQ(run.heard.done.count(), 1);
        }
    }
}

TEST(HttpClient, an_answer_cut_anywhere_is_a_failure) {
    for (const std::string_view bytes :
         {kChunked, std::string_view("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world")}) {
        for (std::size_t n = 0; n < bytes.size(); ++n) {
            Call run;
            run.upstream->send(bytes.substr(0, n));
            run.upstream->half_close();
            EXPECT_EQ(run.failure(), ErrorKind::upstream_failed) << n;
            EXPECT_NE(run.heard.result.error().message.find("example.test"), std::string::npos);
        }
    }
}

TEST(HttpClient, a_peer_that_closes_at_once_is_a_failure) {
    auto [ours, theirs] = socket_pair();
    theirs.reset();
    Heard heard;
    const auto loop = ClientLoop::start();
    loop->run(std::move(ours), post(std::string(1 << 20, 'x')), heard.callbacks());
    ASSERT_TRUE(heard.done.wait());
    ASSERT_FALSE(heard.result);
    EXPECT_EQ(heard.result.error().kind, ErrorKind::upstream_failed);
    EXPECT_EQ(heard.head.count(), 0);
}

TEST(HttpClient, garbage_is_a_failure_at_once) {
    for (const std::string& bytes :
         {std::string("SSH-2.0-x\r\n"), std::string("\x15\x03\x01", 3),
          std::string("HTTP/1.1 2\r\n"), std::string("HTTP/1.1 200 OK\r\nX: a\nY: b\r\n"),
          std::string("HTTP/1.1 101 Switching Protocols\r\n\r\n"),
          std::string("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"),
          std::string("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")}) {
        Call run;
        run.upstream->send(bytes);  // and stays
        EXPECT_EQ(run.failure(), ErrorKind::upstream_failed) << bytes;
        // The connection is given up.
        run.upstream->read_all();
        EXPECT_TRUE(run.upstream->at_end());
    }
}

TEST(HttpClient, bounds_the_head_of_an_answer) {
    Call run;
    run.upstream->send("HTTP/1.1 200 OK\r\nX: " + std::string(kUpstreamHeaderBytesMax, 'x'));
    EXPECT_EQ(run.failure(), ErrorKind::upstream_failed);
    Call fields;
    std::string many = "HTTP/1.1 200 OK\r\n";
    for (std::size_t i = 0; i <= kHeaderFieldsMax; ++i) many += "X: y\r\n";
    fields.upstream->send(many + "\r\n");
    EXPECT_EQ(fields.failure(), ErrorKind::upstream_failed);
}

TEST(HttpClient, interim_answers_are_skipped_but_not_for_ever) {
    Call run;
    run.upstream->send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n");
    run.upstream->send("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno");
    EXPECT_TRUE(run.success());
    EXPECT_EQ(run.heard.status, 404);
    EXPECT_FALSE(run.heard.headers.find("x"));
    EXPECT_EQ(run.heard.head.count(), 1);
    Call endless;
    std::string many;
    for (int i = 0; i <= kInterimResponsesMax; ++i) many += "HTTP/1.1 100 Continue\r\n\r\n";
    endless.upstream->send(many);
    EXPECT_EQ(endless.failure(), ErrorKind::upstream_failed);
}

TEST(HttpClient, an_early_answer_counts_even_if_the_request_was_not_read) {
    // 16 MiB that the peer never reads: it answers and closes.
    Call run(post(std::string(16 << 20, 'x')));
    run.upstream->read_until("\r\n\r\n");
    run.upstream->send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig");
    EXPECT_TRUE(run.success());
    EXPECT_EQ(run.heard.status, 413);
    EXPECT_EQ(run.heard.text, "big");
}

TEST(HttpClient, a_large_request_goes_out_whole) {
    const std::string body(8 << 20, 'y');
    Call run(post(body));
    EXPECT_NE(run.upstream->read_until("\r\n\r\n").find("Content-Length: 8388608\r\n"),
              std::string::npos);
    EXPECT_EQ(run.upstream->read(body.size()), body);
    run.upstream->send("HTTP/1.1 204 No Content\r\n\r\n");
    EXPECT_TRUE(run.success());
}

TEST(HttpClient, a_get_has_no_body_and_head_expects_none) {
    ClientRequest get{.method = "GET", .host = "h:1", .target = "/x?y"};
    Call run(get);
    EXPECT_EQ(run.upstream->read_until("\r\n\r\n"),
              "GET /x?y HTTP/1.1\r\nHost: h:1\r\nConnection: close\r\n\r\n");
    run.upstream->send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    EXPECT_TRUE(run.success());
    Call head(ClientRequest{.method = "HEAD", .host = "h", .target = "/"});
    head.upstream->send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
    EXPECT_TRUE(head.success());
}

TEST(HttpClient, sends_nothing_that_could_be_read_as_two_requests) {
    ClientRequest bad_value = post("");
    bad_value.headers.add("Authorization", "Bearer key\r\nX: y");
    ClientRequest bad_name = post("");
    bad_name.headers.add("X\r\nY", "z");
    ClientRequest bad_target = post("");
    bad_target.target = "/a b";
    ClientRequest bad_host = post("");
    bad_host.host = "a\r\nX: y";
    ClientRequest bad_method = post("");
    bad_method.method = "GET /";
    for (const ClientRequest& request : {bad_value, bad_name, bad_target, bad_host, bad_method}) {
        Call run(request);
        EXPECT_EQ(run.failure(), ErrorKind::invalid_request);
        EXPECT_EQ(run.heard.result.error().message.find("key"), std::string::npos);
        EXPECT_EQ(run.upstream->read_all(), "");
    }
}

TEST(HttpClient, gives_up_on_a_peer_that_does_not_answer) {
    ClientRequest request = post("{}");
    request.head_timeout_ms = 50;
    Call run(request);
    EXPECT_EQ(run.failure(), ErrorKind::timeout);
    Call interim(request);
    interim.upstream->send("HTTP/1.1 100 Continue\r\n\r\n");
    EXPECT_EQ(interim.failure(), ErrorKind::timeout);
}

TEST(HttpClient, gives_up_on_a_peer_that_falls_silent) {
    ClientRequest request = post("{}");
    request.head_timeout_ms = 50;
    request.idle_timeout_ms = 50;
    Call run(request);
    run.upstream->send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    EXPECT_EQ(run.failure(), ErrorKind::timeout);
    EXPECT_EQ(run.heard.text, "hello");
}

TEST(HttpClient, cancel_ends_it_once) {
    Call run;
    run.upstream->send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    ASSERT_TRUE(run.heard.body.wait());
    run.exchange->cancel();
    run.exchange->cancel();
    EXPECT_EQ(run.failure(), ErrorKind::cancelled);
    run.upstream->read_all();
    EXPECT_TRUE(run.upstream->at_end());
    run.exchange->pause(true);
    run.loop.reset();
    run.exchange->cancel();
    EXPECT_EQ(run.heard.done.count(), 1);
}

TEST(HttpClient, cancel_from_a_callback_and_at_once) {
    auto [ours, theirs] = socket_pair();
    Heard heard;
    const auto loop = ClientLoop::start();
    const auto exchange = loop->run(std::move(ours), post("{}"), heard.callbacks());
    exchange->cancel();
    ASSERT_TRUE(heard.done.wait());
    ASSERT_FALSE(heard.result);
    EXPECT_EQ(heard.result.error().kind, ErrorKind::cancelled);
}

TEST(HttpClient, a_paused_exchange_makes_the_sender_wait) {
    ClientRequest request = post("{}");
    request.idle_timeout_ms = 200;  // does not run while paused
    Call run(request);
    run.upstream->send("HTTP/1.1 200 OK\r\n\r\nfirst");
    ASSERT_TRUE(run.heard.body.wait());
    run.exchange->pause(true);
    constexpr std::size_t kBytes = 8 << 20;
    Signal sent;
    std::thread sender([&] {
        run.upstream->send(std::string(kBytes, 'x'));
        sent.set();
        run.upstream->half_close();
    });
    // Another exchange runs into its own timeout meanwhile; by then a sender that is not held back
    // would long be done, and so would an idle clock that runs.
    ClientRequest other = post("{}");
    other.head_timeout_ms = 400;
    Heard heard;
    auto [ours, theirs] = socket_pair();
    run.loop->run(std::move(ours), other, heard.callbacks());
    ASSERT_TRUE(heard.done.wait());
    EXPECT_EQ(sent.count(), 0);
    EXPECT_EQ(run.heard.done.count(), 0);
    run.exchange->pause(false);
    EXPECT_TRUE(run.success());
    EXPECT_EQ(run.heard.text.size(), 5 + kBytes);
    sender.join();
}

TEST(HttpClient, a_paused_exchange_can_be_cancelled) {
    Call run;
    run.upstream->send("HTTP/1.1 200 OK\r\n\r\nfirst");
    ASSERT_TRUE(run.heard.body.wait());
    run.exchange->pause(true);
    run.exchange->cancel();
    EXPECT_EQ(run.failure(), ErrorKind::cancelled);
}

TEST(HttpClient, the_end_of_the_loop_cancels_what_runs) {
    Call run;
    run.loop.reset();
    EXPECT_EQ(run.failure(), ErrorKind::cancelled);
    EXPECT_EQ(run.heard.done.count(), 1);
}

TEST(HttpClient, many_exchanges_share_one_thread) {
    constexpr std::size_t kExchanges = 100;
    const auto loop = ClientLoop::start();
    std::vector<Peer> peers;
    std::vector<Heard> heard(kExchanges);
    for (std::size_t i = 0; i < kExchanges; ++i) {
        auto [ours, theirs] = socket_pair();
        peers.emplace_back(std::move(theirs));
        loop->run(std::move(ours), post("{}"), heard[i].callbacks());
    }
    for (std::size_t i = 0; i < kExchanges; ++i) {
        const std::string body = "answer " + std::to_string(i);
        peers[i].send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) +
                      "\r\n\r\n" + body);
    }
    for (std::size_t i = 0; i < kExchanges; ++i) {
        ASSERT_TRUE(heard[i].done.wait());
        EXPECT_EQ(heard[i].text, "answer " + std::to_string(i));
    }
}

TEST(HttpClient, speaks_with_our_own_server) {
    TestServer s([](HttpRequest request, std::shared_ptr<Reply> reply) {
        reply->begin(200, {});
        for (const char c : request.body) reply->write({c});
        reply->end();
    });
    Heard heard;
    const auto loop = ClientLoop::start();
    Peer peer = s.connect();
    loop->run(Fd(::dup(peer.fd())), post("echoed in pieces"), heard.callbacks());
    ASSERT_TRUE(heard.done.wait());
    EXPECT_TRUE(heard.result);
    EXPECT_EQ(heard.text, "echoed in pieces");
}

}  // namespace
}  // namespace hearth::net::test
