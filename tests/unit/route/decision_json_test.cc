// The record of a decision: its members, and what is not one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "route/decide.h"
#include "route/limits.h"

namespace hearth::route {
namespace {

using testing::HasSubstr;

std::vector<Target> two_targets() {
    return {{.model = "demo", .upstream = "", .n_ctx = 2048},
            {.model = "big-1",
             .upstream = "acme",
             .tier = Tier::cloud,
             .destination = {.host = "api.example.com", .port = 443, .tls = true},
             .n_ctx = 200'000,
             .takes_images = true,
             .input_usd_per_mtok = 0.15,
             .output_usd_per_mtok = 0.6}};
}

std::string recorded(const Facts& facts) {
    const auto targets = two_targets();
    Signals signals;
    signals.upstreams.push_back({.upstream = "acme", .healthy = true, .why = ""});
    return to_json(decide(facts, signals, {}, targets), facts, targets);
}

TEST(DecisionJson, says_where_why_and_from_what) {
    const Facts facts{.model = "cloud", .n_prompt_tokens = 1000, .max_output_tokens = 100};
    const Json json = Json::parse(recorded(facts));
    EXPECT_EQ(json["refused"], false);
    EXPECT_EQ(json["route"], "cloud");
    EXPECT_EQ(json["target"], "acme/big-1");
    EXPECT_EQ(json["model"], "big-1");
    EXPECT_EQ(json["upstream"], "acme");
    EXPECT_EQ(json["reason"], "preferred");
    EXPECT_EQ(json["fallbacks"], Json::array({"demo"}));
    EXPECT_EQ(json["cost_microusd_max"], 210);  // 1000 * 0.15 + 100 * 0.6
    EXPECT_EQ(json["steps"].back()["rule"], "default");
    EXPECT_EQ(json["inputs"]["facts"]["stated_sensitivity"], nullptr);
    EXPECT_EQ(json["inputs"]["targets"].size(), 2u);
    EXPECT_FALSE(json.contains("error"));
}

TEST(DecisionJson, a_record_without_the_newer_counts_is_still_read) {
    Facts facts{.model = "cloud", .n_prompt_tokens = 1000, .max_output_tokens = 100};
    facts.n_prompt_tokens_max = 4000;
    facts.n_answers = 2;
    Json json = Json::parse(recorded(facts));
    EXPECT_EQ(inputs_from_json(json.dump())->facts.n_prompt_tokens_max, 4000);
    EXPECT_EQ(inputs_from_json(json.dump())->facts.n_answers, 2);
    json["inputs"]["facts"].erase("n_prompt_tokens_max");
    json["inputs"]["facts"].erase("n_answers");
    const auto inputs = inputs_from_json(json.dump());
    ASSERT_TRUE(inputs);
    EXPECT_EQ(inputs->facts.n_prompt_tokens_max, 0);
    EXPECT_EQ(inputs->facts.n_answers, 1);
}

TEST(DecisionJson, what_was_found_is_on_record_and_decides_the_same_again) {
    Facts facts{.model = "cloud", .n_prompt_tokens = 1000};
    facts.detected_sensitivity = chat::Sensitivity::restricted;
    facts.entities = {{"credit_card", 2}};
    facts.taint_sensitivity = chat::Sensitivity::confidential;
    facts.taint = "taint-0011223344556677";
    facts.may_use_fleet = false;
    facts.max_class_out = chat::Sensitivity::confidential;
    facts.may_lower_to = chat::Sensitivity::internal;
    facts.redacted_sensitivity = chat::Sensitivity::internal;
    const std::string json = recorded(facts);
    EXPECT_EQ(*replay(json), json);
    const Facts read = inputs_from_json(json)->facts;
    EXPECT_EQ(read.entities.at(0).entity, "credit_card");
    EXPECT_EQ(read.entities.at(0).n, 2);
    EXPECT_EQ(read.taint, facts.taint);
    EXPECT_FALSE(read.may_use_fleet);
    EXPECT_EQ(read.may_lower_to, facts.may_lower_to);
    // A record from before there were detectors.
    Json old = Json::parse(json);
    for (const char* name : {"detected_sensitivity", "entities", "taint_sensitivity", "taint",
                             "may_use_local", "may_use_fleet", "may_use_cloud", "max_class_out",
                             "may_lower_to", "redacted_sensitivity"})
        old["inputs"]["facts"].erase(name);
    old["inputs"]["policy"].erase("redact_to");
    const auto before = inputs_from_json(old.dump());
    ASSERT_TRUE(before) << before.error().message;
    EXPECT_FALSE(before->facts.detected_sensitivity);
    EXPECT_TRUE(before->facts.may_use_fleet);
}

TEST(DecisionJson, a_refusal_carries_its_error) {
    Facts facts{.model = "acme/big-1", .n_prompt_tokens = 10};
    facts.stated_sensitivity = chat::Sensitivity::restricted;
    const Json json = Json::parse(recorded(facts));
    EXPECT_EQ(json["refused"], true);
    EXPECT_EQ(json["route"], "refused");
    EXPECT_EQ(json["error"]["kind"], "forbidden_by_policy");
    EXPECT_FALSE(json.contains("target"));
}

TEST(DecisionJson, names_that_are_not_utf8_replay_to_the_same_bytes) {
    for (const std::size_t n : {1u, 30u, 80u, 81u, 400u, 3000u}) {
        const Facts facts{.model = std::string(n, '\xff') + "é"};
        const std::string json = recorded(facts);
        const auto again = replay(json);
        ASSERT_TRUE(again) << again.error().message;
        EXPECT_EQ(*again, json) << n;
    }
}

TEST(DecisionJson, what_is_missing_or_wrong_is_named) {
    const std::string good = recorded({.model = "auto"});
    const auto error_after = [&](const std::string& from, const std::string& to) {
        std::string bad = good;
        const std::size_t at = bad.find(from);
        EXPECT_NE(at, bad.npos) << from;
        bad.replace(at, from.size(), to);
        const auto inputs = inputs_from_json(bad);
        EXPECT_FALSE(inputs) << to;
        return inputs ? std::string() : inputs.error().message;
    };
    EXPECT_THAT(error_after("\"inputs\"", "\"in\""), HasSubstr("inputs of the recorded decision"));
    EXPECT_THAT(error_after("\"n_prompt_tokens\":0", "\"n_prompt_tokens\":1.5"),
                HasSubstr("inputs.facts.n_prompt_tokens"));
    EXPECT_THAT(error_after("\"n_prompt_tokens\":0", "\"n_prompt_tokens\":9223372036854775808"),
                HasSubstr("whole number of 64 bits"));
    EXPECT_THAT(error_after("\"keep_from\":\"confidential\"", "\"keep_from\":\"secret\""),
                HasSubstr("inputs.policy.keep_from"));
    EXPECT_THAT(error_after("\"tier\":\"cloud\"", "\"tier\":\"moon\""), HasSubstr("tier"));
    EXPECT_THAT(error_after("\"port\":443", "\"port\":4294967739"), HasSubstr("32 bits"));
    EXPECT_THAT(error_after("\"upstreams\":[", "\"upstreams\":1,\"x\":["), HasSubstr("upstreams"));
    EXPECT_FALSE(inputs_from_json(""));
    EXPECT_FALSE(inputs_from_json("[]"));
    EXPECT_FALSE(inputs_from_json(std::string(kRecordedBytesMax + 1, ' ')));
}

TEST(DecisionJson, damaged_records_are_refused_or_decided_but_never_break) {
    const std::uint64_t seed = 7;
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    Facts facts{.model = "big-1", .n_prompt_tokens = 1000, .max_output_tokens = 100};
    facts.cost_microusd_max = 500;
    const std::string good = recorded(facts);
    constexpr std::string_view kAlphabet = "0123456789-+.eE{}[]\",:\\ntfulra\xff\x00";
    int n_read = 0;
    for (int i = 0; i < 20'000; ++i) {
        std::string text = good;
        for (std::uint64_t n = random() % 3 + 1; n > 0; --n) {
            const std::size_t at = random() % text.size();
            switch (random() % 4) {
                case 0:
                    text[at] = kAlphabet[random() % kAlphabet.size()];
                    break;
                case 1:
                    text.erase(at, random() % 8 + 1);
                    break;
                case 2:
                    text.insert(at, 1, kAlphabet[random() % kAlphabet.size()]);
                    break;
                default:
                    text.insert(at, text.substr(random() % text.size(), random() % 40));
            }
            if (text.empty()) text = " ";
        }
        if (const auto again = replay(text)) {
            ++n_read;
            // What was read decides like anything else: its record replays to itself.
            const auto twice = replay(*again);
            ASSERT_TRUE(twice) << text;
            EXPECT_EQ(*twice, *again) << text;
        }
    }
    EXPECT_GT(n_read, 100);
}

}  // namespace
}  // namespace hearth::route
