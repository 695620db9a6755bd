// The server over real sockets: answers, streams, order, departures, ends.
#include "net/http_server.h"

#include <atomic>
#include <stdexcept>
#include <thread>

#include "base/format.h"
#include "support/data.h"
#include "unit/net/malformed.h"
#include "unit/net/wire.h"

namespace hearth::net::test {
namespace {

constexpr std::string_view kGet = "GET /a?b=c HTTP/1.1\r\nHost: localhost\r\n\r\n";

TEST(HttpServer, answers_and_keeps_the_connection) {
    TestServer s(echo);
    Peer peer = s.connect();
    for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(peer.send(kGet));
        const RawResponse r = peer.response();
        EXPECT_EQ(r.status, 200);
        EXPECT_EQ(r.body, "GET /a ?b=c []");
        EXPECT_TRUE(r.fields.contains("date"));
        EXPECT_FALSE(r.fields.contains("connection"));
    }
    EXPECT_EQ(s.server->n_connections(), 1);
}

TEST(HttpServer, streams_chunks_as_they_are_written) {
    std::shared_ptr<Reply> held;
    Signal ready;
    TestServer s([&](HttpRequest, std::shared_ptr<Reply> reply) {
        Headers headers;
        headers.add("Content-Type", "text/event-stream");
        reply->begin(200, std::move(headers));
        held = std::move(reply);
        ready.set();
    });
    Peer peer = s.connect();
    peer.send(kGet);
    ASSERT_TRUE(ready.wait());
    EXPECT_NE(peer.read_until("\r\n\r\n").find("Transfer-Encoding: chunked"), std::string::npos);
    held->write("hello ");
    EXPECT_EQ(peer.read_until("hello \r\n"), "6\r\nhello \r\n");
    held->write("");
    held->write("world");
    EXPECT_EQ(peer.read_until("world\r\n"), "5\r\nworld\r\n");
    held->end();
    EXPECT_EQ(peer.read(5), "0\r\n\r\n");
    held.reset();
    peer.send(kGet);
    ASSERT_TRUE(ready.wait(2));
    held->end();
    EXPECT_TRUE(peer.response().complete);
}

TEST(HttpServer, tells_the_handler_once_when_the_client_leaves_a_stream) {
    std::shared_ptr<Reply> held;
    Signal begun, gone;
    TestServer s([&](HttpRequest, std::shared_ptr<Reply> reply) {
        reply->begin(200, {});
        reply->write("x");
        reply->on_peer_gone([&] { gone.set(); });
        held = std::move(reply);
        begun.set();
    });
    Peer peer = s.connect();
    peer.send(kGet);
    ASSERT_TRUE(begun.wait());
    peer.read_until("x\r\n");
    EXPECT_FALSE(held->peer_gone());
    peer.close();
    ASSERT_TRUE(gone.wait());
    EXPECT_TRUE(held->peer_gone());
    held->write("into the void");
    held->end();
    EXPECT_TRUE(eventually([&] { return s.server->n_connections() == 0; }));
    EXPECT_EQ(gone.count(), 1);
    // Who asks late hears it too.
    held->on_peer_gone([&] { gone.set(); });
    EXPECT_TRUE(gone.wait(2));
}

TEST(HttpServer, answers_pipelined_requests_in_order) {
    // Replies are given in the reverse order of what would be natural: late, from other threads.
    std::vector<std::thread> threads;
    TestServer s([&](HttpRequest request, std::shared_ptr<Reply> reply) {
        threads.emplace_back([request = std::move(request), reply = std::move(reply)] {
            reply->send(text(200, request.path));
        });
    });
    Peer peer = s.connect();
    constexpr int kRequests = 50;
    std::string all;
    for (int i = 0; i < kRequests; ++i) all += format("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", i);
    peer.send(all);
    for (int i = 0; i < kRequests; ++i) EXPECT_EQ(peer.response().body, format("/{}", i));
    for (auto& t : threads) t.join();
}

TEST(HttpServer, pipelined_bodies_do_not_run_into_each_other) {
    TestServer s(echo);
    Peer peer = s.connect();
    peer.send(
        "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
        "POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        "3\r\nabc\r\n0\r\n\r\n"
        "\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_EQ(peer.response().body, "POST /1 ? [hello]");
    EXPECT_EQ(peer.response().body, "POST /2 ? [abc]");
    EXPECT_EQ(peer.response().body, "GET /3 ? []");
}

TEST(HttpServer, reads_the_same_when_a_pair_of_requests_is_split_at_any_byte) {
    TestServer s(echo);
    const std::string bytes =
        "POST /1?x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        "5\r\nhello\r\n0\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
    for (std::size_t split = 1; split < bytes.size(); ++split) {
        Peer peer = s.connect();
        ASSERT_TRUE(peer.send(std::string_view(bytes).substr(0, split)));
        // The first answer has come before the rest leaves, where the split allows it.
        const bool first_is_whole = bytes.compare(0, split, bytes, 0, bytes.find("GET")) >= 0;
        RawResponse first;
        if (first_is_whole) first = peer.response();
        ASSERT_TRUE(peer.send(std::string_view(bytes).substr(split)));
        if (!first_is_whole) first = peer.response();
        ASSERT_EQ(first.body, "POST /1 ?x [hello]") << split;
        ASSERT_EQ(peer.response().body, "GET /2 ? []") << split;
    }
}

TEST(HttpServer, reads_requests_that_come_byte_by_byte) {
    TestServer s(echo);
    Peer peer = s.connect();
    const std::string bytes = "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    for (const char c : bytes) peer.send({&c, 1});
    EXPECT_EQ(peer.response().body, "POST /1 ? [abc]");
}

TEST(HttpServer, refuses_malformed_requests_and_reads_nothing_after_them) {
    std::atomic<int> n_smuggled = 0;
    TestServer s([&](HttpRequest request, std::shared_ptr<Reply> reply) {
        if (request.path == "/smuggled") ++n_smuggled;
        echo(std::move(request), std::move(reply));
    });
    for (const RequestCase& c : request_cases()) {
        Peer peer = s.connect();
        const std::string after = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        if (c.status == 200) {
            peer.send(c.bytes);
            EXPECT_EQ(peer.response().status, 200) << c.name;
            continue;
        }
        peer.send(c.bytes + after);
        const RawResponse r = peer.response();
        EXPECT_EQ(r.status, c.status) << c.name;
        EXPECT_EQ(r.fields.at("connection"), "close") << c.name;
        EXPECT_FALSE(r.body.empty()) << c.name;
        peer.half_close();
        EXPECT_TRUE(peer.at_end()) << c.name;
        EXPECT_FALSE(peer.was_reset()) << c.name;
    }
    EXPECT_EQ(n_smuggled, 0);
}

TEST(HttpServer, the_owner_writes_the_body_of_protocol_errors) {
    Handlers handlers;
    handlers.on_request = echo;
    handlers.on_protocol_error = [](int status, std::string_view message) {
        return text(status, format("{{{}: {}}}", status, message));
    };
    TestServer s(std::move(handlers), {});
    Peer peer = s.connect();
    peer.send("\x16\x03\x01");
    const RawResponse r = peer.response();
    EXPECT_EQ(r.status, 400);
    EXPECT_TRUE(r.body.starts_with("{400: ")) << r.body;
    EXPECT_NE(r.body.find("TLS"), std::string::npos) << r.body;
}

TEST(HttpServer, hands_over_target_path_query_and_peer) {
    HttpRequest seen;
    TestServer s([&](HttpRequest request, std::shared_ptr<Reply> reply) {
        seen = std::move(request);
        reply->send(text(200, ""));
    });
    Peer peer = s.connect();
    peer.send("GET /v1/models/a%2Fb%20c?x=%2F HTTP/1.1\r\nHost: a\r\nX-Y: z\r\n\r\n");
    EXPECT_EQ(peer.response().fields.at("content-length"), "0");
    EXPECT_EQ(seen.target, "/v1/models/a%2Fb%20c?x=%2F");
    EXPECT_EQ(seen.path, "/v1/models/a/b c");
    EXPECT_EQ(seen.query, "x=%2F");
    EXPECT_EQ(seen.headers.find("x-y"), "z");
    EXPECT_TRUE(seen.peer.starts_with("127.0.0.1:")) << seen.peer;
    EXPECT_FALSE(seen.from_unix_socket);
}

TEST(HttpServer, head_gets_the_head_alone) {
    TestServer s([](HttpRequest request, std::shared_ptr<Reply> reply) {
        if (request.path == "/stream") {
            reply->begin(200, {});
            reply->write("data");
            reply->end();
        } else {
            reply->send(text(200, "hello"));
        }
    });
    Peer peer = s.connect();
    peer.send("HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\nHEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    peer.send(kGet);
    EXPECT_EQ(peer.response(true).fields.at("transfer-encoding"), "chunked");
    EXPECT_EQ(peer.response(true).fields.at("content-length"), "5");
    EXPECT_EQ(peer.response().body, "hello");
}

TEST(HttpServer, statuses_without_a_body_have_none) {
    TestServer s([](HttpRequest request, std::shared_ptr<Reply> reply) {
        reply->send(text(request.path == "/204" ? 204 : 304, "ignored"));
    });
    Peer peer = s.connect();
    peer.send("GET /204 HTTP/1.1\r\nHost: a\r\n\r\nGET /304 HTTP/1.1\r\nHost: a\r\n\r\n");
    for (const int status : {204, 304}) {
        const RawResponse r = peer.response();
        EXPECT_EQ(r.status, status);
        EXPECT_FALSE(r.fields.contains("content-length"));
        EXPECT_FALSE(r.fields.contains("transfer-encoding"));
    }
}

TEST(HttpServer, speaks_http_1_0) {
    TestServer s([](HttpRequest request, std::shared_ptr<Reply> reply) {
        if (request.path != "/stream") return echo(std::move(request), std::move(reply));
        reply->begin(200, {});
        reply->write("one ");
        reply->write("two");
        reply->end();
    });
    Peer peer = s.connect();
    peer.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    EXPECT_EQ(peer.response().fields.at("connection"), "keep-alive");
    peer.send("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    const RawResponse r = peer.response();
    EXPECT_FALSE(r.fields.contains("transfer-encoding"));
    EXPECT_EQ(r.fields.at("connection"), "close");
    EXPECT_EQ(r.body, "one two");
    Peer other = s.connect();
    other.send("GET /b HTTP/1.0\r\n\r\n");
    EXPECT_EQ(other.response().fields.at("connection"), "close");
    EXPECT_TRUE(other.at_end());
}

TEST(HttpServer, closes_when_the_client_asks) {
    TestServer s(echo);
    Peer peer = s.connect();
    peer.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    EXPECT_EQ(peer.response().fields.at("connection"), "close");
    EXPECT_TRUE(peer.at_end());
    peer.close();
    EXPECT_TRUE(eventually([&] { return s.server->n_connections() == 0; }));
}

TEST(HttpServer, asks_for_the_body_that_waits_for_it) {
    TestServer s(echo);
    Peer peer = s.connect();
    peer.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    EXPECT_EQ(peer.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    peer.send("abc");
    EXPECT_EQ(peer.response().body, "POST / ? [abc]");
}

Handlers refuser(int status) {
    Handlers handlers;
    handlers.on_head = [status](const HttpRequest& head) -> std::optional<HttpResponse> {
        EXPECT_TRUE(head.body.empty());
        if (head.path == "/open") return std::nullopt;
        return text(status, "no");
    };
    handlers.on_request = echo;
    return handlers;
}

TEST(HttpServer, refuses_from_the_head_without_asking_for_the_body) {
    TestServer s(refuser(401), {});
    Peer peer = s.connect();
    peer.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    const RawResponse r = peer.response();
    EXPECT_EQ(r.status, 401);
    EXPECT_EQ(r.fields.at("connection"), "close");
    EXPECT_TRUE(peer.at_end());
}

TEST(HttpServer, a_client_that_sends_its_whole_body_first_still_sees_the_refusal) {
    TestServer s(refuser(429), {});
    for (const std::size_t n : {std::size_t(1), std::size_t(8) << 20}) {
        Peer peer = s.connect();
        peer.send(format("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", n));
        EXPECT_TRUE(peer.send(std::string(n, 'x')));
        EXPECT_EQ(peer.response().status, 429);
        EXPECT_TRUE(peer.at_end());
        EXPECT_FALSE(peer.was_reset());
    }
}

TEST(HttpServer, a_refusal_without_a_body_keeps_the_connection) {
    TestServer s(refuser(404), {});
    Peer peer = s.connect();
    std::string all;
    for (int i = 0; i < 2000; ++i) all += "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
    std::thread writer([&] {
        peer.send(all);
        peer.send("GET /open HTTP/1.1\r\nHost: a\r\n\r\n");
    });
    for (int i = 0; i < 2000; ++i) ASSERT_EQ(peer.response().status, 404);
    EXPECT_EQ(peer.response().status, 200);
    writer.join();
}

TEST(HttpServer, an_aborted_stream_looks_cut) {
    TestServer s([](HttpRequest, std::shared_ptr<Reply> reply) {
        reply->begin(200, {});
        reply->write("half");
        reply->on_peer_gone([] { ADD_FAILURE() << "it was we who left"; });
        reply->abort();
    });
    Peer peer = s.connect();
    peer.send(kGet);
    EXPECT_FALSE(peer.response().complete);
    EXPECT_TRUE(peer.at_end());
    EXPECT_TRUE(peer.was_reset());
}

TEST(HttpServer, a_dropped_reply_is_answered_for_its_owner) {
    TestServer s([](HttpRequest request, std::shared_ptr<Reply> reply) {
        if (request.path == "/throw") throw std::runtime_error("bad handler");
        if (request.path == "/begun") reply->begin(200, {});
    });
    for (const char* path : {"/drop", "/throw"}) {
        Peer peer = s.connect();
        peer.send(format("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", path));
        EXPECT_EQ(peer.response().status, 500) << path;
    }
    Peer peer = s.connect();
    peer.send("GET /begun HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_FALSE(peer.response().complete);
}

TEST(HttpServer, misuse_of_a_reply_harms_no_one) {
    TestServer s([](HttpRequest, std::shared_ptr<Reply> reply) {
        reply->write("before");
        reply->end();
        reply->send(text(200, "one"));
        reply->send(text(200, "two"));
        reply->begin(200, {});
        reply->write("after");
        reply->abort();
    });
    Peer peer = s.connect();
    peer.send(kGet);
    EXPECT_EQ(peer.response().body, "one");
    peer.send(kGet);
    EXPECT_EQ(peer.response().body, "one");
}

TEST(HttpServer, response_fields_cannot_forge_others) {
    TestServer s([](HttpRequest, std::shared_ptr<Reply> reply) {
        HttpResponse response = text(200, "x");
        response.headers.add("X-Bad", "a\r\nX-Forged: b");
        response.headers.add("X Bad", "a");
        response.headers.add("Content-Length", "99");
        response.headers.add("X-Good", "a\tb");
        reply->send(std::move(response));
    });
    Peer peer = s.connect();
    peer.send(kGet);
    const RawResponse r = peer.response();
    EXPECT_EQ(r.head.find("Bad"), std::string::npos);
    EXPECT_EQ(r.head.find("Forged"), std::string::npos);
    EXPECT_EQ(r.fields.at("content-length"), "1");
    EXPECT_EQ(r.fields.at("x-good"), "a\tb");
}

TEST(HttpServer, a_client_that_leaves_in_its_body_is_forgotten) {
    Signal heads;
    Handlers handlers;
    handlers.on_head = [&](const HttpRequest&) -> std::optional<HttpResponse> {
        heads.set();
        return std::nullopt;
    };
    handlers.on_request = [](HttpRequest, std::shared_ptr<Reply>) {
        ADD_FAILURE() << "half a request was handed on";
    };
    TestServer s(std::move(handlers), {});
    Peer peer = s.connect();
    peer.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    ASSERT_TRUE(heads.wait());
    EXPECT_EQ(s.server->n_connections(), 1);
    peer.close();
    EXPECT_TRUE(eventually([&] { return s.server->n_connections() == 0; }));
}

TEST(HttpServer, a_client_that_leaves_before_the_answer_is_noticed) {
    std::shared_ptr<Reply> held;
    Signal begun, gone;
    TestServer s([&](HttpRequest, std::shared_ptr<Reply> reply) {
        reply->on_peer_gone([&] { gone.set(); });
        held = std::move(reply);
        begun.set();
    });
    Peer peer = s.connect();
    peer.send(kGet);
    ASSERT_TRUE(begun.wait());
    peer.close();
    EXPECT_TRUE(gone.wait());
    EXPECT_TRUE(held->peer_gone());
}

TEST(HttpServer, a_half_closed_client_gets_the_answers_that_are_ready) {
    TestServer s(echo);
    Peer peer = s.connect();
    peer.send(std::string(kGet) + std::string(kGet) + std::string(kGet));
    peer.half_close();
    for (int i = 0; i < 3; ++i) EXPECT_EQ(peer.response().status, 200);
    EXPECT_TRUE(peer.at_end());
}

TEST(HttpServer, work_can_be_posted_to_the_io_thread) {
    TestServer s(echo);
    Signal done;
    std::string name;
    s.server->post([&] {
        char text[16] = "";
        pthread_getname_np(pthread_self(), text, sizeof text);
        name = text;
        done.set();
    });
    s.server->post([] { throw std::runtime_error("work may fail"); });
    ASSERT_TRUE(done.wait());
    EXPECT_EQ(name, "io");
    Peer peer = s.connect();
    peer.send(kGet);
    EXPECT_EQ(peer.response().status, 200);
}

TEST(HttpServer, a_reply_may_outlive_the_server) {
    std::shared_ptr<Reply> held;
    Signal begun, gone;
    {
        TestServer s([&](HttpRequest, std::shared_ptr<Reply> reply) {
            reply->begin(200, {});
            reply->on_peer_gone([&] { gone.set(); });
            held = std::move(reply);
            begun.set();
        });
        Peer peer = s.connect();
        peer.send(kGet);
        ASSERT_TRUE(begun.wait());
        peer.read_until("\r\n\r\n");
    }
    EXPECT_EQ(gone.count(), 1);
    EXPECT_TRUE(held->peer_gone());
    held->write("x");
    held->end();
    held->on_peer_gone([] {});
}

}  // namespace
}  // namespace hearth::net::test
