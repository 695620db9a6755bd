// Raw sockets for the tests of net: every byte that goes out and comes in is the test's own, and
// the reader of responses shares nothing with the code under test.
//
// Waits end with what is waited for; their limit only keeps a broken test from hanging.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "net/http_server.h"

namespace hearth::net::test {

inline constexpr int kPatienceMs = 20'000;

// A condition that other threads make true.
class Signal {
  public:
    void set() { add(1); }
    void add(int n) {
        const std::lock_guard lock(mutex_);
        count_ += n;
        changed_.notify_all();
    }
    int count() const {
        const std::lock_guard lock(mutex_);
        return count_;
    }
    // Whether the count came to n within the patience of the tests.
    bool wait(int n = 1) {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, std::chrono::milliseconds(kPatienceMs),
                                 [&] { return count_ >= n; });
    }

  private:
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    int count_ = 0;
};

// Polls until the condition holds; false once the patience is over.
bool eventually(const std::function<bool()>& condition);

struct RawResponse {
    int status = 0;
    std::string head;                           // as it came, with the empty line
    std::map<std::string, std::string> fields;  // names in lower case
    std::string body;                           // chunks removed
    bool complete = false;                      // the body's end was seen
};

// One blocking socket.
class Peer {
  public:
    explicit Peer(Fd fd) : fd_(std::move(fd)) {}
    // address: "127.0.0.1:port", "[::1]:port", or a path.
    static Peer connect(const std::string& address);

    bool send(std::string_view bytes);  // false once the other side has closed
    // Reads until n bytes are there that were not taken yet; fewer at the end of the stream.
    std::string read(std::size_t n);
    std::string read_until(std::string_view end);  // including it
    std::string read_all();                        // to the end of the stream
    RawResponse response(bool to_head = false);    // the next one
    bool at_end();                                 // waits for the end; false if a byte comes
    bool was_reset() const { return reset_; }
    void half_close();
    void close() { fd_.reset(); }
    void set_receive_buffer(int bytes);
    int fd() const { return fd_.get(); }

  private:
    bool fill();  // one more read; false at the end
    Fd fd_;
    std::string in_;
    bool ended_ = false, reset_ = false;
};

// A connected pair of Unix stream sockets.
std::pair<Fd, Fd> socket_pair();

// A server on 127.0.0.1 whose handler is a function.
struct TestServer {
    using OnRequest = std::function<void(HttpRequest, std::shared_ptr<Reply>)>;
    explicit TestServer(OnRequest on_request, ServerLimits limits = {});
    TestServer(Handlers handlers, ServerLimits limits);
    Peer connect() const { return Peer::connect(address); }

    std::string address;
    std::unique_ptr<HttpServer> server;
};

// Answers with method, path, query and body.
void echo(HttpRequest request, std::shared_ptr<Reply> reply);
HttpResponse text(int status, std::string body);

}  // namespace hearth::net::test
