// Lines of the export: one spelling each, and the other formats.
#include "audit/line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "audit/export.h"

namespace hearth::audit {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

struct Sample {
    std::vector<Column> columns{{"outcome", true, 0, "fin\"is\\hed\n\x01\t\xe2\x82\xac"},
                                {"input_tokens", false, -12, ""}};
    EntryView entry{.seq = 7,
                    .wall_ns = 1'700'000'000'123'456'789,
                    .event = "outcome",
                    .request_id = "req-\"1\"",
                    .json = R"({"a":[1,2],"b":"}"})",
                    .columns = columns};
    Digest previous = sha256("p"), mac = sha256("m");
    std::string line() const { return render_line("journal-0", entry, previous, mac); }
};

TEST(AuditLine, comes_back_from_its_text) {
    const Sample sample;
    const auto line = parse_line(sample.line());
    ASSERT_TRUE(line) << sample.line();
    EXPECT_EQ(line->slot, "journal-0");
    EXPECT_EQ(line->seq, 7);
    EXPECT_EQ(line->wall_ns, sample.entry.wall_ns);
    EXPECT_EQ(line->request_id, sample.entry.request_id);
    EXPECT_EQ(line->json, sample.entry.json);
    ASSERT_EQ(line->columns.size(), 2u);
    EXPECT_EQ(line->columns[0].text, sample.columns[0].text);
    EXPECT_EQ(line->columns[1].number, -12);
    EXPECT_EQ(line->previous, sample.previous);
    EXPECT_EQ(line->mac, sample.mac);
    // Through the chain's eyes they are the same entry.
    std::string a, b;
    EXPECT_EQ(leaf_of("s", line->entry(), a), leaf_of("s", sample.entry, b));
}

TEST(AuditLine, a_record_with_control_characters_travels_as_text) {
    Sample sample;
    sample.entry.json = "{\"a\":\n1}";
    EXPECT_THAT(sample.line(), HasSubstr("\"record_text\":\"{\\\"a\\\":\\n1}\""));
    const auto line = parse_line(sample.line());
    ASSERT_TRUE(line);
    EXPECT_EQ(line->json, "{\"a\":\n1}");
}

// A brace more or less at the end is another record, which its mac does not fit.
TEST(AuditLine, has_one_spelling) {
    const Sample sample;
    const std::string text = sample.line();
    const auto with = [&](const char* from, const char* to) {
        std::string changed = text;
        const auto at = changed.find(from);
        EXPECT_NE(at, changed.npos) << from;
        return changed.replace(at, std::string_view(from).size(), to);
    };
    for (const std::string& changed :
         {with("\"seq\":7", "\"seq\":07"), with("\"seq\":7", "\"seq\": 7"),
          with("\"seq\":7", "\"seq\":+7"), with("ts\":\"2023", "ts\":\"2024"),
          with("req-", "\\u0072eq-"), with("\"v\":2", "\"v\":3"), text + " ", " " + text})
        EXPECT_FALSE(parse_line(changed)) << changed;
}

TEST(AuditLine, any_mangled_line_is_refused_or_reads_as_itself) {
    const std::string text = Sample().line();
    std::mt19937_64 random(5);
    for (int i = 0; i < 20'000; ++i) {
        std::string changed = text;
        for (std::size_t n = 1 + random() % 3; n > 0; --n) {
            const std::size_t at = random() % changed.size();
            if (random() % 3 == 0)
                changed.erase(at, 1 + random() % 4);
            else
                changed[at] = char(random());
        }
        if (const auto line = parse_line(changed)) {
            EXPECT_EQ(render_line(line->slot, line->entry(), line->previous, line->mac), changed);
        }
    }
}

TEST(AuditLine, cef_escapes_what_separates) {
    Sample sample;
    sample.entry.event = "a|b";
    sample.entry.json = "{\"a\":\"x=y\\\\z\"}";
    const std::string line = cef_line("journal-0", sample.entry, sample.mac);
    EXPECT_THAT(line, StartsWith("CEF:0|hearth|hearth|"));
    EXPECT_THAT(line, HasSubstr("|a\\|b|a\\|b|"));
    EXPECT_THAT(line, HasSubstr("msg={\"a\":\"x\\=y\\\\\\\\z\"}"));
    EXPECT_THAT(line, HasSubstr(" externalId=7 "));
    EXPECT_EQ(line.find('\n'), line.npos);
}

TEST(AuditLine, a_syslog_message_has_the_header_of_the_standard) {
    const Sample sample;
    const std::string line = syslog_line("journal-0", sample.entry, sample.mac);
    EXPECT_THAT(line, StartsWith("<108>1 2023-11-14T22:13:20.123456789Z - hearth - outcome "
                                 "[hearth@32473 slot=\"journal-0\" seq=\"7\" "
                                 "request_id=\"req-\\\"1\\\"\" mac=\""));
}

TEST(AuditLine, cursors_are_read_as_they_are_printed) {
    EXPECT_EQ(*parse_cursor("17"), (ExportCursor{{0, 17}}));
    EXPECT_EQ(*parse_cursor("0:17,3:2"), (ExportCursor{{0, 17}, {3, 2}}));
    EXPECT_EQ(to_text(*parse_cursor("0:17,3:2")), "0:17,3:2");
    for (const char* text : {"", "x", "1:", "1:2,", "64:1", "-1", "1:2;3:4"})
        EXPECT_FALSE(parse_cursor(text)) << text;
}

}  // namespace
}  // namespace hearth::audit
