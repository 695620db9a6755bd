// A receipt's signature holds for all that it says, and for nothing else.
#include "audit/receipt.h"

#include <gtest/gtest.h>

#include <functional>

namespace hearth::audit {
namespace {

const SigningKey& key() {
    static const SigningKey key(std::string(kSeedBytes, 's'));
    return key;
}

egress::Receipt signed_receipt() {
    egress::Receipt r;
    r.number = 7;
    r.request_id = "req-1";
    r.rule = "upstream acme";
    r.purpose = egress::Purpose::download;
    r.destination = {"api.example.com", 443, true};
    r.who = "key_1";
    r.address = "192.0.2.1:443";
    r.tls_spki_sha256 = std::string(64, 'a');
    r.outcome = "closed";
    r.digest_out = std::string(64, 'd');
    r.bytes_out = 1;
    r.bytes_in = 2;
    r.wire_bytes_out = 3;
    r.wire_bytes_in = 4;
    r.opened_wall_ns = 5;
    r.closed_wall_ns = 6;
    sign(key(), r);
    return r;
}

TEST(SignedReceipt, it_verifies_and_survives_the_journals_json) {
    const egress::Receipt r = signed_receipt();
    EXPECT_TRUE(verify_receipt(r, key().public_key()));
    const auto back = parse_receipt(to_json(r));
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_TRUE(verify_receipt(*back, key().public_key()));
    EXPECT_EQ(to_json(*back), to_json(r));
    const SigningKey other(std::string(kSeedBytes, 'o'));
    EXPECT_FALSE(verify_receipt(r, other.public_key()));
}

TEST(SignedReceipt, every_member_is_signed) {
    using Change = std::function<void(egress::Receipt&)>;
    const std::pair<const char*, Change> changes[] = {
        {"number", [](auto& r) { ++r.number; }},
        {"request_id", [](auto& r) { r.request_id += "x"; }},
        {"rule", [](auto& r) { r.rule = "upstream acmf"; }},
        {"purpose", [](auto& r) { r.purpose = egress::Purpose::inference; }},
        {"host", [](auto& r) { r.destination.host = "b"; }},
        {"port", [](auto& r) { ++r.destination.port; }},
        {"tls", [](auto& r) { r.destination.tls = false; }},
        {"who", [](auto& r) { r.who = ""; }},
        {"address", [](auto& r) { r.address = ""; }},
        {"spki", [](auto& r) { r.tls_spki_sha256[0] = 'b'; }},
        {"outcome", [](auto& r) { r.outcome = "refused"; }},
        {"digest_out", [](auto& r) { r.digest_out = ""; }},
        {"bytes_out", [](auto& r) { --r.bytes_out; }},
        {"bytes_in", [](auto& r) { ++r.bytes_in; }},
        {"wire_bytes_out", [](auto& r) { ++r.wire_bytes_out; }},
        {"wire_bytes_in", [](auto& r) { ++r.wire_bytes_in; }},
        {"opened", [](auto& r) { ++r.opened_wall_ns; }},
        {"closed", [](auto& r) { ++r.closed_wall_ns; }},
        {"key_id", [](auto& r) { r.key_id[0] = r.key_id[0] == '0' ? '1' : '0'; }},
        {"signature", [](auto& r) { r.signature.clear(); }},
        // What moves from one member to the next makes other bytes.
        {"border", [](auto& r) { r.request_id = "req-1u", r.rule = "pstream acme"; }},
    };
    for (const auto& [name, change] : changes) {
        egress::Receipt r = signed_receipt();
        change(r);
        EXPECT_FALSE(verify_receipt(r, key().public_key())) << name;
    }
}

TEST(SignedReceipt, a_checkpoints_signature_is_none_of_a_receipt) {
    egress::Receipt r = signed_receipt();
    r.signature = to_hex(key().sign(CanonicalForm("hearth-audit-checkpoint-v1").bytes()));
    EXPECT_FALSE(verify_receipt(r, key().public_key()));
}

TEST(SignedReceipt, records_of_before_are_read_and_wrong_ones_are_refused) {
    const auto old = parse_receipt(
        R"({"request_id":"r","rule":"u","purpose":"inference","host":"h","port":1,"tls":false,)"
        R"("address":"","tls_spki_sha256":"","outcome":"closed","bytes_out":1,"bytes_in":2,)"
        R"("wire_bytes_out":3,"wire_bytes_in":4,"opened_wall_ns":5,"closed_wall_ns":6})");
    ASSERT_TRUE(old) << old.error().message;
    EXPECT_EQ(old->number, 0);
    EXPECT_FALSE(verify_receipt(*old, key().public_key()));
    const std::string whole = to_json(signed_receipt());
    for (std::size_t n = 0; n < whole.size(); ++n) EXPECT_FALSE(parse_receipt(whole.substr(0, n)));
    EXPECT_FALSE(parse_receipt("[]"));
    for (const char* wrong : {R"("port":0)", R"("port":65536)", R"("purpose":"lunch")"}) {
        std::string text = whole;
        const bool port = std::string_view(wrong).starts_with("\"port");
        const std::string_view old_text = port ? R"("port":443)" : R"("purpose":"download")";
        text.replace(text.find(old_text), old_text.size(), wrong);
        EXPECT_FALSE(parse_receipt(text)) << wrong;
    }
}

}  // namespace
}  // namespace hearth::audit
