// Sandbox: what the main process gives up before it reads a byte from outside.
//
// seccomp denies (EPERM) connect and every way around it that we know: new sockets, addresses in sendto,
// TCP fast open, io_uring, ptrace, reading other processes' memory, taking their descriptors, exec,
// new namespaces, other ABIs. Capabilities are dropped, no_new_privs is set. It holds for all threads
// and cannot be undone.
// Source: seccomp(2), capabilities(7); tests/sandbox tries each by-way.
#pragma once

#include "base/result.h"

namespace hearth::egress {

// Requires: listening sockets are open and the broker runs. Errors: internal, with what the kernel lacks.
Status enter_sandbox();

}  // namespace hearth::egress
