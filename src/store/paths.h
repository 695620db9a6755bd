// paths: where hearth keeps its files. XDG base directories, or everything under HEARTH_HOME.
//
// clang-format off
//              XDG                                          HEARTH_HOME
//   config     $XDG_CONFIG_HOME/hearth  (~/.config)         $HEARTH_HOME        config.toml
//   data       $XDG_DATA_HOME/hearth    (~/.local/share)    $HEARTH_HOME        models/<name>.gguf
//   state      $XDG_STATE_HOME/hearth   (~/.local/state)    $HEARTH_HOME/state  journal/, history/
//   cache      $XDG_CACHE_HOME/hearth   (~/.cache)          $HEARTH_HOME/cache  packed/
//   broker     $XDG_STATE_HOME/hearth-broker                $HEARTH_HOME/broker key, counters.json
// clang-format on
//
// The broker's folder is beside the state folder and not in it, because the sandbox opens the state
// folder to the main process whole, and the broker's must stay closed to it.
//
// Source: XDG Base Directory Specification 0.8; a relative XDG path is ignored, as it asks.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/result.h"

namespace hearth::store {

// A variable's value, nothing where it is not set. A parameter, so that tests own it.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;
Environment process_environment();

struct Folders {
    std::string config;  // holds config.toml
    std::string data;
    std::string state;
    std::string cache;  // may be removed at any time
    std::string broker;  // only the broker process reads and writes it

    std::string models() const { return data + "/models"; }
    std::string journal() const { return state + "/journal"; }
    std::string bench_history() const { return state + "/history/bench.jsonl"; }
    std::string packed() const { return cache + "/packed"; }
    std::string config_file() const { return config + "/config.toml"; }
};

// Makes no folder. working_folder: what a relative HEARTH_HOME is relative to.
// Errors: invalid_request where neither HEARTH_HOME nor HOME nor all of XDG is set.
Result<Folders> resolve_folders(const Environment& environment, const std::string& working_folder);

}  // namespace hearth::store
