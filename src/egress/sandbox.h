// Sandbox: what the main process gives up before it reads a byte from outside.
//
// seccomp denies (EPERM) connect and every way around it that we know: new sockets, addresses in
// sendto, TCP fast open, io_uring, ptrace, reading other processes' memory, taking their
// descriptors, exec, new namespaces, other ABIs (those end the process). Capabilities are dropped,
// no_new_privs is set, core files and /proc/<pid>/mem are closed. It holds for all threads and
// cannot be undone. Left: accept on listeners that exist, stream and seqpacket socketpairs,
// threads, files.
//
// Outside its reach: files that other programs act on, and a program of the same user that connects
// by itself and hands us the descriptor.
// Source: seccomp(2), capabilities(7); tests/sandbox tries each by-way.
#pragma once

#include "base/result.h"

namespace hearth::egress {

// Requires: listening sockets are open and the broker runs. Threads that exist already are
// included. A second call does nothing. Errors: internal, with what the kernel lacks.
Status enter_sandbox();
bool in_sandbox();

}  // namespace hearth::egress
