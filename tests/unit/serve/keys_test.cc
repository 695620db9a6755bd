#include "serve/keys.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>
#include <thread>

#include "base/crypto.h"
#include "base/file.h"
#include "serve/key_token.h"
#include "serve/limits.h"
#include "support/data.h"

namespace hearth::serve {
namespace {

struct Rig {
    std::string folder = test::temp_folder();
    ManualClock clock;
    KeyStore store{folder, clock};
    Rig() { clock.now_ns = 1'800'000'000LL * kNsPerS; }
    std::string file() const { return folder + "/keys.json"; }

    IssuedKey make(const KeyWish& wish = {.name = "laptop"}) {
        auto issued = store.create(wish);
        EXPECT_TRUE(issued) << issued.error().message;
        return std::move(*issued);
    }
    // "" where the token is good, else why it is not.
    std::string refusal(std::string_view token) {
        const auto now = store.current();
        if (!now) return now.error().message;
        const auto key = (*now)->check(token, store.now_s());
        return key ? "" : key.error().message;
    }
};

TEST(KeyToken, is_made_of_id_secret_and_check_and_a_slip_is_seen) {
    const NewToken token = new_token();
    const std::string text = token.token.reveal();
    EXPECT_EQ(text.size(), 49u);
    EXPECT_TRUE(text.starts_with(token.id));
    EXPECT_EQ(id_of_token(text), token.id);
    for (std::size_t i = 0; i < text.size(); ++i) {
        std::string wrong = text;
        wrong[i] = wrong[i] == 'a' ? 'b' : 'a';
        EXPECT_EQ(id_of_token(wrong), "") << i;
        EXPECT_EQ(id_of_token(text.substr(0, i)), "") << i;
    }
    EXPECT_EQ(id_of_token(text + "a"), "");
    std::set<std::string> seen;
    for (int i = 0; i < 1000; ++i) EXPECT_TRUE(seen.insert(new_token().token.reveal()).second);
}

TEST(KeyStore, a_key_is_kept_as_a_keyed_hash_and_its_secret_nowhere) {
    Rig rig;
    const IssuedKey issued = rig.make();
    const std::string token = issued.token.reveal();
    EXPECT_EQ(rig.refusal(token), "");
    for (const char* name : {"/keys.json", "/keys.secret", "/keys.lock"}) {
        struct stat info;
        ASSERT_EQ(::stat((rig.folder + name).c_str(), &info), 0) << name;
        EXPECT_EQ(info.st_mode & 0777, 0600u) << name;
        const auto text = read_file(rig.folder + name, 1 << 20);
        EXPECT_EQ(text->find(token.substr(kKeyIdBytes)), std::string::npos) << name;
    }
    // Independent of the store: HMAC-SHA256 of domain and token under the secret's 32 bytes.
    const std::string secret =
        from_hex(read_file(rig.folder + "/keys.secret", 100)->substr(0, 64)).value();
    EXPECT_EQ(issued.key.secrets.at(0).hash, to_hex(hmac_sha256(secret, "hearth key 1\n" + token)));
}

TEST(KeyStore, wrong_tokens_are_refused_alike) {
    Rig rig;
    const IssuedKey issued = rig.make();
    const std::string unknown = rig.refusal(new_token().token.reveal());
    EXPECT_EQ(unknown, "this key is not known here, or was mistyped");
    EXPECT_EQ(rig.refusal(new_token_of(issued.key.id).reveal()), unknown);
    EXPECT_EQ(rig.refusal("sk-anything"), unknown);
    EXPECT_NE(rig.refusal("").find("needs a key"), std::string::npos);
}

TEST(KeyStore, another_process_revokes_and_the_next_look_sees_it) {
    Rig rig;
    const IssuedKey issued = rig.make();
    EXPECT_EQ(rig.refusal(issued.token.reveal()), "");
    KeyStore other(rig.folder, rig.clock);
    ASSERT_TRUE(other.revoke("laptop"));
    EXPECT_NE(rig.refusal(issued.token.reveal()).find("revoked"), std::string::npos);
    EXPECT_FALSE(other.revoke("laptop"));  // the name is free again
    EXPECT_TRUE(other.revoke(issued.key.id));
}

TEST(KeyStore, a_key_ends_in_the_second_that_it_states) {
    Rig rig;
    const IssuedKey issued = rig.make({.name = "short", .expires = "90s"});
    rig.clock.now_ns += 90 * kNsPerS - 1;
    EXPECT_EQ(rig.refusal(issued.token.reveal()), "");
    rig.clock.now_ns += 1;
    EXPECT_NE(rig.refusal(issued.token.reveal()).find("expired at 2027-01-15T08:01:30Z"),
              std::string::npos);
}

TEST(KeyStore, after_a_rotation_both_secrets_are_good_until_the_overlap_ends) {
    Rig rig;
    const IssuedKey first = rig.make();
    const auto second = rig.store.rotate("laptop", 60);
    ASSERT_TRUE(second);
    EXPECT_EQ(second->key.id, first.key.id);
    EXPECT_EQ(rig.refusal(first.token.reveal()), "");
    EXPECT_EQ(rig.refusal(second->token.reveal()), "");
    rig.clock.now_ns += 60 * kNsPerS;
    EXPECT_NE(rig.refusal(first.token.reveal()).find("replaced"), std::string::npos);
    EXPECT_EQ(rig.refusal(second->token.reveal()), "");
    const auto third = rig.store.rotate("laptop", 0);
    ASSERT_TRUE(third);
    EXPECT_NE(rig.refusal(second->token.reveal()), "");
    EXPECT_EQ(rig.refusal(third->token.reveal()), "");
    ASSERT_TRUE(rig.store.revoke("laptop"));
    EXPECT_FALSE(rig.store.rotate(first.key.id, 60));
}

TEST(KeyStore, a_file_that_is_damaged_or_others_can_read_lets_nobody_in) {
    Rig rig;
    const IssuedKey issued = rig.make();
    const std::string good = read_file(rig.file(), 1 << 20).value();
    ASSERT_EQ(::chmod(rig.file().c_str(), 0640), 0);
    EXPECT_NE(rig.refusal(issued.token.reveal()).find("0600"), std::string::npos);
    ASSERT_TRUE(write_file(rig.file(), good.substr(0, good.size() / 2), 0600));
    EXPECT_NE(rig.refusal(issued.token.reveal()), "");
    EXPECT_FALSE(rig.store.create({.name = "another"}));  // and nothing is written over it
    EXPECT_EQ(read_file(rig.file(), 1 << 20).value(), good.substr(0, good.size() / 2));
    ASSERT_TRUE(write_file(rig.file(), good, 0600));
    EXPECT_EQ(rig.refusal(issued.token.reveal()), "");
    ASSERT_EQ(::unlink((rig.folder + "/keys.secret").c_str()), 0);
    ASSERT_TRUE(write_file(rig.file(), good, 0600));
    EXPECT_NE(rig.refusal(issued.token.reveal()).find("keys.secret is missing"), std::string::npos);
    EXPECT_FALSE(rig.store.create({.name = "another"}));
}

TEST(KeyStore, two_processes_that_change_at_once_lose_nothing) {
    Rig rig;
    rig.make({.name = "first"});
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&rig, t] {
            KeyStore store(rig.folder, rig.clock);
            for (int i = 0; i < 8; ++i)
                EXPECT_TRUE(store.create({.name = "t" + std::to_string(t)}));
        });
    }
    threads.clear();
    const auto now = rig.store.current();
    ASSERT_TRUE(now);
    EXPECT_EQ((*now)->file.keys.size(), 33u);
    EXPECT_EQ((*now)->file.changes, 33);
    EXPECT_EQ((*now)->by_id.size(), 33u);
}

