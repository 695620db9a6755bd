// What the broker signs and counts, with a real broker and a server on loopback.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include "audit/receipt.h"
#include "base/clock.h"
#include "egress/broker_state.h"
#include "egress/door.h"
#include "egress/limits.h"
#include "egress/purpose.h"
#include "sandbox/loopback.h"
#include "sandbox/opened_door.h"
#include "sandbox/permits.h"
#include "support/data.h"

namespace hearth::egress {
namespace {

using route::PermitMint;
using test::Listener;

class SignedReceipts : public testing::Test {
  protected:
    void open(std::vector<AllowRule> rules) {
        auto opened = Door::open(std::move(rules), receipts.sink(), folder);
        ASSERT_TRUE(opened) << opened.error().message;
        door = std::move(*opened);
    }
    // One connection that sends `out` and gets `in` back.
    void talk(EgressPermit permit, const std::string& out, const std::string& in) {
        auto made = door->connect(std::move(permit), kPatientMs);
        ASSERT_TRUE(made) << made.error().message;
        const Fd peer = server.accept();
        ASSERT_TRUE(test::write_all(made->fd.get(), out));
        ASSERT_EQ(test::read_n(peer.get(), out.size()), out);
        ASSERT_TRUE(test::write_all(peer.get(), in));
        ASSERT_EQ(test::read_n(made->fd.get(), in.size()), in);
    }
    // The server's end of a connection that the program has opened and closed again.
    Fd closed_by_the_program() {
        open({rule_for(plain(server.port))});
        const auto made = door->connect(PermitMint::make(plain(server.port)), kPatientMs);
        EXPECT_TRUE(made) << (made ? "" : made.error().message);
        return made ? server.accept() : Fd();
    }
    BrokerCounters counters() {
        auto read = read_counters(folder);
        EXPECT_TRUE(read) << read.error().message;
        return read ? *read : BrokerCounters{};
    }
    Listener server;
    std::string folder = test::temp_folder() + "/broker";
    Receipts receipts;
    std::unique_ptr<Door> door;
};

TEST_F(SignedReceipts, say_who_what_and_how_much_and_verify_under_the_brokers_key) {
    open({rule_for(plain(server.port), "upstream one")});
    talk(PermitMint::make(plain(server.port), "upstream one"), "hello", "goodbye");
    talk(PermitMint::make(plain(server.port), "upstream one"), "hello", "x");
    talk(PermitMint::make(plain(server.port), "upstream one"), "hellp", "x");
    const auto all = receipts.wait(3);
    ASSERT_EQ(all.size(), 3u);
    for (std::size_t i = 0; i < all.size(); ++i) {
        EXPECT_TRUE(audit::verify_receipt(all[i], door->public_key())) << i;
        EXPECT_EQ(all[i].number, std::int64_t(i) + 1);
    }
    EXPECT_EQ(all[0].digest_out.size(), 64u);
    EXPECT_EQ(all[0].digest_out, all[1].digest_out);
    EXPECT_NE(all[0].digest_out, all[2].digest_out);
    EXPECT_EQ(all[0].bytes_out, 5);
    EXPECT_EQ(all[0].bytes_in, 7);
    egress::Receipt changed = all[0];
    changed.bytes_out = 4;
    EXPECT_FALSE(audit::verify_receipt(changed, door->public_key()));
    EXPECT_EQ(counters().public_key, door->public_key());
}

TEST_F(SignedReceipts, the_counters_are_the_sum_of_the_receipts) {
    open({rule_for(plain(server.port))});
    for (int i = 1; i <= 5; ++i)
        talk(PermitMint::make(plain(server.port)), std::string(std::size_t(1000 * i), 'o'),
             std::string(std::size_t(777 * i), 'i'));
    ASSERT_FALSE(door->connect(PermitMint::make(plain(server.port == 9 ? 10 : 9)), kPatientMs));
    ConnectionCounts sum;
    for (const Receipt& r : receipts.wait(6)) {
        if (r.outcome.starts_with("refused")) {
            EXPECT_GT(r.number, 0) << "a refusal is signed too";
            continue;
        }
        sum += {0, 1, r.bytes_out, r.bytes_in, r.wire_bytes_out, r.wire_bytes_in};
    }
    sum.n_opened = 5;
    EXPECT_EQ(sum.bytes_out, 15'000);
    EXPECT_EQ(sum.wire_bytes_in, 777 * 15);
    EXPECT_EQ(counters().total, sum);
    EXPECT_EQ(counters().last_number, 6);
}

TEST_F(SignedReceipts, bytes_that_arrive_after_the_program_has_closed_are_counted) {
    open({rule_for(plain(server.port))});
    auto made = door->connect(PermitMint::make(plain(server.port)), kPatientMs);
    ASSERT_TRUE(made) << made.error().message;
    Fd peer = server.accept();
    ASSERT_TRUE(test::write_all(made->fd.get(), "hello"));
    ASSERT_TRUE(test::write_all(peer.get(), "data: [DONE]"));
    ASSERT_EQ(test::read_n(made->fd.get(), 12), "data: [DONE]");
    made->fd.reset();
    EXPECT_EQ(test::read_to_end(peer.get()), "hello") << "the server hears the end at once";
    EXPECT_TRUE(receipts.wait(0).empty()) << "it may have more to say";
    ASSERT_TRUE(test::write_all(peer.get(), "\r\n0\r\n\r\n"));
    peer.reset();
    const auto all = receipts.wait(1);
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0].bytes_in, 12) << "what the program took";
    EXPECT_EQ(all[0].wire_bytes_in, 12 + 7) << "what reached this machine";
    EXPECT_EQ(all[0].wire_bytes_out, 5);
    EXPECT_EQ(all[0].outcome, "closed");
}

TEST_F(SignedReceipts, a_server_that_never_ends_is_waited_for_no_longer_than_the_bound) {
    const Fd peer = closed_by_the_program();
    const auto all = receipts.wait(1);
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0].wire_bytes_in, 0);
    EXPECT_GE(all[0].closed_wall_ns - all[0].opened_wall_ns, kLingerMs * kNsPerMs);
}

