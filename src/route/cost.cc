#include "route/cost.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "route/limits.h"

namespace hearth::route {
namespace {

__extension__ typedef unsigned __int128 Wide;

constexpr std::int64_t kPicoPerMicro = 1'000'000;

std::optional<std::int64_t> picousd_per_token(double usd_per_mtok) {
    // The comparison is written so that NaN fails it.
    if (!(usd_per_mtok >= 0 && usd_per_mtok <= kPriceUsdPerMtokMax)) return std::nullopt;
    return std::int64_t(std::llround(usd_per_mtok * double(kPicoPerMicro)));
}

Wide times(std::int64_t n_tokens, std::int64_t picousd) {
    return Wide(std::max<std::int64_t>(n_tokens, 0)) * Wide(std::max<std::int64_t>(picousd, 0));
}

}  // namespace

std::optional<Price> price_of(double input_usd_per_mtok, double output_usd_per_mtok) {
    const auto input = picousd_per_token(input_usd_per_mtok);
    const auto output = picousd_per_token(output_usd_per_mtok);
    if (!input || !output) return std::nullopt;
    return Price{.input_picousd = *input, .output_picousd = *output};
}

std::int64_t cost_microusd(const Price& price, std::int64_t n_input_tokens,
                           std::int64_t n_output_tokens, Rounding rounding) {
    // Each product is below 2^126 (63 bits times 63 bits), so that their sum fits in 128.
    const Wide picousd =
        times(n_input_tokens, price.input_picousd) + times(n_output_tokens, price.output_picousd);
    Wide whole = picousd / Wide(kPicoPerMicro);
    const Wide rest = picousd % Wide(kPicoPerMicro);
    const Wide half = Wide(kPicoPerMicro / 2);
    if (rounding == Rounding::up) {
        if (rest > 0) ++whole;
    } else if (rest > half || (rest == half && (whole & 1) != 0)) {
        ++whole;
    }
    constexpr auto kLargest = std::numeric_limits<std::int64_t>::max();
    return whole > Wide(kLargest) ? kLargest : std::int64_t(whole);
}

}  // namespace hearth::route
