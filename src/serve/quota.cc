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
    HEARTH_TRY(quota->file_, UsageFile::open(path));
    const Now now = quota->now();
    // Without the lock a line may be half old; it is read again, with the lock, before it counts.
    const bool is_locked = quota->file_.lock();
    auto lines = quota->file_.news();
    if (is_locked) quota->file_.unlock();
    if (!lines) return fail(ErrorKind::internal, format("cannot read {}", path));
    quota->meet(std::move(*lines), now);
    // Written while the clock was far ahead: what was used counts for today, in every server.
    for (const auto& [key_id, account] : quota->accounts_) {
        if (account.totals.day <= now.day + 1 && account.totals.month <= now.month + 1) continue;
        Change change(*quota, key_id, now);
        for (KeyUsage* usage : {&change.account().totals, &change.account().kept}) {
            if (usage->day > now.day + 1) usage->day = now.day;
            if (usage->month > now.month + 1) usage->month = now.month;
        }
        change.save();
    }
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

// A clock that is set back does not begin a day anew.
void Quota::move_on(KeyUsage& usage, const Now& now) {
    if (now.day > usage.day) {
        usage.day = now.day;
        usage.requests_day = usage.tokens_day = usage.microusd_day = usage.egress_bytes_day = 0;
    }
    if (now.month > usage.month) {
        usage.month = now.month;
        usage.tokens_month = usage.microusd_month = 0;
    }
}

// The account as last seen, with its periods moved on.
Quota::Account& Quota::account(const std::string& key_id, const Now& now) {
    Account& account = accounts_[key_id];
    for (KeyUsage* usage : {&account.totals, &account.kept}) {
        usage->key_id = key_id;
        move_on(*usage, now);
    }
    return account;
}

void Quota::meet(std::vector<UsageFile::Line> lines, const Now& now) {
    for (UsageFile::Line& line : lines) {
        Account& a = accounts_[line.usage.key_id];
        a.line = line.at;
        take(a, std::move(line.usage), std::move(line.text), now);
    }
}

// What the file says is true, and what it does not have yet is added, unless the period of that is
// over. A line whose period lies before ours was written by a server that found the clock had been
// far ahead; it is followed.
void Quota::take(Account& account, KeyUsage said, std::string text, const Now& now) {
    account.text = std::move(text);
    move_on(said, now);
    KeyUsage& totals = account.totals;
    const KeyUsage& kept = account.kept;
    const auto add = [&](bool is_over, std::int64_t KeyUsage::* member) {
        const std::int64_t n_new = is_over ? 0 : totals.*member - kept.*member;
        totals.*member = std::clamp<std::int64_t>(said.*member + n_new, 0, kUsageMax);
    };
    for (const auto member : {&KeyUsage::requests_day, &KeyUsage::tokens_day,
                              &KeyUsage::microusd_day, &KeyUsage::egress_bytes_day})
        add(said.day > kept.day, member);
    for (const auto member : {&KeyUsage::tokens_month, &KeyUsage::microusd_month})
        add(said.month > kept.month, member);
    if (totals.last_used_s == kept.last_used_s) totals.last_used_s = said.last_used_s;
    totals.key_id = said.key_id;
    totals.day = said.day;
    totals.month = said.month;
    account.kept = std::move(said);
}

// A key that is new to this process may have a line since another one met it. False: the file
// cannot be read.
bool Quota::find_line(Account& account, const Now& now) {
    account.line.reset();
    auto news = file_.news();
    if (!news) return false;
    meet(std::move(*news), now);
    return true;
}

// Reads the account's line. One that is damaged is written again, from the totals as last seen; one
// that became another key's, because somebody changed the file by hand, is left to it. False: the
// file cannot be read.
bool Quota::look(Account& account, const Now& now) {
    if (!account.line && !find_line(account, now)) return false;
    if (!account.line) return true;
    const std::size_t line = *account.line;
    auto text = file_.read(line);
    if (!text || *text == account.text) return text.has_value();
    KeyUsage said = parse_usage_line(*text);
    if (said.key_id == account.totals.key_id) {
        take(account, std::move(said), std::move(*text), now);
        return true;
    }
    log_warn("usage_line_lost", {{"key", account.totals.key_id}, {"line", std::int64_t(line + 1)}});
    account.text.clear();
    if (!find_line(account, now)) return false;
    if (!account.line && said.key_id.empty()) account.line = line;
    return true;
}

