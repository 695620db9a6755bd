// What main() does first: a process that was started as a child of this program does its one task.
#pragma once

#include <optional>

namespace hearth::egress {

// The exit code of the broker or the opener; nothing where the command line is not one of theirs.
std::optional<int> run_child_task(int argc, char** argv);

}  // namespace hearth::egress
