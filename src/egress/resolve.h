// Resolver: names to addresses on a few threads of its own, because getaddrinfo blocks and cannot
// be cancelled. Whoever waits has a deadline and forgets; a late answer is dropped by its id.
//
// Thread: ask() and take() from one thread (the broker's loop); the threads here only call
// getaddrinfo.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace hearth::egress {

struct Address {
    sockaddr_storage storage{};
    socklen_t size = 0;
};
// "93.184.216.34:443", "[2606:2800::1]:443"
std::string to_text(const Address& address);

// The address that a numeric host spells; nothing for names.
std::vector<Address> numeric_address(const std::string& host, int port);

struct Resolved {
    std::uint64_t id = 0;
    Result<std::vector<Address>> addresses;  // in the order of getaddrinfo (RFC 6724), not empty
};

class Resolver {
  public:
    virtual ~Resolver() = default;
    // Starts the threads. wake_fd is an eventfd that is written when there is something to take.
    static std::unique_ptr<Resolver> start(int wake_fd);
    // False: too many wait already.
    virtual bool ask(std::uint64_t id, std::string host, int port) = 0;
    virtual std::vector<Resolved> take() = 0;
};

}  // namespace hearth::egress
