// config.toml: the settings table's rows by section, and blocks: [[upstream]], [[detector]],
// [[public_prefix]]. The one file that knows toml++.
#include "app/settings.h"

#include <cstdlib>
#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "base/file.h"
#include "base/format.h"
#include "chat/limits.h"
#include "egress/limits.h"

namespace hearth::app {
namespace {

constexpr std::size_t kConfigBytesMax = 1 << 20;
// Each prompt is compared with every one of them.
constexpr std::size_t kPublicPrefixesMax = 64;
constexpr std::int64_t kWaitMsMax = 86'400'000;  // a day without a byte is no answer

// A number as it was written, as far as a double holds it: the shortest digits that mean the same.
std::string shortest(double value) {
    char text[400];  // a double without an exponent has at most 325 digits
    const auto [end, error] =
        std::to_chars(text, text + sizeof text, value, std::chars_format::fixed);
    return error == std::errc() ? std::string(text, end) : "nan";
}

class Reader {
  public:
    Reader(const std::string& path, ConfigFile& out) : path_(path), out_(out) {}

    Status read(const toml::table& root) {
        for (const auto& [key, node] : root) {
            if (key == "upstream") {
                HEARTH_CHECK_OK(read_upstreams(node));
            } else if (key == "detector") {
                HEARTH_CHECK_OK(read_detectors(node));
            } else if (key == "public_prefix") {
                HEARTH_CHECK_OK(read_public_prefixes(node));
            } else if (const toml::table* section = node.as_table()) {
                for (const auto& [name, value] : *section)
                    HEARTH_CHECK_OK(read_setting(format("{}.{}", key.str(), name.str()), value));
            } else {
                return refuse(node, format("unknown key {}; settings stand in sections such as "
                                           "[serve], see `hearth config show`",
                                           key.str()));
            }
        }
        return {};
    }

  private:
    std::unexpected<Error> refuse(const toml::node& at, const std::string& message) const {
        const auto where = at.source().begin;
        return fail(ErrorKind::invalid_request,
                    format("{}:{}:{}: {}", path_, where.line, where.column, message));
    }

    Status read_setting(const std::string& name, const toml::node& value) {
        const auto spec =
            std::ranges::find_if(kSettings, [&](const SettingSpec& s) { return name == s.name; });
        if (spec == kSettings.end())
            return refuse(value,
                          format("unknown setting {}; `hearth config show` lists all", name));
        if (const auto* text = value.as_string()) {
            out_.values[name] = text->get();
        } else if (const auto* number = value.as_integer()) {
            out_.values[name] = std::to_string(number->get());
        } else if (const auto* decimal = value.as_floating_point()) {
            out_.values[name] = shortest(decimal->get());
        } else if (const auto* truth = value.as_boolean()) {
            out_.values[name] = truth->get() ? "true" : "false";
        } else {
            return refuse(value, format("{} must be text, a number, true or false", name));
        }
        return {};
    }

    Status read_upstreams(const toml::node& node) {
        const toml::array* blocks = node.as_array();
        if (!blocks || !blocks->is_array_of_tables())
            return refuse(node, "upstreams are written as [[upstream]] blocks");
        for (const toml::node& block : *blocks) HEARTH_CHECK_OK(read_upstream(*block.as_table()));
        return {};
    }

    Status read_detectors(const toml::node& node) {
        const toml::array* blocks = node.as_array();
        if (!blocks || !blocks->is_array_of_tables())
            return refuse(node, "detectors are written as [[detector]] blocks");
        for (const toml::node& block : *blocks) HEARTH_CHECK_OK(read_detector(*block.as_table()));
        if (auto made = route::Detectors::make(out_.detectors); !made)
            return refuse(node, made.error().message);
        return {};
    }

    Status read_detector(const toml::table& table) {
        for (const auto& [key, value] : table)
            if (key != "name" && key != "class" && key != "words" && key != "pattern")
                return refuse(value, format("unknown key {} in [[detector]]", key.str()));
        route::UserDetector detector;
        detector.name = table["name"].value_or<std::string>("");
        if (detector.name.empty()) return refuse(table, "[[detector]] needs name = \"…\"");
        const std::string name = table["class"].value_or<std::string>("confidential");
        const auto sensitivity = chat::sensitivity_from(name);
        // A detector says what must be kept: public is a permitted person's word only.
        if (!sensitivity || *sensitivity == chat::Sensitivity::public_)
            return refuse(table, "class must be internal, confidential or restricted");
        detector.sensitivity = *sensitivity;
        if (const toml::node* words = table.get("words")) {
            const toml::array* list = words->as_array();
            if (!list || list->empty()) return refuse(*words, "words must be a list of texts");
            for (const toml::node& word : *list) {
                if (!word.is_string()) return refuse(word, "each word must be text");
                detector.words.push_back(word.as_string()->get());
            }
        }
        if (const toml::node* pattern = table.get("pattern")) {
            if (!pattern->is_string()) return refuse(*pattern, "pattern must be text");
            detector.pattern = pattern->as_string()->get();
        }
        out_.detectors.push_back(std::move(detector));
        return {};
    }

