// The command line, parsed: which command, its arguments, and the settings that flags gave.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "app/commands.h"

namespace hearth::app {

struct Invocation {
    std::map<std::string, std::string> flags;  // setting name → text
    std::string config_path;                   // --config; empty: the usual place
    bool json = false, quiet = false, verbose = false;
    bool serves = false;             // wants listeners
    bool opens_models = false;       // wants the opener
    std::vector<std::string> named;  // the arguments: files among them stay readable
    // Names files that the command will write; empty names do not count.
    std::function<std::string()> output;
    // Names a folder that the command reads besides; empty: none.
    std::function<std::string()> input;
    // What opens before the sandbox closes: the door, for commands that may use it.
    std::function<Status(Context&)> prepare;
    std::function<int(Context&)> body;
};

// Nothing to run (help, version, a usage error): the exit code.
struct Parsed {
    std::optional<Invocation> invocation;
    int exit_code = 0;
};
Parsed parse_command_line(int argc, char** argv);

}  // namespace hearth::app
