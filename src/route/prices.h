// Prices: what providers ask for their models, as of one date.
//
// Three places may say a price; the first that does is taken:
//   1. the model's entry in an [[upstream]] block of config.toml
//   2. prices.toml beside it (or cost.prices), which replaces the table of 3 as a whole
//   3. the table that comes with the program (price_table.cc)
//
// A table's price holds for the provider whose host the upstream's base URL names, and for nobody
// else's model of the same name: a gateway asks what it likes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "route/cost.h"
#include "route/decide.h"

namespace hearth::route {

struct ListedPrice {
    std::string provider;  // "openai"
    std::string model;     // as the provider's API names it
    Price price;
    std::int64_t n_ctx = 0;  // 0: not known

    std::string label() const { return provider + "/" + model; }
};

struct Provider {
    std::string name;
    std::vector<std::string> hosts;  // "api.openai.com"
};

struct PriceTable {
    std::string source;  // "built in", or the file's path
    std::string date;    // "2026-07-24"; of all its prices
    std::vector<Provider> providers;
    std::vector<ListedPrice> prices;

    // "openai/gpt-5-mini"; nullptr where it is not listed. A model's own name may hold slashes.
    const ListedPrice* find(std::string_view label) const;
    // By the host that a base URL names.
    const ListedPrice* find_at(std::string_view host, std::string_view model) const;
};

const PriceTable& built_in_prices();

// Adds an entry from texts as a person writes them, in USD per million tokens; cached may be empty.
// Errors: invalid_request for a price that is none, or an entry that is there already.
Status add_price(PriceTable& table, std::string_view provider, std::string_view model,
                 std::string_view input, std::string_view cached, std::string_view output,
                 std::int64_t n_ctx);

// Gives a target of the cloud that states no price the one of its provider. Says nothing and does
// nothing where there is none, or where target.price_source already says whence its price is.
void take_price(Target& target, const PriceTable& table);

// The price that answers of this machine are compared with: of `label` among the targets, which
// know what is really paid, else in the table. Nothing where neither has it.
std::optional<Price> reference_price(std::string_view label, const std::vector<Target>& targets,
                                     const PriceTable& table);

}  // namespace hearth::route
