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

}  // namespace
}  // namespace hearth::audit
