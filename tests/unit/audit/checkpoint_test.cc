// Checkpoints: what is signed, how it is written, and what is refused.
#include "audit/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "audit/run.h"
#include "audit/verify.h"
#include "base/crypto.h"

namespace hearth::audit {
namespace {

using testing::HasSubstr;

const SigningKey& the_key() {
    static const SigningKey key(std::string(kSeedBytes, '\x07'));
    return key;
}

CheckpointRequest request() {
    CheckpointRequest r{.slot = "journal-0", .chain = "0123456789abcdef0123456789abcdef"};
    r.seq = r.n_entries = 640;
    r.head.fill(std::byte(1));
    r.root.fill(std::byte(2));
    r.wall_ns = 1'700'000'000'000'000'000;
    r.n_served = 12;
    return r;
}

TEST(AuditCheckpoint, comes_back_from_its_json) {
    const SignedCheckpoint made = sign(the_key(), request(), 3, 9);
    EXPECT_TRUE(verify_signature(made));
    const auto read = parse_checkpoint(to_json(made));
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(*read, made);
    const SignedCheckpoint bare{.request = request(), .key = {}, .signature = {}};
    EXPECT_FALSE(verify_signature(bare));
    ASSERT_TRUE(parse_checkpoint(to_json(bare)));
    EXPECT_FALSE(is_signed(*parse_checkpoint(to_json(bare))));
}

TEST(AuditCheckpoint, a_signature_covers_every_field) {
    const SignedCheckpoint made = sign(the_key(), request(), 3, 9);
    std::vector<SignedCheckpoint> changed(10, made);
    changed[0].request.slot = "journal-1";
    changed[1].request.chain[0] = 'f';
    changed[2].request.seq += 1;
    changed[3].request.n_entries += 1;
    changed[4].request.head[31] ^= std::byte(1);
    changed[5].request.root[0] ^= std::byte(1);
    changed[6].request.wall_ns += 1;
    changed[7].request.n_served -= 1;
    changed[8].n_connections += 1;
    changed[9].counter -= 1;
    for (std::size_t i = 0; i < changed.size(); ++i)
        EXPECT_FALSE(verify_signature(changed[i])) << i;
    SignedCheckpoint other = sign(SigningKey(std::string(kSeedBytes, '\x08')), request(), 3, 9);
    other.key = made.key;
    EXPECT_FALSE(verify_signature(other));
}

TEST(AuditCheckpoint, a_changed_byte_of_the_line_is_refused_or_another_checkpoint) {
    const SignedCheckpoint made = sign(the_key(), request(), 3, 9);
    const std::string json = to_json(made);
    for (std::size_t i = 0; i < json.size(); ++i) {
        for (int bit = 0; bit < 8; ++bit) {
            std::string text = json;
            text[i] = char(text[i] ^ 1 << bit);
            const auto read = parse_checkpoint(text);
            EXPECT_TRUE(!read || !verify_signature(*read)) << text;
        }
    }
}

TEST(AuditCheckpoint, refuses_what_is_none) {
    for (const char* text : {"", "{}", "[]", "7", "{\"slot\":\"journal-0\"}"})
        EXPECT_FALSE(parse_checkpoint(text)) << text;
    EXPECT_FALSE(parse_checkpoint(std::string(5000, ' ')));
    const std::string good = to_json(sign(the_key(), request(), 3, 9));
    EXPECT_FALSE(parse_checkpoint(good + " "));
    EXPECT_FALSE(parse_checkpoint(" " + good));
    CheckpointRequest r = request();
    for (const char* slot : {"", "Journal", "a/b", "a b"}) {
        r.slot = slot;
        EXPECT_FALSE(check_request(r)) << slot;
    }
    r = request();
    r.n_served = -1;
    EXPECT_FALSE(check_request(r));
    r = request();
    r.chain += "0";
    EXPECT_FALSE(check_request(r));
}

TEST(AuditCheckpoint, anchors_name_the_line_that_is_wrong) {
    const std::string good = to_json(sign(the_key(), request(), 3, 9));
    const auto two = parse_anchors(good + "\n\n" + good + "\n");
    ASSERT_TRUE(two);
    EXPECT_EQ(two->size(), 2u);
    const auto bad = parse_anchors(good + "\n{}\n");
    ASSERT_FALSE(bad);
    EXPECT_THAT(bad.error().message, HasSubstr("line 2 of the anchors"));
}

TEST(AuditCheckpoint, a_public_key_is_read_as_pem_and_as_hex) {
    const std::string& key = the_key().public_key();
    EXPECT_EQ(parse_public_key(public_key_pem(key)), key);
    EXPECT_EQ(parse_public_key(to_hex(key) + "\n"), key);
    EXPECT_FALSE(parse_public_key(to_hex(key).substr(2)));
    EXPECT_FALSE(parse_public_key(""));
    std::string pem = public_key_pem(key);
    pem[30] = pem[30] == 'A' ? 'B' : 'A';  // what says that it is Ed25519
    EXPECT_FALSE(parse_public_key(pem));
}

}  // namespace
}  // namespace hearth::audit
