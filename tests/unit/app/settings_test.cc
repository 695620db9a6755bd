#include "app/settings.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "support/data.h"

namespace hearth::app {
namespace {

Environment variables(std::map<std::string, std::string> values) {
    return [values](const std::string& name) -> std::optional<std::string> {
        const auto it = values.find(name);
        return it == values.end() ? std::nullopt : std::optional<std::string>(it->second);
    };
}

ConfigFile config(const char* text) {
    auto parsed = parse_config(text, "c.toml");
    EXPECT_TRUE(parsed) << parsed.error().message;
    return parsed ? std::move(*parsed) : ConfigFile{};
}

std::string source_of(const Settings& settings, const char* name) {
    for (const Setting& s : settings.all()) {
        if (s.spec->name == std::string_view(name)) return s.source;
    }
    return "";
}

TEST(Settings, flags_beat_environment_beats_file_beats_defaults) {
    const char* file = "[serve]\nport = 1\n";
    const auto resolve = [&](std::map<std::string, std::string> flags,
                             std::map<std::string, std::string> env, const char* text) {
        auto s = Settings::resolve(flags, variables(env), config(text));
        EXPECT_TRUE(s) << s.error().message;
        return std::pair(s->integer("serve.port"), source_of(*s, "serve.port"));
    };
    using P = std::pair<std::int64_t, std::string>;
    EXPECT_EQ(resolve({}, {}, ""), P(11435, "default"));
    EXPECT_EQ(resolve({}, {}, file), P(1, "c.toml"));
    EXPECT_EQ(resolve({}, {{"HEARTH_PORT", "2"}}, file), P(2, "environment HEARTH_PORT"));
    EXPECT_EQ(resolve({{"serve.port", "3"}}, {{"HEARTH_PORT", "2"}}, file), P(3, "flag --port"));
    EXPECT_EQ(resolve({}, {{"HEARTH_PORT", ""}}, file), P(1, "c.toml"));
}

TEST(Settings, a_bad_value_is_refused_with_its_name_and_source) {
    for (const auto& [name, value] : std::vector<std::pair<std::string, std::string>>{
             {"serve.port", "x"}, {"serve.port", "65536"}, {"serve.port", "-1"}, {"serve.port", "1.5"},
             {"engine.batch_tokens", "16385"}, {"engine.queue", "65537"},
             {"engine.kv", "q9"}, {"route.keep_from", "secret"}, {"route.fallback", "yes"}}) {
        const auto s = Settings::resolve({{name, value}}, variables({}), {});
        ASSERT_FALSE(s) << name << "=" << value;
        EXPECT_NE(s.error().message.find(name), std::string::npos) << s.error().message;
        EXPECT_NE(s.error().message.find("flag"), std::string::npos) << s.error().message;
    }
}

TEST(Settings, every_flag_has_its_own_variable_and_every_default_is_valid) {
    std::map<std::string, int> names;
    for (const SettingSpec& spec : kSettings) EXPECT_EQ(names[spec.env()]++, 0) << spec.env();
    EXPECT_TRUE(Settings::resolve({}, variables({}), {}));
}

TEST(Config, errors_name_the_place) {
    for (const char* bad : {
             "[serve]\nprot = 1\n",                                   // unknown setting
             "port = 1\n",                                            // no section
             "[serve]\nport = [1]\n",                                 // wrong type
             "[serve\n",                                              // not TOML
             "[[upstream]]\nname = \"a\"\n",                          // no base_url
             "[[upstream]]\nname = \"a\"\nbase_url = \"ftp://x\"\nmodels = [{name=\"m\"}]\n",
             "[[upstream]]\nname = \"a\"\nbase_url = \"http://x/v1\"\n",  // no models
             "[[upstream]]\nname = \"a\"\nbase_url = \"http://x/v1\"\nmodels = []\n",
             "[[upstream]]\nname = \"a\"\nkey = \"sk-1\"\nbase_url = \"http://x\"\nmodels = [{name=\"m\"}]\n",
             "[[upstream]]\nname = \"a\"\ntier = \"moon\"\nbase_url = \"http://x\"\nmodels = [{name=\"m\"}]\n",
         }) {
        const auto parsed = parse_config(bad, "c.toml");
        ASSERT_FALSE(parsed) << bad;
        EXPECT_TRUE(parsed.error().message.starts_with("c.toml:")) << parsed.error().message;
    }
}

TEST(Config, a_value_of_the_wrong_type_or_range_is_refused_where_it_stands) {
    const auto parsed = [](const std::string& upstream, const std::string& model) {
        return parse_config("[[upstream]]\nname = \"a\"\nbase_url = \"https://x\"\n" + upstream +
                                "\nmodels = [{ name = \"m\"" + model + " }]\n",
                            "c.toml");
    };
    for (const char* bad : {"context = \"8k\"", "context = -1", "context = 1.5", "tools = \"no\"",
                            "tools = 0", "modalities = \"image\"", "modalities = [\"images\"]",
                            "modalities = [1]"}) {
        const auto got = parsed("", std::string(", ") + bad);
        ASSERT_FALSE(got) << bad;
        EXPECT_TRUE(got.error().message.starts_with("c.toml:5:")) << got.error().message;
    }
    for (const char* bad : {"connect_timeout_s = 121", "connect_timeout_s = 0",
                            "connect_timeout_s = \"1\"", "idle_timeout_s = 86401",
                            "first_byte_timeout_s = 0.0001"}) {
        const auto got = parsed(bad, "");
        ASSERT_FALSE(got) << bad;
        EXPECT_TRUE(got.error().message.starts_with("c.toml:4:")) << got.error().message;
    }
    EXPECT_TRUE(parsed("connect_timeout_s = 120", ", context = 0, tools = true, modalities = []"));
}

TEST(Config, an_upstream_block_becomes_targets) {
    const ConfigFile file = config(R"(
[[upstream]]
name = "acme"
base_url = "https://api.example.com/v1"
key_env = "ACME_API_KEY"
idle_timeout_s = 1.5
models = [
  { name = "big-1", input_usd_per_mtok = 2.5, output_usd_per_mtok = 10, context = 200000, modalities = ["text", "image"] },
  { name = "small-1", tools = false }
]
)");
    ASSERT_EQ(file.upstreams.size(), 1u);
    const backend::UpstreamConfig& u = file.upstreams[0];
    EXPECT_EQ(u.tier, route::Tier::cloud);
    EXPECT_EQ(u.idle_timeout_ms, 1500);
    ASSERT_EQ(u.models.size(), 2u);
    EXPECT_EQ(route::label_of(u.models[0]), "acme/big-1");
    EXPECT_EQ(u.models[0].destination,
              (egress::Destination{.host = "api.example.com", .port = 443, .tls = true}));
    EXPECT_EQ(u.models[0].output_usd_per_mtok, 10);
    EXPECT_EQ(u.models[0].n_ctx, 200000);
    EXPECT_TRUE(u.models[0].takes_images);
    EXPECT_FALSE(u.models[1].takes_images);
    EXPECT_FALSE(u.models[1].takes_tools);
}

TEST(Config, public_prefixes_are_texts_or_files) {
    const std::string path = test::temp_folder() + "/prompt.txt";
    ASSERT_TRUE(write_file(path, "You are the help desk.\n"));
    const ConfigFile file = config(("[[public_prefix]]\ntext = \"Be brief.\"\n"
                                    "[[public_prefix]]\nfile = \"" +
                                    path + "\"\n")
                                       .c_str());
    ASSERT_EQ(file.public_prefixes.size(), 2u);
    EXPECT_EQ(file.public_prefixes[0].name, "public_prefix 1");
    EXPECT_EQ(file.public_prefixes[0].text, "Be brief.");
    EXPECT_EQ(file.public_prefixes[1].name, "public_prefix 2");
    EXPECT_EQ(file.public_prefixes[1].text, "You are the help desk.\n");
    std::string many;
    for (int i = 0; i < 65; ++i) many += "[[public_prefix]]\ntext = \"a\"\n";
    for (const std::string& bad :
         {std::string("[[public_prefix]]\n"), std::string("[[public_prefix]]\ntext = \" \\n\"\n"),
          std::string("[[public_prefix]]\ntext = \"a\"\nfile = \"b\"\n"),
          std::string("[[public_prefix]]\ntext = 1\n"), std::string("[[public_prefix]]\nkey = \"a\"\n"),
          std::string("[[public_prefix]]\nfile = \"/nowhere/at/all\"\n"),
          std::string("public_prefix = \"a\"\n"), std::string("[public_prefix]\ntext = \"a\"\n"),
          many}) {
        const auto parsed = parse_config(bad, "c.toml");
        ASSERT_FALSE(parsed) << bad.substr(0, 100);
        EXPECT_TRUE(parsed.error().message.starts_with("c.toml:")) << parsed.error().message;
    }
}

}  // namespace
}  // namespace hearth::app
