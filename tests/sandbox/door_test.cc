// The door with a real broker process and servers on loopback.
#include "egress/door.h"

#include <gtest/gtest.h>
#include <netdb.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <thread>

#include "base/format.h"
#include "egress/limits.h"
#include "sandbox/loopback.h"
#include "sandbox/opened_door.h"
#include "sandbox/permits.h"
#include "support/data.h"

namespace hearth::egress {
namespace {

using route::PermitMint;
using test::Listener;

// A connection through the door to a server that took it.
class OpenDoor : public testing::Test {
  protected:
    void SetUp() override {
        ASSERT_TRUE(opened.door);
        auto made = opened.door->connect(PermitMint::make(plain(server.port)), kPatientMs);
        ASSERT_TRUE(made) << made.error().message;
        connection = std::make_unique<Door::Connection>(std::move(*made));
        peer = server.accept();
    }
    Listener server;
    Opened opened{{rule_for(plain(server.port))}};
    std::unique_ptr<Door::Connection> connection;
    Fd peer;  // the server's end
};

TEST_F(OpenDoor, carries_bytes_both_ways_and_counts_them) {
    ASSERT_TRUE(test::write_all(connection->fd.get(), "hello upstream"));
    EXPECT_EQ(test::read_n(peer.get(), 14), "hello upstream");
    ASSERT_TRUE(test::write_all(peer.get(), "hi"));
    EXPECT_EQ(test::read_n(connection->fd.get(), 2), "hi");
    connection->fd.reset();
    EXPECT_EQ(test::read_to_end(peer.get()), "");  // closing ours closes theirs
    const auto receipts = opened.receipts.wait(1);
    ASSERT_EQ(receipts.size(), 1u);
    const Receipt& r = receipts[0];
    EXPECT_EQ(r.outcome, "closed");
    EXPECT_EQ(r.request_id, "req-1");
    EXPECT_EQ(r.rule, "test");
    EXPECT_EQ(r.destination, plain(server.port));
    EXPECT_EQ(r.address, format("127.0.0.1:{}", server.port));
    EXPECT_EQ(r.tls_spki_sha256, "");
    EXPECT_EQ(r.bytes_out, 14);
    EXPECT_EQ(r.bytes_in, 2);
    EXPECT_EQ(r.wire_bytes_out, 14);  // without TLS the payload of TCP is the program's
    EXPECT_EQ(r.wire_bytes_in, 2);
    EXPECT_GT(r.opened_wall_ns, 0);
    EXPECT_GE(r.closed_wall_ns, r.opened_wall_ns);
}

TEST_F(OpenDoor, half_close_passes_through_in_both_directions) {
    ASSERT_TRUE(test::write_all(connection->fd.get(), "request"));
    ::shutdown(connection->fd.get(), SHUT_WR);
    EXPECT_EQ(test::read_to_end(peer.get()), "request");  // its end arrives
    ASSERT_TRUE(test::write_all(peer.get(), "answer"));   // and the other way is still open
    ::shutdown(peer.get(), SHUT_WR);
    EXPECT_EQ(test::read_to_end(connection->fd.get()), "answer");
    const auto receipts = opened.receipts.wait(1);
    ASSERT_EQ(receipts.size(), 1u);
    EXPECT_EQ(receipts[0].outcome, "closed");
    EXPECT_EQ(receipts[0].wire_bytes_out, 7);
    EXPECT_EQ(receipts[0].wire_bytes_in, 6);  // the FIN is no byte
}

TEST_F(OpenDoor, a_server_that_ends_first_still_hears_the_rest) {
    ::shutdown(peer.get(), SHUT_WR);
    EXPECT_EQ(test::read_to_end(connection->fd.get()), "");
    ASSERT_TRUE(test::write_all(connection->fd.get(), "late words"));
    EXPECT_EQ(test::read_n(peer.get(), 10), "late words");
}

// Bytes that tell their place, so that loss, repetition and disorder all show.
std::string numbered(std::size_t n, std::uint32_t seed) {
    std::mt19937 random(seed);
    std::string out(n, '\0');
    for (char& c : out) c = char(random());
    return out;
}

TEST_F(OpenDoor, much_data_arrives_whole_in_both_directions_at_once) {
    const std::string up = numbered(9'000'001, 1), down = numbered(7'000'003, 2);
    std::string got_up, got_down;
    {
        std::jthread a([&] {
            EXPECT_TRUE(test::write_all(connection->fd.get(), up));
            ::shutdown(connection->fd.get(), SHUT_WR);
        });
        std::jthread b([&] {
            EXPECT_TRUE(test::write_all(peer.get(), down));
            ::shutdown(peer.get(), SHUT_WR);
        });
        std::jthread c([&] { got_up = test::read_to_end(peer.get()); });
        std::jthread d([&] { got_down = test::read_to_end(connection->fd.get()); });
    }
    EXPECT_TRUE(got_up == up);
    EXPECT_TRUE(got_down == down);
    const auto receipts = opened.receipts.wait(1);
    ASSERT_EQ(receipts.size(), 1u);
    EXPECT_EQ(receipts[0].bytes_out, std::int64_t(up.size()));
    EXPECT_EQ(receipts[0].bytes_in, std::int64_t(down.size()));
    EXPECT_EQ(receipts[0].wire_bytes_out, std::int64_t(up.size()));
    EXPECT_EQ(receipts[0].wire_bytes_in, std::int64_t(down.size()));
}

// Both sides have ended while much of what was written is still on its way to a slow server.
TEST_F(OpenDoor, what_was_written_before_both_ends_still_arrives) {
    ::shutdown(peer.get(), SHUT_WR);
    EXPECT_EQ(test::read_to_end(connection->fd.get()), "");
    const std::string up = numbered(20'000'000, 3);
    std::string got;
    {
        std::jthread writer([&] {
            EXPECT_TRUE(test::write_all(connection->fd.get(), up));
            ::shutdown(connection->fd.get(), SHUT_WR);
        });
        std::jthread reader([&] {
            while (got.size() < up.size()) {
                const std::string piece = test::read_n(peer.get(), 1'000'000);
                if (piece.empty()) break;
                got += piece;
                ::usleep(3'000);
            }
        });
    }
    EXPECT_TRUE(got == up);
    const auto receipts = opened.receipts.wait(1);
    ASSERT_EQ(receipts.size(), 1u);
    EXPECT_EQ(receipts[0].outcome, "closed");
    EXPECT_EQ(receipts[0].wire_bytes_out, std::int64_t(up.size()));
}

TEST_F(OpenDoor, a_slow_reader_is_felt_by_the_sender) {
    const std::string piece(64u << 10, 'x');
    std::size_t sent = 0;
    // Without backpressure the broker would swallow all of it; with it only socket buffers fill,
    // which the kernel limits to some megabytes (tcp_rmem, tcp_wmem).
    constexpr std::size_t kFar = 64u << 20;
    for (int idle = 0; sent < kFar && idle < 20;) {
        const ssize_t n =
            ::send(peer.get(), piece.data(), piece.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            sent += std::size_t(n);
            idle = 0;
        } else {
            ++idle;
            ::usleep(20'000);
        }
    }
    EXPECT_LT(sent, kFar);
    ::shutdown(peer.get(), SHUT_WR);
    EXPECT_EQ(test::read_to_end(connection->fd.get()).size(), sent);  // and nothing is lost
}

TEST_F(OpenDoor, closing_our_end_is_heard_at_once_while_the_server_streams) {
    ASSERT_TRUE(test::write_all(peer.get(), "word"));
    EXPECT_EQ(test::read_n(connection->fd.get(), 4), "word");
    connection->fd.reset();
    EXPECT_EQ(test::read_to_end(peer.get()), "");
    EXPECT_EQ(opened.receipts.wait(1).size(), 1u);
}

TEST(Door, a_reset_by_the_server_ends_the_stream_and_is_told) {
    Listener server;
    Opened opened({rule_for(plain(server.port))});
    auto connection = opened.door->connect(PermitMint::make(plain(server.port)), kPatientMs);
    ASSERT_TRUE(connection);
    {
        const Fd peer = server.accept();
        ASSERT_TRUE(test::write_all(peer.get(), "some"));
        EXPECT_EQ(test::read_n(connection->fd.get(), 4), "some");
        const linger now{1, 0};
        ::setsockopt(peer.get(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    }
    EXPECT_EQ(test::read_to_end(connection->fd.get()), "");
    const auto receipts = opened.receipts.wait(1);
    ASSERT_EQ(receipts.size(), 1u);
    EXPECT_TRUE(receipts[0].outcome.starts_with("cut")) << receipts[0].outcome;
    EXPECT_EQ(receipts[0].bytes_in, 4);
}

// ---- refusals

TEST(Door, what_is_not_on_the_list_is_refused_and_nobody_is_asked) {
    Listener server;
    const Destination listed = plain(server.port);
    Opened opened({rule_for(listed), rule_for({"api.example.com", 443, true}, "acme")});
    struct Case {
        Destination destination;
        Purpose purpose;
    };
    Destination other_port = listed, other_host = listed, with_tls = listed;
    other_port.port = server.port == 65535 ? 1 : server.port + 1;
    other_host.host = "127.0.0.2";
    with_tls.tls = true;
    const Case cases[] = {{other_port, Purpose::inference},
                          {other_host, Purpose::inference},
                          {with_tls, Purpose::inference},
                          {{"localhost", server.port, false}, Purpose::inference},
                          {{"127.0.0.1.", server.port, false}, Purpose::inference},
                          {{"", server.port, false}, Purpose::inference},
                          {{"API.example.com", 443, true}, Purpose::inference},
                          {listed, Purpose::download},
                          {listed, Purpose::telemetry}};
    std::size_t n = 0;
    for (const Case& c : cases) {
        SCOPED_TRACE(to_text(c.destination));
        const auto connection = opened.door->connect(
            PermitMint::make(c.destination, "test", c.purpose, format("req-{}", n)), kPatientMs);
        ASSERT_FALSE(connection);
        EXPECT_EQ(connection.error().kind, ErrorKind::forbidden_by_policy);
        const auto receipts = opened.receipts.wait(++n);
        ASSERT_EQ(receipts.size(), n);
        EXPECT_EQ(receipts.back().outcome, "refused: not on the allow-list");
        EXPECT_EQ(receipts.back().address, "");
        EXPECT_EQ(receipts.back().request_id, format("req-{}", n - 1));
        EXPECT_EQ(receipts.back().bytes_out, 0);
    }
    EXPECT_FALSE(server.knocked(50));
}

TEST(Door, an_empty_list_lets_nothing_out) {
    Listener server;
    Opened opened({});
    const auto connection = opened.door->connect(PermitMint::make(plain(server.port)), kPatientMs);
    ASSERT_FALSE(connection);
    EXPECT_EQ(connection.error().kind, ErrorKind::forbidden_by_policy);
    EXPECT_FALSE(server.knocked(50));
}

TEST(Door, a_field_over_its_limit_is_refused_with_a_receipt) {
    Listener server;
    Opened opened({rule_for(plain(server.port))});
    const auto connection = opened.door->connect(
        PermitMint::make(plain(server.port), "test", Purpose::inference, std::string(500, 'r')),
        kPatientMs);
    ASSERT_FALSE(connection);
    EXPECT_EQ(connection.error().kind, ErrorKind::invalid_request);
    const auto receipts = opened.receipts.wait(1);
    ASSERT_EQ(receipts.size(), 1u);
    EXPECT_TRUE(receipts[0].outcome.starts_with("refused: ")) << receipts[0].outcome;
    EXPECT_FALSE(server.knocked(20));
}

TEST(Door, too_many_rules_do_not_open) {
    std::vector<AllowRule> rules(kRulesMax + 1, rule_for(plain(1)));
    const auto door = Door::open(std::move(rules), [](Receipt) {});
    ASSERT_FALSE(door);
    EXPECT_EQ(door.error().kind, ErrorKind::invalid_request);
}

TEST(Door, nobody_listening_is_a_clear_failure) {
    int port = 0;
    {
        port = Listener().port;
    }
    Opened opened({rule_for(plain(port))});
    const auto connection = opened.door->connect(PermitMint::make(plain(port)), kPatientMs);
    ASSERT_FALSE(connection);
    EXPECT_EQ(connection.error().kind, ErrorKind::upstream_failed);
    EXPECT_NE(connection.error().message.find("refused"), std::string::npos);
    const auto receipts = opened.receipts.wait(1);
    ASSERT_EQ(receipts.size(), 1u);
    EXPECT_TRUE(receipts[0].outcome.starts_with("connect failed: ")) << receipts[0].outcome;
    EXPECT_EQ(receipts[0].address, "");
}

TEST(Door, a_name_that_does_not_resolve_is_a_clear_failure) {
    const Destination nowhere{"an..empty.label.invalid", 80, false};  // refused without a network
    Opened opened({rule_for(nowhere)});
    const auto connection = opened.door->connect(PermitMint::make(nowhere), kPatientMs);
    ASSERT_FALSE(connection);
    EXPECT_EQ(connection.error().kind, ErrorKind::upstream_failed);
    EXPECT_NE(connection.error().message.find("an..empty"), std::string::npos);
}

TEST(Door, every_address_of_a_name_is_tried_in_turn) {
    addrinfo* list = nullptr;
    if (::getaddrinfo("localhost", nullptr, nullptr, &list) != 0)
        CANNOT_RUN("localhost has no address here");
    ::freeaddrinfo(list);
    Listener server;  // on 127.0.0.1 only; ::1, where it exists, refuses
    const Destination name = plain(server.port, "localhost");
    Opened opened({rule_for(name)});
    const auto connection = opened.door->connect(PermitMint::make(name), kPatientMs);
    ASSERT_TRUE(connection) << connection.error().message;
    EXPECT_TRUE(server.knocked(1000));
}

// ---- the broker's life

TEST_F(OpenDoor, a_dead_broker_closes_everything_and_lets_nothing_out) {
    ASSERT_EQ(::kill(opened.door->broker_pid(), SIGKILL), 0);
    EXPECT_EQ(test::read_to_end(connection->fd.get()), "");  // the stream ends
    EXPECT_EQ(test::read_to_end(peer.get()), "");
    ASSERT_EQ(opened.receipts.wait(1).size(), 1u);
    EXPECT_EQ(opened.receipts.wait(1)[0].outcome, "broker ended: bytes unknown");
    const auto next = opened.door->connect(PermitMint::make(plain(server.port)), kPatientMs);
    ASSERT_FALSE(next);
    EXPECT_EQ(next.error().kind, ErrorKind::upstream_failed);
    EXPECT_NE(next.error().message.find("broker"), std::string::npos);
    EXPECT_EQ(opened.receipts.wait(2).size(), 2u);  // a refusal has one too
    EXPECT_FALSE(server.knocked(50));
}

TEST(Door, ending_the_door_ends_the_broker_and_accounts_for_open_connections) {
    Listener server;
    Receipts receipts;
    auto door = Door::open({rule_for(plain(server.port))}, receipts.sink());
    ASSERT_TRUE(door);
    const int pid = (*door)->broker_pid();
    auto connection = (*door)->connect(PermitMint::make(plain(server.port)), kPatientMs);
    ASSERT_TRUE(connection);
    const Fd peer = server.accept();
    ASSERT_TRUE(test::write_all(connection->fd.get(), "abc"));
    EXPECT_EQ(test::read_n(peer.get(), 3), "abc");
    door->reset();
    EXPECT_EQ(test::read_to_end(connection->fd.get()), "");
    const auto all = receipts.wait(1);
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0].outcome, "closed: hearth ended");
    EXPECT_EQ(all[0].bytes_out, 3);
    EXPECT_NE(::kill(pid, 0), 0);  // ended and waited for
}

TEST(Door, keys_of_the_environment_do_not_reach_the_broker) {
    ::setenv("ACME_API_KEY", "sk-secret", 1);
    Opened opened({});
    ::unsetenv("ACME_API_KEY");
    std::ifstream file(format("/proc/{}/environ", opened.door->broker_pid()));
    std::string environment((std::istreambuf_iterator<char>(file)), {});
    if (!file.is_open() || file.bad())
        GTEST_SKIP() << "only root may read the broker's environment";
    EXPECT_EQ(environment.find("sk-secret"), std::string::npos);
}

TEST(Door, signals_to_the_group_do_not_cut_the_broker) {
    Listener server;
    Opened opened({rule_for(plain(server.port))});
    for (const int signal : {SIGTERM, SIGINT, SIGHUP})
        ASSERT_EQ(::kill(opened.door->broker_pid(), signal), 0);
    EXPECT_TRUE(opened.door->connect(PermitMint::make(plain(server.port)), kPatientMs));
}

TEST(Door, every_request_of_many_threads_gets_one_answer_and_one_receipt) {
    Listener server(256);
    std::jthread echo([&server] {
        std::vector<std::jthread> peers;
        for (;;) {
            auto peer = std::make_shared<Fd>(server.accept());
            if (!*peer) return;
            peers.emplace_back([peer] {
                const std::string got = test::read_n(peer->get(), 5);
                test::write_all(peer->get(), got);
            });
        }
    });
    int closed_port = 0;
    {
        closed_port = Listener().port;
    }
    Opened opened({rule_for(plain(server.port)), rule_for(plain(closed_port))});
    constexpr int kThreads = 8, kEach = 24;
    std::atomic<int> n_ok{0}, n_failed{0}, n_refused{0};
    {
        std::vector<std::jthread> threads;
        for (int t = 0; t < kThreads; ++t)
            threads.emplace_back([&, t] {
                for (int i = 0; i < kEach; ++i) {
                    const int port = i % 3 == 0 ? server.port : i % 3 == 1 ? closed_port : 7;
                    auto connection = opened.door->connect(
                        PermitMint::make(plain(port), "test", Purpose::inference,
                                         format("req-{}-{}", t, i)),
                        kPatientMs);
                    if (connection) {
                        test::write_all(connection->fd.get(), "hello");
                        n_ok += test::read_n(connection->fd.get(), 5) == "hello";
                    } else {
                        (connection.error().kind == ErrorKind::upstream_failed ? n_failed
                                                                               : n_refused)++;
                    }
                }
            });
    }
    EXPECT_EQ(n_ok, kThreads * kEach / 3);
    EXPECT_EQ(n_failed, kThreads * kEach / 3);
    EXPECT_EQ(n_refused, kThreads * kEach / 3);
    const auto receipts = opened.receipts.wait(kThreads * kEach);
    std::map<std::string, int> by_request;
    for (const Receipt& receipt : receipts) ++by_request[receipt.request_id];
    EXPECT_EQ(by_request.size(), std::size_t(kThreads * kEach));
    for (const auto& [id, n] : by_request) EXPECT_EQ(n, 1) << id;
    ::shutdown(server.fd.get(), SHUT_RDWR);
}

TEST(Broker, refuses_to_be_started_by_hand) {
    EXPECT_EQ(broker_main(0), 2);
    EXPECT_EQ(broker_main(-1), 2);
    int pair[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    const Fd a(pair[0]), b(pair[1]);
    EXPECT_EQ(broker_main(a.get()), 2);  // not a packet channel
}

}  // namespace
}  // namespace hearth::egress
