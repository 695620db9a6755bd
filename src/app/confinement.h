// Which files a command may still open once the sandbox is closed: a function of the command line,
// the settings and the folders, so that it can be read in one place and tested.
//
//   read        the system's libraries and time zone, /proc, /sys, a few devices; config.toml;
//               every file that an argument, a HEARTH_ variable or config.toml names; a folder that
//               an argument names, unless the broker's is below it
//   list        the models folder
//   models      what the opener opens instead (egress/opener.h): the models folder's files, those
//               that an argument, a HEARTH_ variable or config.toml names, and all parts of such a
//               model. Files that end in .gguf are the opener's alone
//   write       the state and cache folders (and read)
//   write only  the folder of a file that the command was asked to write, with all below it: the
//               file is written beside its place and renamed. Where somebody writes into the home
//               itself, that one command could overwrite what is there, and read none of it
//
// The broker's folder can be read under none of them. A file is opened by itself, not by its
// folder, so that naming ~/prompt.txt does not open ~; one that is put in its place later is
// another file, and is refused until the program is started again, unless it is a model.
//
// Thread: main, before the sandbox.
#pragma once

#include <string>
#include <vector>

#include "app/commands.h"
#include "egress/opener.h"
#include "egress/sandbox.h"

namespace hearth::app {

struct Confinement {
    egress::FileRules files;
    egress::OpenerRules models;
};
// named: arguments as they were given. outputs: files that will be written.
Confinement confinement(const Context& context, const std::vector<std::string>& named,
                        const std::vector<std::string>& outputs);

}  // namespace hearth::app
