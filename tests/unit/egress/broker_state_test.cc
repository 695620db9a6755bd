// What the broker keeps: keys that stay, counters that only grow, checkpoints that never go back.
#include "egress/broker_state.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "audit/receipt.h"
#include "base/clock.h"
#include "egress/limits.h"
#include "support/data.h"

namespace hearth::egress {
namespace {

const std::string kChain(32, 'a');

audit::CheckpointRequest checkpoint(std::int64_t seq, const std::string& slot = "journal-0",
                                    const std::string& chain = kChain) {
    audit::CheckpointRequest request;
    request.slot = slot;
    request.chain = chain;
    request.seq = request.n_entries = seq;
    request.wall_ns = 1;
    return request;
}

Receipt receipt(std::int64_t number) {
    Receipt r;
    r.number = number;
    r.request_id = "req-1";
    r.rule = "upstream acme";
    r.destination = {"api.example.com", 443, true};
    r.outcome = "closed";
    r.bytes_out = 100;
    r.bytes_in = 200;
    r.wire_bytes_out = 150;
    r.wire_bytes_in = 260;
    r.closed_wall_ns = r.opened_wall_ns = system_clock().wall_ns();
    return r;
}

mode_t mode_of(const std::string& path) {
    struct stat info{};
    EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
    return info.st_mode & 0777;
}

class BrokerStateTest : public testing::Test {
  protected:
    BrokerState open() {
        auto state = BrokerState::open(folder);
        EXPECT_TRUE(state) << state.error().message;
        return std::move(*state);
    }
    BrokerCounters counters() {
        auto read = read_counters(folder);
        EXPECT_TRUE(read) << read.error().message;
        return read ? *read : BrokerCounters{};
    }
    std::string folder = test::temp_folder() + "/broker";
};

TEST_F(BrokerStateTest, the_folder_and_the_key_are_closed_to_others_and_stay_the_same) {
    const std::string first = open().public_key();
    EXPECT_EQ(mode_of(folder), 0700u);
    EXPECT_EQ(mode_of(folder + "/key"), 0600u);
    EXPECT_EQ(open().public_key(), first);
    const auto pem = read_file(folder + "/public.pem", 4096);
    ASSERT_TRUE(pem);
    EXPECT_EQ(*pem, public_key_pem(first));
}

TEST_F(BrokerStateTest, a_key_of_another_size_is_refused_and_not_replaced) {
    ASSERT_TRUE(make_folders(folder));
    ASSERT_TRUE(write_file(folder + "/key", "short"));
    const auto state = BrokerState::open(folder);
    ASSERT_FALSE(state);
    EXPECT_NE(state.error().message.find("5 bytes"), std::string::npos);
    EXPECT_EQ(*read_file(folder + "/key", 99), "short");
}

TEST_F(BrokerStateTest, numbers_go_on_after_a_restart_and_refusals_are_no_connections) {
    EXPECT_EQ(*open().begin(true, 1), 1);
    BrokerState state = open();
    EXPECT_EQ(*state.begin(false, 1), 2);
    EXPECT_EQ(*state.begin(true, 1), 3);
    EXPECT_EQ(counters().last_number, 3);
    EXPECT_EQ(counters().total.n_opened, 2);
    EXPECT_EQ(counters().total.n_closed, 0);
}

TEST_F(BrokerStateTest, two_brokers_of_one_folder_share_their_numbers) {
    constexpr int kEach = 100;
    const auto count = [&] {
        BrokerState state = open();
        for (int i = 0; i < kEach; ++i) {
            const auto number = state.begin(true, system_clock().wall_ns());
            ASSERT_TRUE(number) << number.error().message;
            Receipt r = receipt(*number);
            state.end(r, true, "00");
        }
    };
    {
        const std::jthread a(count), b(count);
    }
    const BrokerCounters all = counters();
    EXPECT_EQ(all.last_number, 2 * kEach);
    EXPECT_EQ(all.total.n_closed, 2 * kEach);
    EXPECT_EQ(all.total.wire_bytes_out, 2 * kEach * 150);
    EXPECT_EQ(all.total.bytes_in, 2 * kEach * 200);
    ConnectionCounts by_day;
    for (const auto& [day, counts] : all.days) by_day += counts;
    EXPECT_EQ(by_day, all.total);
}

TEST_F(BrokerStateTest, an_end_signs_and_equal_payloads_have_equal_digests) {
    BrokerState state = open();
    Receipt one = receipt(1), two = receipt(2), other = receipt(3), none = receipt(4);
    none.bytes_out = 0;
    state.end(one, true, "payload");
    state.end(two, true, "payload");
    state.end(other, true, "another");
    state.end(none, true, "payload");
    EXPECT_EQ(one.digest_out.size(), 64u);
    EXPECT_EQ(one.digest_out, two.digest_out);
    EXPECT_NE(one.digest_out, other.digest_out);
    EXPECT_EQ(none.digest_out, "");
    EXPECT_TRUE(audit::verify_receipt(one, state.public_key()));
    EXPECT_NE(one.signature, two.signature);
}

TEST_F(BrokerStateTest, a_checkpoint_is_signed_only_beyond_the_last_one_also_after_a_restart) {
    {
        BrokerState state = open();
        const auto first = state.sign(checkpoint(10), 3);
        ASSERT_TRUE(first) << first.error().message;
        EXPECT_TRUE(audit::verify_signature(*first));
        EXPECT_EQ(first->key, state.public_key());
        EXPECT_EQ(first->n_connections, 3);
        EXPECT_EQ(first->counter, 1);
    }
    BrokerState state = open();
    for (const std::int64_t seq : {1, 9, 10}) {
        const auto back = state.sign(checkpoint(seq), 0);
        ASSERT_FALSE(back) << seq;
        EXPECT_EQ(back.error().kind, ErrorKind::forbidden_by_policy);
    }
    EXPECT_TRUE(state.sign(checkpoint(11), 0));
    EXPECT_TRUE(state.sign(checkpoint(1, "journal-1"), 0));
    EXPECT_TRUE(state.sign(checkpoint(1, "journal-0", std::string(32, 'b')), 0));
    const BrokerCounters all = counters();
    EXPECT_EQ(all.n_signed, 4);
    ASSERT_EQ(all.checkpoints.size(), 3u);
    EXPECT_EQ(all.checkpoints[0].request.seq, 11);
}

TEST_F(BrokerStateTest, what_is_no_checkpoint_is_not_signed) {
    BrokerState state = open();
    EXPECT_FALSE(state.sign(checkpoint(1, "../key"), 0));
    EXPECT_FALSE(state.sign(checkpoint(1, "journal-0", "short"), 0));
    EXPECT_FALSE(state.sign(checkpoint(-1), 0));
}

TEST_F(BrokerStateTest, damaged_counters_are_set_aside_and_the_gap_shows) {
    BrokerState state = open();
    ASSERT_TRUE(state.begin(true, 1));
    const std::string whole = *read_file(folder + "/counters.json", kCounterBytesMax);
    ASSERT_TRUE(write_file(folder + "/counters.json", whole.substr(0, whole.size() / 2), 0600));
    const auto number = state.begin(true, 1);
    ASSERT_TRUE(number) << number.error().message;
    EXPECT_EQ(counters().n_damaged, 1);
    EXPECT_EQ(counters().total.n_opened, 1);
}

TEST_F(BrokerStateTest, without_a_writable_folder_nothing_is_counted_and_so_nothing_begins) {
    BrokerState state = open();
    ASSERT_EQ(::unlink((folder + "/lock").c_str()) == 0 || errno == ENOENT, true);
    ASSERT_EQ(::rename(folder.c_str(), (folder + ".gone").c_str()), 0);
    EXPECT_FALSE(state.begin(true, 1));
    Receipt r = receipt(1);
    state.end(r, true, "x");  // signed all the same
    EXPECT_TRUE(audit::verify_receipt(r, state.public_key()));
    ASSERT_EQ(::rename((folder + ".gone").c_str(), folder.c_str()), 0);
    Receipt next = receipt(2);
    state.end(next, true, "x");
    EXPECT_EQ(counters().total.n_closed, 2) << "what could not be written is added later";
}

TEST(BrokerCountersText, every_cut_and_every_changed_type_is_refused) {
    BrokerCounters counters;
    counters.public_key = std::string(32, 'k');
    counters.days["2026-11-20"] = {1, 2, 3, 4, 5, 6};
    counters.total = {1, 2, 3, 4, 5, 6};
    const std::string text = to_json(counters);
    const auto back = parse_counters(text);
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(to_json(*back), text);
    EXPECT_EQ(back->days, counters.days);
    for (std::size_t n = 0; n + 2 < text.size(); ++n)
        EXPECT_FALSE(parse_counters(text.substr(0, n))) << n;
    EXPECT_FALSE(parse_counters("[]"));
    EXPECT_FALSE(parse_counters("{\"v\":2}"));
}

}  // namespace
}  // namespace hearth::egress
