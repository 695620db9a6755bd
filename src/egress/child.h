// Child: this executable, started once more for one narrow task: the broker (door.h), the opener of
// model files (opener.h).
//
// Between the two is one SOCK_SEQPACKET channel, descriptor 3 in the child; its end is the child's.
// The child gets nothing else: /dev/null as stdin and stdout, and of the environment only what
// resolving names, verifying certificates and sanitizers read, never a key. It lives in a session
// of its own, so that the terminal's Ctrl-C does not reach it.
//
// Thread: start_child() before the sandbox, which denies exec.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/file.h"
#include "base/result.h"

namespace hearth::egress {

inline constexpr int kChildChannel = 3;

struct Child {
    pid_t pid = -1;
    Fd channel;
};
// main() of this program must hand `<task> 3 …` to the task's function before anything else.
// arguments: what follows the task and the channel's number; other users of this machine see them.
// Errors: internal.
Result<Child> start_child(const std::string& task, const std::vector<std::string>& arguments = {});
// Closes the channel, which ends the child; one that does not end is killed after kChildEndMs.
void end_child(Child& child);

// In the child, first: closes every descriptor but the channel and the standard ones, and ignores
// the signals of a terminal. False: this is no channel, so that somebody started it by hand.
bool take_channel(int channel);

}  // namespace hearth::egress
