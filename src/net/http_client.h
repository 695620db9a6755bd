// One HTTP/1.1 exchange over a connected stream descriptor (the broker's socketpair): sans-connect,
// sans-TLS. The request is written at once; response head and body come back as they arrive.
//
// Thread: the ClientLoop's own (`io` of upstreams). Callbacks run there. No redirects are followed:
// a new address is a new permit.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/file.h"
#include "base/result.h"
#include "net/http.h"

namespace hearth::net {

struct ClientRequest {
    std::string method = "POST";
    std::string host = {};  // for the Host header, with port if not the default
    std::string target = {};
    Headers headers = {};  // Host and Content-Length are the client's
    std::string body = {};
    std::int64_t head_timeout_ms = 0;  // until the response's head; 0: none
    std::int64_t idle_timeout_ms = 0;  // between pieces of the body
};

struct ClientCallbacks {
    std::function<void(int status, const Headers& headers)> on_head = {};
    std::function<void(std::string_view bytes)> on_body = {};
    // Exactly once, last. Errors: upstream_failed (cut, malformed), timeout, cancelled.
    std::function<void(Status status)> on_done = {};
};

class ClientExchange {
  public:
    virtual ~ClientExchange() = default;
    virtual void cancel() = 0;        // any thread; on_done(cancelled) follows
    virtual void pause(bool on) = 0;  // any thread; stops reading, so that the sender waits
};

class ClientLoop {
  public:
    static std::unique_ptr<ClientLoop> start();
    virtual ~ClientLoop() = default;  // cancels all exchanges and joins
    virtual std::shared_ptr<ClientExchange> run(Fd connection, ClientRequest request,
                                                ClientCallbacks callbacks) = 0;
};

}  // namespace hearth::net
