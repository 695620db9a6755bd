// Permits for everything but inference: only under a rule of the same purpose and destination.
#include "egress/purpose.h"

#include <gtest/gtest.h>

namespace hearth::egress {
namespace {

const Destination kHub{"models.example.com", 443, true};
const Destination kIdentity{"id.example.com", 443, true};

std::vector<AllowRule> rules() {
    return {{.destination = kHub, .purpose = Purpose::download, .name = "store"},
            {.destination = kIdentity, .purpose = Purpose::identity, .name = "sign-in"},
            {.destination = {"otel.example.com", 4318, true},
             .purpose = Purpose::telemetry,
             .name = "traces"},
            {.destination = {"api.example.com", 443, true}, .name = "upstream acme"}};
}

TEST(PurposeMint, a_rule_gives_a_permit_that_names_it) {
    const auto permit = PurposeMint::mint(rules(), Purpose::download, kHub, "pull-1", "key_7");
    ASSERT_TRUE(permit) << permit.error().message;
    EXPECT_EQ(permit->purpose(), Purpose::download);
    EXPECT_EQ(permit->destination(), kHub);
    EXPECT_EQ(permit->rule(), "store");
    EXPECT_EQ(permit->request_id(), "pull-1");
    EXPECT_EQ(permit->who(), "key_7");
}

TEST(PurposeMint, a_rule_of_one_purpose_gives_no_permit_of_another) {
    for (const AllowRule& rule : rules()) {
        for (const Purpose purpose : {Purpose::download, Purpose::identity, Purpose::telemetry}) {
            const auto permit = PurposeMint::mint(rules(), purpose, rule.destination, "x");
            EXPECT_EQ(permit.has_value(), purpose == rule.purpose)
                << rule.name << " for " << name_of(purpose);
            if (!permit) {
                EXPECT_EQ(permit.error().kind, ErrorKind::forbidden_by_policy);
            }
        }
    }
}

TEST(PurposeMint, inference_is_not_its_business) {
    const auto permit =
        PurposeMint::mint(rules(), Purpose::inference, {"api.example.com", 443, true}, "x");
    ASSERT_FALSE(permit);
    EXPECT_EQ(permit.error().kind, ErrorKind::invalid_request);
}

TEST(PurposeMint, another_port_or_no_tls_is_another_destination) {
    EXPECT_FALSE(PurposeMint::mint(rules(), Purpose::download, {kHub.host, 80, true}, "x"));
    EXPECT_FALSE(PurposeMint::mint(rules(), Purpose::download, {kHub.host, 443, false}, "x"));
    EXPECT_FALSE(PurposeMint::mint(rules(), Purpose::download, {"", 443, true}, "x"));
    EXPECT_FALSE(PurposeMint::mint(rules(), Purpose::download, {kHub.host, 0, true}, "x"));
    EXPECT_FALSE(PurposeMint::mint({}, Purpose::download, kHub, "x"));
}

}  // namespace
}  // namespace hearth::egress
