#include "base/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "support/data.h"

namespace hearth {
namespace {

TEST(Json, keeps_the_order_of_keys_and_exact_numbers) {
    const auto v = parse_json(R"({"b":1,"a":-2,"c":0.1,"d":18446744073709551615,"e":[true,null]})");
    ASSERT_TRUE(v) << v.error().message;
    EXPECT_EQ(to_text(*v), R"({"b":1,"a":-2,"c":0.1,"d":18446744073709551615,"e":[true,null]})");
}

TEST(Json, refuses_what_passes_a_limit) {
    JsonLimits limits;
    limits.depth = 3;
    EXPECT_TRUE(parse_json("[[[1]]]", limits));
    EXPECT_FALSE(parse_json("[[[[1]]]]", limits));
    limits = {.keys_per_object = 2};
    EXPECT_TRUE(parse_json(R"({"a":1,"b":2})", limits));
    EXPECT_FALSE(parse_json(R"({"a":1,"b":2,"c":3})", limits));
    limits = {.nodes = 3};
    EXPECT_TRUE(parse_json("[1,2]", limits));
    EXPECT_FALSE(parse_json("[1,2,3]", limits));
    limits = {.string_bytes = 3};
    EXPECT_TRUE(parse_json(R"("abc")", limits));
    EXPECT_FALSE(parse_json(R"("abcd")", limits));
    EXPECT_FALSE(parse_json(std::string(200000, '[')));
}

TEST(Json, refuses_duplicate_keys_and_names_the_key) {
    const auto v = parse_json(R"({"a":1,"a":2})");
    ASSERT_FALSE(v);
    EXPECT_NE(v.error().message.find("\"a\""), std::string::npos) << v.error().message;
}

TEST(Json, an_error_names_line_and_column) {
    const auto v = parse_json("{\"a\":1,\n \"b\" 2}");
    ASSERT_FALSE(v);
    EXPECT_NE(v.error().message.find("line 2"), std::string::npos) << v.error().message;
}

TEST(Json, an_error_does_not_quote_the_text) {
    for (const std::string bad :
         {R"({"content":"MARKER and more)", R"(["MARKER\q"])", "[MARKER]", "[tru MARKER]",
          "[\"MARKER\x01\"]", "[\"MARKER\xff\"]", "[1.MARKER]", "{\"a\":1 \"MARKER\"}"}) {
        const auto parsed = parse_json(bad);
        ASSERT_FALSE(parsed) << bad;
        EXPECT_EQ(parsed.error().message.find("MARKER"), std::string::npos)
            << parsed.error().message;
        EXPECT_NE(parsed.error().message.find("line 1, column"), std::string::npos)
            << parsed.error().message;
    }
}

TEST(Json, writes_what_no_reader_can_misread) {
    EXPECT_EQ(json_text("a\"\\\n\x01\xff\xc3\xa9"), "\"a\\\"\\\\\\n\\u0001\xef\xbf\xbd\xc3\xa9\"");
    JsonWriter w;
    w.begin_array().value(0.1).value(1.0).value(std::nan("")).value(std::int64_t(-5)).end_array();
    EXPECT_EQ(w.text(), "[0.1,1.0,null,-5]");
}

// Source: the JSON parsing test suite; y_ must parse, n_ must not, i_ may do either.
TEST(Json, agrees_with_the_parsing_suite) {
    NEEDS_DATA(folder, "json-parsing/test_parsing");
    int n = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        const std::string name = entry.path().filename();
        const auto text = read_file(entry.path(), 1 << 20);
        ASSERT_TRUE(text);
        const bool ok = bool(parse_json(*text));
        // Duplicate keys are valid JSON; we refuse them on purpose (see json.h).
        const bool duplicated = name.starts_with("y_object_duplicated_key");
        if (name.starts_with("y_")) {
            EXPECT_EQ(ok, !duplicated) << name;
        } else if (name.starts_with("n_")) {
            EXPECT_FALSE(ok) << name;
        }
        ++n;
    }
    EXPECT_GT(n, 250);
}

}  // namespace
}  // namespace hearth
