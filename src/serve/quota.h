// Quota: what each key may use up, and has. Requests and tokens in any 60 seconds; tokens, money
// and bytes out in a day, money in a month (UTC).
//
//   admit     from the headers: a request is counted, or refused
//   reserve   parsed: its tokens are booked by an upper estimate; what is left of money and bytes
//             becomes a cap of the decision
//   decided   where it goes: its cost and its bytes out are booked too
//   settle    at its end: bookings become what was used; whoever lets a ticket go unsettled gets
//             all but the request itself back
//
// A minute is a ring of one-second buckets, sixty full ones and the current. So no 60 seconds hold
// more than the limit, and a refusal knows the second in which enough will have left. Bookings stay
// in the period of their beginning; what exceeds them goes to the present one.
//
// Money and bytes refuse only what leaves: a key without budget still gets local answers
// (`budget`). Answers that have begun are not cut: one whose length nobody stated may pass a bound
// of tokens by itself, and the next request then waits that much longer.
//
// Totals of days and months stand in a file (docs/formats/keys.md): they survive kill -9, and all
// servers on one state folder count in them together. Every change reads the key's line, adds to
// it and writes it, under the file's lock. Minutes are each process's own.
//
// Where the lock is not to be had (usage_file.h), or the line cannot be written, the totals are
// what was last seen and this process's own changes, which go to the file as soon as that works
// again. Nothing leaves then for a key with a bound of a day or a month: money and bytes are gone
// for good, and nobody knows how much of the bound is left. Local answers go on, by the tokens as
// last seen: they cost nobody money and tell nobody anything, and one stopped process should not
// silence the others. What other servers answer meanwhile may take a key past tokens_day.
//
// Thread:     any; one mutex, held for a few sums and the reading and writing of 512 bytes.
// Invariants: (1) of a bound, used = settled + booked by open tickets; nothing else is in it.
//             (2) a ticket is settled at most once, and its bookings leave with it.
//             (3) totals - kept is what the file does not have yet; both are of the same periods.
// Source:     names of the headers: OpenAI's clients.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "chat/chat.h"
#include "journal/journal.h"
#include "net/http.h"
#include "route/decide.h"
#include "serve/caller.h"
#include "serve/usage_file.h"

namespace hearth::serve {

enum class Bound : std::uint8_t {
    requests_minute,
    tokens_minute,
    tokens_day,
    microusd_day,
    microusd_month,
    egress_bytes_day
};
inline constexpr std::size_t kBounds = 6;
inline constexpr std::array<const char*, kBounds> kBoundNames{
    "requests_minute", "tokens_minute",  "tokens_day",
    "microusd_day",    "microusd_month", "egress_bytes_day"};

// The hard bounds of a key; nothing: none. Zero is a bound like any other.
struct Limits {
    std::array<std::optional<std::int64_t>, kBounds> hard = {};
    // The soft bound: from this share of a hard one on, answers carry x-hearth-quota-warning.
    std::int64_t soft_percent = 80;
    std::optional<std::int64_t> of(Bound bound) const { return hard.at(std::size_t(bound)); }
    friend bool operator==(const Limits&, const Limits&) = default;
};

// What a request used up in all places that it was tried at.
struct Spent {
    std::int64_t n_tokens = 0;  // input and output
    std::int64_t cost_microusd = 0;
    // Some place off this machine was tried: receipts say how many bytes went there.
    bool left_machine = false;
};

class Quota;

// One admitted request's bookings. It rides in Origin; every call but the first is one of the
// exchange's steps, in this order. A caller without a key has no ticket.
class Ticket {
  public:
    ~Ticket();
    Ticket(const Ticket&) = delete;
    Ticket& operator=(const Ticket&) = delete;

    // Before the decision. Lowers the request's own cap of cost and takes the caller's tiers away
    // where too little is left. n_body_bytes: of the request as it came, the estimate of what
    // leaves. Errors: over_quota.
    Status reserve(chat::ChatRequest& request, Caller& caller, std::size_t n_body_bytes);
    // After it. An error to answer with in place of the decision: where the refusal came from a
    // bound of the key, or where another request was faster. Nothing may leave then.
    std::optional<Error> decided(const route::Decision& decision, const route::Facts& facts,
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
    // Guarded by the quota's mutex:
    std::int64_t began_s_;              // of the clock that never goes back: the tokens' bucket
    std::int64_t day_ = 0, month_ = 0;  // in which the bookings below stand
    std::int64_t n_tokens_ = 0, cost_microusd_ = 0;
    std::size_t n_body_bytes_ = 0;
    bool capped_by_money_ = false, capped_by_egress_ = false, capped_alone_ = false;
    bool settled_ = false;
    std::string request_id_;  // where bytes out are booked under it
};

// Sums over 61 seconds: sixty full ones and the current.
class MinuteWindow {
  public:
    void add(std::int64_t second, std::int64_t n);
    // Adds to a second that is still in the window. False: it has left.
    bool correct(std::int64_t second, std::int64_t n);
    std::int64_t sum(std::int64_t now_s) const;
    // The second in which sum() will be at most n_max; now_s where it is.
    std::int64_t when_at_most(std::int64_t n_max, std::int64_t now_s) const;

