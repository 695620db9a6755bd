// Double: a stand-in for an OpenAI-like upstream on loopback, for tests. It behaves as it is told
// and keeps count of who came.
//
// How it behaves is named by the first part of the path (`/stall/v1/chat/completions`, so a
// base_url of `http://127.0.0.1:PORT/stall/v1` chooses it) or, without that, by the request's
// model:
//
//   ok           streams "The double answers in plain words." with usage
//   echo         streams the last message's text back
//   slow         100 words, one each 50 ms
//   flood        64 MiB of text as fast as it is read
//   tool         one tool call: lookup({"city":"Paris"})
//   stall        two words, then silence until the peer leaves
//   never        reads the request and says nothing
//   cut          two words, then the connection breaks inside a chunk
//   cut-clean    two words, then the body ends as HTTP says, without the answer's end
//   cut-usage    as cut, after a chunk with usage
//   no-usage     a whole answer, but without usage
//   no-done      a whole answer, but without the last line [DONE]
//   error-event  one word, then an error object in the stream
//   error-first  an error object as the stream's first event
//   garbage      bytes that are no HTTP
//   garbage-sse  an event stream whose data is no JSON
//   huge-header  a header of 1 MiB
//   huge-event   one event of 16 MiB
//   html         200 with a web page
//   close        closes without a word
//   redirect     302 to another host
//   400, 401, 404, 429 (Retry-After: 7), 500, 503    that status with an OpenAI error body
//
// GET /_count   {"connections":N,"requests":N,"open":N,"aborted":N}; connections that only ask such
//               questions are not counted; aborted: the peer left before its answer was complete
// GET /_last    the body of the last request;  GET /_head  its request line and headers
// GET /v1/models
//
// Thread: one per connection, blocking; any thread may ask the counts.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"

namespace hearth::test {

struct DoubleOptions {
    int port = 0;  // 0: any
    bool tls = false;
    // The name or address in the server's certificate besides localhost and 127.0.0.1.
    std::string certificate_host = {};
    bool certificate_expired = false;
};

struct DoubleCounts {
    std::int64_t connections = 0, requests = 0, open = 0, aborted = 0;
};

class Double {
  public:
    static Result<std::unique_ptr<Double>> start(const DoubleOptions& options = {});
    virtual ~Double() = default;  // closes everything and joins
    virtual int port() const = 0;
    virtual std::string url() const = 0;  // "http://127.0.0.1:PORT"
    virtual DoubleCounts counts() const = 0;
    virtual std::string last_body() const = 0;
    virtual std::string last_head() const = 0;
    virtual const std::string& ca_pem() const = 0;       // empty without TLS
    virtual const std::string& spki_sha256() const = 0;  // of the server's key; empty without TLS
};

}  // namespace hearth::test
