// Which files stay open to a command.
#include "app/confinement.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "base/file.h"
#include "support/data.h"

namespace hearth::app {
namespace {

bool has(const std::vector<std::string>& all, const std::string& path) {
    return std::ranges::find(all, path) != all.end();
}
// Whether a rule about one of these opens the path.
bool opens(const std::vector<std::string>& all, const std::string& path) {
    return std::ranges::any_of(all, [&](const std::string& rule) {
        return rule == "/" || path == rule || path.starts_with(rule + "/");
    });
}

class Confined : public testing::Test {
  protected:
    Confined() {
        for (const std::string& folder : {home + "/models", home + "/elsewhere", home + "/broker"})
            (void)make_folders(folder);
        for (const char* file : {"/elsewhere/m.gguf", "/elsewhere/prompt.txt", "/broker/key",
                                 "/elsewhere/s-00001-of-00002.gguf", "/elsewhere/words.txt",
                                 "/elsewhere/s-00002-of-00002.gguf"})
            (void)write_file(home + file, "x");
    }
    Confinement confined(const std::vector<std::string>& named,
                         const std::vector<std::string>& outputs = {},
                         const std::string& config_text = "") {
        ConfigFile config;
        if (!config_text.empty()) {
            config.path = home + "/config.toml";
            (void)write_file(config.path, config_text);
        }
        auto settings = Settings::resolve(
            {}, [](const std::string&) { return std::nullopt; }, std::move(config));
        EXPECT_TRUE(settings) << settings.error().message;
        Context context{.settings = std::move(*settings), .folders = folders};
        return confinement(context, named, outputs);
    }
    egress::FileRules rules(const std::vector<std::string>& named,
                            const std::vector<std::string>& outputs = {},
                            const std::string& config_text = "") {
        return confined(named, outputs, config_text).files;
    }
    std::string home = test::temp_folder();
    store::Folders folders{.config = home,
                           .data = home,
                           .state = home + "/state",
                           .cache = home + "/cache",
                           .broker = home + "/broker"};
};

TEST_F(Confined, the_brokers_folder_is_never_open) {
    for (const auto& named : std::vector<std::vector<std::string>>{
             {}, {home}, {"/"}, {home + "/elsewhere/.."}, {home + "/elsewhere"}}) {
        const egress::FileRules r = rules(named);
        EXPECT_TRUE(r.restrict_reads && r.restrict_writes);
        for (const char* file : {"/broker", "/broker/key", "/broker/counters.json"}) {
            EXPECT_FALSE(opens(r.read, home + file)) << file;
            EXPECT_FALSE(opens(r.write, home + file)) << file;
            EXPECT_TRUE(r.write_only.empty());
        }
    }
}

TEST_F(Confined, state_and_cache_are_written_and_nothing_else_of_the_home) {
    const egress::FileRules r = rules({});
    EXPECT_TRUE(opens(r.write, home + "/state/journal/journal-0.db"));
    EXPECT_TRUE(opens(r.write, home + "/cache/packed/x"));
    EXPECT_FALSE(opens(r.write, home + "/.bashrc"));
    EXPECT_FALSE(opens(r.read, home + "/.bashrc"));
    EXPECT_FALSE(opens(r.write, home + "/models/m.gguf"));
    EXPECT_FALSE(opens(r.read, home + "/models/m.gguf"));  // the opener does
    EXPECT_TRUE(has(r.list, home + "/models"));
}

TEST_F(Confined, a_named_file_is_opened_and_not_its_folder) {
    const std::string prompt = home + "/elsewhere/prompt.txt";
    for (const std::string& argument : {prompt, "--file=" + prompt}) {
        const egress::FileRules r = rules({"run", argument, "a prompt with / in it"});
        EXPECT_TRUE(has(r.read, prompt)) << argument;
        EXPECT_FALSE(opens(r.read, home + "/elsewhere/words.txt")) << argument;
        EXPECT_FALSE(opens(r.write, prompt)) << argument;
    }
}

TEST_F(Confined, a_model_is_opened_by_the_opener_alone) {
    const std::string model = home + "/elsewhere/m.gguf";
    for (const std::string& argument : {model, "--model=" + model}) {
        const Confinement c = confined({"run", argument, "a prompt with / in it"});
        EXPECT_TRUE(egress::may_open(c.models, model)) << argument;
        EXPECT_FALSE(opens(c.files.read, model)) << argument;
        EXPECT_FALSE(egress::may_open(c.models, home + "/elsewhere/prompt.txt")) << argument;
        EXPECT_TRUE(egress::may_open(c.models, home + "/models/any.gguf"));
    }
    const Confinement c = confined({}, {}, "[x]\nmodel = \"" + model + "\"\n");
    EXPECT_TRUE(egress::may_open(c.models, model));
    EXPECT_FALSE(opens(c.files.read, model));
}

TEST_F(Confined, all_parts_of_a_named_model_are_opened) {
    const Confinement c = confined({home + "/elsewhere/s-00001-of-00002.gguf"});
    EXPECT_TRUE(egress::may_open(c.models, home + "/elsewhere/s-00002-of-00002.gguf"));
    EXPECT_FALSE(egress::may_open(c.models, home + "/elsewhere/m.gguf"));
}

TEST_F(Confined, files_that_the_configuration_quotes_are_opened) {
    const egress::FileRules r =
        rules({}, {}, "[detect]\nwords = [ \"elsewhere/words.txt\", 'no such file' ]\n");
    EXPECT_TRUE(opens(r.read, home + "/elsewhere/words.txt"));
    EXPECT_TRUE(has(r.read, home + "/config.toml"));
    EXPECT_FALSE(opens(r.read, home + "/elsewhere/prompt.txt"));
}

TEST_F(Confined, the_folder_of_an_output_may_be_written_and_not_read) {
    const egress::FileRules r = rules({}, {home + "/elsewhere/out.gguf"});
    EXPECT_TRUE(has(r.write_only, home + "/elsewhere"));
    EXPECT_FALSE(opens(r.read, home + "/elsewhere/prompt.txt"));
    EXPECT_FALSE(opens(r.write, home + "/elsewhere/prompt.txt"));
    EXPECT_TRUE(has(rules({}, {"out.gguf"}).write_only, "."));
    EXPECT_TRUE(rules({}, {"-"}).write_only.empty());
    EXPECT_TRUE(rules({}, {""}).write_only.empty());
}

}  // namespace
}  // namespace hearth::app
