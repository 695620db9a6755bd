// The evaluator against templates of published models, each rendered by Jinja2 itself with the
// contexts beside them (chat-templates/SOURCE.txt says how).
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/file.h"
#include "base/json.h"
#include "chat/jinja/jinja.h"
#include "support/data.h"

namespace hearth::chat::jinja {
namespace {

constexpr std::int64_t kNow =
    1773500966;  // 2026-03-14 15:09:26 UTC, where the reference stood still

std::string file_text(const std::string& path) {
    auto text = read_file(path, 16u << 20);
    EXPECT_TRUE(text) << path;
    return text ? *text : "";
}

struct Tally {
    int n_output = 0, n_output_right = 0;
    int n_refusal = 0, n_refusal_right = 0;
    int n_failure = 0, n_failure_too = 0;
};

// One line of the reference. What it rendered must come out byte for byte; where the template
// itself refused, ours must refuse with the same words. Where the reference failed, ours may do
// better.
void check_line(const Json& line, const Template& parsed, Json context, Tally& tally) {
    context["bos_token"] = line["bos_token"];
    context["eos_token"] = line["eos_token"];
    const auto got = render(parsed, context, {.now_unix_s = kNow});
    const std::string where =
        line["template"].get<std::string>() + " with " + line["context"].get<std::string>();
    if (line.contains("output")) {
        ++tally.n_output;
        tally.n_output_right += got && *got == line["output"].get<std::string>();
        if (!got) {
            ADD_FAILURE() << where << ": " << got.error().message;
        } else {
            EXPECT_EQ(*got, line["output"].get<std::string>()) << where;
        }
    } else if (line["error_kind"] == "raise_exception") {
        ++tally.n_refusal;
        const std::string words = line["error"].get<std::string>();
        const bool right =
            !got && got.error().message.find("refuses: ") != std::string::npos &&
            words.find(got.error().message.substr(got.error().message.find("refuses: ") + 9)) !=
                std::string::npos;
        tally.n_refusal_right += right;
        EXPECT_TRUE(right) << where << ": expected the refusal " << words << ", got "
                           << (got ? *got : got.error().message);
    } else {
        ++tally.n_failure;
        tally.n_failure_too += !got;
    }
}

TEST(JinjaTemplates, render_published_templates_as_the_reference_does) {
    NEEDS_DATA(folder, "chat-templates");
    const auto contexts = parse_json(file_text(folder + "/contexts.json"));
    ASSERT_TRUE(contexts) << contexts.error().message;
    std::map<std::string, Result<Template>> templates;
    Tally tally;
    std::istringstream lines(file_text(folder + "/expected.jsonl"));
    for (std::string text; std::getline(lines, text);) {
        const auto line = parse_json(text);
        ASSERT_TRUE(line) << line.error().message;
        const std::string name = (*line)["template"];
        if (!templates.contains(name))
            templates.emplace(name, parse(file_text(folder + "/templates/" + name)));
        const auto& parsed = templates.at(name);
        ASSERT_TRUE(parsed) << name << ": " << parsed.error().message;
        check_line(*line, *parsed, (*contexts)[(*line)["context"].get<std::string>()], tally);
    }
    std::printf(
        "rendered as the reference: %d of %d; refused as it: %d of %d; failed where it failed: "
        "%d of %d\n",
        tally.n_output_right, tally.n_output, tally.n_refusal_right, tally.n_refusal,
        tally.n_failure_too, tally.n_failure);
    EXPECT_GT(tally.n_output, 500);
    EXPECT_GT(tally.n_refusal, 30);
}

}  // namespace
}  // namespace hearth::chat::jinja
