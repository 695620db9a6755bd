// The server from outside, over raw sockets: what is counted when, and what every answer carries.
#include "serve/server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <nlohmann/json.hpp>

#include "base/format.h"
#include "unit/serve/house.h"

namespace hearth::serve {
namespace {

class Peer {
  public:
    explicit Peer(int port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(std::uint16_t(port));
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
                  0);
    }
    void send(std::string_view bytes) { EXPECT_TRUE(send_all(fd_, bytes)); }
    // To the end of the next head, in lower case.
    std::string head() {
        while (in_.find("\r\n\r\n") == in_.npos) {
            char more[4096];
            const ssize_t n = ::recv(fd_.get(), more, sizeof more, 0);
            if (n <= 0) break;
            in_.append(more, std::size_t(n));
        }
        std::string out = in_.substr(0, in_.find("\r\n\r\n"));
        for (char& c : out) c = char(std::tolower(static_cast<unsigned char>(c)));
        return out;
    }
    void close() { fd_.reset(); }

  private:
    Fd fd_;
    std::string in_;
};

bool has(const std::string& text, std::string_view part) {
    return text.find(part) != text.npos;
}

struct ServedHouse : testing::Test {
    void start(const AdmissionRules& rules) {
        auto listener = net::listen_tcp("127.0.0.1", 0);
        ASSERT_TRUE(listener) << listener.error().message;
        port = std::stoi(listener->address.substr(listener->address.find(':') + 1));
        std::vector<net::Listener> listeners;
        listeners.push_back(std::move(*listener));
        server = Server::start(h.house, std::move(listeners), rules);
    }
    // Headers of a request whose body does not come.
    std::string announced(int n_body, const char* more = "") const {
        return format(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n{}"
            "Content-Length: {}\r\n\r\n",
            more, n_body);
    }

    TestHouse h{{"big"}};
    int port = 0;
    std::unique_ptr<Server> server;
};

TEST_F(ServedHouse, requests_are_counted_from_their_headers) {
    start({.host_names = {}, .n_open_max = 2});
    Peer first(port), second(port), third(port);
    first.send(announced(10));
    second.send(announced(10));
    ASSERT_TRUE(eventually([&] { return h.metrics.open_requests == 2; }));
    third.send(announced(10, "Origin: http://localhost:3000\r\n"));
    const std::string refusal = third.head();
    EXPECT_TRUE(refusal.starts_with("http/1.1 503 ")) << refusal;
    EXPECT_TRUE(has(refusal, "\r\nretry-after: 2")) << refusal;
    EXPECT_TRUE(has(refusal, "\r\nx-hearth-request-id: req-")) << refusal;
    EXPECT_TRUE(has(refusal, "\r\naccess-control-allow-origin: http://localhost:3000")) << refusal;
    // What does not generate is answered all the same.
    Peer health(port);
    health.send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_TRUE(health.head().starts_with("http/1.1 200 "));
    // A client that leaves before its body gives its place back.
    first.close();
    ASSERT_TRUE(eventually([&] { return h.metrics.open_requests == 1; }));
    Peer fourth(port);
    fourth.send(announced(10, "Expect: 100-continue\r\n"));
    EXPECT_TRUE(fourth.head().starts_with("http/1.1 100 "));
    EXPECT_EQ(h.metrics.open_requests, 2);
}

TEST_F(ServedHouse, a_request_that_is_answered_is_not_open_any_more) {
    start({});
    Peer peer(port);
    peer.send(announced(2) + "{}");
    EXPECT_TRUE(peer.head().starts_with("http/1.1 400 "));
    EXPECT_TRUE(eventually([&] { return h.metrics.open_requests == 0; }));
}

TEST_F(ServedHouse, a_request_that_nobody_can_prepare_is_a_503_like_any_other_answer) {
    start({});
    h.prep.close();
    Peer peer(port);
    peer.send(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
        "Origin: http://localhost:3000\r\n\r\n{}");
    const std::string head = peer.head();
    EXPECT_TRUE(head.starts_with("http/1.1 503 ")) << head;
    EXPECT_TRUE(has(head, "\r\nretry-after: 2")) << head;
    EXPECT_TRUE(has(head, "\r\nx-hearth-request-id: req-")) << head;
    EXPECT_TRUE(has(head, "\r\naccess-control-allow-origin: http://localhost:3000")) << head;
    EXPECT_TRUE(eventually([&] { return h.metrics.open_requests == 0; }));
}

TEST_F(ServedHouse, every_answer_has_an_id_and_a_page_may_read_it) {
    start({});
    const std::string page = "Host: localhost\r\nOrigin: http://localhost:3000\r\n\r\n";
    for (const char* line :
         {"GET /health HTTP/1.1\r\n", "GET /v1/models HTTP/1.1\r\n", "GET /metrics HTTP/1.1\r\n",
          "GET /nothing HTTP/1.1\r\n", "DELETE /health HTTP/1.1\r\n",
          "OPTIONS /v1/chat/completions HTTP/1.1\r\n",
          "POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 0\r\n"}) {
        Peer peer(port);
        peer.send(line + page);
        const std::string head = peer.head();
        EXPECT_TRUE(has(head, "\r\nx-request-id: req-")) << line << head;
        EXPECT_TRUE(has(head, "\r\nx-hearth-request-id: req-")) << line << head;
        EXPECT_TRUE(has(head, "\r\naccess-control-allow-origin: http://localhost:3000")) << line;
        EXPECT_TRUE(has(head, "\r\naccess-control-expose-headers: ")) << line << head;
        EXPECT_TRUE(has(head, "x-hearth-route")) << line << head;
        // One of each: twice, browsers take neither.
        EXPECT_EQ(head.find("access-control-allow-origin"),
                  head.rfind("access-control-allow-origin"));
    }
    Peer malformed(port);
    malformed.send("GET /health HTTP/1.1\r\n\r\n");
    const std::string head = malformed.head();
    EXPECT_TRUE(head.starts_with("http/1.1 400 ")) << head;
    EXPECT_TRUE(has(head, "\r\nx-hearth-request-id: req-")) << head;
}

}  // namespace
}  // namespace hearth::serve
