#include "serve/quota.h"

#include <algorithm>
#include <utility>

#include "base/format.h"
#include "base/json.h"
#include "base/log.h"
#include "serve/limits.h"

namespace hearth::serve {
namespace {

constexpr std::int64_t kDayS = 86'400;
constexpr std::int64_t kMinuteS = 60;

// How a refusal names a bound: "… of its 100 tokens per day".
struct Words {
    const char* unit;
    const char* period;
};
constexpr std::array<Words, kBounds> kWords{{{"requests", "minute"},
                                             {"tokens", "minute"},
                                             {"tokens", "day"},
                                             {"micro-dollars", "day"},
                                             {"micro-dollars", "month"},
                                             {"bytes out", "day"}}};

// Months since January 1970 begin with that day.
std::int64_t month_end_s(std::int64_t month) {
    return first_day_of_month(month + 1) * kDayS;
}

}  // namespace

void MinuteWindow::add(std::int64_t second, std::int64_t n) {
    const auto i = std::size_t(second % kSeconds);
    if (seconds_.at(i) != second) {
        seconds_.at(i) = second;
        sums_.at(i) = 0;
    }
    sums_.at(i) += n;
}

bool MinuteWindow::correct(std::int64_t second, std::int64_t n) {
    const auto i = std::size_t(second % kSeconds);
    if (seconds_.at(i) != second) return false;
    sums_.at(i) += n;
    return true;
}

std::int64_t MinuteWindow::sum(std::int64_t now_s) const {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < sums_.size(); ++i) {
        if (seconds_[i] > now_s - kSeconds) sum += sums_[i];
    }
    return sum;
}

// A bucket of second b is gone at b + 61.
std::int64_t MinuteWindow::when_at_most(std::int64_t n_max, std::int64_t now_s) const {
    std::int64_t rest = sum(now_s);
    for (std::int64_t second = now_s - kSeconds + 1; rest > n_max && second <= now_s; ++second) {
        const auto i = std::size_t(second % kSeconds);
        if (second < 0 || seconds_.at(i) != second) continue;
        rest -= sums_.at(i);
        if (rest <= n_max) return second + kSeconds;
    }
    return now_s;
}

Result<std::unique_ptr<Quota>> Quota::open(const std::string& path, const Clock& clock) {
    auto quota = std::make_unique<Quota>(clock);
    if (path.empty()) return quota;
    auto file = UsageFile::open(path);
    if (!file && file.error().kind != ErrorKind::overloaded) return fail(file.error());
    const std::vector<KeyUsage> lines = file ? file->lines() : read_usage(path);
    if (file) {
        quota->file_ = std::move(*file);
    } else {
        log_warn("usage_in_memory_only", {{"why", file.error().message}});
    }
    const Now now = quota->now();
    for (std::size_t i = 0; i < lines.size(); ++i) {
        if (lines[i].key_id.empty()) continue;
        Account& account = quota->accounts_[lines[i].key_id];
        account.totals = lines[i];
        account.line = i;
        // Written while the clock was far ahead: what was used counts for today.
        if (account.totals.day > now.day + 1) account.totals.day = now.day;
        if (account.totals.month > now.month + 1) account.totals.month = now.month;
    }
    quota->n_lines_ = lines.size();
    return quota;
}

// The steady clock counts from anywhere, tests' from zero; windows want seconds above 60.
Quota::Now Quota::now() const {
    Now now;
    now.mono_ns = clock_.mono_ns() + 100 * kMinuteS * kNsPerS;
    now.mono_s = now.mono_ns / kNsPerS;
    now.wall_s = clock_.wall_ns() / kNsPerS;
    now.day = now.wall_s / kDayS;
    now.month = month_of_day(now.day);
    return now;
}

// The account with its periods moved on. A clock that is set back does not begin a day anew.
Quota::Account& Quota::account(const std::string& key_id, const Now& now) {
    const auto [it, is_new] = accounts_.try_emplace(key_id);
    Account& account = it->second;
    KeyUsage& t = account.totals;
    if (is_new) {
        t.key_id = key_id;
        account.line = n_lines_++;
    }
    if (now.day > t.day) {
        t.day = now.day;
        t.requests_day = t.tokens_day = t.microusd_day = t.egress_bytes_day = 0;
    }
    if (now.month > t.month) {
        t.month = now.month;
        t.tokens_month = t.microusd_month = 0;
    }
    return account;
}

