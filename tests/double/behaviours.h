// What the double does with a request, given a connection to write to.
#pragma once

#include <string>
#include <string_view>

namespace hearth::test {

class Peer {
  public:
    virtual ~Peer() = default;
    // False: the peer is gone.
    virtual bool write(std::string_view bytes) = 0;
    // Waits; false when the peer leaves meanwhile. Negative: until it leaves.
    virtual bool wait(int ms) = 0;
};

// True where the whole of what it wanted to send was taken.
bool behave(const std::string& behaviour, const std::string& body, Peer& peer);
bool is_behaviour(std::string_view name);
std::string plain_response(int status, std::string_view type, std::string_view body,
                           std::string_view more_headers = "");

}  // namespace hearth::test
