// Requests and what becomes of them, by the rules of RFC 9112 and RFC 3986: one table for the
// parser alone and for the server behind its socket.
#pragma once

#include <string>
#include <vector>

namespace hearth::net::test {

struct RequestCase {
    std::string name, bytes;
    int status;  // of the refusal; 200 where the request is good
};

const std::vector<RequestCase>& request_cases();

}  // namespace hearth::net::test
