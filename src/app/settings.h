// Settings: every value that a person can set, with where it came from.
// Flags beat environment (HEARTH_*) beats config.toml beats defaults.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backend/public_prefix.h"
#include "backend/upstream.h"
#include "base/result.h"
#include "route/sensitivity.h"
#include "store/paths.h"

namespace hearth::app {

// A decimal has at most six digits behind its point, and no exponent.
enum class Kind : std::uint8_t { text, integer, boolean, decimal };

// One row of the table that flags, environment, config file and `config show` are made from.
struct SettingSpec {
    const char* name;  // "serve.port": section and key of config.toml
    const char* flag;  // "--port"
    Kind kind;
    const char* fallback;  // default, as text
    const char* help;
    const char* choices = "";        // "a|b|c" where only these are allowed
    std::int64_t low = 0, high = 0;  // numbers: bounds, both 0 for none
    const char* letter = "";         // "-t", where the flag has a short form
    std::string env() const;         // "HEARTH_PORT", from the flag
};
extern const std::vector<SettingSpec> kSettings;

struct Setting {
    const SettingSpec* spec;
    std::string value;
    std::string source;  // "flag", "environment HEARTH_PORT", "/…/config.toml", "default"
};

// What config.toml holds besides the table: its blocks.
struct ConfigFile {
    std::string path;                           // empty: there is none
    std::map<std::string, std::string> values;  // "serve.port" → "1234"
    std::vector<backend::UpstreamConfig> upstreams;
    std::vector<route::UserDetector> detectors;  // checked: Detectors::make takes them
    std::vector<backend::PublicPrefix> public_prefixes;
};
// Errors: invalid_request with path:line:column; an unknown key is an error that names close ones.
Result<ConfigFile> read_config(const std::string& path);
Result<ConfigFile> parse_config(std::string_view text, const std::string& path);

using store::Environment;

class Settings {
  public:
    // flags: spec name → text, for the flags that were given.
    // Errors: invalid_request naming the setting, its source, and what is allowed.
    static Result<Settings> resolve(const std::map<std::string, std::string>& flags,
                                    const Environment& environment, ConfigFile config);

    const std::string& text(std::string_view name) const { return at(name).value; }
    std::int64_t integer(std::string_view name) const;
    bool boolean(std::string_view name) const { return text(name) == "true"; }
    // A decimal in millionths: 300'000 for "0.3".
    std::int64_t millionths(std::string_view name) const;
    // Where its value came from.
    const std::string& source(std::string_view name) const { return at(name).source; }
    const std::vector<Setting>& all() const { return all_; }
    const ConfigFile& config() const { return config_; }
    std::vector<backend::UpstreamConfig>& upstreams() { return config_.upstreams; }

  private:
    const Setting& at(std::string_view name) const;
    std::vector<Setting> all_;
    ConfigFile config_;
};

}  // namespace hearth::app