TEST(KeyStore, a_key_is_never_more_than_its_owner) {
    Rig rig;
    EXPECT_FALSE(rig.store.create({.name = "k", .owner = "ann"}));
    ASSERT_TRUE(rig.store.add_user("ann", "operator"));
    EXPECT_FALSE(rig.store.add_user("ann", "user"));
    const auto refused = rig.store.create({.name = "k", .owner = "ann", .role = "admin"});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::forbidden_by_policy);
    const IssuedKey own = rig.make({.name = "own", .owner = "ann"});
    const IssuedKey less = rig.make({.name = "less", .owner = "ann", .role = "user"});
    const auto role = [&](const IssuedKey& issued) {
        const auto now = rig.store.current();
        return role_of(*(*now)->file.find_key(issued.key.id), (*now)->file);
    };
    EXPECT_EQ(role(own), Role::operator_);
    EXPECT_EQ(role(less), Role::user);
    ASSERT_TRUE(rig.store.change_role("ann", "auditor"));
    EXPECT_EQ(role(own), Role::auditor);
    EXPECT_EQ(role(less), Role::auditor);
    const auto revoked = rig.store.remove_user("ann");
    ASSERT_TRUE(revoked);
    EXPECT_EQ(revoked->size(), 2u);
    EXPECT_NE(rig.refusal(own.token.reveal()), "");
    EXPECT_FALSE(rig.store.remove_user("ann"));
}