TEST_F(SignedReceipts, connections_that_were_closed_make_room_for_new_ones) {
    Listener quiet{2 * int(kConnectionsMax)};  // it never answers, never closes
    open({rule_for(plain(quiet.port))});
    const auto connect = [&](std::vector<Fd>& to) {
        auto made = door->connect(PermitMint::make(plain(quiet.port)), kPatientMs);
        if (made) to.push_back(std::move(made->fd));
        return made ? "" : made.error().message;
    };
    std::vector<Fd> first, second;
    for (std::size_t i = 0; i < kConnectionsMax; ++i) ASSERT_EQ(connect(first), "") << i;
    EXPECT_NE(connect(second).find("256 upstream connections are open"), std::string::npos);
    EXPECT_EQ(receipts.wait(1).size(), 1u) << "of the refused one: those that are open stay";
    first.clear();
    for (std::size_t i = 0; i < kConnectionsMax; ++i) ASSERT_EQ(connect(second), "") << i;
    EXPECT_NE(connect(first).find("256 upstream connections are open"), std::string::npos);
    second.clear();
    const auto all = receipts.wait(2 * kConnectionsMax + 2);
    ASSERT_EQ(all.size(), 2 * kConnectionsMax + 2);
    std::size_t n_closed = 0;
    for (const Receipt& r : all) {
        EXPECT_TRUE(audit::verify_receipt(r, door->public_key()));
        n_closed += r.outcome == "closed";
    }
    EXPECT_EQ(n_closed, 2 * kConnectionsMax);
}

TEST_F(SignedReceipts, a_server_that_goes_on_after_the_end_is_cut_off) {
    const Fd peer = closed_by_the_program();
    // Many times what the sockets' buffers hold: it ends because the other side refuses it.
    const std::string piece(kLingerBytes, 'x');
    int n = 0;
    while (n < 10'000 && test::write_all(peer.get(), piece)) ++n;
    EXPECT_LT(n, 10'000);
    const auto all = receipts.wait(1);
    ASSERT_EQ(all.size(), 1u);
    EXPECT_GE(all[0].wire_bytes_in, std::int64_t(kLingerBytes));
}

TEST_F(SignedReceipts, a_permit_of_one_purpose_opens_no_rule_of_another) {
    const Purpose all[] = {Purpose::inference, Purpose::download, Purpose::identity,
                           Purpose::telemetry};
    for (const Purpose allowed : all) {
        AllowRule rule = rule_for(plain(server.port), name_of(allowed));
        rule.purpose = allowed;
        open({rule});
        for (const Purpose asked : all) {
            auto made = door->connect(PermitMint::make(plain(server.port), name_of(allowed), asked),
                                      kPatientMs);
            EXPECT_EQ(made.has_value(), asked == allowed)
                << name_of(asked) << " through a rule for " << name_of(allowed);
            if (!made) {
                EXPECT_EQ(made.error().kind, ErrorKind::forbidden_by_policy);
            }
            if (made) server.accept();
        }
        EXPECT_FALSE(server.knocked(0));
        door.reset();
    }
}

TEST_F(SignedReceipts, permits_of_the_purpose_mint_open_their_rule) {
    AllowRule rule = rule_for(plain(server.port), "store");
    rule.purpose = Purpose::download;
    open({rule});
    auto permit =
        PurposeMint::mint({rule}, Purpose::download, plain(server.port), "pull-1", "key_9");
    ASSERT_TRUE(permit) << permit.error().message;
    talk(std::move(*permit), "GET", "200");
    const auto all = receipts.wait(1);
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0].purpose, Purpose::download);
    EXPECT_EQ(all[0].rule, "store");
    EXPECT_EQ(all[0].who, "key_9");
    EXPECT_TRUE(audit::verify_receipt(all[0], door->public_key()));
}

