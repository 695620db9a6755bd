// The server over real sockets: answers, streams, order, departures, ends.
#include "net/http_server.h"

#include <thread>

#include "base/format.h"
#include "support/data.h"
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

}  // namespace
}  // namespace hearth::net::test
