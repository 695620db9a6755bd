// The fast SHA-256 and HMAC against the slow ones, and key files.
#include "audit/hash.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <future>
#include <set>

#include "base/file.h"
#include "support/data.h"

namespace hearth::audit {
namespace {

using testing::HasSubstr;

TEST(AuditHash, is_the_same_as_openssls_for_every_length) {
    for (std::size_t n = 0; n < 200; ++n) {
        const std::string text(n, char('a' + n % 26));
        EXPECT_EQ(hex_of(sha256(text)), sha256_hex(text)) << n;
        for (const std::size_t n_key : {0, 1, 32, 63, 64, 65, 200}) {
            const std::string key(n_key, 'k');
            EXPECT_EQ(std::string(text_of(HmacSha256(key).of(text))), hmac_sha256(key, text))
                << n << " " << n_key;
        }
    }
}

// RFC 4231, test case 2.
TEST(AuditHash, gives_the_digest_of_the_standard) {
    EXPECT_EQ(hex_of(HmacSha256("Jefe").of("what do ya want for nothing?")),
              "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST(AuditHash, reads_digests_in_lower_case_only) {
    Digest digest;
    const std::string hex = hex_of(sha256("x"));
    EXPECT_TRUE(digest_from_hex(hex, digest));
    EXPECT_EQ(digest, sha256("x"));
    std::string upper = hex;
    for (char& c : upper) c = char(std::toupper(c));
    EXPECT_FALSE(digest_from_hex(upper, digest));
    EXPECT_FALSE(digest_from_hex(hex.substr(1), digest));
    EXPECT_FALSE(digest_from_hex(hex + "0", digest));
    EXPECT_FALSE(digest_from_hex("g" + hex.substr(1), digest));
}

TEST(AuditHash, a_key_file_is_made_once_and_private) {
    const std::string path = test::temp_folder() + "/chain.key";
    EXPECT_EQ(read_key_file(path).error().kind, ErrorKind::not_found);
    std::vector<std::future<std::string>> all;
    for (int i = 0; i < 8; ++i)
        all.push_back(std::async(std::launch::async, [&] { return *read_or_make_key_file(path); }));
    std::set<std::string> keys;
    for (auto& one : all) keys.insert(one.get());
    EXPECT_EQ(keys.size(), 1u);
    EXPECT_EQ(keys.begin()->size(), 32u);
    struct stat info{};
    ASSERT_EQ(::stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u);
    EXPECT_EQ(*read_key_file(path), *keys.begin());
}

TEST(AuditHash, a_key_file_of_another_size_is_refused) {
    const std::string path = test::temp_folder() + "/chain.key";
    for (const std::size_t n : {0, 31, 33, 5000}) {
        ASSERT_TRUE(write_file(path, std::string(n, 'x')));
        const auto key = read_or_make_key_file(path);
        ASSERT_FALSE(key) << n;
        EXPECT_THAT(key.error().message, HasSubstr("no key of 32 bytes"));
    }
}

}  // namespace
}  // namespace hearth::audit