TEST_F(SignedReceipts, the_receipt_names_the_rule_that_was_found) {
    open({rule_for(plain(server.port), "upstream real")});
    talk(PermitMint::make(plain(server.port), "upstream invented"), "a", "b");
    EXPECT_EQ(receipts.wait(1).at(0).rule, "upstream real");
}

TEST_F(SignedReceipts, finish_ends_connections_and_signing_goes_on) {
    open({rule_for(plain(server.port))});
    const Destination off_the_list = plain(server.port == 9 ? 10 : 9);
    ASSERT_FALSE(door->connect(PermitMint::make(off_the_list), kPatientMs));
    receipts.wait(1);
    auto made = door->connect(PermitMint::make(plain(server.port)), kPatientMs);
    ASSERT_TRUE(made);
    const Fd peer = server.accept();
    door->finish();
    ASSERT_EQ(receipts.wait(0).size(), 2u) << "its receipt came before finish() returned";
    EXPECT_EQ(receipts.wait(2)[1].outcome, "closed: hearth ended");
    EXPECT_EQ(test::read_to_end(peer.get()), "");
    EXPECT_FALSE(door->connect(PermitMint::make(plain(server.port)), kPatientMs));
    audit::CheckpointRequest request;
    request.slot = "journal-0";
    request.chain = std::string(32, 'a');
    request.seq = request.n_entries = 1;
    const auto signed_one = door->sign(request);
    ASSERT_TRUE(signed_one) << signed_one.error().message;
    EXPECT_TRUE(audit::verify_signature(*signed_one));
    // The refusal has a receipt too, and is no connection that the journal could lack.
    EXPECT_EQ(signed_one->n_connections, 1);
}

TEST_F(SignedReceipts, a_killed_broker_signs_nothing_and_leaves_a_gap_that_shows) {
    open({rule_for(plain(server.port))});
    auto made = door->connect(PermitMint::make(plain(server.port)), kPatientMs);
    ASSERT_TRUE(made);
    const Fd peer = server.accept();
    EXPECT_TRUE(door->alive());
    ::kill(door->broker_pid(), SIGKILL);
    const auto all = receipts.wait(1);
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0].outcome, "broker ended: bytes unknown");
    EXPECT_EQ(all[0].signature, "");
    EXPECT_FALSE(door->alive());
    const auto signed_one = door->sign({});
    ASSERT_FALSE(signed_one);
    EXPECT_EQ(signed_one.error().kind, ErrorKind::upstream_failed);
    EXPECT_FALSE(door->connect(PermitMint::make(plain(server.port)), kPatientMs));
    EXPECT_EQ(counters().total.n_opened, 1);
    EXPECT_EQ(counters().total.n_closed, 0);
}

TEST_F(SignedReceipts, no_receipt_comes_after_finish_though_the_broker_was_killed) {
    open({rule_for(plain(server.port))});
    std::vector<Door::Connection> connections;
    for (int i = 0; i < 8; ++i) {
        auto made = door->connect(PermitMint::make(plain(server.port)), kPatientMs);
        ASSERT_TRUE(made);
        connections.push_back(std::move(*made));
    }
    ::kill(door->broker_pid(), SIGKILL);
    door->finish();
    const auto before = receipts.wait(0);
    EXPECT_EQ(before.size(), connections.size());
    EXPECT_FALSE(door->connect(PermitMint::make(plain(server.port)), kPatientMs));
    door.reset();  // whoever wrote the receipts down may be gone by now
    EXPECT_EQ(receipts.wait(0).size(), before.size());
}

TEST_F(SignedReceipts, without_its_folder_the_broker_connects_nothing) {
    open({rule_for(plain(server.port))});
    ASSERT_EQ(::rename(folder.c_str(), (folder + ".gone").c_str()), 0);
    const auto made = door->connect(PermitMint::make(plain(server.port)), kPatientMs);
    ASSERT_FALSE(made);
    EXPECT_NE(made.error().message.find("cannot count"), std::string::npos);
    EXPECT_FALSE(server.knocked(0));
}

}  // namespace
}  // namespace hearth::egress
