// The client against scripted peers on a socket pair.
#include "net/http_client.h"

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

}  // namespace
}  // namespace hearth::net::test
