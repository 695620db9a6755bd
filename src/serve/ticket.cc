// Ticket: one request's bookings in its key's account, from its body to its end.
#include <algorithm>
#include <limits>
#include <utility>

#include "base/format.h"
#include "base/log.h"
#include "chat/estimate.h"
#include "route/policy.h"
#include "serve/limits.h"
#include "serve/quota.h"

namespace hearth::serve {
namespace {

constexpr std::array kTokenBounds{Bound::tokens_minute, Bound::tokens_day};
constexpr std::array kMoneyBounds{Bound::microusd_day, Bound::microusd_month};
constexpr std::array kTotalBounds{Bound::tokens_day, Bound::microusd_day, Bound::microusd_month,
                                  Bound::egress_bytes_day};
constexpr std::int64_t kNsPerMinute = 60 * kNsPerS;

// The prompt's tokens and n answers of so many each, at most kUsageMax.
std::int64_t tokens_of(std::int64_t n_prompt, std::int64_t n_output, std::int64_t n_answers) {
    std::int64_t n = 0;
    if (__builtin_mul_overflow(n_output, n_answers, &n) || __builtin_add_overflow(n, n_prompt, &n))
        return kUsageMax;
    return std::min(n, kUsageMax);
}

// "1m0s", "7s", as OpenAI's headers have it.
std::string go_duration(std::int64_t seconds) {
    return seconds < 60 ? format("{}s", seconds) : format("{}m{}s", seconds / 60, seconds % 60);
}

// The most that any place which the decision allows may cost; 0 where all are on this machine.
std::int64_t cost_booked(const route::Decision& decision, const route::Facts& facts,
                         const std::vector<route::Target>& targets) {
    std::vector<std::size_t> places = decision.fallbacks;
    places.push_back(decision.target);
    std::int64_t most = 0;
    for (const std::size_t place : places) {
        if (route::leaves_machine(targets[place]))
            most = std::max(most, route::cost_bound(facts, targets[place]).value_or(0));
    }
    return most;
}

bool may_leave(const route::Decision& decision, const std::vector<route::Target>& targets) {
    const auto leaves = [&](std::size_t place) { return route::leaves_machine(targets[place]); };
    return leaves(decision.target) || std::ranges::any_of(decision.fallbacks, leaves);
}

bool has_total(const Limits& limits) {
    return std::ranges::any_of(kTotalBounds, [&](Bound b) { return limits.of(b).has_value(); });
}

Error not_counted() {
    return {.kind = ErrorKind::overloaded,
            .message =
                "what this key has used up cannot be counted together with other servers at "
                "present, so nothing may leave for it; local models still answer, and the "
                "server's log says what to do",
            .retry_after_s = kRetryAfterS};
}

}  // namespace

Ticket::~Ticket() {
    settle({});
}

// The upper estimate is the prompt's tokens and the longest answers that are asked for; where no
// length is stated, kAssumedOutputTokens, or what is left.
Status Ticket::reserve(chat::ChatRequest& request, Caller& caller, std::size_t n_body_bytes) {
    const std::int64_t n_prompt = chat::size_of_prompt(request).n_tokens;
    std::unique_lock lock(quota_.mutex_);
    const auto now = quota_.now();
    Quota::Change change(quota_, key_id_, now);
    auto& account = change.account();
    const std::int64_t n_answers = std::max<std::int64_t>(1, request.n);
    std::int64_t n_wanted =
        tokens_of(n_prompt, request.max_output_tokens.value_or(kAssumedOutputTokens), n_answers);
    for (const Bound bound : kTokenBounds) {
        const auto n_left = Quota::left(account, limits_, bound, now);
        if (n_left && !request.max_output_tokens)
            n_wanted = std::clamp(*n_left, n_prompt + 1, n_wanted);
    }
    for (const Bound bound : kTokenBounds) {
        const auto n_left = Quota::left(account, limits_, bound, now);
        if (!n_left || n_wanted <= *n_left) continue;
        Error error = quota_.refuse(account, limits_, bound, n_wanted, now);
        change.save();
        quota_.tell_all(std::move(lock));
        return fail(std::move(error));
    }
    n_tokens_ = n_wanted;
    began_s_ = now.mono_s;
    day_ = account.totals.day;
    month_ = account.totals.month;
    account.tokens.add(began_s_, n_wanted);
    account.totals.tokens_day += n_wanted;
    account.totals.tokens_month += n_wanted;
    quota_.note(account, limits_, now);
    change.save();

    for (const Bound bound : kMoneyBounds) {
        const auto n_left = Quota::left(account, limits_, bound, now);
        if (!n_left || (request.cost_microusd_max && *request.cost_microusd_max <= *n_left))
            continue;
        request.cost_microusd_max = n_left;
        capped_by_money_ = true;
    }
    n_body_bytes_ = n_body_bytes;
    const auto n_left = Quota::left(account, limits_, Bound::egress_bytes_day, now);
    if (n_left && std::int64_t(n_body_bytes) + kEgressHeadBytes > *n_left) {
        capped_by_egress_ = caller.scopes.tiers.fleet || caller.scopes.tiers.cloud;
        caller.scopes.tiers.fleet = caller.scopes.tiers.cloud = false;
    }
    if (!change.is_shared() && has_total(limits_)) {
        capped_alone_ = caller.scopes.tiers.fleet || caller.scopes.tiers.cloud;
        caller.scopes.tiers.fleet = caller.scopes.tiers.cloud = false;
    }
    quota_.tell_all(std::move(lock));
    return {};
}

std::optional<Error> Ticket::decided(const route::Decision& decision, const route::Facts& facts,
                                     const std::vector<route::Target>& targets,
                                     const std::string& request_id) {
    const bool leaves = !decision.refused && may_leave(decision, targets);
    if (!decision.refused && !leaves) return std::nullopt;
    std::unique_lock lock(quota_.mutex_);
    const auto now = quota_.now();
    Quota::Change change(quota_, key_id_, now);
    auto& account = change.account();
    const std::int64_t cost = leaves ? cost_booked(decision, facts, targets) : 0;
    const std::int64_t n_bytes = std::int64_t(n_body_bytes_) + kEgressHeadBytes;
    // Of a refusal: which bound it came from. Else: which bound another request has used up since.
    std::optional<Error> error;
    const auto check = [&](Bound bound, std::int64_t n_wanted, bool refused_for) {
        const auto n_left = Quota::left(account, limits_, bound, now);
        if (error || !n_left || (decision.refused ? !refused_for : n_wanted <= *n_left)) return;
        // What a refused request would have cost is not known; more than is left.
        error = quota_.refuse(account, limits_, bound,
                              decision.refused ? std::max(n_wanted, *n_left + 1) : n_wanted, now);
    };
    check(Bound::egress_bytes_day, n_bytes, capped_by_egress_ && decision.reason == "caller");
    std::int64_t least = std::numeric_limits<std::int64_t>::max();
    for (const Bound bound : kMoneyBounds)
        least = std::min(least, Quota::left(account, limits_, bound, now).value_or(least));
    for (const Bound bound : kMoneyBounds) {
        const auto n_left = Quota::left(account, limits_, bound, now);
        check(bound, cost, capped_by_money_ && decision.reason == "budget" && n_left == least);
    }
    if (!error && leaves) {
        cost_microusd_ = cost;
        account.totals.microusd_day += cost;
        account.totals.microusd_month += cost;
        while (quota_.egress_.size() >= kEgressBookedMax)
            quota_.egress_.erase(quota_.egress_.begin());
        quota_.egress_[request_id] = {key_id_, n_bytes, account.totals.day};
        account.totals.egress_bytes_day += n_bytes;
        request_id_ = request_id;
        quota_.note(account, limits_, now);
    }
    change.save();
    // What was booked goes back when the request is settled.
    if (leaves ? !change.is_shared() && has_total(limits_)
               : decision.refused && capped_alone_ && decision.reason == "caller")
        error = error.value_or(not_counted());
    quota_.tell_all(std::move(lock));
    return error;
}

// In the period of the booking the difference is taken; a later one gets only what is above it.
void Ticket::settle(const Spent& spent) {
    std::unique_lock lock(quota_.mutex_);
    if (std::exchange(settled_, true)) return;
    const auto now = quota_.now();
    Quota::Change change(quota_, key_id_, now);
    auto& account = change.account();
    const std::int64_t n_tokens = std::clamp<std::int64_t>(spent.n_tokens, 0, kUsageMax / 1024);
    const std::int64_t cost = std::clamp<std::int64_t>(spent.cost_microusd, 0, kUsageMax / 1024);
    const auto settle_in = [](bool same_period, std::int64_t& total, std::int64_t n_used,
                              std::int64_t n_booked) {
        const std::int64_t n = n_used - n_booked;
        total += same_period ? n : std::max<std::int64_t>(n, 0);
    };
    const bool same_day = account.totals.day == day_, same_month = account.totals.month == month_;
    settle_in(same_day, account.totals.tokens_day, n_tokens, n_tokens_);
    settle_in(same_month, account.totals.tokens_month, n_tokens, n_tokens_);
    settle_in(same_day, account.totals.microusd_day, cost, cost_microusd_);
    settle_in(same_month, account.totals.microusd_month, cost, cost_microusd_);
    if (!account.tokens.correct(began_s_, n_tokens - n_tokens_) && n_tokens > n_tokens_)
        account.tokens.add(now.mono_s, n_tokens - n_tokens_);
    // Nothing has connected: no receipt will come.
    if (!spent.left_machine && !request_id_.empty()) quota_.release_egress(account, request_id_);
    account.n_tokens += n_tokens;
    account.cost_microusd += cost;
    --account.n_open;
    quota_.note(account, limits_, now);
    change.save();
    quota_.tell_all(std::move(lock));
}

void Ticket::add_headers(net::Headers& headers) const {
    const std::lock_guard lock(quota_.mutex_);
    const auto now = quota_.now();
    const auto& account = quota_.account(key_id_, now);
    const auto minute = [&](Bound bound, const MinuteWindow& window, const char* unit) {
        const auto limit = limits_.of(bound);
        if (!limit) return;
        const std::int64_t end_ns = window.when_at_most(0, now.mono_s) * kNsPerS;
        const std::int64_t wait_ns =
            std::clamp<std::int64_t>(end_ns - now.mono_ns, 0, 2 * kNsPerMinute);
        headers.add(format("x-ratelimit-limit-{}", unit), std::to_string(*limit));
        headers.add(format("x-ratelimit-remaining-{}", unit),
                    std::to_string(Quota::left(account, limits_, bound, now).value_or(0)));
        headers.add(format("x-ratelimit-reset-{}", unit),
                    go_duration((wait_ns + kNsPerS - 1) / kNsPerS));
    };
    minute(Bound::requests_minute, account.requests, "requests");
    minute(Bound::tokens_minute, account.tokens, "tokens");
    std::string warning;
    for (std::size_t i = 0; i < kBounds; ++i) {
        const auto limit = limits_.hard.at(i);
        if (!limit) continue;
        const std::int64_t n_used = Quota::used(account, Bound(i), now);
        if (!Quota::past_soft(n_used, *limit, limits_.soft_percent)) continue;
        if (!warning.empty()) warning += ", ";
        warning += format("{} {}/{}", kBoundNames.at(i), n_used, *limit);
    }
    if (!warning.empty()) headers.add("x-hearth-quota-warning", std::move(warning));
}

}  // namespace hearth::serve
