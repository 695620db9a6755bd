// What bounds the server: time, bytes, connections, readers that do not read, and the drain.
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "base/format.h"
#include "net/http_server.h"
#include "unit/net/wire.h"

namespace hearth::net::test {
namespace {

constexpr std::string_view kGet = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

// A handler that begins a stream and keeps its reply for the test.
struct Streams {
    TestServer::OnRequest handler() {
        return [this](HttpRequest, std::shared_ptr<Reply> reply) {
            reply->begin(200, {});
            reply->on_peer_gone([this] { gone.set(); });
            {
                const std::lock_guard lock(mutex);
                replies.push_back(std::move(reply));
            }
            begun.set();
        };
    }
    std::mutex mutex;  // guards replies
    std::vector<std::shared_ptr<Reply>> replies;
    Signal begun, gone;
};

TEST(HttpLimits, a_header_that_does_not_come_is_a_408) {
    TestServer s(echo, {.header_timeout_ms = 50});
    for (const char* part : {"G", "GET / HTTP/1.1\r\nHost: a\r\n", "\r\nG"}) {
        Peer peer = s.connect();
        peer.send(part);
        EXPECT_EQ(peer.response().status, 408) << part;
        EXPECT_TRUE(peer.at_end());
    }
}

TEST(HttpLimits, bytes_now_and_then_do_not_stretch_the_header_timeout) {
    TestServer s(echo, {.header_timeout_ms = 100});
    Peer peer = s.connect();
    peer.send("GET / HTTP/1.1\r\n");
    // Ends when the server has closed; a server that is stretched would be fed for ever.
    std::thread drip([&] {
        while (peer.send("X: y\r\n")) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    });
    EXPECT_EQ(peer.response().status, 408);
    peer.half_close();
    drip.join();
}

TEST(HttpLimits, a_body_that_does_not_come_is_a_408) {
    TestServer s(echo, {.body_timeout_ms = 50});
    Peer peer = s.connect();
    peer.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    EXPECT_EQ(peer.response().status, 408);
    EXPECT_TRUE(peer.at_end());
}

TEST(HttpLimits, an_idle_connection_is_closed_without_a_word) {
    TestServer s(echo, {.idle_timeout_ms = 50});
    Peer fresh = s.connect();
    EXPECT_TRUE(fresh.at_end());
    Peer used = s.connect();
    used.send(kGet);
    EXPECT_EQ(used.response().status, 200);
    EXPECT_TRUE(used.at_end());
}

TEST(HttpLimits, a_stream_outlives_the_idle_timeout) {
    Streams streams;
    TestServer s(streams.handler(), {.idle_timeout_ms = 20});
    Peer peer = s.connect();
    peer.send(kGet);
    ASSERT_TRUE(streams.begun.wait());
    // A connection that came later has been closed for idleness, this one not.
    Peer other = s.connect();
    EXPECT_TRUE(other.at_end());
    streams.replies[0]->write("still here");
    streams.replies[0]->end();
    EXPECT_EQ(peer.response().body, "still here");
}

TEST(HttpLimits, a_body_past_the_limit_is_a_413) {
    TestServer s(echo, {.body_bytes = 10});
    Peer exact = s.connect();
    exact.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789");
    EXPECT_EQ(exact.response().status, 200);
    Peer announced = s.connect();
    announced.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n");
    EXPECT_EQ(announced.response().status, 413);
    EXPECT_TRUE(announced.at_end());
    Peer chunked = s.connect();
    chunked.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n0123456789a");
    EXPECT_EQ(chunked.response().status, 413);
    EXPECT_TRUE(chunked.at_end());
}

TEST(HttpLimits, all_bodies_together_have_a_limit_from_their_reading_to_their_answer) {
    std::mutex mutex;  // guards kept
    std::vector<std::pair<HttpRequest, std::shared_ptr<Reply>>> kept;
    Signal handed_on;
    TestServer s(
        [&](HttpRequest request, std::shared_ptr<Reply> reply) {
            const std::lock_guard lock(mutex);
            kept.emplace_back(std::move(request), std::move(reply));
            handed_on.set();
        },
        {.body_bytes = 800, .bodies_bytes = 1000});
    const auto announce = [](int n) {
        return format("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", n);
    };
    Peer first = s.connect();
    first.send(announce(700) + std::string(700, 'x'));
    ASSERT_TRUE(handed_on.wait());
    // It is answered at the next request's headers, and in the middle of a body without a length.
    Peer announced = s.connect();
    announced.send(announce(301));
    EXPECT_EQ(announced.response().status, 503);
    EXPECT_TRUE(announced.at_end());
    Peer chunked = s.connect();
    chunked.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n12d\r\n" +
                 std::string(301, 'x'));
    EXPECT_EQ(chunked.response().status, 503);
    EXPECT_TRUE(chunked.at_end());
    // What is left can be used, also by a body that comes and is never whole.
    Peer unfinished = s.connect();
    unfinished.send(announce(300) + std::string(299, 'x'));
    EXPECT_TRUE(eventually([&] {
        Peer probe = s.connect();
        probe.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
        return probe.response().status == 503;
    }));
    unfinished.close();
    // An answer alone frees nothing while somebody still holds the request.
    kept[0].second->send(text(200, "done"));
    EXPECT_EQ(first.response().status, 200);
    Peer early = s.connect();
    early.send(announce(800));
    EXPECT_EQ(early.response().status, 503);
    {
        const std::lock_guard lock(mutex);
        kept.clear();
    }
    Peer last = s.connect();
    last.send(announce(800) + std::string(800, 'x'));
    ASSERT_TRUE(handed_on.wait(2));
    kept[0].second->send(text(200, "done"));
    EXPECT_EQ(last.response().status, 200);
}

TEST(HttpLimits, a_header_past_the_limit_is_a_431_even_if_it_never_ends) {
    TestServer s(echo, {.header_bytes = 1000});
    Peer peer = s.connect();
    peer.send("GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(1000, 'x'));
    EXPECT_EQ(peer.response().status, 431);
    EXPECT_TRUE(peer.at_end());
}

TEST(HttpLimits, connections_over_the_limit_are_told_so) {
    TestServer s(echo, {.n_connections = 2});
    Peer first = s.connect(), second = s.connect();
    for (Peer* peer : {&first, &second}) {
        peer->send(kGet);
        EXPECT_EQ(peer->response().status, 200);
    }
    Peer third = s.connect();
    third.send(kGet);
    const RawResponse r = third.response();
    EXPECT_EQ(r.status, 503);
    EXPECT_EQ(r.fields.at("connection"), "close");
    EXPECT_TRUE(third.at_end());
    EXPECT_FALSE(third.was_reset());
    EXPECT_EQ(s.server->n_connections(), 2);
    first.close();
    EXPECT_TRUE(eventually([&] { return s.server->n_connections() == 1; }));
    Peer fourth = s.connect();
    fourth.send(kGet);
    EXPECT_EQ(fourth.response().status, 200);
}

TEST(HttpLimits, a_slow_reader_is_seen_and_its_writer_told_when_to_go_on) {
    Streams streams;
    TestServer s(streams.handler(), {});
    Peer peer = s.connect();
    peer.send(kGet);
    ASSERT_TRUE(streams.begun.wait());
    const auto reply = streams.replies[0];
    // More than the kernel keeps for both sides; the writer goes on only when it is called.
    constexpr std::size_t kTotal = 64 << 20;
    const std::string piece(16 << 10, 'x');
    Signal writable;
    reply->on_writable([&] { writable.set(); });
    std::thread writer([&] {
        int n_calls = 0;
        for (std::size_t n_written = 0; n_written < kTotal; n_written += piece.size()) {
            while (!reply->writable()) ASSERT_TRUE(writable.wait(++n_calls));
            reply->write(piece);
            ASSERT_LT(reply->queued_bytes(), kWriteLowWater + piece.size() + 64);
        }
        reply->end();
    });
    EXPECT_TRUE(eventually([&] { return !reply->writable(); }));
    const RawResponse r = peer.response();
    writer.join();
    EXPECT_TRUE(r.complete);
    EXPECT_EQ(r.body.size(), kTotal);
    EXPECT_TRUE(eventually([&] { return reply->queued_bytes() == 0; }));
    EXPECT_EQ(streams.gone.count(), 0);
}

TEST(HttpLimits, a_writer_that_heeds_no_mark_is_cut) {
    Streams streams;
    TestServer s(streams.handler(), {});
    Peer peer = s.connect();
    peer.set_receive_buffer(4096);
    peer.send(kGet);
    ASSERT_TRUE(streams.begun.wait());
    const auto reply = streams.replies[0];
    const std::string piece(1 << 20, 'x');
    // What is with io at most: the bound. What is on its way there: what this loop outruns it by.
    for (int i = 0; i < 1000 && !reply->peer_gone(); ++i) {
        reply->write(piece);
        ASSERT_TRUE(
            eventually([&] { return reply->queued_bytes() < kWriteQueueMax + 2 * piece.size(); }));
    }
    EXPECT_TRUE(reply->peer_gone());
    EXPECT_TRUE(streams.gone.wait());
}

TEST(HttpLimits, a_reader_that_takes_nothing_is_cut_in_time) {
    Streams streams;
    TestServer s(streams.handler(), {.write_timeout_ms = 100});
    Peer peer = s.connect();
    peer.set_receive_buffer(4096);
    peer.send(kGet);
    ASSERT_TRUE(streams.begun.wait());
    const auto reply = streams.replies[0];
    EXPECT_TRUE(eventually([&] {
        if (reply->writable()) reply->write(std::string(64 << 10, 'x'));
        return reply->peer_gone();
    }));
    EXPECT_TRUE(streams.gone.wait());
    EXPECT_TRUE(eventually([&] { return s.server->n_connections() == 0; }));
}

TEST(HttpLimits, pipelined_bytes_beyond_the_limit_wait_in_the_clients_socket) {
    Streams streams;
    TestServer s(streams.handler(), {});
    Peer peer = s.connect();
    peer.send(kGet);
    ASSERT_TRUE(streams.begun.wait());
    // 64 MiB do not fit the limit and the sockets' buffers: the sender blocks until the first
    // stream is over, and every request is then answered.
    constexpr int kRequests = 256;
    const std::string request =
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 262144\r\n\r\n" + std::string(262144, 'x');
    std::atomic<int> n_sent = 0;
    std::thread sender([&] {
        for (int i = 0; i < kRequests; ++i) {
            peer.send(request);
            ++n_sent;
        }
    });
    streams.replies[0]->write("first");
    EXPECT_EQ(peer.read_until("first\r\n").substr(0, 15), "HTTP/1.1 200 OK");
    EXPECT_LT(n_sent, kRequests);
    streams.replies[0]->end();
    EXPECT_EQ(peer.read(5), "0\r\n\r\n");
    for (int i = 1; i <= kRequests; ++i) {
        ASSERT_TRUE(streams.begun.wait(i + 1));
        const std::lock_guard lock(streams.mutex);
        streams.replies[std::size_t(i)]->end();
        EXPECT_TRUE(peer.response().complete);
    }
    sender.join();
}

TEST(HttpLimits, a_client_that_leaves_behind_pipelined_bytes_is_noticed) {
    for (const bool half : {false, true}) {
        Streams streams;
        TestServer s(streams.handler(), {});
        Peer peer = s.connect();
        peer.send(kGet);
        ASSERT_TRUE(streams.begun.wait());
        peer.read_until("\r\n\r\n");
        // More than is kept: no read is waiting when the end comes.
        peer.send(std::string(kPipelineBytesMax + 20'000, 'x'));
        EXPECT_FALSE(streams.replies[0]->peer_gone());
        if (half)
            peer.half_close();
        else
            peer.close();
        EXPECT_TRUE(streams.gone.wait()) << half;
        EXPECT_TRUE(streams.replies[0]->peer_gone());
        EXPECT_TRUE(eventually([&] { return s.server->n_connections() == 0; }));
    }
}

TEST(HttpLimits, two_hundred_streams_at_once) {
    constexpr int kStreams = 200, kEvents = 20;
    Streams streams;
    TestServer s(streams.handler(), {});
    std::vector<Peer> peers;
    for (int i = 0; i < kStreams; ++i) {
        peers.push_back(s.connect());
        ASSERT_TRUE(peers.back().send(kGet));
    }
    ASSERT_TRUE(streams.begun.wait(kStreams));
    EXPECT_EQ(s.server->n_connections(), kStreams);
    std::vector<std::thread> writers;
    for (int w = 0; w < 4; ++w)
        writers.emplace_back([&, w] {
            for (int e = 0; e < kEvents; ++e)
                for (int i = w; i < kStreams; i += 4)
                    streams.replies[std::size_t(i)]->write(format("data: {}\n\n", e));
        });
    for (auto& t : writers) t.join();
    std::string expected;
    for (int e = 0; e < kEvents; ++e) expected += format("data: {}\n\n", e);
    // Half of them end, the other half of the clients leave.
    for (int i = 0; i < kStreams; i += 2) {
        streams.replies[std::size_t(i)]->end();
        EXPECT_EQ(peers[std::size_t(i)].response().body, expected) << i;
    }
    for (int i = 1; i < kStreams; i += 2) peers[std::size_t(i)].close();
    EXPECT_TRUE(streams.gone.wait(kStreams / 2));
    EXPECT_TRUE(eventually([&] { return s.server->n_connections() == kStreams / 2; }));
    EXPECT_EQ(streams.gone.count(), kStreams / 2);
}

TEST(HttpLimits, running_out_of_descriptors_pauses_and_passes) {
    TestServer s(echo, {});
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    Peer served = s.connect();
    served.send(kGet);
    EXPECT_EQ(served.response().status, 200);
    Peer peer = s.connect();
    peer.send(kGet);
    EXPECT_EQ(peer.response().status, 200);
    // From here no descriptor is free: neither for this test nor for accept.
    Fd filler(::dup(served.fd()));
    rlimit none = before;
    none.rlim_cur = rlim_t(filler.get());
    filler.reset();
    Fd waiting(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(waiting.get(), int(none.rlim_cur));
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(std::uint16_t(std::stoi(s.address.substr(s.address.rfind(':') + 1))));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(waiting.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    // Those who are in are served all the same.
    served.send(kGet);
    EXPECT_EQ(served.response().status, 200);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    // Asked with descriptors at hand: a sanitizer that checks a virtual call opens a pipe for it.
    EXPECT_EQ(s.server->n_connections(), 2);
    Peer late(std::move(waiting));
    late.send(kGet);
    EXPECT_EQ(late.response().status, 200);
}

// ---- drain

TEST(HttpDrain, idle_connections_close_at_once) {
    TestServer s(echo, {});
    Peer used = s.connect(), fresh = s.connect();
    used.send(kGet);
    EXPECT_EQ(used.response().status, 200);
    EXPECT_TRUE(s.server->drain(kPatienceMs));
    EXPECT_TRUE(used.at_end());
    EXPECT_TRUE(fresh.at_end());
    Peer late = s.connect();
    EXPECT_LT(late.fd(), 0);
    EXPECT_TRUE(s.server->drain(kPatienceMs));
}

TEST(HttpDrain, an_open_stream_may_finish) {
    Streams streams;
    TestServer s(streams.handler(), {});
    Peer peer = s.connect();
    peer.send(kGet);
    ASSERT_TRUE(streams.begun.wait());
    bool clean = false;
    std::thread drainer([&] { clean = s.server->drain(kPatienceMs); });
    // The listener is closed once the drain has begun.
    EXPECT_TRUE(eventually([&] { return s.connect().fd() < 0; }));
    streams.replies[0]->write("done");
    streams.replies[0]->end();
    EXPECT_EQ(peer.response().body, "done");
    EXPECT_TRUE(peer.at_end());
    drainer.join();
    EXPECT_TRUE(clean);
    EXPECT_EQ(streams.gone.count(), 0);
}

TEST(HttpDrain, a_request_that_has_begun_is_served_and_then_the_connection_closed) {
    TestServer s(echo, {});
    Peer peer = s.connect();
    peer.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    peer.read_until("\r\n\r\n");
    bool clean = false;
    std::thread drainer([&] { clean = s.server->drain(kPatienceMs); });
    EXPECT_TRUE(eventually([&] { return s.connect().fd() < 0; }));
    peer.send("abc");
    const RawResponse r = peer.response();
    EXPECT_EQ(r.body, "POST / ? [abc]");
    EXPECT_EQ(r.fields.at("connection"), "close");
    peer.close();
    drainer.join();
    EXPECT_TRUE(clean);
}

TEST(HttpDrain, the_deadline_cuts_what_is_left) {
    Streams streams;
    TestServer s(streams.handler(), {});
    Peer peer = s.connect();
    peer.send(kGet);
    ASSERT_TRUE(streams.begun.wait());
    EXPECT_FALSE(s.server->drain(50));
    EXPECT_FALSE(peer.response().complete);
    EXPECT_TRUE(peer.at_end());
    EXPECT_EQ(streams.gone.count(), 1);
    EXPECT_EQ(s.server->n_connections(), 0);
}

}  // namespace
}  // namespace hearth::net::test
