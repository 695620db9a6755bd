// Loop: one named thread that waits for descriptors and clocks; Stream and Timer live on it.
//
// The reactor is Boost.Asio's (epoll), seen by loop.cc alone; reads and writes are plain
// non-blocking calls, so that TCP, Unix sockets and pipes of the broker are one type.
//
// clang-format off
// Thread:     Stream and Timer belong to the loop's thread. Loop::post and Poster are for any thread.
// Invariants: (1) work runs in the order of posting, one at a time.
//             (2) after close() or cancel() a wait that has not yet called back never does.
//             (3) no system call here makes a socket: the loop works inside the sandbox.
// clang-format on
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/file.h"

namespace hearth::net {

using Work = std::move_only_function<void()>;
using TimePoint = std::chrono::steady_clock::time_point;

// Hands work to a loop for as long as that exists; afterwards drops it. Values that outlive the
// loop (replies, exchanges) hold one.
class Poster {
  public:
    virtual ~Poster() = default;
    virtual void post(Work work) = 0;
};

class Loop {
  public:
    // The thread starts at run(), so that an owner can finish building itself first.
    explicit Loop(std::string thread_name);
    // Stops. Work that is still queued is dropped, not run.
    ~Loop();
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;

    void run();
    // Ends the thread after the work that is running. Any thread but the loop's own.
    void stop();
    void post(Work work);
    std::shared_ptr<Poster> poster() const;

    struct Impl;
    Impl& impl() { return *impl_; }

  private:
    std::unique_ptr<Impl> impl_;
};

class Timer {
  public:
    explicit Timer(Loop& loop);
    ~Timer();
    void wait_until(TimePoint when, Work work);  // replaces the wait before it
    void cancel();

  private:
    struct Impl;
    std::shared_ptr<Impl> impl_;  // shared with a wait that is under way, which checks it is wanted
};

// What one non-blocking read or write came to. n is meaningful when ok.
struct Io {
    enum class Kind : std::uint8_t { ok, again, eof, failed } kind = Kind::ok;
    std::size_t n = 0;
};

class Stream {
  public:
    Stream(Loop& loop, Fd fd);  // makes it non-blocking
    ~Stream();

    Io read(std::span<char> into);
    Io write(std::string_view bytes);  // never raises SIGPIPE
    // One wait of each kind at a time; called back once.
    void wait_readable(Work work);
    void wait_writable(Work work);
    void shutdown_send();
    // The peer has ended its side, though bytes before its end may be unread. Never waits.
    bool hung_up() const;
    void close();
    // Closes so that the peer sees an error and not an end, where the kind can say so.
    void reset();
    bool is_open() const;
    int fd() const;

  private:
    struct Impl;
    std::shared_ptr<Impl> impl_;  // as in Timer
};

}  // namespace hearth::net
