// HttpServer: accepts connections, reads requests within limits, and hands them on.
//
// Thread: `io`. Handlers are called there and must not block; a Reply may be used from any thread.
// Keep-alive and pipelining are the server's business: the next request on a connection is handed
// on when the reply before it is finished, in order.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/file.h"
#include "base/result.h"
#include "net/http.h"
#include "net/limits.h"

namespace hearth::net {

// One response in the making. Exactly one of send() or begin()…end() per request. Safe from any
// thread; everything is posted to the connection. After the peer has gone all calls do nothing.
// Dropped unanswered, it becomes a 500, or abort() after begin(): no client waits for ever.
class Reply {
  public:
    virtual ~Reply() = default;
    virtual void send(HttpResponse response) = 0;         // whole response
    virtual void begin(int status, Headers headers) = 0;  // streamed: chunked
    virtual void write(std::string bytes) = 0;
    virtual void end() = 0;
    // Cuts the connection without a proper end: the client must not take this for a whole answer.
    virtual void abort() = 0;
    virtual bool peer_gone() const = 0;            // a flag; cheap
    virtual std::size_t queued_bytes() const = 0;  // not yet taken by the socket
    virtual bool writable() const = 0;             // queued_bytes() below the low-water mark
    // Called once, on the io thread, as soon as the peer is known to be gone while the reply is
    // open. For handlers that wait for this instead of looking at the flag; serve's backends look,
    // so that today only tests call this and the next.
    virtual void on_peer_gone(std::function<void()> callback) = 0;
    // Called on the io thread each time writable() has become true again while the reply is open.
    virtual void on_writable(std::function<void()> callback) { (void)callback; }
};

struct Handlers {
    // Called when the headers are read and before the body: a response refuses the request there
    // and then (and closes if a body was announced). Typical: 401, 404, 405, 429, 503. It may leave
    // something in head.held, which goes when the request does, handed on or not.
    std::function<std::optional<HttpResponse>(HttpRequest& head)> on_head = {};
    std::function<void(HttpRequest request, std::shared_ptr<Reply> reply)> on_request = {};
    // The body of a 4xx that the server itself must answer (malformed request, too large …).
    std::function<HttpResponse(int status, std::string_view message)> on_protocol_error = {};
};

struct ServerLimits {
    std::size_t header_bytes = kHeaderBytesMax;
    std::size_t body_bytes = kBodyBytesMax;
    std::size_t bodies_bytes = kBodiesBytesMax;
    std::int64_t n_connections = kConnectionsMax;
    std::int64_t header_timeout_ms = kHeaderTimeoutMs;
    std::int64_t body_timeout_ms = kBodyTimeoutMs;
    std::int64_t idle_timeout_ms = kIdleTimeoutMs;
    std::int64_t write_timeout_ms = kWriteTimeoutMs;
};

// Listening sockets are opened before the sandbox closes and handed in.
struct Listener {
    Fd fd;
    std::string address;  // "127.0.0.1:11435", or the socket's path
    bool is_unix = false;
};
// host: a numeric address or "localhost"; port 0 picks a free one (see Listener::address).
Result<Listener> listen_tcp(const std::string& host, int port);
// Replaces a stale socket file; mode 0600. Errors: invalid_request if a live server has it.
Result<Listener> listen_unix(const std::string& path);
bool is_loopback(const std::string& host);

class HttpServer {
  public:
    static std::unique_ptr<HttpServer> start(std::vector<Listener> listeners, Handlers handlers,
                                             const ServerLimits& limits = {},
                                             const Clock& clock = system_clock());
    virtual ~HttpServer() = default;  // cuts what is open, ends the io thread
    // Stops accepting, closes idle connections, lets open replies finish until the deadline, then
    // cuts them. Returns when all connections are closed. True if none had to be cut.
    virtual bool drain(std::int64_t deadline_ms) = 0;
    // These two are for tests.
    virtual std::int64_t n_connections() const = 0;
    // Runs on the io thread.
    virtual void post(std::function<void()> work) = 0;
};

}  // namespace hearth::net
