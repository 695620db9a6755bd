// Which files a command may still open once the sandbox is closed: a function of the command line,
// the settings and the folders, so that it can be read in one place and tested.
//
//   read        the system's libraries and time zone, /proc, /sys, a few devices; config.toml; the
//               models folder and what links in it point to; every file that an argument, a
//               HEARTH_ variable or config.toml names, and all parts of a model that is named by
//               one of them; a folder that an argument names, unless the broker's is below it
//   write       the state and cache folders (and read)
//   write only  the folder of a file that the command was asked to write, with all below it: the
//               file is written beside its place and renamed. Where somebody writes into the home
//               itself, that one command could overwrite what is there, and read none of it
//
// The broker's folder can be read under none of them. A model outside the models folder is opened
// by the file itself, not by its folder, so that naming ~/model.gguf does not open ~; a file that
// is put in its place later is another file, and is refused until the program is started again.
//
// Thread: main, before the sandbox.
#pragma once

#include <string>
#include <vector>

#include "app/commands.h"
#include "egress/sandbox.h"

namespace hearth::app {

// named: arguments as they were given. outputs: files that will be written.
egress::FileRules file_rules(const Context& context, const std::vector<std::string>& named,
                             const std::vector<std::string>& outputs);

}  // namespace hearth::app
