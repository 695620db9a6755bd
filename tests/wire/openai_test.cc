// Recorded-style conversations of our own: a client's request as it goes on to an upstream, and
// upstream streams as events. One .http goes with one .upstream.json, one .sse with one .events.
#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>

#include "base/file.h"
#include "base/format.h"
#include "chat/dialect.h"

namespace hearth::chat {
namespace {

const std::filesystem::path kFolder =
    std::filesystem::path(HEARTH_SOURCE_DIR) / "tests/wire/openai";

std::string text_at(const std::filesystem::path& path) {
    const auto text = read_file(path.string(), 1u << 20);
    EXPECT_TRUE(text) << path;
    return text ? *text : "";
}

struct Shown {
    std::string operator()(const Started& e) const { return format("started {}\n", e.model); }
    std::string operator()(const TextDelta& e) const {
        return format("text {} {}\n", e.index, e.text);
    }
    std::string operator()(const ThinkingDelta& e) const {
        return format("thinking {} {}\n", e.index, e.text);
    }
    std::string operator()(const ToolCallStart& e) const {
        return format("call {} {} {} {}\n", e.index, e.call, e.id, e.name);
    }
    std::string operator()(const ToolCallDelta& e) const {
        return format("arguments {} {} {}\n", e.index, e.call, e.arguments);
    }
    std::string operator()(const AnswerDone& e) const {
        return format("done {} {}\n", e.index, name_of(e.reason));
    }
    std::string operator()(const Finished& e) const {
        return format("finished {} {} {} {}\n", e.usage.input_tokens, e.usage.cached_tokens,
                      e.usage.output_tokens, e.usage.reasoning_tokens);
    }
    std::string operator()(const Failed& e) const {
        return format("failed {}\n", name_of(e.error.kind));
    }
};

std::string events_of(const std::string& sse) {
    const Dialect& openai = *find_dialect("openai");
    const auto state = openai.new_read_state();
    std::string out;
    const auto add = [&](const Result<std::vector<Event>>& events) {
        if (!events) {
            out += format("error {}\n", name_of(events.error().kind));
            return;
        }
        for (const Event& e : *events) out += std::visit(Shown{}, e);
    };
    std::istringstream lines(sse);
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with("data: ")) add(openai.read_event(*state, "", line.substr(6)));
    }
    add(openai.read_end(*state));
    return out;
}

TEST(WireOpenAi, streams_of_upstreams_become_events) {
    int n = 0;
    for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
        if (entry.path().extension() != ".sse") continue;
        auto expected = entry.path();
        EXPECT_EQ(events_of(text_at(entry.path())), text_at(expected.replace_extension(".events")))
            << entry.path();
        ++n;
    }
    EXPECT_GE(n, 3);
}

TEST(WireOpenAi, requests_go_on_to_an_upstream) {
    const Dialect& openai = *find_dialect("openai");
    int n = 0;
    for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
        if (entry.path().extension() != ".http") continue;
        const std::string http = text_at(entry.path());
        const std::string body = http.substr(http.find("\n\n") + 2);
        const auto request = openai.read_request("/v1/chat/completions", body);
        ASSERT_TRUE(request) << entry.path() << request.error().message;
        auto expected = entry.path();
        EXPECT_EQ(openai.write_request(*request, "big-1") + "\n",
                  text_at(expected.replace_extension(".upstream.json")))
            << entry.path();
        ++n;
    }
    EXPECT_GE(n, 1);
}

}  // namespace
}  // namespace hearth::chat