std::int64_t Quota::used(const Account& account, Bound bound, const Now& now) {
    switch (bound) {
        case Bound::requests_minute:
            return account.requests.sum(now.mono_s);
        case Bound::tokens_minute:
            return account.tokens.sum(now.mono_s);
        case Bound::tokens_day:
            return account.totals.tokens_day;
        case Bound::microusd_day:
            return account.totals.microusd_day;
        case Bound::microusd_month:
            return account.totals.microusd_month;
        case Bound::egress_bytes_day:
            return account.totals.egress_bytes_day;
    }
    return 0;
}

std::optional<std::int64_t> Quota::left(const Account& account, const Limits& limits, Bound bound,
                                        const Now& now) {
    const auto limit = limits.of(bound);
    if (!limit) return std::nullopt;
    return std::max<std::int64_t>(0, *limit - used(account, bound, now));
}

// Whole seconds until the bound's use is at most n_used_max, if nothing else is booked meanwhile:
// rounded up, so that whoever waits that long is not early. A bound that even nothing would pass is
// asked again when its period is over.
std::int64_t Quota::wait_s(const Account& account, Bound bound, std::int64_t n_used_max,
                           const Now& now) {
    const auto until = [&](std::int64_t mono_s) {
        return std::max<std::int64_t>(1, (mono_s * kNsPerS - now.mono_ns + kNsPerS - 1) / kNsPerS);
    };
    switch (bound) {
        case Bound::requests_minute:
        case Bound::tokens_minute: {
            if (n_used_max < 0) return kMinuteS;
            const MinuteWindow& window =
                bound == Bound::requests_minute ? account.requests : account.tokens;
            return until(window.when_at_most(n_used_max, now.mono_s));
        }
        case Bound::microusd_month:
            return std::max<std::int64_t>(1, month_end_s(account.totals.month) - now.wall_s);
        default:
            return std::max<std::int64_t>(1, (account.totals.day + 1) * kDayS - now.wall_s);
    }
}

Error Quota::refuse(Account& account, const Limits& limits, Bound bound, std::int64_t n_wanted,
                    const Now& now) {
    const std::int64_t limit = limits.of(bound).value_or(0);
    const std::int64_t n_used = used(account, bound, now);
    const Words& words = kWords.at(std::size_t(bound));
    Error error{.kind = ErrorKind::over_quota, .message = {}};
    error.retry_after_s = wait_s(account, bound, limit - n_wanted, now);
    error.message =
        n_wanted > limit
            ? format(
                  "this request may take {} {}, and its key has {} per {}; ask for less "
                  "(max_tokens), or for a larger limit",
                  n_wanted, words.unit, limit, words.period)
            : format(
                  "this key has used or booked {} of its {} {} per {}, and this request may "
                  "take {}; try again in {} s",
                  n_used, limit, words.unit, words.period, n_wanted, error.retry_after_s);
    ++account.n_refused;
    std::int64_t& told = account.exceeded_s.at(std::size_t(bound));
    if (told == 0 || now.mono_s - told >= kMinuteS) {
        told = now.mono_s;
        tell("quota.exceeded", account, bound, n_used, limit);
    }
    return error;
}

void Quota::note(Account& account, const Limits& limits, const Now& now) {
    for (std::size_t i = 0; i < kBounds; ++i) {
        const auto limit = limits.hard.at(i);
        if (!limit) continue;
        const std::int64_t n_used = used(account, Bound(i), now);
        if (!past_soft(n_used, *limit, limits.soft_percent)) continue;
        std::int64_t& told = account.warned_s.at(i);
        if (told != 0 && now.mono_s - told < kMinuteS) continue;
        told = now.mono_s;
        ++account.n_warned;
        tell("quota.warning", account, Bound(i), n_used, *limit);
    }
}

bool Quota::past_soft(std::int64_t n_used, std::int64_t limit, std::int64_t percent) {
    // percent of limit, rounded up, by parts: the product would pass 64 bits.
    return limit > 0 && n_used >= limit / 100 * percent + (limit % 100 * percent + 99) / 100;
}

void Quota::tell(const char* event, const Account& account, Bound bound, std::int64_t n_used,
                 std::int64_t limit) {
    JsonWriter out;
    out.begin_object().field("key", account.totals.key_id);
    out.field("bound", kBoundNames.at(std::size_t(bound)));
    out.field("used", n_used).field("limit", limit).end_object();
    events_.push_back({event, account.totals.key_id, out.take()});
}

// The journal takes a lock of its own; it is told when ours is free.
void Quota::tell_all(std::unique_lock<std::mutex> lock) {
    std::vector<journal::EventRecord> events = std::exchange(events_, {});
    lock.unlock();
    if (!on_event) return;
    for (journal::EventRecord& event : events) on_event(std::move(event));
}

void Quota::save(const Account& account) {
    file_.write(account.line, account.totals);
}

