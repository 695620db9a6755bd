#include "route/cost.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/format.h"
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

std::int64_t microusd(Wide picousd, Rounding rounding) {
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

}  // namespace

std::optional<std::int64_t> parse_decimal(std::string_view text, int n_places, std::int64_t most) {
    const std::size_t point = text.find('.');
    const std::string_view whole = text.substr(0, point);
    const std::string_view fraction =
        point == text.npos ? std::string_view() : text.substr(point + 1);
    if (whole.empty() || (point != text.npos && fraction.empty())) return std::nullopt;
    Wide value = 0;
    const auto take = [&](char c) {
        if (c < '0' || c > '9') return false;
        value = value * 10 + Wide(c - '0');
        return value <= Wide(most);  // also keeps it far from overflow
    };
    for (const char c : whole)
        if (!take(c)) return std::nullopt;
    for (std::size_t i = 0; i < std::max(fraction.size(), std::size_t(n_places)); ++i) {
        const char c = i < fraction.size() ? fraction[i] : '0';
        if (i >= std::size_t(n_places) ? c != '0' : !take(c)) return std::nullopt;
    }
    return std::int64_t(value);
}

std::string decimal_text(std::int64_t value, int n_places) {
    const bool negative = value < 0;
    std::string digits = std::to_string(negative ? 0 - std::uint64_t(value) : std::uint64_t(value));
    if (digits.size() <= std::size_t(n_places))
        digits.insert(0, std::size_t(n_places) + 1 - digits.size(), '0');
    const std::size_t point = digits.size() - std::size_t(n_places);
    std::string fraction = digits.substr(point);
    while (!fraction.empty() && fraction.back() == '0') fraction.pop_back();
    return format("{}{}{}{}", negative ? "-" : "", digits.substr(0, point),
                  fraction.empty() ? "" : ".", fraction);
}

std::optional<Price> price_of(double input_usd_per_mtok, double output_usd_per_mtok,
                              std::optional<double> cached_input_usd_per_mtok) {
    const auto input = picousd_per_token(input_usd_per_mtok);
    const auto output = picousd_per_token(output_usd_per_mtok);
    if (!input || !output) return std::nullopt;
    Price price{.input_picousd = *input, .output_picousd = *output};
    if (cached_input_usd_per_mtok) {
        price.cached_picousd = picousd_per_token(*cached_input_usd_per_mtok);
        if (!price.cached_picousd) return std::nullopt;
    }
    return price;
}

std::int64_t cost_microusd(const Price& price, std::int64_t n_input_tokens,
                           std::int64_t n_output_tokens, Rounding rounding) {
    // Each product is below 2^126 (63 bits times 63 bits), so that their sum fits in 128.
    return microusd(
        times(n_input_tokens, price.input_picousd) + times(n_output_tokens, price.output_picousd),
        rounding);
}

std::int64_t cost_microusd(const Price& price, const chat::Usage& usage, Rounding rounding) {
    const std::int64_t n_input = std::max<std::int64_t>(usage.input_tokens, 0);
    const std::int64_t n_cached = std::clamp<std::int64_t>(usage.cached_tokens, 0, n_input);
    // Fresh and cached are together at most 63 bits, so that the sum of three still fits.
    return microusd(times(n_input - n_cached, price.input_picousd) +
                        times(n_cached, price.cached_picousd.value_or(price.input_picousd)) +
                        times(usage.output_tokens, price.output_picousd),
                    rounding);
}

}  // namespace hearth::route
