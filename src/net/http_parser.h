// RequestParser and ResponseParser: HTTP/1.1 messages from bytes in any pieces, without sockets.
//
// The head passes the gate (http_gate.h), then Boost.Beast's parser, which also takes the body
// apart. Owner thread: whoever feeds it. A parser is for one message.
//
// Invariants: (1) feed() takes no byte past the end of its message.
//             (2) bytes held: the head, up to its limit; the body, up to its; one chunk header or
//                 trailer, up to the limit of the head.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "net/http.h"
#include "net/http_gate.h"

namespace hearth::net {

enum class ParseState : std::uint8_t { head, body, done, failed };

class RequestParser {
  public:
    RequestParser(std::size_t header_bytes_max, std::size_t body_bytes_max);
    ~RequestParser();
    RequestParser(const RequestParser&) = delete;

    // Returns how many bytes were taken. Stops at the end of the head if a body follows (state()
    // is then body), at the end of the message, and at an error.
    std::size_t feed(std::string_view bytes);
    ParseState state() const;
    const GateError& error() const;  // Requires: state() == failed
    bool started() const;            // a byte of this request has come

    // Valid once the head is complete.
    HttpRequest& request();
    bool keep_alive() const;
    int version() const;  // 10 or 11
    bool expects_continue() const;
    std::optional<std::uint64_t> content_length() const;  // nothing: none, or chunked

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

class ResponseParser {
  public:
    // on_body is called from feed() with each piece. to_head: the request was HEAD.
    ResponseParser(std::size_t header_bytes_max, bool to_head,
                   std::function<void(std::string_view)> on_body);
    ~ResponseParser();
    ResponseParser(const ResponseParser&) = delete;

    std::size_t feed(std::string_view bytes);
    // The stream has ended: done if the message ends with it, else failed (cut).
    void feed_eof();
    ParseState state() const;
    const GateError& error() const;

    int status() const;  // Valid once the head is complete.
    const Headers& headers() const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace hearth::net
