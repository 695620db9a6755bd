// Cost: money in whole micro-dollars, computed with integers only.
//
// One USD per million tokens is one micro-dollar per token. A price is held as whole pico-dollars
// per token (10^-12 USD), so that 0.075 USD per million is 75,000 exactly:
//
//   picousd      = n_fresh * input_picousd + n_cached * cached_picousd + n_output * output_picousd
//   cost_microusd = picousd / 10^6, rounded once per request              exact, in 128 bits
//
// A cost that was spent is rounded half to even, so that sums over many requests do not drift to
// one side; a bound is rounded up, so that a cap is never passed by a fraction.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "chat/chat.h"

namespace hearth::route {

struct Price {
    std::int64_t input_picousd = 0;   // per token
    std::int64_t output_picousd = 0;  // per token
    // Of input tokens that came from the provider's cache; nothing: they cost what others do.
    std::optional<std::int64_t> cached_picousd = {};
    friend bool operator==(const Price&, const Price&) = default;
};

// "0.075" as a whole number of 10^-n_places: 75'000 for 6 places. Digits with at most one point
// between them; no sign, no exponent. Nothing where that is not so, where a digit past the places
// is not zero, or beyond `most`.
// Requires: 0 <= n_places <= 18.
std::optional<std::int64_t> parse_decimal(std::string_view text, int n_places, std::int64_t most);
// The other way, shortest: 75'000 with 6 places is "0.075".
std::string decimal_text(std::int64_t value, int n_places);

// Decimals of a price in USD per million tokens: a pico-dollar per token is the last of them.
inline constexpr int kPricePlaces = 6;

// Nothing where a price is negative, not a number, or above kPriceUsdPerMtokMax. Prices are rounded
// to the nearest pico-dollar per token (10^-6 USD per million tokens).
std::optional<Price> price_of(double input_usd_per_mtok, double output_usd_per_mtok,
                              std::optional<double> cached_input_usd_per_mtok = {});

enum class Rounding : std::uint8_t { half_even, up };

// Negative counts are taken as 0; a cost beyond int64_t is its largest value.
std::int64_t cost_microusd(const Price& price, std::int64_t n_input_tokens,
                           std::int64_t n_output_tokens, Rounding rounding = Rounding::half_even);
// What was used, cached tokens at their own price. Counts that contradict each other (more cached
// than there are) are held to what is possible.
std::int64_t cost_microusd(const Price& price, const chat::Usage& usage,
                           Rounding rounding = Rounding::half_even);

}  // namespace hearth::route
