// The built-in price table against a public collection of prices of the same date.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"
#include "route/prices.h"
#include "support/data.h"

namespace hearth::route {
namespace {

// How the collection calls our providers' models: a prefix before the model's own name.
const std::map<std::string, std::string> kPrefixes{{"openai", ""},
                                                   {"anthropic", ""},
                                                   {"google", "gemini/"},
                                                   {"mistral", "mistral/"},
                                                   {"deepseek", "deepseek/"},
                                                   {"groq", "groq/"},
                                                   {"together", "together_ai/"},
                                                   {"xai", "xai/"},
                                                   {"cerebras", "cerebras/"},
                                                   {"cohere", ""}};

// It gives USD per token as a number. A picodollar is 10^-12 of it; the nearest whole one must be
// within the number's own precision.
std::optional<std::int64_t> picousd(const Json& entry, const char* key) {
    const auto found = entry.find(key);
    if (found == entry.end() || !found->is_number()) return std::nullopt;
    const double exact = found->get<double>() * 1e12;
    EXPECT_NEAR(exact, std::round(exact), 1e-3) << key;
    return std::int64_t(std::round(exact));
}

TEST(PriceTable, says_what_the_collection_says) {
    NEEDS_DATA(path, "prices/model_prices_and_context_window.json");
    const auto text = read_file(path, 64 << 20);
    ASSERT_TRUE(text);
    const auto all = parse_json(*text);
    ASSERT_TRUE(all) << all.error().message;
    const PriceTable& table = built_in_prices();
    const auto updated = all->find("last_updated");
    ASSERT_NE(updated, all->end());
    EXPECT_TRUE(updated->get<std::string>().starts_with(table.date));
    ASSERT_GT(table.prices.size(), 80u);
    for (const ListedPrice& listed : table.prices) {
        SCOPED_TRACE(listed.label());
        const auto entry = all->find(kPrefixes.at(listed.provider) + listed.model);
        ASSERT_NE(entry, all->end());
        EXPECT_EQ(listed.price.input_picousd, picousd(*entry, "input_cost_per_token"));
        EXPECT_EQ(listed.price.output_picousd, picousd(*entry, "output_cost_per_token"));
        EXPECT_EQ(listed.price.cached_picousd, picousd(*entry, "cache_read_input_token_cost"));
        const auto n_ctx = entry->find("max_input_tokens");
        EXPECT_EQ(listed.n_ctx, n_ctx == entry->end() ? 0 : n_ctx->get<std::int64_t>());
    }
}

}  // namespace
}  // namespace hearth::route
