// prices.toml: a price table of the user's own, in place of the one that comes with the program
// (docs/formats/prices.md).
#pragma once

#include <string>
#include <string_view>

#include "app/settings.h"
#include "route/prices.h"

namespace hearth::app {

// Errors: invalid_request with path:line:column.
Result<route::PriceTable> parse_prices(std::string_view text, const std::string& path);

// The file that cost.prices names, else prices.toml in the configuration's folder if it is there
// and not empty, else the table of the program. Errors: as parse_prices(); not_found for a file
// that is named and not there.
Result<route::PriceTable> load_prices(const Settings& settings, const store::Folders& folders);

// The table as a prices.toml.
std::string to_toml(const route::PriceTable& table);

}  // namespace hearth::app
