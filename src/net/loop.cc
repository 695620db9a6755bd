// One thread runs each loop and a mutex orders what is handed to it, so Asio's fences around
// handlers add nothing; the thread sanitizer does not understand them.
#define BOOST_ASIO_DISABLE_FENCED_BLOCK
#include "net/loop.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <cstdint>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include "base/check.h"
#include "base/log.h"

namespace hearth::net {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

// An exception in a piece of work is our own fault; it must not take the loop with it.
void guarded(Work& work) {
    try {
        work();
    } catch (const std::exception& e) {
        log_error("io_work_threw", {{"what", e.what()}});
    }
}

// Asio does not keep the order between work posted from its own thread and from others; a Reply
// needs that order, so the queue is ours and Asio is only told that there is something in it.
class LoopPoster final : public Poster, public std::enable_shared_from_this<LoopPoster> {
  public:
    explicit LoopPoster(asio::io_context& io) : io_(&io) {}

    void post(Work work) override {
        const std::lock_guard lock(mutex_);
        if (!io_) return;
        queue_.push_back(std::move(work));
        if (!std::exchange(told_, true))
            asio::post(*io_, [self = shared_from_this()] { self->run(); });
    }

    // The loop is going away. What was queued is destroyed outside of the lock, because it may
    // post.
    void forget() {
        std::deque<Work> dropped;  // outlives the lock
        const std::lock_guard lock(mutex_);
        io_ = nullptr;
        queue_.swap(dropped);
    }

  private:
    void run() {
        std::deque<Work> batch;
        {
            const std::lock_guard lock(mutex_);
            batch.swap(queue_);
            told_ = false;
        }
        for (Work& work : batch) guarded(work);
    }

    std::mutex mutex_;  // guards what follows; held for moves only
    asio::io_context* io_;
    std::deque<Work> queue_;
    bool told_ = false;
};

}  // namespace

struct Loop::Impl {
    explicit Impl(std::string thread_name)
        : name(std::move(thread_name)),
          io(1),
          guard(io.get_executor()),
          // The first timer makes the reactor and its descriptors, before any sandbox.
          first_timer(io),
          poster(std::make_shared<LoopPoster>(io)) {}

    void run() {
        pthread_setname_np(pthread_self(), name.c_str());
        io.run();
    }

    const std::string name;
    asio::io_context io;
    asio::executor_work_guard<asio::io_context::executor_type> guard;
    asio::steady_timer first_timer;
    const std::shared_ptr<LoopPoster> poster;
    std::thread thread;
};

Loop::Loop(std::string thread_name) : impl_(std::make_unique<Impl>(std::move(thread_name))) {}

Loop::~Loop() {
    stop();
    impl_->poster->forget();
}

void Loop::run() {
    CHECK(!impl_->thread.joinable());
    impl_->thread = std::thread([this] { impl_->run(); });
}

void Loop::stop() {
    if (!impl_->thread.joinable()) return;
    CHECK(impl_->thread.get_id() != std::this_thread::get_id());
    impl_->io.stop();
    impl_->thread.join();
}

void Loop::post(Work work) {
    impl_->poster->post(std::move(work));
}
std::shared_ptr<Poster> Loop::poster() const {
    return impl_->poster;
}

struct Timer::Impl {
    asio::steady_timer timer;
    std::uint64_t round = 0;  // counts waits and cancels: an older wait that fires late is unwanted
};

Timer::Timer(Loop& loop)
    : impl_(std::make_shared<Impl>(Impl{asio::steady_timer(loop.impl().io)})) {}
Timer::~Timer() {
    cancel();
}

void Timer::wait_until(TimePoint when, Work work) {
    const std::uint64_t round = ++impl_->round;
    impl_->timer.expires_at(when);
    impl_->timer.async_wait(
        [impl = impl_, round, work = std::move(work)](const error_code&) mutable {
            if (impl->round == round) guarded(work);
        });
}

void Timer::cancel() {
    ++impl_->round;
    impl_->timer.cancel();
}

struct Stream::Impl {
    asio::posix::stream_descriptor descriptor;

    void wait(asio::posix::descriptor_base::wait_type what, std::shared_ptr<Impl> self, Work work) {
        descriptor.async_wait(
            what, [self = std::move(self), work = std::move(work)](const error_code& ec) mutable {
                if (ec != asio::error::operation_aborted && self->descriptor.is_open())
                    guarded(work);
            });
    }
};

Stream::Stream(Loop& loop, Fd fd)
    : impl_(std::make_shared<Impl>(Impl{asio::posix::stream_descriptor(loop.impl().io)})) {
    const int flags = ::fcntl(fd.get(), F_GETFL);
    if (flags >= 0) ::fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK);
    error_code ec;
    impl_->descriptor.assign(fd.get(), ec);
    if (ec)
        log_error("descriptor_refused", {{"what", ec.message()}});
    else
        fd.release();
}
Stream::~Stream() {
    close();
}

bool Stream::is_open() const {
    return impl_->descriptor.is_open();
}
int Stream::fd() const {
    return impl_->descriptor.native_handle();
}

namespace {

Io outcome(ssize_t n) {
    if (n >= 0) return {Io::Kind::ok, std::size_t(n)};
    if (errno == EAGAIN || errno == EWOULDBLOCK) return {Io::Kind::again};
    return {Io::Kind::failed};
}

}  // namespace

Io Stream::read(std::span<char> into) {
    if (!is_open()) return {Io::Kind::failed};
    ssize_t n;
    do n = ::recv(impl_->descriptor.native_handle(), into.data(), into.size(), 0);
    while (n < 0 && errno == EINTR);
    return n == 0 ? Io{Io::Kind::eof} : outcome(n);
}

Io Stream::write(std::string_view bytes) {
    if (!is_open()) return {Io::Kind::failed};
    ssize_t n;
    do n = ::send(impl_->descriptor.native_handle(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return outcome(n);
}

void Stream::wait_readable(Work work) {
    impl_->wait(asio::posix::descriptor_base::wait_read, impl_, std::move(work));
}

void Stream::wait_writable(Work work) {
    impl_->wait(asio::posix::descriptor_base::wait_write, impl_, std::move(work));
}

void Stream::shutdown_send() {
    if (is_open()) ::shutdown(impl_->descriptor.native_handle(), SHUT_WR);
}

bool Stream::hung_up() const {
    if (!is_open()) return true;
    pollfd poll{impl_->descriptor.native_handle(), POLLRDHUP, 0};
    return ::poll(&poll, 1, 0) > 0;
}

void Stream::close() {
    error_code ignored;
    impl_->descriptor.close(ignored);
}

void Stream::reset() {
    if (!is_open()) return;
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(impl_->descriptor.native_handle(), SOL_SOCKET, SO_LINGER, &at_once,
                 sizeof at_once);
    close();
}

}  // namespace hearth::net
