// Quota: what each key may use up, and has. Requests and tokens in any 60 seconds; tokens, money
// and bytes out in a day, money in a month (UTC).
//
//   admit     from the headers: a request is counted, or refused            429
//   reserve   parsed: its tokens are booked by their upper estimate         429, 403
//   decided   where it goes: its cost and its bytes out are booked too      429
//   settle    at its end: bookings become what was used; whoever lets a ticket go unsettled gets
//             all but the request itself back
//
// A minute is a ring of one-second buckets: sixty full ones and the current. So no 60 seconds hold
// more than the limit, and a refusal knows the second in which enough will have left. Bookings stay
// in the bucket of their beginning. Answers that have begun are not cut: one whose length nobody
// stated can pass a bound of tokens by itself; the next request then waits that much longer.
//
// Money and bytes refuse only what leaves: a key without budget still gets local answers, because
// what is left is a cap of the decision (`budget`).
//
// Thread:     any; one mutex, held for a few sums.
// Invariants: (1) of a bound, used = settled + booked of open tickets; nothing else is in it.
//             (2) a ticket is settled at most once, and its bookings leave with it.
// Source:     names of the headers: OpenAI's clients.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "base/result.h"
#include "chat/chat.h"
#include "net/http.h"
#include "route/decide.h"
#include "serve/caller.h"

namespace hearth::serve {

// The hard bounds of a key; nothing: none. Zero is a bound like any other.
struct Limits {
    std::optional<std::int64_t> requests_minute = {}, tokens_minute = {}, tokens_day = {};
    std::optional<std::int64_t> microusd_day = {}, microusd_month = {}, egress_bytes_day = {};
    // The soft bound: from this share of a hard one on, answers carry x-hearth-quota-warning.
    std::int64_t soft_percent = 80;
    friend bool operator==(const Limits&, const Limits&) = default;
};

// What a request used up in all places that it was tried at.
struct Spent {
    std::int64_t n_tokens = 0;  // input and output
    std::int64_t cost_microusd = 0;
};

class Quota;

// One admitted request's bookings. It rides in Origin; every call but the first is one of the
// exchange's steps, in this order. All do nothing for a caller without a key.
class Ticket {
  public:
    ~Ticket();
    Ticket(const Ticket&) = delete;
    Ticket& operator=(const Ticket&) = delete;

    // Before the decision. Narrows the request's own cap of cost, and the caller's tiers, to what
    // is left. Errors: over_quota; forbidden_by_policy where no wait would help.
    Status reserve(chat::ChatRequest& request, Caller& caller);
    // After it. An error to answer with in place of the decision: over_quota where the refusal
    // came from a bound of the key, or where another request was faster. Nothing leaves then.
    std::optional<Error> decided(const route::Decision& decision,
                                 const std::vector<route::Target>& targets,
                                 const std::string& request_id);
    // At the end of the request, however it ended.
    void settle(const Spent& spent);

    // x-ratelimit-*, and x-hearth-quota-warning where a soft bound is passed.
    void add_headers(net::Headers& headers) const;

  private:
    friend class Quota;
    Ticket(Quota& quota, std::string key_id, const Limits& limits, std::int64_t began_s)
        : quota_(quota), key_id_(std::move(key_id)), limits_(limits), began_s_(began_s) {}

    Quota& quota_;
    const std::string key_id_;
    const Limits limits_;
    const std::int64_t began_s_;  // of the clock that never goes back
    // Guarded by the quota's mutex:
    std::int64_t n_tokens_ = 0, cost_microusd_ = 0, n_egress_bytes_ = 0;
    std::int64_t n_prompt_bytes_ = 0;
    bool capped_by_money_ = false, capped_by_egress_ = false, settled_ = false;
    std::string request_id_;
};

}  // namespace hearth::serve