TEST(KeyFile, comes_back_as_it_was_written) {
    Rig rig;
    KeyWish wish{.name = "all \"of\" it",
                 .role = "user",
                 .expires = "30d",
                 .routes = {"/v1/chat/completions", "/v1/models*"},
                 .models = {"auto", "acme/*"},
                 .tiers = {"local", "cloud"},
                 .max_class_out = "confidential",
                 .may_lower_to = "internal"};
    for (std::size_t i = 0; i < kBounds; ++i) wish.limits.at(i) = std::to_string(i + 1);
    rig.make(wish);
    const KeyFile& file = (*rig.store.current())->file;
    const auto again = parse_key_file(to_text(file));
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(*again, file);
    const Key& key = file.keys.at(0);
    EXPECT_EQ(key.limits.of(Bound::requests_minute), 1);
    EXPECT_EQ(key.limits.of(Bound::microusd_day), 4'000'000);
    EXPECT_FALSE(key.scopes.tiers.fleet);
    EXPECT_TRUE(key.scopes.allows_model("acme/big-1"));
    EXPECT_FALSE(key.scopes.allows_model("demo"));
    EXPECT_TRUE(key.scopes.allows_model(""));  // which is auto
}

// Every prefix and every changed byte of a good file is refused or read as some other list of keys;
// never more keys than before, and nothing crashes.
TEST(KeyFile, damaged_bytes_are_refused_or_harmless) {
    Rig rig;
    rig.make();
    const std::string good = to_text((*rig.store.current())->file);
    for (std::size_t i = 0; i < good.size(); ++i) {
        EXPECT_TRUE(i + 2 > good.size() || !parse_key_file(good.substr(0, i))) << i;
        for (const char c : {'\0', '"', '9', '{', '\xff'}) {
            std::string bad = good;
            bad[i] = c;
            const auto read = parse_key_file(bad);
            EXPECT_LE(read ? read->keys.size() : 0, 1u);
        }
    }
}

