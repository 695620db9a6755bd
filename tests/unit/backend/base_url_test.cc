// Base URLs, against a table written by hand from RFC 3986.
#include <gtest/gtest.h>

#include <iterator>
#include <string>
#include <vector>

#include "backend/upstream.h"

namespace hearth::backend {
namespace {

struct Good {
    const char* url;
    bool tls;
    const char* host;
    int port;
    const char* path;
    const char* host_header;
};

TEST(BaseUrl, what_is_clear_is_taken_apart) {
    const Good table[] = {
        {"https://api.example.com/v1", true, "api.example.com", 443, "/v1", "api.example.com"},
        {"https://api.example.com", true, "api.example.com", 443, "", "api.example.com"},
        {"https://api.example.com/", true, "api.example.com", 443, "", "api.example.com"},
        {"https://api.example.com/v1/", true, "api.example.com", 443, "/v1", "api.example.com"},
        {"HTTPS://API.Example.COM/V1", true, "api.example.com", 443, "/V1", "api.example.com"},
        {"http://localhost:11435/v1", false, "localhost", 11435, "/v1", "localhost:11435"},
        {"http://127.0.0.1:80", false, "127.0.0.1", 80, "", "127.0.0.1"},
        {"https://10.0.0.7:8443/a/b", true, "10.0.0.7", 8443, "/a/b", "10.0.0.7:8443"},
        {"http://[::1]:8080/v1", false, "::1", 8080, "/v1", "[::1]:8080"},
        {"https://[2001:DB8::7]", true, "2001:db8::7", 443, "", "[2001:db8::7]"},
        {"http://gpu_box:8000/v1", false, "gpu_box", 8000, "/v1", "gpu_box:8000"},
        {"https://h:443/v1", true, "h", 443, "/v1", "h"},
        {"https://h:80/v1", true, "h", 80, "/v1", "h:80"},
        {"https://h:00443", true, "h", 443, "", "h"},
        {"https://h/a.b/..c", true, "h", 443, "/a.b/..c", "h"},
        {"https://h/%2e/x", true, "h", 443, "/%2e/x", "h"},
    };
    for (const Good& row : table) {
        SCOPED_TRACE(row.url);
        const auto base = parse_base_url(row.url);
        ASSERT_TRUE(base) << base.error().message;
        EXPECT_EQ(base->destination,
                  (egress::Destination{.host = row.host, .port = row.port, .tls = row.tls}));
        EXPECT_EQ(base->path, row.path);
        EXPECT_EQ(host_header(base->destination), row.host_header);
    }
}

// clang-format off: tables
const char* const kNoUrls[] = {
    "", "http", "http:/h", "http//h", "ftp://h", "file:///etc/passwd", "//h", "h:80"
};
const char* const kBadAfterScheme[] = {
    "", "/v1", ":443", "user@h", "user:key@h/v1", "h/v1@x", "h#frag", "h/v1?key=x", "h:", "h:0",
    "h:65536", "h:99999", "h:100000", "h:-1", "h:+1", "h:80x", "h:8 0", "h: 80", "ho st", "h\tx",
    "h\r\nx", "h/\r\nHost: evil", "h\\evil", "h/a\\b", ".h", "h.", "h..x", "-h", "h-", "h-.x",
    "h\xc3\xa4.de", "[::1", "[::1]x", "[::1]:x", "[]", "[127.0.0.1]", "[fe80::1%eth0]", "::1",
    "127.1", "0x7f.1", "0x7f000001", "2130706433", "1.2.3.256", "1.2.3.4.5", "h/../x", "h/./x",
    "h/a/..", "h//v1", "h/a//b", "h/{x}", "h/a b"
};
// clang-format on

TEST(BaseUrl, what_could_be_misread_is_refused) {
    std::vector<std::string> urls(std::begin(kNoUrls), std::end(kNoUrls));
    for (const char* rest : kBadAfterScheme) urls.push_back(std::string("https://") + rest);
    for (const std::string& url : urls) {
        SCOPED_TRACE(url);
        const auto base = parse_base_url(url);
        ASSERT_FALSE(base);
        EXPECT_EQ(base.error().kind, ErrorKind::invalid_request);
    }
}

TEST(BaseUrl, bytes_and_lengths_that_no_name_has_are_refused) {
    EXPECT_FALSE(parse_base_url(std::string("https://h\0x", 11)));
    EXPECT_FALSE(parse_base_url("https://" + std::string(64, 'a') + ".com"));  // one label
    std::string long_name = "https://";
    for (int i = 0; i < 50; ++i) long_name += "label.";
    EXPECT_FALSE(parse_base_url(long_name + "com"));
}

TEST(BaseUrl, a_password_in_a_url_is_not_repeated) {
    const auto base = parse_base_url("https://user:hunter2@api.example.com/v1");
    ASSERT_FALSE(base);
    EXPECT_EQ(base.error().message.find("hunter2"), std::string::npos);
    EXPECT_NE(base.error().message.find("key_env"), std::string::npos);
}

UpstreamConfig valid() {
    UpstreamConfig config;
    config.name = "acme";
    config.base_url = "https://api.example.com/v1";
    config.models.resize(1);
    config.models[0].model = "big-1";
    return config;
}

TEST(UpstreamConfig, a_valid_block_gets_its_targets_completed) {
    UpstreamConfig config = valid();
    const Status ok = check(config);
    ASSERT_TRUE(ok) << ok.error().message;
    EXPECT_EQ(config.models[0].upstream, "acme");
    EXPECT_EQ(config.models[0].tier, route::Tier::cloud);
    EXPECT_EQ(config.models[0].destination,
              (egress::Destination{.host = "api.example.com", .port = 443, .tls = true}));
    const egress::AllowRule rule = allow_rule(config);
    EXPECT_EQ(rule.name, "upstream acme");
    EXPECT_EQ(rule.destination, config.models[0].destination);
    EXPECT_EQ(rule.purpose, egress::Purpose::inference);
}

TEST(UpstreamConfig, bad_blocks_are_refused_with_the_reason) {
    const auto refusal = [](auto&& change) {
        UpstreamConfig config = valid();
        change(config);
        const Status status = check(config);
        return status ? std::string("accepted") : status.error().message;
    };
    using C = UpstreamConfig;
    EXPECT_NE(refusal([](C& c) { c.name = ""; }).find("a-z"), std::string::npos);
    EXPECT_NE(refusal([](C& c) { c.name = "Acme"; }).find("a-z"), std::string::npos);
    EXPECT_NE(refusal([](C& c) { c.name = "a/b"; }).find("a-z"), std::string::npos);
    EXPECT_NE(refusal([](C& c) { c.name = std::string(65, 'a'); }).find("a-z"), std::string::npos);
    EXPECT_NE(refusal([](C& c) { c.dialect = "latin"; }).find("openai"), std::string::npos);
    EXPECT_NE(refusal([](C& c) { c.base_url = "h"; }).find("http://"), std::string::npos);
    EXPECT_NE(refusal([](C& c) { c.idle_timeout_ms = 0; }).find("timeouts"), std::string::npos);
}

TEST(UpstreamConfig, a_cloud_needs_tls_unless_it_is_this_machine) {
    const auto accepted = [](const char* url, route::Tier tier) {
        UpstreamConfig config = valid();
        config.base_url = url;
        config.tier = tier;
        return check(config).has_value();
    };
    EXPECT_FALSE(accepted("http://api.example.com/v1", route::Tier::cloud));
    EXPECT_FALSE(accepted("http://127.evil.example", route::Tier::cloud));
    EXPECT_FALSE(accepted("http://localhost.evil.example", route::Tier::cloud));
    EXPECT_TRUE(accepted("http://127.0.0.1:8000/v1", route::Tier::cloud));
    EXPECT_TRUE(accepted("http://localhost:8000/v1", route::Tier::cloud));
    EXPECT_TRUE(accepted("http://[::1]:8000/v1", route::Tier::cloud));
    EXPECT_TRUE(accepted("http://gpu.test:8000/v1", route::Tier::fleet));
    EXPECT_TRUE(accepted("https://gpu.test:8000/v1", route::Tier::cloud));
}

}  // namespace
}  // namespace hearth::backend
