#include "egress/resolve.h"

#include <netdb.h>
#include <netinet/in.h>
#include <unistd.h>

#include <cstring>
#include <mutex>
#include <thread>

#include "base/format.h"
#include "base/queue.h"
#include "egress/limits.h"
#include "egress/message.h"

namespace hearth::egress {
namespace {

struct Question {
    std::uint64_t id = 0;
    std::string host;
    int port = 0;
};

struct FreeAddresses {
    void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};
using AddressList = std::unique_ptr<addrinfo, FreeAddresses>;

// 0, or an error of getaddrinfo with errno in system_error.
int look_up(const std::string& host, int port, int flags, AddressList& out, int& system_error) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_protocol = IPPROTO_TCP;
    hints.ai_flags = flags | AI_NUMERICSERV;
    addrinfo* list = nullptr;
    const int result = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
    system_error = errno;
    if (result == 0) out.reset(list);
    return result;
}

std::vector<Address> addresses_of(const AddressList& list) {
    std::vector<Address> out;
    for (const addrinfo* a = list.get(); a != nullptr && out.size() < kAddressesMax;
         a = a->ai_next) {
        if (a->ai_addrlen > sizeof(sockaddr_storage)) continue;
        Address address;
        std::memcpy(&address.storage, a->ai_addr, a->ai_addrlen);
        address.size = a->ai_addrlen;
        out.push_back(address);
    }
    return out;
}

Result<std::vector<Address>> resolve(const Question& question) {
    AddressList list;
    int system_error = 0;
    const int result = look_up(question.host, question.port, AI_ADDRCONFIG, list, system_error);
    if (result == EAI_SYSTEM)
        return fail(ErrorKind::upstream_failed,
                    errno_text("cannot resolve " + question.host, system_error));
    if (result != 0)
        return fail(ErrorKind::upstream_failed,
                    format("cannot resolve {}: {}", question.host, ::gai_strerror(result)));
    auto addresses = addresses_of(list);
    if (addresses.empty())
        return fail(ErrorKind::upstream_failed, question.host + " has no address");
    return addresses;
}

class ThreadedResolver final : public Resolver {
  public:
    explicit ThreadedResolver(int wake_fd) : wake_fd_(wake_fd), questions_(kConnectionsMax) {
        for (int i = 0; i < kResolverThreads; ++i) threads_.emplace_back([this] { work(); });
    }
    ~ThreadedResolver() override { questions_.close(); }  // then the threads are joined

    bool ask(std::uint64_t id, std::string host, int port) override {
        return questions_.try_push(Question{id, std::move(host), port});
    }
    std::vector<Resolved> take() override {
        const std::lock_guard lock(mutex_);
        return std::exchange(answers_, {});
    }

  private:
    void work() {
        while (auto question = questions_.pop()) {
            Resolved answer{question->id, resolve(*question)};
            {
                const std::lock_guard lock(mutex_);
                answers_.push_back(std::move(answer));
            }
            const std::uint64_t one = 1;
            [[maybe_unused]] const ssize_t n = ::write(wake_fd_, &one, sizeof(one));
        }
    }

    const int wake_fd_;
    BoundedQueue<Question> questions_;
    std::mutex mutex_;  // guards answers_; held for moves only
    std::vector<Resolved> answers_;
    std::vector<std::jthread> threads_;  // last: joined before what they use goes away
};

}  // namespace

std::string to_text(const Address& address) {
    char host[NI_MAXHOST] = {}, port[NI_MAXSERV] = {};
    if (::getnameinfo(reinterpret_cast<const sockaddr*>(&address.storage), address.size, host,
                      sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return "unknown address";
    const bool v6 = address.storage.ss_family == AF_INET6;
    return format("{}{}{}:{}", v6 ? "[" : "", host, v6 ? "]" : "", port);
}

std::vector<Address> numeric_address(const std::string& host, int port) {
    AddressList list;
    int system_error = 0;
    if (look_up(host, port, AI_NUMERICHOST, list, system_error) != 0) return {};
    return addresses_of(list);
}

std::unique_ptr<Resolver> Resolver::start(int wake_fd) {
    return std::make_unique<ThreadedResolver>(wake_fd);
}

}  // namespace hearth::egress
