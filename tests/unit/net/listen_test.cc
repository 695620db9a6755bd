// Listening sockets, and that nothing after them needs a new socket.
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <thread>

#include "base/format.h"
#include "net/http_client.h"
#include "net/http_server.h"
#include "support/data.h"
#include "unit/net/wire.h"

namespace hearth::net::test {
namespace {

constexpr std::string_view kGet = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

std::unique_ptr<HttpServer> serve(Listener listener) {
    std::vector<Listener> listeners;
    listeners.push_back(std::move(listener));
    Handlers handlers;
    handlers.on_request = [](HttpRequest request, std::shared_ptr<Reply> reply) {
        reply->send(text(200, request.peer + (request.from_unix_socket ? " from unix" : "")));
    };
    return HttpServer::start(std::move(listeners), std::move(handlers));
}

TEST(Listen, knows_loopback) {
    for (const char* yes :
         {"127.0.0.1", "127.9.9.9", "localhost", "::1", "[::1]", "::ffff:127.0.0.1"})
        EXPECT_TRUE(is_loopback(yes)) << yes;
    for (const char* no : {"0.0.0.0", "::", "10.0.0.1", "128.0.0.1", "example.test", "",
                           "::ffff:10.0.0.1", "127.0.0.1.example.test", "localhost.example.test"})
        EXPECT_FALSE(is_loopback(no)) << no;
}

TEST(Listen, picks_a_free_port_and_serves_it) {
    for (const char* host : {"127.0.0.1", "localhost", "0.0.0.0"}) {
        auto listener = listen_tcp(host, 0);
        ASSERT_TRUE(listener) << listener.error().message;
        const std::string port = listener->address.substr(listener->address.rfind(':') + 1);
        EXPECT_NE(port, "0");
        const auto server = serve(std::move(*listener));
        Peer peer = Peer::connect("127.0.0.1:" + port);
        peer.send(kGet);
        EXPECT_TRUE(peer.response().body.starts_with("127.0.0.1:"));
    }
}

TEST(Listen, serves_ipv6_where_there_is_any) {
    auto listener = listen_tcp("::1", 0);
    if (!listener) GTEST_SKIP() << listener.error().message;
    EXPECT_TRUE(listener->address.starts_with("[::1]:")) << listener->address;
    const std::string address = listener->address;
    const auto server = serve(std::move(*listener));
    Peer peer = Peer::connect(address);
    peer.send(kGet);
    EXPECT_TRUE(peer.response().body.starts_with("[::1]:"));
}

TEST(Listen, says_what_is_wrong_with_an_address) {
    const auto taken = listen_tcp("127.0.0.1", 0);
    ASSERT_TRUE(taken);
    const int port = std::stoi(taken->address.substr(taken->address.rfind(':') + 1));
    const auto again = listen_tcp("127.0.0.1", port);
    ASSERT_FALSE(again);
    EXPECT_NE(again.error().message.find("choose another port"), std::string::npos);
    for (const auto& bad :
         {listen_tcp("example.test", 0), listen_tcp("127.0.0.1", 65536),
          listen_tcp("127.0.0.1", -1), listen_tcp("", 0), listen_tcp("192.0.2.1", 0)}) {
        ASSERT_FALSE(bad);
        EXPECT_EQ(bad.error().kind, ErrorKind::invalid_request);
    }
}

TEST(Listen, a_port_is_free_again_at_once) {
    auto listener = listen_tcp("127.0.0.1", 0);
    ASSERT_TRUE(listener);
    const std::string address = listener->address;
    const int port = std::stoi(address.substr(address.rfind(':') + 1));
    {
        const auto server = serve(std::move(*listener));
        Peer peer = Peer::connect(address);
        peer.send(kGet);
        EXPECT_EQ(peer.response().status, 200);
        // The server closes first and holds the port's TIME_WAIT.
        EXPECT_TRUE(server->drain(kPatienceMs));
        EXPECT_TRUE(peer.at_end());
    }
    EXPECT_TRUE(listen_tcp("127.0.0.1", port));
}

TEST(Listen, a_unix_socket_is_the_owners_alone_and_goes_with_the_server) {
    const std::string path = hearth::test::temp_folder() + "/s";
    for (const mode_t mask : {0000, 0777}) {
        const mode_t before = ::umask(mask);
        auto listener = listen_unix(path);
        ::umask(before);
        ASSERT_TRUE(listener) << listener.error().message;
        struct stat info;
        ASSERT_EQ(::stat(path.c_str(), &info), 0);
        EXPECT_EQ(info.st_mode & 07777, 0600u);
        auto server = serve(std::move(*listener));
        Peer peer = Peer::connect(path);
        peer.send(kGet);
        EXPECT_EQ(peer.response().body, "unix from unix");
        server.reset();
        EXPECT_NE(::stat(path.c_str(), &info), 0);
    }
}

TEST(Listen, a_stale_unix_socket_is_replaced_and_a_live_one_not) {
    const std::string path = hearth::test::temp_folder() + "/s";
    {
        const auto dead = listen_unix(path);
        ASSERT_TRUE(dead);
    }
    ASSERT_EQ(::access(path.c_str(), F_OK), 0);
    const auto live = listen_unix(path);
    ASSERT_TRUE(live) << live.error().message;
    const auto second = listen_unix(path);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().kind, ErrorKind::invalid_request);
    EXPECT_NE(second.error().message.find("running"), std::string::npos);
    EXPECT_GE(Peer::connect(path).fd(), 0);
}

TEST(Listen, never_removes_what_is_no_socket) {
    const std::string path = hearth::test::temp_folder() + "/file";
    ASSERT_TRUE(write_file(path, "precious"));
    EXPECT_FALSE(listen_unix(path));
    EXPECT_EQ(read_file(path, 100).value(), "precious");
    EXPECT_FALSE(listen_unix(hearth::test::temp_folder() + std::string(200, 'x')));
    EXPECT_FALSE(listen_unix(""));
}

TEST(Listen, a_server_leaves_the_socket_of_its_successor) {
    const std::string path = hearth::test::temp_folder() + "/s";
    auto first = listen_unix(path);
    ASSERT_TRUE(first);
    auto server = serve(std::move(*first));
    ASSERT_EQ(::unlink(path.c_str()), 0);
    const auto second = listen_unix(path);
    ASSERT_TRUE(second);
    server.reset();
    EXPECT_GE(Peer::connect(path).fd(), 0);
}

// Denies socket(2) and connect(2) to this thread and those it starts.
bool deny_sockets() {
    sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_connect, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program{.len = std::size(code), .filter = code};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

TEST(Listen, server_and_client_work_where_no_socket_can_be_made) {
    auto listener = listen_tcp("127.0.0.1", 0);
    ASSERT_TRUE(listener);
    const std::string address = listener->address;
    auto pair = socket_pair();
    std::unique_ptr<HttpServer> server;
    std::unique_ptr<ClientLoop> loop;
    Signal done;
    Status result = fail(ErrorKind::internal, "");
    // The io threads are started by a thread that may make no sockets, and inherit that.
    std::thread([&] {
        ASSERT_TRUE(deny_sockets());
        EXPECT_LT(::socket(AF_INET, SOCK_STREAM, 0), 0);
        server = serve(std::move(*listener));
        loop = ClientLoop::start();
        loop->run(std::move(pair.first), {.host = "a", .target = "/"},
                  {.on_head = {}, .on_body = {}, .on_done = [&](Status s) {
                       result = std::move(s);
                       done.set();
                   }});
    }).join();
    Peer peer = Peer::connect(address);
    peer.send(kGet);
    EXPECT_EQ(peer.response().status, 200);
    Peer upstream(std::move(pair.second));
    upstream.read_until("\r\n\r\n");
    upstream.send("HTTP/1.1 204 No Content\r\n\r\n");
    ASSERT_TRUE(done.wait());
    EXPECT_TRUE(result);
    EXPECT_TRUE(server->drain(kPatienceMs));
}

}  // namespace
}  // namespace hearth::net::test