TEST(KeyFile, what_a_file_must_not_say_is_refused_with_the_place) {
    const auto refusal = [](const std::string& keys) {
        const auto file = parse_key_file(
            R"({"format":"hearth-keys","version":1,"changes":0,"users":[],"keys":[)" + keys + "]}");
        return file ? std::string("accepted") : file.error().message;
    };
    const std::string key =
        R"({"id":"hk-aaaaaaaa","name":"n","created_s":1,"scopes":{"tiers":["local"],"max_class_out":"internal"},"limits":{},"secrets":[]})";
    EXPECT_EQ(refusal(key), "accepted");
    EXPECT_NE(refusal(key + "," + key).find("like one before it"), std::string::npos);
    const auto with = [&](const std::string& from, const std::string& to) {
        std::string changed = key;
        changed.replace(changed.find(from), from.size(), to);
        return refusal(changed);
    };
    EXPECT_NE(with("hk-aaaaaaaa", "hk-AAAAAAAA").find("keys[0].id"), std::string::npos);
    EXPECT_NE(with("\"created_s\":1", "\"created_s\":-1").find("created_s"), std::string::npos);
    EXPECT_NE(with("\"created_s\":1", "\"created_s\":1.5").find("created_s"), std::string::npos);
    EXPECT_NE(with("local", "moon").find("tiers"), std::string::npos);
    EXPECT_NE(with("internal", "secret").find("max_class_out"), std::string::npos);
    EXPECT_NE(with("\"limits\":{}", "\"limits\":{\"tokens_day\":-1}").find("tokens_day"),
              std::string::npos);
    EXPECT_NE(with("\"secrets\":[]", "\"secrets\":[{\"hmac_sha256\":\"00\",\"created_s\":1}]")
                  .find("secrets[0]"),
              std::string::npos);
    EXPECT_FALSE(
        parse_key_file(R"({"format":"hearth-keys","version":2,"changes":0,"users":[],"keys":[]})"));
    EXPECT_FALSE(parse_key_file("{}"));
    EXPECT_FALSE(parse_key_file("[]"));
}

TEST(KeyWish, words_that_mean_nothing_are_refused_by_name) {
    const auto wrong = [](const KeyWish& wish) {
        const auto key = key_of(wish, 1'800'000'000);
        return key ? std::string("accepted") : key.error().param;
    };
    EXPECT_EQ(wrong({}), "accepted");
    EXPECT_EQ(wrong({.name = "a\nb"}), "name");
    EXPECT_EQ(wrong({.name = std::string(129, 'a')}), "name");
    EXPECT_EQ(wrong({.role = "root"}), "role");
    EXPECT_EQ(wrong({.expires = "yesterday"}), "expires");
    EXPECT_EQ(wrong({.expires = "2020-01-01"}), "expires");
    EXPECT_EQ(wrong({.expires = "2027-02-30"}), "expires");
    EXPECT_EQ(wrong({.expires = "11y"}), "expires");
    EXPECT_EQ(wrong({.expires = "9999999999d"}), "expires");
    EXPECT_EQ(wrong({.routes = {"v1"}}), "routes");
    EXPECT_EQ(wrong({.tiers = {"moon"}}), "tiers");
    EXPECT_EQ(wrong({.max_class_out = "secret"}), "max_class_out");
    EXPECT_EQ(wrong({.limits = {"-1"}}), "requests_minute");
    EXPECT_EQ(wrong({.limits = {"1.5"}}), "requests_minute");
    EXPECT_EQ(wrong({.limits = {"", "", "", "1.5"}}), "accepted");
    EXPECT_EQ(wrong({.limits = {"", "", "", "0.0000001"}}), "microusd_day");
    EXPECT_EQ(wrong({.soft_percent = "101"}), "soft_percent");
}

TEST(KeyWish, times_are_read_as_they_are_written) {
    EXPECT_EQ(time_after("30d", 0).value(), 30 * 86'400);
    EXPECT_EQ(time_after("2027-01-15", 1'790'000'000).value(), 1'799'971'200);
    EXPECT_EQ(time_after("2027-01-15T08:00:00Z", 1'790'000'000).value(), 1'800'000'000);
    EXPECT_EQ(time_text(1'800'000'000), "2027-01-15T08:00:00Z");
    EXPECT_EQ(duration_s("0").value(), 0);
    for (const char* wrong : {"", "d", "1", "-1d", "1.5h", "1 d", "2027-1-15", "2027-01-15T08:00Z"})
        EXPECT_FALSE(time_after(wrong, 0)) << wrong;
}

}  // namespace
}  // namespace hearth::serve