  private:
    static constexpr std::int64_t kSeconds = 61;
    std::array<std::int64_t, kSeconds> sums_{}, seconds_{};
};

class Quota {
  public:
    // path: where totals are kept; empty: in memory only.
    static Result<std::unique_ptr<Quota>> open(const std::string& path,
                                               const Clock& clock = system_clock());
    explicit Quota(const Clock& clock = system_clock()) : clock_(clock) {}

    // Counts a request. Errors: over_quota.
    Result<std::shared_ptr<Ticket>> admit(const std::string& key_id, const Limits& limits);
    // Bytes that left, from whichever thread receipts come on.
    void count_egress(const egress::Receipt& receipt);
    // The totals of a key now; of all keys, by id.
    KeyUsage usage(const std::string& key_id);
    std::vector<KeyUsage> all();
    // Metrics per key, of at most kMetricKeysMax; the others are one.
    void print(std::string& out) const;
    // Soft and hard bounds that were reached, each at most once a minute and key. Set before the
    // first request.
    std::function<void(journal::EventRecord)> on_event = nullptr;

  private:
    friend class Ticket;
    struct Account {
        KeyUsage totals;                  // what counts
        KeyUsage kept;                    // what the file has of it
        std::optional<std::size_t> line;  // in the file, once it has one
        std::string text;                 // of that line, as last read or written
        MinuteWindow requests, tokens;
        std::int64_t n_open = 0;
        // Since start, for the metrics.
        std::int64_t n_requests = 0, n_refused = 0, n_warned = 0, n_tokens = 0, cost_microusd = 0,
                     n_egress_bytes = 0;
        std::array<std::int64_t, kBounds> warned_s{}, exceeded_s{};  // last told, per bound
    };
    struct Egress {  // booked under a request's id until its receipt comes
        std::string key_id;
        std::int64_t n_bytes = 0, day = 0;
    };
    struct Now {
        std::int64_t mono_ns = 0, mono_s = 0, wall_s = 0, day = 0, month = 0;
    };
    // One account while it changes: from here to save(), or its end, the file is locked and totals
    // are what it says now. Requires: mutex_, all along.
    class Change {
      public:
        Change(Quota& quota, const std::string& key_id, const Now& now);
        ~Change() { unlock(); }
        Change(const Change&) = delete;
        Change& operator=(const Change&) = delete;
        Account& account() { return account_; }
        // Writes what has changed.
        void save();
        // False: other servers do not see this key's totals, nor this one theirs.
        bool is_shared() const { return is_shared_; }

      private:
        void unlock();

        Quota& quota_;
        Account& account_;
        bool is_locked_ = false, is_shared_ = true;
    };

    // All of these require mutex_; events_ is what the last of them empties.
    Now now() const;
    Account& account(const std::string& key_id, const Now& now);
    static void move_on(KeyUsage& usage, const Now& now);
    void meet(std::vector<UsageFile::Line> lines, const Now& now);
    bool find_line(Account& account, const Now& now);
    bool look(Account& account, const Now& now);
    static void take(Account& account, KeyUsage said, std::string text, const Now& now);
    static std::int64_t used(const Account& account, Bound bound, const Now& now);
    static std::optional<std::int64_t> left(const Account& account, const Limits& limits,
                                            Bound bound, const Now& now);
    Error refuse(Account& account, const Limits& limits, Bound bound, std::int64_t n_wanted,
                 const Now& now);
    static std::int64_t wait_s(const Account& account, Bound bound, std::int64_t n_used_max,
                               const Now& now);
    static bool past_soft(std::int64_t n_used, std::int64_t limit, std::int64_t percent);
    void note(Account& account, const Limits& limits, const Now& now);
    void tell(const char* event, const Account& account, Bound bound, std::int64_t used,
              std::int64_t limit);
    void release_egress(Account& account, const std::string& request_id);

    const Clock& clock_;
    mutable std::mutex mutex_;  // guards all below
    std::map<std::string, Account> accounts_;
    std::map<std::string, Egress> egress_;
    UsageFile file_;
    std::vector<journal::EventRecord> events_;  // to be told when the mutex is free
    void tell_all(std::unique_lock<std::mutex> lock);
};

}  // namespace hearth::serve
