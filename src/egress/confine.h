// Confinement of this process: what enter_sandbox() (the main process) and the broker share.
//
// Two filters are stacked. A small one of our own answers ENOSYS to system calls newer than the
// ones this program was written against, so that a new kernel cannot open a new by-way; the other,
// made by libseccomp, lists what is denied. Both hold for all threads (SECCOMP_FILTER_FLAG_TSYNC).
// Source: seccomp(2), capabilities(7), prctl(2).
#pragma once

#include "base/result.h"

namespace hearth::egress {

// Empties the permitted, effective, inheritable and ambient sets of every thread of this process.
// Errors: internal.
Status drop_capabilities();

// no_new_privs, and no core file or /proc/<pid>/mem for others of this user: memory holds prompts
// and keys.
Status hide_memory();

// The main process: no connections, no processes, no new sockets.
Status load_main_filter();
// The broker: may connect, but start nothing and look into nobody.
Status load_broker_filter();

}  // namespace hearth::egress