    Status read_public_prefixes(const toml::node& node) {
        const toml::array* blocks = node.as_array();
        if (!blocks || !blocks->is_array_of_tables())
            return refuse(node, "public prefixes are written as [[public_prefix]] blocks");
        if (blocks->size() > kPublicPrefixesMax)
            return refuse(node, format("there are {} [[public_prefix]] blocks, the limit is {}",
                                       blocks->size(), kPublicPrefixesMax));
        for (const toml::node& block : *blocks)
            HEARTH_CHECK_OK(read_public_prefix(*block.as_table()));
        return {};
    }

    Status read_public_prefix(const toml::table& table) {
        for (const auto& [key, value] : table) {
            if (key != "text" && key != "file")
                return refuse(value, format("unknown key {} in [[public_prefix]]", key.str()));
            if (!value.is_string()) return refuse(value, format("{} must be text", key.str()));
        }
        if (table.size() != 1)
            return refuse(table, "[[public_prefix]] needs text = \"…\" or file = \"…\"");
        backend::PublicPrefix prefix;
        prefix.name = format("public_prefix {}", out_.public_prefixes.size() + 1);
        prefix.text = table["text"].value_or<std::string>("");
        if (const toml::node* file = table.get("file")) {
            auto text = read_file(file->as_string()->get(), kConfigBytesMax);
            if (!text) return refuse(*file, text.error().message);
            prefix.text = std::move(*text);
        }
        if (prefix.text.find_first_not_of(" \t\r\n") == std::string::npos)
            return refuse(table, "the text of a [[public_prefix]] is empty");
        out_.public_prefixes.push_back(std::move(prefix));
        return {};
    }

    Status check_keys(const toml::table& table, const std::set<std::string_view>& known) const {
        for (const auto& [key, value] : table) {
            if (!known.contains(key.str()))
                return refuse(value, format("unknown key {} in [[upstream]]", key.str()));
        }
        return {};
    }

    // The text at key; fallback where it is absent.
    Result<std::string> text(const toml::table& table, std::string_view key,
                             std::optional<std::string> fallback) const {
        const toml::node* node = table.get(key);
        if (!node && fallback) return *fallback;
        if (!node) return refuse(table, format("[[upstream]] needs {}", key));
        if (!node->is_string()) return refuse(*node, format("{} must be text", key));
        return node->as_string()->get();
    }

    Result<double> price(const toml::table& table, std::string_view key) const {
        const toml::node* node = table.get(key);
        if (!node) return 0.0;
        const auto value = node->value<double>();
        if (!value || !(*value >= 0 && *value < 1e6))
            return refuse(*node, format("{} must be a price of 0 or more", key));
        return *value;
    }

    // Tokens; 0 where the key is absent, which turns the rule off.
    Result<std::int64_t> context(const toml::table& table) const {
        const toml::node* node = table.get("context");
        if (!node) return 0;
        const auto* value = node->as_integer();
        if (!value || value->get() < 0 || value->get() > chat::kTokensMax)
            return refuse(*node, format("context must be a whole number of tokens from 0 to {}",
                                        chat::kTokensMax));
        return value->get();
    }

    Result<bool> tools(const toml::table& table) const {
        const toml::node* node = table.get("tools");
        if (!node) return true;
        if (!node->is_boolean()) return refuse(*node, "tools must be true or false");
        return node->as_boolean()->get();
    }

    Result<bool> takes_images(const toml::table& table) const {
        const toml::node* node = table.get("modalities");
        if (!node) return false;
        const toml::array* kinds = node->as_array();
        if (!kinds)
            return refuse(*node, "modalities must be a list such as [ \"text\", \"image\" ]");
        bool images = false;
        for (const toml::node& kind : *kinds) {
            const std::string name = kind.value_or<std::string>("");
            if (name != "text" && name != "image")
                return refuse(kind, "a modality must be \"text\" or \"image\"");
            images |= name == "image";
        }
        return images;
    }

