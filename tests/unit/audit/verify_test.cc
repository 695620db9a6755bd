// A chain made by hand, by somebody who has the chain's key and not the signing one.
#include "audit/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/format.h"

namespace hearth::audit {
namespace {

using testing::HasSubstr;

struct Forged : testing::Test {
    Trust trust{.chain_key = std::string(32, 'c'), .public_keys = {}, .from_seq = 0, .anchors = {}};
    const SigningKey key{std::string(kSeedBytes, 'k')}, other{std::string(kSeedBytes, 'o')};
    const HmacSha256 hmac{*trust.chain_key};
    ChainState state{.chain = std::string(32, 'a'), .seq = 0, .mac = {}, .root = {}};
    ChainVerifier verifier{trust, "journal-0"};

    bool add(const char* event, const std::string& json) {
        const EntryView entry{.seq = state.seq + 1,
                              .wall_ns = 5,
                              .event = event,
                              .request_id = "",
                              .json = json,
                              .columns = {}};
        std::string scratch;
        const Digest leaf = leaf_of("journal-0", entry, scratch);
        state.mac = link_mac(hmac, state.mac, leaf);
        state.root = next_root(state.root, state.mac, leaf);
        ++state.seq;
        return verifier.add(entry, state.mac);
    }
    bool open() {
        return add("audit.open",
                   format("{{\"chain\":\"{}\",\"previous\":{}}}", state.chain, to_json(state)));
    }
    CheckpointRequest here() const {
        return {.slot = "journal-0",
                .chain = state.chain,
                .seq = state.seq,
                .n_entries = state.seq,
                .head = state.mac,
                .root = state.root,
                .wall_ns = 5,
                .n_served = 0};
    }
};

TEST_F(Forged, a_true_signature_is_taken) {
    ASSERT_TRUE(open() && add("outcome", "{}"));
    ASSERT_TRUE(add("audit.checkpoint", to_json(sign(key, here(), 0, 1))));
    const Stretch stretch = verifier.finish();
    EXPECT_FALSE(stretch.finding);
    EXPECT_EQ(stretch.signed_seq, 2);
    EXPECT_EQ(stretch.keys, std::vector{key.public_key()});
}

TEST_F(Forged, another_keys_signature_under_a_trusted_name_is_found) {
    ASSERT_TRUE(open() && add("outcome", "{}"));
    SignedCheckpoint checkpoint = sign(other, here(), 0, 1);
    checkpoint.key = key.public_key();
    ASSERT_TRUE(add("audit.checkpoint", to_json(checkpoint)));
    const Stretch stretch = verifier.finish();
    ASSERT_TRUE(stretch.finding);
    EXPECT_EQ(stretch.finding->seq, 3);
    EXPECT_THAT(stretch.finding->what, HasSubstr("signature of the checkpoint at 3 is wrong"));
    EXPECT_EQ(stretch.signed_seq, 0);
}

TEST_F(Forged, a_checkpoint_of_another_place_is_found) {
    ASSERT_TRUE(open() && add("outcome", "{}"));
    for (int change = 0; change < 5; ++change) {
        CheckpointRequest request = here();
        if (change == 0) request.slot = "journal-1";
        if (change == 1) request.chain = std::string(32, 'b');
        if (change == 2) request.head[0] ^= std::byte(1);
        if (change == 3) request.root[0] ^= std::byte(1);
        if (change == 4) request.n_entries -= 1;
        const ChainVerifier before = verifier;
        const ChainState state_before = state;
        EXPECT_FALSE(add("audit.checkpoint", to_json(sign(key, request, 0, 1)))) << change;
        std::destroy_at(&verifier);
        std::construct_at(&verifier, before);
        state = state_before;
    }
}

TEST_F(Forged, an_opening_that_follows_something_else_is_found) {
    ASSERT_TRUE(open() && add("outcome", "{}"));
    ChainState wrong = state;
    wrong.root[0] ^= std::byte(1);
    EXPECT_FALSE(add("audit.open",
                     format("{{\"chain\":\"{}\",\"previous\":{}}}", state.chain, to_json(wrong))));
}

TEST_F(Forged, an_opening_of_another_chain_is_found) {
    ASSERT_TRUE(open() && add("outcome", "{}"));
    ChainState strange = state;
    strange.chain = std::string(32, 'b');
    EXPECT_FALSE(add("audit.open", format("{{\"chain\":\"{}\",\"previous\":{}}}", strange.chain,
                                          to_json(strange))));
}

egress::Receipt receipt_of(std::int64_t number) {
    egress::Receipt receipt;
    receipt.request_id = "req-1";
    receipt.rule = "upstream acme";
    receipt.destination = {.host = "api.example.com", .port = 443, .tls = true};
    receipt.address = "192.0.2.7:443";
    receipt.outcome = "closed";
    receipt.bytes_out = 100;
    receipt.number = number;
    return receipt;
}

struct ForgedReceipt : Forged {
    egress::Receipt good = receipt_of(1);
    void SetUp() override { sign(key, good); }
    // A receipt before the checkpoint that shows the key, and one after it.
    Verdict verdict_of(const egress::Receipt& before, const egress::Receipt& after) {
        EXPECT_TRUE(open());
        if (add("egress", to_json(before)) &&
            add("audit.checkpoint", to_json(sign(key, here(), 1, 1))))
            add("egress", to_json(after));
        return judge({verifier.finish()}, trust);
    }
};

TEST_F(ForgedReceipt, true_signatures_are_counted) {
    egress::Receipt second = receipt_of(2);
    sign(key, second);
    const Verdict verdict = verdict_of(good, second);
    EXPECT_TRUE(verdict.ok);
    EXPECT_EQ(verdict.n_receipts_signed, 2);
    EXPECT_EQ(verdict.n_receipts_unsigned + verdict.n_receipts_other_key, 0);
}

TEST_F(ForgedReceipt, one_that_is_changed_before_the_key_is_known_is_found) {
    egress::Receipt less = good;
    less.bytes_out = 99;
    const Verdict verdict = verdict_of(less, good);
    ASSERT_FALSE(verdict.ok);
    EXPECT_EQ(verdict.first_bad->seq, 2);
    EXPECT_THAT(verdict.first_bad->what, HasSubstr("signature of receipt 1 is wrong"));
}

TEST_F(ForgedReceipt, one_that_is_changed_after_the_key_is_known_is_found_too) {
    trust.public_keys = {key.public_key()};
    egress::Receipt elsewhere = good;
    elsewhere.destination.host = "api.example.org";
    const Verdict verdict = verdict_of(good, elsewhere);
    ASSERT_FALSE(verdict.ok);
    EXPECT_EQ(verdict.first_bad->seq, 4);
}

TEST_F(ForgedReceipt, of_another_key_it_is_counted_as_such) {
    egress::Receipt made_up = receipt_of(1);
    sign(other, made_up);
    const Verdict verdict = verdict_of(made_up, good);
    EXPECT_TRUE(verdict.ok);
    EXPECT_EQ(verdict.n_receipts_other_key, 1);
    EXPECT_EQ(verdict.n_receipts_signed, 1);
}

TEST_F(ForgedReceipt, of_a_key_that_is_not_named_it_is_found) {
    trust.public_keys = {key.public_key()};
    egress::Receipt made_up = receipt_of(1);
    sign(other, made_up);
    const Verdict verdict = verdict_of(made_up, good);
    ASSERT_FALSE(verdict.ok);
    EXPECT_EQ(verdict.first_bad->seq, 2);
    EXPECT_THAT(verdict.first_bad->what, HasSubstr("not among those trusted"));
}

TEST_F(ForgedReceipt, without_a_signature_it_is_counted_as_such) {
    const Verdict verdict = verdict_of(receipt_of(0), good);
    EXPECT_TRUE(verdict.ok);
    EXPECT_EQ(verdict.n_receipts_unsigned, 1);
    EXPECT_EQ(verdict.n_receipts_signed, 1);
}

TEST_F(ForgedReceipt, with_a_number_and_without_a_signature_it_is_no_brokers) {
    trust.public_keys = {key.public_key()};
    EXPECT_FALSE(verdict_of(receipt_of(7), good).ok);
}

}  // namespace
}  // namespace hearth::audit