Result<std::shared_ptr<Ticket>> Quota::admit(const std::string& key_id, const Limits& limits) {
    std::unique_lock lock(mutex_);
    const Now at = now();
    Account& a = account(key_id, at);
    a.totals.last_used_s = at.wall_s / kMinuteS * kMinuteS;
    std::optional<Error> error;
    // Of tokens at least one must be left; the rest is known when the body has been read.
    for (const Bound bound : {Bound::requests_minute, Bound::tokens_minute, Bound::tokens_day}) {
        const auto n_left = left(a, limits, bound, at);
        if (!error && n_left && *n_left < 1) error = refuse(a, limits, bound, 1, at);
    }
    if (error) {
        save(a);
        tell_all(std::move(lock));
        return fail(std::move(*error));
    }
    a.requests.add(at.mono_s, 1);
    ++a.totals.requests_day;
    ++a.n_requests;
    ++a.n_open;
    std::shared_ptr<Ticket> ticket(new Ticket(*this, key_id, limits, at.mono_s));
    ticket->day_ = a.totals.day;
    ticket->month_ = a.totals.month;
    note(a, limits, at);
    save(a);
    tell_all(std::move(lock));
    return ticket;
}

void Quota::release_egress(const std::string& request_id) {
    const auto it = egress_.find(request_id);
    if (it == egress_.end()) return;
    Account& a = account(it->second.key_id, now());
    // Yesterday's booking ended with yesterday.
    if (a.totals.day == it->second.day) a.totals.egress_bytes_day -= it->second.n_bytes;
    egress_.erase(it);
}

void Quota::count_egress(const egress::Receipt& receipt) {
    const std::lock_guard lock(mutex_);
    std::string key_id = receipt.who;
    if (const auto it = egress_.find(receipt.request_id); it != egress_.end()) {
        key_id = it->second.key_id;
        release_egress(receipt.request_id);
    }
    if (key_id.empty()) return;
    Account& a = account(key_id, now());
    const std::int64_t n = std::max(receipt.bytes_out, receipt.wire_bytes_out);
    a.totals.egress_bytes_day += n;
    a.n_egress_bytes += n;
    save(a);
}

KeyUsage Quota::usage(const std::string& key_id) const {
    const std::lock_guard lock(mutex_);
    const auto it = accounts_.find(key_id);
    if (it == accounts_.end()) return {.key_id = key_id};
    return at_present(it->second.totals, now());
}

std::vector<KeyUsage> Quota::all() const {
    const std::lock_guard lock(mutex_);
    const Now at = now();
    std::vector<KeyUsage> all;
    for (const auto& [id, account] : accounts_) all.push_back(at_present(account.totals, at));
    return all;
}

KeyUsage Quota::at_present(KeyUsage usage, const Now& now) {
    if (now.day > usage.day)
        usage.requests_day = usage.tokens_day = usage.microusd_day = usage.egress_bytes_day = 0;
    if (now.month > usage.month) usage.tokens_month = usage.microusd_month = 0;
    usage.day = std::max(usage.day, now.day);
    usage.month = std::max(usage.month, now.month);
    return usage;
}

void Quota::print(std::string& out) const {
    struct Series {
        const char* name;
        const char* help;
        std::int64_t Account::* value;
        const char* type = "counter";
    };
    static constexpr std::array kSeries{
        Series{"hearth_key_requests_total", "Requests admitted, by key.", &Account::n_requests},
        Series{"hearth_key_refused_total", "Requests over a bound, by key.", &Account::n_refused},
        Series{"hearth_key_warnings_total", "Soft bounds passed, by key.", &Account::n_warned},
        Series{"hearth_key_tokens_total", "Tokens in and out, by key.", &Account::n_tokens},
        Series{"hearth_key_cost_microusd_total", "Paid upstream, by key.", &Account::cost_microusd},
        Series{"hearth_key_egress_bytes_total", "Bytes that left, by key.",
               &Account::n_egress_bytes},
        Series{"hearth_key_open_requests", "Requests under way, by key.", &Account::n_open,
               "gauge"}};
    const std::lock_guard lock(mutex_);
    if (accounts_.empty()) return;
    for (const Series& series : kSeries) {
        out += format("# HELP {} {}\n# TYPE {} {}\n", series.name, series.help, series.name,
                      series.type);
        std::size_t n = 0;
        std::int64_t others = 0;
        for (const auto& [id, account] : accounts_) {
            if (++n > kMetricKeysMax)
                others += account.*series.value;
            else
                out += format("{}{{key=\"{}\"}} {}\n", series.name, id, account.*series.value);
        }
        if (n > kMetricKeysMax) out += format("{}{{key=\"other\"}} {}\n", series.name, others);
    }
}

}  // namespace hearth::serve
