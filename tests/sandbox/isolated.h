// A child process in a network namespace of its own, with loopback up and listeners of every kind
// on it: the world in which a by-way out of the sandbox is tried. What happens there harms nobody,
// and what arrives at the listeners was sent by the test.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include "base/file.h"

namespace hearth::test {

// Why namespaces cannot be had here; empty where they can.
std::string no_namespaces();

struct Ended {
    std::string text;  // what the function returned
    int exit_code = -1;
    int signal = 0;
};
// Runs it in a forked child inside a new network namespace (and user namespace, unless root).
// Requires: this process has one thread.
Ended run_isolated(const std::function<std::string()>& function);

// Who could be reached. Made before the sandbox is entered.
class World {
  public:
    World();
    ~World();
    World(const World&) = delete;

    // True: something arrived at one of the listeners.
    bool heard();

    int tcp_port = 0, udp_port = 0;
    std::string unix_name;  // abstract Unix names, without the leading NUL
    std::string datagram_name;
    Fd tcp, udp, unix_stream, unix_datagram;
    // A process of ours outside the sandbox, a word in its memory, and a handle of it.
    pid_t victim = -1;
    Fd victim_handle;  // pidfd
    volatile long* word = nullptr;
    // An accepted TCP connection: ours is the server's end.
    Fd accepted, client;

  private:
    [[noreturn]] void answer_questions(int channel) const;
    Fd ask_;
};

}  // namespace hearth::test
