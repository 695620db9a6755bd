#include "route/prices.h"

#include <algorithm>

#include "base/format.h"
#include "route/ledger.h"
#include "route/limits.h"

namespace hearth::route {
namespace {

std::optional<std::int64_t> picousd_of(std::string_view usd_per_mtok) {
    constexpr auto kMost = std::int64_t(kPriceUsdPerMtokMax) * 1'000'000;
    return parse_decimal(usd_per_mtok, kPricePlaces, kMost);
}

// A price in the form that targets have. Exact both ways: up to a million dollars with six decimals
// are 12 digits, and a double holds 15.
double usd_per_mtok(std::int64_t picousd) {
    return double(picousd) / 1e6;
}

}  // namespace

const ListedPrice* PriceTable::find(std::string_view label) const {
    const auto found = std::ranges::find_if(prices, [&](const ListedPrice& listed) {
        return label.size() == listed.provider.size() + 1 + listed.model.size() &&
               label.starts_with(listed.provider) && label[listed.provider.size()] == '/' &&
               label.ends_with(listed.model);
    });
    return found == prices.end() ? nullptr : &*found;
}

const ListedPrice* PriceTable::find_at(std::string_view host, std::string_view model) const {
    for (const Provider& provider : providers) {
        if (std::ranges::find(provider.hosts, host) == provider.hosts.end()) continue;
        if (const auto* listed = find(format("{}/{}", provider.name, model))) return listed;
    }
    return nullptr;
}

Status add_price(PriceTable& table, std::string_view provider, std::string_view model,
                 std::string_view input, std::string_view cached, std::string_view output,
                 std::int64_t n_ctx) {
    const auto refuse = [&](std::string_view what, std::string_view text) {
        return fail(
            ErrorKind::invalid_request,
            format("{}/{}: {} = {} is no price in USD per million tokens: digits with at "
                   "most {} behind the point, up to {}",
                   provider, model, what, text, kPricePlaces, std::int64_t(kPriceUsdPerMtokMax)));
    };
    if (provider.empty() || model.empty() || provider.find('/') != provider.npos)
        return fail(ErrorKind::invalid_request,
                    format("\"{}/{}\": a price needs a provider without a slash and a model",
                           provider, model));
    ListedPrice listed{.provider = std::string(provider),
                       .model = std::string(model),
                       .price = {},
                       .n_ctx = n_ctx};
    const auto in = picousd_of(input), out = picousd_of(output);
    if (!in) return refuse("input", input);
    if (!out) return refuse("output", output);
    listed.price = {.input_picousd = *in, .output_picousd = *out};
    if (!cached.empty()) {
        listed.price.cached_picousd = picousd_of(cached);
        if (!listed.price.cached_picousd) return refuse("cached input", cached);
    }
    if (table.find(listed.label()))
        return fail(ErrorKind::invalid_request, format("{} is listed twice", listed.label()));
    table.prices.push_back(std::move(listed));
    return {};
}

void take_price(Target& target, const PriceTable& table) {
    if (target.tier != Tier::cloud || !target.price_source.empty()) return;
    const ListedPrice* listed = table.find_at(target.destination.host, target.model);
    if (!listed) return;
    target.input_usd_per_mtok = usd_per_mtok(listed->price.input_picousd);
    target.output_usd_per_mtok = usd_per_mtok(listed->price.output_picousd);
    if (listed->price.cached_picousd)
        target.cached_input_usd_per_mtok = usd_per_mtok(*listed->price.cached_picousd);
    target.price_source = format("price table of {} ({})", table.date, table.source);
}

std::optional<Price> reference_price(std::string_view label, const std::vector<Target>& targets,
                                     const PriceTable& table) {
    for (const Target& target : targets)
        if (!target.price_source.empty() && label_of(target) == label) return price_of(target);
    if (const ListedPrice* listed = table.find(label)) return listed->price;
    return std::nullopt;
}

}  // namespace hearth::route
