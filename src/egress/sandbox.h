// Sandbox: what the main process gives up before it reads a byte from outside.
//
// seccomp denies (EPERM) connect and every way around it that we know: new sockets, addresses in
// sendto, TCP fast open, io_uring, ptrace, reading other processes' memory, taking their
// descriptors, exec, new namespaces, other ABIs (those end the process). Capabilities are dropped,
// no_new_privs is set, core files and /proc/<pid>/mem are closed. It holds for all threads and
// cannot be undone. Left: accept on listeners that exist, stream and seqpacket socketpairs,
// threads, files.
//
// With file rules, Landlock (Linux 5.19, ABI 2) also denies opening, making, renaming and removing
// files outside the named ones, so that a file that another program acts on (~/.bashrc, autostart
// entries, the broker's key) cannot be written or read. Landlock does not see stat, chmod, chown,
// utime, xattr and flock, and descriptors that were open before.
//
// Outside its reach: a program of the same user that connects by itself and hands us the
// descriptor.
// Source: seccomp(2), capabilities(7), landlock(7); tests/sandbox tries each by-way.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace hearth::egress {

// Which files this process may still open. A path is a file, or a folder with all below it; what is
// not there when the rules are made is left out.
struct FileRules {
    bool restrict_reads = false, restrict_writes = false;
    std::vector<std::string> list = {};  // folders: the names in them, not what is in the files
    std::vector<std::string> read = {};
    std::vector<std::string> write = {};       // read, too
    std::vector<std::string> write_only = {};  // what is there cannot be read
};

// What this kernel offers.
struct Protections {
    bool seccomp = false;
    int landlock_abi = 0;  // 0: none; files need 2, TCP 4, abstract Unix sockets 6
    bool complete() const { return seccomp && landlock_abi >= 2; }
};
Protections protections();
// What a person should know where it is not complete; empty where it is.
std::string what_is_missing(const Protections& have);

// Requires: listening sockets are open and the broker runs. Threads that exist already are
// included. A second call does nothing. What the kernel lacks is left out: ask protections() first.
// Errors: internal.
Status enter_sandbox(const FileRules& files = {});
bool in_sandbox();

}  // namespace hearth::egress