    Status read_upstream(const toml::table& table) {
        HEARTH_CHECK_OK(check_keys(
            table, {"name", "dialect", "base_url", "tier", "key_env", "models", "ca_file",
                    "connect_timeout_s", "first_byte_timeout_s", "idle_timeout_s"}));
        backend::UpstreamConfig upstream;
        HEARTH_TRY(upstream.name, text(table, "name", std::nullopt));
        HEARTH_TRY(upstream.dialect, text(table, "dialect", "openai"));
        HEARTH_TRY(upstream.base_url, text(table, "base_url", std::nullopt));
        HEARTH_TRY(upstream.ca_file, text(table, "ca_file", ""));
        HEARTH_TRY(const std::string tier, text(table, "tier", "cloud"));
        if (tier != "cloud" && tier != "fleet")
            return refuse(*table.get("tier"), "tier must be cloud or fleet");
        upstream.tier = tier == "cloud" ? route::Tier::cloud : route::Tier::fleet;
        // A configuration file is shown, copied and committed; keys stay in the environment.
        HEARTH_TRY(upstream.key_env, text(table, "key_env", ""));
        // More than the door waits for any connection would be cut there.
        HEARTH_CHECK_OK(read_seconds(table, "connect_timeout_s", egress::kConnectTimeoutMsMax,
                                     upstream.connect_timeout_ms));
        HEARTH_CHECK_OK(
            read_seconds(table, "first_byte_timeout_s", kWaitMsMax, upstream.head_timeout_ms));
        HEARTH_CHECK_OK(
            read_seconds(table, "idle_timeout_s", kWaitMsMax, upstream.idle_timeout_ms));
        for (const auto& other : out_.upstreams) {
            if (other.name == upstream.name)
                return refuse(table, format("two upstreams are called {}", upstream.name));
        }
        HEARTH_CHECK_OK(read_models(table, upstream));
        if (Status ok = backend::check(upstream); !ok) return refuse(table, ok.error().message);
        out_.upstreams.push_back(std::move(upstream));
        return {};
    }

    Status read_seconds(const toml::table& table, std::string_view key, std::int64_t ms_max,
                        std::int64_t& to_ms) const {
        const toml::node* node = table.get(key);
        if (!node) return {};
        const auto seconds = node->value<double>();
        // A millisecond is the least that is honoured: less would be none at all.
        if (!seconds || !(*seconds >= 0.001 && *seconds <= double(ms_max) / 1000))
            return refuse(*node,
                          format("{} must be seconds, from 0.001 to {}", key, ms_max / 1000));
        to_ms = std::int64_t(*seconds * 1000);
        return {};
    }

    Status read_models(const toml::table& table, backend::UpstreamConfig& upstream) {
        const toml::node* node = table.get("models");
        const toml::array* models = node ? node->as_array() : nullptr;
        if (!models || models->empty())
            return refuse(table, "[[upstream]] needs models = [ { name = \"…\" }, … ]");
        for (const toml::node& item : *models) {
            const toml::table* m = item.as_table();
            if (!m) return refuse(item, "each model is a table: { name = \"…\", context = … }");
            HEARTH_CHECK_OK(
                check_keys(*m, {"name", "input_usd_per_mtok", "output_usd_per_mtok",
                                "cached_input_usd_per_mtok", "context", "modalities", "tools"}));
            route::Target target;
            target.tier = upstream.tier;
            target.upstream = upstream.name;
            HEARTH_TRY(target.model, text(*m, "name", std::nullopt));
            HEARTH_TRY(target.input_usd_per_mtok, price(*m, "input_usd_per_mtok"));
            HEARTH_TRY(target.output_usd_per_mtok, price(*m, "output_usd_per_mtok"));
            if (m->contains("cached_input_usd_per_mtok")) {
                HEARTH_TRY(target.cached_input_usd_per_mtok,
                           price(*m, "cached_input_usd_per_mtok"));
            }
            if (m->contains("input_usd_per_mtok") || m->contains("output_usd_per_mtok"))
                target.price_source = "configuration";
            HEARTH_TRY(target.n_ctx, context(*m));
            HEARTH_TRY(target.takes_tools, tools(*m));
            HEARTH_TRY(target.takes_images, takes_images(*m));
            upstream.models.push_back(std::move(target));
        }
        return {};
    }

    const std::string& path_;
    ConfigFile& out_;
};

}  // namespace

Result<ConfigFile> parse_config(std::string_view text, const std::string& path) {
    const toml::parse_result parsed = toml::parse(text, path);
    if (!parsed) {
        const toml::parse_error& error = parsed.error();
        const auto where = error.source().begin;
        return fail(ErrorKind::invalid_request,
                    format("{}:{}:{}: {}", path, where.line, where.column, error.description()));
    }
    ConfigFile config;
    config.path = path;
    HEARTH_CHECK_OK(Reader(path, config).read(parsed.table()));
    return config;
}

Result<ConfigFile> read_config(const std::string& path) {
    HEARTH_TRY(const std::string text, read_file(path, kConfigBytesMax));
    return parse_config(text, path);
}

}  // namespace hearth::app
