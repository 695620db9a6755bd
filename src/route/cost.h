// Cost: money in whole micro-dollars, computed with integers only.
//
// One USD per million tokens is one micro-dollar per token. A price is held as whole pico-dollars
// per token (10^-12 USD), so that 0.075 USD per million is 75,000 exactly:
//
//   picousd      = n_input * input_picousd + n_output * output_picousd        exact, in 128 bits
//   cost_microusd = picousd / 10^6, rounded once per request
//
// A cost that was spent is rounded half to even, so that sums over many requests do not drift to
// one side; a bound is rounded up, so that a cap is never passed by a fraction.
#pragma once

#include <cstdint>
#include <optional>

namespace hearth::route {

struct Price {
    std::int64_t input_picousd = 0;   // per token
    std::int64_t output_picousd = 0;  // per token
};

// Nothing where a price is negative, not a number, or above kPriceUsdPerMtokMax. Prices are rounded
// to the nearest pico-dollar per token (10^-6 USD per million tokens).
std::optional<Price> price_of(double input_usd_per_mtok, double output_usd_per_mtok);

enum class Rounding : std::uint8_t { half_even, up };

// Negative counts are taken as 0; a cost beyond int64_t is its largest value.
std::int64_t cost_microusd(const Price& price, std::int64_t n_input_tokens,
                           std::int64_t n_output_tokens, Rounding rounding = Rounding::half_even);

}  // namespace hearth::route
