// KeyWish to Key: what a person or a program asks of a new key, checked word by word.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/format.h"
#include "base/json.h"
#include "base/suggest.h"
#include "base/utf8.h"
#include "route/cost.h"
#include "serve/key_file.h"
#include "serve/limits.h"

namespace hearth::serve {
namespace {

std::unexpected<Error> wrong(std::string param, std::string why) {
    return fail(Error{.kind = ErrorKind::invalid_request,
                      .message = format("{}: {}", param, why),
                      .param = param});
}

// Names stand in lists, logs and headers: one line of UTF-8 without control characters.
Status check_name(const char* param, std::string_view name) {
    if (name.size() > kKeyNameBytesMax)
        return wrong(param, format("has more than {} bytes", kKeyNameBytesMax));
    const bool control = std::ranges::any_of(
        name, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
    if (!is_utf8(name) || control) return wrong(param, "must be one line of UTF-8 text");
    return {};
}

Status check_entries(const char* param, const std::vector<std::string>& entries) {
    if (entries.size() > kScopeEntriesMax)
        return wrong(param, format("has more than {} entries", kScopeEntriesMax));
    for (const std::string& entry : entries) {
        if (entry.empty() || entry.size() > kScopeEntryBytesMax || !is_utf8(entry))
            return wrong(param, format("entries are texts of 1 to {} bytes", kScopeEntryBytesMax));
    }
    return {};
}

Result<chat::Sensitivity> class_of(const char* param, const std::string& name) {
    if (const auto found = chat::sensitivity_from(name)) return *found;
    return wrong(param, format("{} is no class; public, internal, confidential or restricted",
                               shown_name(name)));
}

Result<Scopes> scopes_of(const KeyWish& wish) {
    Scopes scopes;
    HEARTH_CHECK_OK(check_entries("routes", wish.routes));
    HEARTH_CHECK_OK(check_entries("models", wish.models));
    for (const std::string& route : wish.routes) {
        if (!route.starts_with('/'))
            return wrong("routes", format("{} is no path; paths begin with /", shown_name(route)));
    }
    scopes.routes = wish.routes;
    scopes.models = wish.models;
    if (!wish.tiers.empty()) scopes.tiers = {false, false, false};
    for (const std::string& tier : wish.tiers) {
        if (!scopes.tiers.allow(tier))
            return wrong("tiers", format("{} is none; local, fleet or cloud", shown_name(tier)));
    }
    if (!wish.max_class_out.empty()) {
        HEARTH_TRY(scopes.max_class_out, class_of("max_class_out", wish.max_class_out));
    }
    if (!wish.may_lower_to.empty() && wish.may_lower_to != "none") {
        HEARTH_TRY(scopes.may_lower_to, class_of("may_lower_to", wish.may_lower_to));
    }
    return scopes;
}

// Money is stated in dollars, as prices are, and kept in micro-dollars.
Result<Limits> limits_of(const KeyWish& wish) {
    Limits limits;
    for (std::size_t i = 0; i < kBounds; ++i) {
        const std::string& text = wish.limits.at(i);
        if (text.empty()) continue;
        const bool money = Bound(i) == Bound::microusd_day || Bound(i) == Bound::microusd_month;
        limits.hard.at(i) = route::parse_decimal(text, money ? 6 : 0, kUsageMax);
        if (!limits.hard.at(i))
            return wrong(kBoundNames.at(i),
                         money ? "must be an amount of US dollars with at most six decimals"
                               : "must be a whole number");
    }
    if (!wish.soft_percent.empty()) {
        const auto percent = route::parse_decimal(wish.soft_percent, 0, 100);
        if (!percent) return wrong("soft_percent", "must be a whole number from 0 to 100");
        limits.soft_percent = *percent;
    }
    return limits;
}

std::optional<std::int64_t> unit_s(char unit) {
    switch (unit) {
        case 's':
            return 1;
        case 'm':
            return 60;
        case 'h':
            return 3600;
        case 'd':
            return 86'400;
        case 'w':
            return 7 * 86'400;
        default:
            return std::nullopt;
    }
}

// Exactly n digits at the front of text, which it takes away.
std::optional<int> take_digits(std::string_view& text, std::size_t n) {
    int value = 0;
    if (text.size() < n) return std::nullopt;
    const auto [end, error] = std::from_chars(text.data(), text.data() + n, value);
    if (error != std::errc() || end != text.data() + n || text[0] == '-') return std::nullopt;
    text.remove_prefix(n);
    return value;
}

bool take(std::string_view& text, char c) {
    if (!text.starts_with(c)) return false;
    text.remove_prefix(1);
    return true;
}

// "2027-01-31" (its beginning) or "2027-01-31T12:00:00Z".
std::optional<std::int64_t> date_s(std::string_view text) {
    const auto year = take_digits(text, 4);
    if (!year || !take(text, '-')) return std::nullopt;
    const auto month = take_digits(text, 2);
    if (!month || !take(text, '-')) return std::nullopt;
    const auto day = take_digits(text, 2);
    if (!day) return std::nullopt;
    const std::chrono::year_month_day date{std::chrono::year(*year),
                                           std::chrono::month(unsigned(*month)),
                                           std::chrono::day(unsigned(*day))};
    if (!date.ok()) return std::nullopt;
    const std::int64_t day_s =
        std::int64_t(std::chrono::sys_days(date).time_since_epoch().count()) * 86'400;
    if (text.empty()) return day_s;
    if (!take(text, 'T')) return std::nullopt;
    const auto hour = take_digits(text, 2);
    if (!hour || !take(text, ':')) return std::nullopt;
    const auto minute = take_digits(text, 2);
    if (!minute || !take(text, ':')) return std::nullopt;
    const auto second = take_digits(text, 2);
    if (!second || text != "Z" || *hour > 23 || *minute > 59 || *second > 59) return std::nullopt;
    return day_s + *hour * 3600 + *minute * 60 + *second;
}

}  // namespace

std::string time_text(std::int64_t unix_s) {
    const std::chrono::sys_seconds time{std::chrono::seconds(unix_s)};
    const auto day = std::chrono::floor<std::chrono::days>(time);
    const std::chrono::year_month_day date{day};
    const std::chrono::hh_mm_ss clock{time - day};
    return format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", int(date.year()), unsigned(date.month()),
                  unsigned(date.day()), clock.hours().count(), clock.minutes().count(),
                  clock.seconds().count());
}

Result<std::int64_t> duration_s(std::string_view text) {
    if (text == "0") return 0;
    const auto unit = text.empty() ? std::nullopt : unit_s(text.back());
    const auto count =
        unit ? route::parse_decimal(text.substr(0, text.size() - 1), 0, kKeyLifeMaxS / *unit)
             : std::nullopt;
    if (!count)
        return fail(ErrorKind::invalid_request,
                    format("{} is no time; write 90s, 45m, 24h, 30d or 2w, at most ten years",
                           shown_name(text)));
    return *count * *unit;
}

Result<std::int64_t> time_after(std::string_view text, std::int64_t now_s) {
    std::int64_t at_s = 0;
    if (const auto date = date_s(text)) {
        at_s = *date;
    } else {
        HEARTH_TRY(const std::int64_t seconds, duration_s(text));
        at_s = now_s + seconds;
    }
    if (at_s <= now_s || at_s - now_s > kKeyLifeMaxS)
        return fail(ErrorKind::invalid_request,
                    format("{} is {}; a key is valid for up to ten years from now",
                           shown_name(text), at_s <= now_s ? "not in the future" : "too far"));
    return at_s;
}

Result<Key> key_of(const KeyWish& wish, std::int64_t now_s) {
    Key key;
    key.created_s = now_s;
    HEARTH_CHECK_OK(check_name("name", wish.name));
    HEARTH_CHECK_OK(check_name("owner", wish.owner));
    key.name = wish.name;
    key.owner = wish.owner;
    if (!wish.role.empty()) {
        key.role = role_from(wish.role);
        if (!key.role)
            return wrong("role", format("{} is none; user, operator, auditor or admin",
                                        shown_name(wish.role)));
    }
    if (!wish.expires.empty() && wish.expires != "never") {
        auto at_s = time_after(wish.expires, now_s);
        if (!at_s) return wrong("expires", at_s.error().message);
        key.expires_s = *at_s;
    }
    HEARTH_TRY(key.scopes, scopes_of(wish));
    HEARTH_TRY(key.limits, limits_of(wish));
    return key;
}

Result<KeyWish> parse_key_wish(std::string_view text) {
    HEARTH_TRY(const Json json,
               parse_json(text, {.depth = 4, .keys_per_object = 64, .nodes = 1024}));
    if (!json.is_object()) return wrong("body", "must be a JSON object");
    KeyWish wish;
    const auto list_of = [&](const std::string& name) -> std::vector<std::string>* {
        if (name == "routes") return &wish.routes;
        if (name == "models") return &wish.models;
        return name == "tiers" ? &wish.tiers : nullptr;
    };
    const auto text_of = [&](const std::string& name) -> std::string* {
        if (name == "name") return &wish.name;
        if (name == "owner") return &wish.owner;
        if (name == "role") return &wish.role;
        if (name == "expires") return &wish.expires;
        if (name == "max_class_out") return &wish.max_class_out;
        return name == "may_lower_to" ? &wish.may_lower_to : nullptr;
    };
    for (const auto& [name, value] : json.items()) {
        if (value.is_null()) continue;
        if (std::string* to = text_of(name)) {
            if (!value.is_string()) return wrong(name, "must be a text");
            *to = value.get<std::string>();
        } else if (std::vector<std::string>* list = list_of(name)) {
            if (!value.is_array()) return wrong(name, "must be a list of texts");
            for (const Json& entry : value) {
                if (!entry.is_string()) return wrong(name, "must be a list of texts");
                list->push_back(entry.get<std::string>());
            }
        } else if (name == "limits" && value.is_object()) {
            for (const auto& [bound, amount] : value.items()) {
                if (amount.is_null()) continue;
                // Micro-dollars here, as in what is listed; whole numbers throughout.
                const auto at = std::ranges::find(kBoundNames, bound);
                const bool soft = bound == "soft_percent";
                if ((at == kBoundNames.end() && !soft) || !amount.is_number_integer())
                    return wrong("limits." + bound, "must be one of the limits, a whole number");
                std::string digits = hearth::to_text(amount);
                const auto i = std::size_t(at - kBoundNames.begin());
                if (!soft &&
                    (Bound(i) == Bound::microusd_day || Bound(i) == Bound::microusd_month)) {
                    const auto microusd = route::parse_decimal(digits, 0, kUsageMax);
                    if (!microusd) return wrong("limits." + bound, "must be a whole number");
                    digits = route::decimal_text(*microusd, 6);
                }
                (soft ? wish.soft_percent : wish.limits.at(i)) = digits;
            }
        } else {
            return wrong(name, "is no member of a key; see docs/INTERFACE.md");
        }
    }
    return wish;
}

}  // namespace hearth::serve
