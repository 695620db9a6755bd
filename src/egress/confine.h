// Confinement of this process: what enter_sandbox() (the main process) and the broker share.
//
// Two filters are stacked. A small one of our own answers ENOSYS to system calls newer than the
// ones this program was written against, so that a new kernel cannot open a new by-way; the other,
// made by libseccomp, lists what is denied. Both hold for all threads (SECCOMP_FILTER_FLAG_TSYNC).
// Source: seccomp(2), capabilities(7), landlock(7), prctl(2).
#pragma once

#include "base/result.h"
#include "egress/sandbox.h"

namespace hearth::egress {

// In every thread of this process: no capabilities, no_new_privs and, where the kernel has it
// (Linux 5.19, ABI 2), a Landlock domain. The domain closes the memory of all processes outside it,
// which seccomp cannot do: without it, writing to /proc/<pid>/mem of another program of this user
// would make that program connect for us. In the main process the domain also denies TCP connect
// and bind (ABI 4). `files` says which files stay open to it. All three belong to threads, so
// threads that exist already are visited with a signal. Requires: no thread blocks SIGRTMAX - 1.
// Errors: internal.
Status confine_threads(bool deny_network, const FileRules& files);

// No core file and no /proc/<pid>/mem for others of this user: memory holds prompts and keys.
Status hide_memory();

// The main process: no connections, no processes, no new sockets.
Status load_main_filter();
// The broker: may connect, but start nothing and look into nobody.
Status load_broker_filter();

}  // namespace hearth::egress
