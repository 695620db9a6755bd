// The door with a real broker process and servers on loopback.
#include "egress/door.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <random>

#include "base/format.h"
#include "egress/limits.h"
#include "sandbox/loopback.h"
#include "sandbox/permits.h"

namespace hearth::egress {
namespace {

using route::PermitMint;
using test::Listener;

constexpr std::int64_t kPatientMs = 30'000;

// Receipts as they come, with a way to wait for the n-th.
class Receipts {
  public:
    std::function<void(Receipt)> sink() {
        return [this](Receipt receipt) {
            const std::lock_guard lock(mutex_);
            all_.push_back(std::move(receipt));
            arrived_.notify_all();
        };
    }
    std::vector<Receipt> wait(std::size_t n) {
        std::unique_lock lock(mutex_);
        arrived_.wait_for(lock, std::chrono::seconds(30), [&] { return all_.size() >= n; });
        return all_;
    }

  private:
    std::mutex mutex_;  // guards all_
    std::condition_variable arrived_;
    std::vector<Receipt> all_;
};

Destination plain(int port, std::string host = "127.0.0.1") {
    return {std::move(host), port, false};
}

struct Opened {
    Receipts receipts;  // outlives the door
    std::unique_ptr<Door> door;
    explicit Opened(std::vector<AllowRule> rules) {
        auto opened = Door::open(std::move(rules), receipts.sink());
        if (opened)
            door = std::move(*opened);
        else
            ADD_FAILURE() << opened.error().message;
    }
};

AllowRule rule_for(Destination destination, std::string name = "test") {
    return {.destination = std::move(destination), .name = std::move(name)};
}

TEST(Door, carries_bytes_both_ways_and_counts_them) {
    Listener server;
    Opened opened({rule_for(plain(server.port))});
    ASSERT_TRUE(opened.door);
    auto connection = opened.door->connect(PermitMint::make(plain(server.port)), kPatientMs);
    ASSERT_TRUE(connection) << connection.error().message;
    const Fd peer = server.accept();
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

}  // namespace
}  // namespace hearth::egress
