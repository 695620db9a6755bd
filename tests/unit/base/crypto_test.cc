#include "base/crypto.h"

#include <gtest/gtest.h>

namespace hearth {
namespace {

std::string bytes_of(std::string_view hex) {
    return from_hex(hex).value();
}

TEST(Crypto, hmac_is_that_of_rfc_4231) {
    // Test cases 1 and 2, and 6 (a key longer than a block).
    EXPECT_EQ(to_hex(hmac_sha256(std::string(20, '\x0b'), "Hi There")),
              "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    EXPECT_EQ(to_hex(hmac_sha256("Jefe", "what do ya want for nothing?")),
              "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    EXPECT_EQ(to_hex(hmac_sha256(std::string(131, '\xaa'),
                                 "Test Using Larger Than Block-Size Key - Hash Key First")),
              "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST(Crypto, hmac_of_pieces_is_that_of_the_whole) {
    Hmac hmac("Jefe");
    hmac.add("what do ya ");
    hmac.add("");
    hmac.add("want for nothing?");
    EXPECT_EQ(hmac.digest(), hmac_sha256("Jefe", "what do ya want for nothing?"));
}

TEST(Crypto, ed25519_is_that_of_rfc_8032) {
    // Section 7.1, tests 1 (an empty message) and 3.
    const SigningKey one(
        bytes_of("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"));
    EXPECT_EQ(to_hex(one.public_key()),
              "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    EXPECT_EQ(
        to_hex(one.sign("")),
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e3"
        "9701cf9b46bd25bf5f0595bbe24655141438e7a100b");
    const SigningKey three(
        bytes_of("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7"));
    EXPECT_EQ(
        to_hex(three.sign("\xaf\x82")),
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f"
        "760984dc6594a7c15e9716ed28dc027beceea1ec40a");
}

TEST(Crypto, a_signature_holds_for_its_message_and_key_only) {
    const SigningKey key(std::string(kSeedBytes, 'k')), other(std::string(kSeedBytes, 'o'));
    const std::string signature = key.sign("message");
    EXPECT_TRUE(verify_signature(key.public_key(), "message", signature));
    EXPECT_FALSE(verify_signature(key.public_key(), "messagf", signature));
    EXPECT_FALSE(verify_signature(other.public_key(), "message", signature));
    for (std::size_t bit = 0; bit < signature.size() * 8; ++bit) {
        std::string changed = signature;
        changed[bit / 8] = char(changed[bit / 8] ^ (1 << (bit % 8)));
        EXPECT_FALSE(verify_signature(key.public_key(), "message", changed)) << bit;
    }
    EXPECT_FALSE(verify_signature(key.public_key(), "message", signature.substr(1)));
    EXPECT_FALSE(verify_signature("", "message", signature));
}

TEST(Crypto, a_public_key_is_written_as_openssl_writes_it) {
    // openssl genpkey -algorithm ed25519 | openssl pkey -pubout prints 60 characters between the
    // same two lines; these are of RFC 8410, section 10.1.
    EXPECT_EQ(public_key_pem(
                  bytes_of("19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1")),
              "-----BEGIN PUBLIC KEY-----\n"
              "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
              "-----END PUBLIC KEY-----\n");
}

TEST(Crypto, hex_refuses_what_is_none) {
    EXPECT_EQ(from_hex("00fFa0").value(), std::string("\x00\xff\xa0", 3));
    EXPECT_FALSE(from_hex("0"));
    EXPECT_FALSE(from_hex("0g"));
    EXPECT_FALSE(from_hex("0x"));
}

TEST(Crypto, canonical_forms_of_different_fields_differ) {
    const auto two = [](std::string_view a, std::string_view b) {
        return CanonicalForm("test").text(a).text(b).bytes();
    };
    EXPECT_NE(two("ab", "c"), two("a", "bc"));
    EXPECT_NE(two("", "ab"), two("ab", ""));
    EXPECT_NE(CanonicalForm("one").text("x").bytes(), CanonicalForm("two").text("x").bytes());
    EXPECT_EQ(to_hex(CanonicalForm("d").number(std::uint64_t{258}).bytes()),
              "010000000000000064"
              "0800000000000000"
              "0201000000000000");
}

TEST(Crypto, secrets_are_compared_whole) {
    EXPECT_TRUE(same_secret("abc", "abc"));
    EXPECT_FALSE(same_secret("abc", "abd"));
    EXPECT_FALSE(same_secret("abc", "ab"));
    EXPECT_TRUE(same_secret("", ""));
}

}  // namespace
}  // namespace hearth