Quota::Change::Change(Quota& quota, const std::string& key_id, const Now& now)
    : quota_(quota), account_(quota.account(key_id, now)) {
    if (!quota_.file_) return;
    is_locked_ = quota_.file_.lock();
    is_shared_ = is_locked_ && quota_.look(account_, now);
}

void Quota::Change::save() {
    if (is_locked_ && is_shared_) {
        KeyUsage& totals = account_.totals;
        for (const auto member :
             {&KeyUsage::requests_day, &KeyUsage::tokens_day, &KeyUsage::microusd_day,
              &KeyUsage::egress_bytes_day, &KeyUsage::tokens_month, &KeyUsage::microusd_month})
            totals.*member = std::clamp<std::int64_t>(totals.*member, 0, kUsageMax);
        std::string text = usage_line(totals);
        const std::size_t line = account_.line.value_or(quota_.file_.n_lines());
        if (text != account_.text) is_shared_ = quota_.file_.write(line, text);
        if (is_shared_) {
            account_.line = line;
            account_.text = std::move(text);
            account_.kept = totals;
        }
    }
    unlock();
}

void Quota::Change::unlock() {
    if (std::exchange(is_locked_, false)) quota_.file_.unlock();
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

Result<std::shared_ptr<Ticket>> Quota::admit(const std::string& key_id, const Limits& limits) {
    std::unique_lock lock(mutex_);
    const Now at = now();
    Change change(*this, key_id, at);
    Account& a = change.account();
    a.totals.last_used_s = at.wall_s / kMinuteS * kMinuteS;
    std::optional<Error> error;
    // Of tokens at least one must be left; the rest is known when the body has been read.
    for (const Bound bound : {Bound::requests_minute, Bound::tokens_minute, Bound::tokens_day}) {
        const auto n_left = left(a, limits, bound, at);
        if (!error && n_left && *n_left < 1) error = refuse(a, limits, bound, 1, at);
    }
    if (error) {
        change.save();
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
    change.save();
    tell_all(std::move(lock));
    return ticket;
}

void Quota::release_egress(Account& account, const std::string& request_id) {
    const auto it = egress_.find(request_id);
    if (it == egress_.end()) return;
    // Yesterday's booking ended with yesterday.
    if (account.totals.day == it->second.day) account.totals.egress_bytes_day -= it->second.n_bytes;
    egress_.erase(it);
}

void Quota::count_egress(const egress::Receipt& receipt) {
    const std::lock_guard lock(mutex_);
    const auto booked = egress_.find(receipt.request_id);
    const std::string key_id = booked == egress_.end() ? receipt.who : booked->second.key_id;
    if (key_id.empty()) return;
    Change change(*this, key_id, now());
    release_egress(change.account(), receipt.request_id);
    const std::int64_t n = std::max(receipt.bytes_out, receipt.wire_bytes_out);
    change.account().totals.egress_bytes_day += n;
    change.account().n_egress_bytes += n;
    change.save();
}

KeyUsage Quota::usage(const std::string& key_id) {
    const std::lock_guard lock(mutex_);
    const Now at = now();
    // A key that nobody has used stays without a line.
    if (!accounts_.contains(key_id)) {
        if (!file_ || !file_.lock()) return {.key_id = key_id};
        auto news = file_.news();
        file_.unlock();
        if (news) meet(std::move(*news), at);
        if (!accounts_.contains(key_id)) return {.key_id = key_id};
    }
    Change change(*this, key_id, at);
    return change.account().totals;
}

std::vector<KeyUsage> Quota::all() {
    const std::lock_guard lock(mutex_);
    const Now at = now();
    std::string bytes;
    if (file_ && file_.lock()) {
        auto news = file_.news();
        bytes = file_.read(0, file_.n_lines()).value_or("");
        file_.unlock();
        if (news) meet(std::move(*news), at);
    }
    std::vector<KeyUsage> all;
    for (const auto& [key_id, seen] : accounts_) {
        Account& a = account(key_id, at);
        const std::size_t begin = a.line.value_or(bytes.size()) * UsageFile::kLineBytes;
        if (begin < bytes.size()) {
            std::string text = bytes.substr(begin, UsageFile::kLineBytes);
            if (text != a.text) {
                KeyUsage said = parse_usage_line(text);
                if (said.key_id == key_id) take(a, std::move(said), std::move(text), at);
            }
        }
        all.push_back(a.totals);
    }
    return all;
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
