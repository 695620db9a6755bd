// Gate: who may pass, from the headers alone: the key, its role, its routes, its requests.
//
//   head → caller_of()      no key, wrong, expired, revoked                      401, 429
//        → may_enter()      role and scope of the route                          403
//        → ticket           the key's requests and tokens (quota.h)              429
//
// Without keys whoever reaches the port is the local operator, whatever key it sends; the socket in
// the state folder is always the local admin. Once keys exist (or were seen by this process) every
// TCP request but /health needs one.
//
// Wrong keys are counted per peer's address, kAuthFailuresMinute a minute; beyond that the answer
// is 429. A right key passes all the same: a stranger behind the same address locks nobody out.
//
// Thread: `io` only, but for on_event, which is set before the first request.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "journal/journal.h"
#include "net/http.h"
#include "serve/keys.h"
#include "serve/metrics.h"
#include "serve/quota.h"

namespace hearth::serve {

// What admission leaves in a request's `held`: it goes when the request does.
struct Admitted {
    Caller caller = local_operator();
    std::shared_ptr<Ticket> ticket = nullptr;
    std::unique_ptr<OpenRequest> open = nullptr;  // of requests that generate
};
// nullptr where admission left nothing (requests that tests make by hand).
const Admitted* admitted(const net::HttpRequest& request);

// Whether a role may use a route at all, keys' scopes aside. A row of the table for each route; a
// route without a row is an admin's.
bool role_may(Role role, std::string_view method, std::string_view path);

class Gate {
  public:
    Gate(KeyStore& keys, Quota& quota, const Clock& clock = system_clock())
        : keys_(keys), quota_(quota), clock_(clock) {}

    struct Entry {
        Caller caller;
        Limits limits;
    };
    // Errors: unauthorized; over_quota after too many failures; internal where the store cannot be
    // read.
    Result<Entry> caller_of(const net::HttpRequest& head);
    // A refusal is on record, at most one a minute and key. Errors: forbidden_by_policy that names
    // the role or the scope that is missing.
    Status may_enter(const Caller& caller, const net::HttpRequest& head);

    KeyStore& keys() { return keys_; }
    Quota& quota() { return quota_; }
    void print(std::string& out) const;  // metrics

    std::function<void(journal::EventRecord)> on_event = nullptr;

  private:
    struct Failures {
        MinuteWindow window;  // of addresses
        std::int64_t newest_s = 0, told_s = 0, n_untold = 0;
    };
    Error failed(const net::HttpRequest& head, Error why);
    Failures& failures_of(const std::string& actor, std::int64_t now_s);
    std::int64_t now_ns() const;
    void tell(const char* event, const std::string& actor, const net::HttpRequest& head,
              const std::string& why);

    KeyStore& keys_;
    Quota& quota_;
    const Clock& clock_;
    bool ever_required_ = false;
    std::unordered_map<std::string, Failures> failures_;  // by address, or id of a key
    std::atomic<std::int64_t> n_failures_ = 0;
};

}  // namespace hearth::serve
