// TLS of the door: who is trusted and who is not, against doubles with certificates of their own.
#include <gtest/gtest.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include "base/file.h"
#include "base/format.h"
#include "double/ca_file.h"
#include "double/double.h"
#include "egress/door.h"
#include "sandbox/loopback.h"
#include "sandbox/opened_door.h"
#include "sandbox/permits.h"
#include "support/data.h"

namespace hearth::egress {
namespace {

using route::PermitMint;
using test::Listener;

std::unique_ptr<test::Double> tls_double(const std::string& host = "", bool expired = false) {
    auto server = test::Double::start(
        {.tls = true, .certificate_host = host, .certificate_expired = expired});
    return server ? std::move(*server) : nullptr;
}

constexpr std::string_view kAskModels =
    "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

TEST(DoorTls, a_verified_server_is_reached_and_its_key_is_told) {
    const auto server = tls_double();
    ASSERT_TRUE(server);
    const std::string ca = test::ca_file_of(*server);
    const Destination destination{"127.0.0.1", server->port(), true};
    Opened opened({{.destination = destination, .name = "test", .ca_file = ca}});
    auto connection = opened.door->connect(PermitMint::make(destination), kPatientMs);
    ASSERT_TRUE(connection) << connection.error().message;
    ASSERT_TRUE(test::write_all(connection->fd.get(), kAskModels));
    const std::string answer = test::read_to_end(connection->fd.get());
    EXPECT_NE(answer.find("double-1"), std::string::npos);
    connection->fd.reset();
    const auto receipts = opened.receipts.wait(1);
    ASSERT_EQ(receipts.size(), 1u);
    EXPECT_EQ(receipts[0].outcome, "closed");
    EXPECT_EQ(receipts[0].tls_spki_sha256, server->spki_sha256());
    EXPECT_EQ(receipts[0].bytes_out, std::int64_t(kAskModels.size()));
    EXPECT_EQ(receipts[0].bytes_in, std::int64_t(answer.size()));
    // The handshake and the records come on top.
    EXPECT_GT(receipts[0].wire_bytes_out, receipts[0].bytes_out + 200);
    EXPECT_GT(receipts[0].wire_bytes_in, receipts[0].bytes_in + 200);
}

TEST(DoorTls, a_handshake_that_hangs_ends_with_the_deadline) {
    Listener server;  // takes the connection and says nothing
    const auto trusted = tls_double();
    ASSERT_TRUE(trusted);
    const Destination silent{"127.0.0.1", server.port, true};
    Opened opened({{.destination = silent, .name = "test", .ca_file = test::ca_file_of(*trusted)}});
    const auto connection = opened.door->connect(PermitMint::make(silent), 1000);
    ASSERT_FALSE(connection);
    EXPECT_EQ(connection.error().kind, ErrorKind::timeout);
    const auto receipts = opened.receipts.wait(1);
    ASSERT_EQ(receipts.size(), 1u);
    EXPECT_EQ(receipts[0].outcome, "timeout: the TLS handshake");
}

TEST(DoorTls, much_data_arrives_whole) {
    const auto server = tls_double();
    const std::string ca = test::ca_file_of(*server);
    const Destination destination{"127.0.0.1", server->port(), true};
    Opened opened({{.destination = destination, .name = "test", .ca_file = ca}});
    auto connection = opened.door->connect(PermitMint::make(destination), kPatientMs);
    ASSERT_TRUE(connection) << connection.error().message;
    const std::string body(5'000'000, 'b');
    ASSERT_TRUE(test::write_all(
        connection->fd.get(),
        format("POST /flood HTTP/1.1\r\nContent-Length: {}\r\n\r\n{}", body.size(), body)));
    // 64 MiB of events, most of it the letter x; the last bytes are those of the chunked body's
    // end.
    std::size_t n_x = 0;
    std::string tail;
    char piece[65536];
    for (ssize_t n = 0; (n = ::recv(connection->fd.get(), piece, sizeof(piece), 0)) > 0;) {
        n_x += std::size_t(std::count(piece, piece + n, 'x'));
        tail = (tail + std::string(piece, std::size_t(n)));
        if (tail.size() > 5) tail.erase(0, tail.size() - 5);
    }
    EXPECT_GE(n_x, std::size_t(60u << 20));
    EXPECT_EQ(tail, "0\r\n\r\n");
    EXPECT_EQ(server->last_body().size(), body.size());
}

// What must not be trusted, and a word of why.
void expect_refused(const test::Double& server, const std::string& host, const std::string& ca_file,
                    const std::string& word) {
    const Destination destination{host, server.port(), true};
    Opened opened({{.destination = destination, .name = "test", .ca_file = ca_file}});
    const auto connection = opened.door->connect(PermitMint::make(destination), kPatientMs);
    ASSERT_FALSE(connection);
    EXPECT_EQ(connection.error().kind, ErrorKind::upstream_failed);
    EXPECT_NE(connection.error().message.find(word), std::string::npos)
        << connection.error().message;
    const auto receipts = opened.receipts.wait(1);
    ASSERT_EQ(receipts.size(), 1u);
    EXPECT_TRUE(receipts[0].outcome.starts_with("tls failed: ")) << receipts[0].outcome;
    EXPECT_EQ(receipts[0].bytes_out, 0);
    EXPECT_EQ(server.counts().requests, 0);
}

TEST(DoorTls, an_unknown_authority_is_refused) {
    const auto server = tls_double();
    const auto other = tls_double();
    const std::string ca = test::ca_file_of(*other);
    expect_refused(*server, "127.0.0.1", ca, "certificate");
}

TEST(DoorTls, the_systems_bundle_does_not_know_the_double) {
    const auto server = tls_double();
    expect_refused(*server, "127.0.0.1", "", "certificate");
}

TEST(DoorTls, a_certificate_for_another_name_is_refused) {
    const auto server = tls_double("other.example");
    const std::string ca = test::ca_file_of(*server);
    expect_refused(*server, "127.0.0.1", ca, "IP address mismatch");
}

TEST(DoorTls, a_certificate_for_another_host_name_is_refused) {
    addrinfo* list = nullptr;
    if (::getaddrinfo("localhost", nullptr, nullptr, &list) != 0)
        CANNOT_RUN("localhost has no address here");
    ::freeaddrinfo(list);
    const auto server = tls_double("other.example");
    const std::string ca = test::ca_file_of(*server);
    expect_refused(*server, "localhost", ca, "hostname mismatch");
}

TEST(DoorTls, an_expired_certificate_is_refused) {
    const auto server = tls_double("", true);
    const std::string ca = test::ca_file_of(*server);
    expect_refused(*server, "127.0.0.1", ca, "expired");
}

TEST(DoorTls, a_missing_or_empty_ca_file_fails_closed_and_says_so) {
    const auto server = tls_double();
    expect_refused(*server, "127.0.0.1", "/nowhere/ca.pem", "/nowhere/ca.pem");
    const std::string empty = test::temp_folder() + "/empty.pem";
    ASSERT_TRUE(write_file(empty, ""));
    expect_refused(*server, "127.0.0.1", empty, empty);
}

TEST(DoorTls, a_server_without_tls_is_refused) {
    Listener server;
    const auto authority = tls_double();
    const std::string ca = test::ca_file_of(*authority);
    const Destination destination{"127.0.0.1", server.port, true};
    Opened opened({{.destination = destination, .name = "test", .ca_file = ca}});
    std::jthread plain_answer([&] {
        const Fd peer = server.accept();
        test::write_all(peer.get(), "HTTP/1.1 400 Bad Request\r\n\r\n");
        test::read_to_end(peer.get());
    });
    const auto connection = opened.door->connect(PermitMint::make(destination), kPatientMs);
    ASSERT_FALSE(connection);
    EXPECT_EQ(connection.error().kind, ErrorKind::upstream_failed);
    EXPECT_NE(connection.error().message.find("no trusted TLS connection"), std::string::npos);
}

}  // namespace
}  // namespace hearth::egress
