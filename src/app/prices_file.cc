#include "app/prices_file.h"

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include <charconv>
#include <set>

#include "base/file.h"
#include "base/format.h"
#include "chat/limits.h"

namespace hearth::app {
namespace {

// Ten thousand models; the program's own table has a hundred in 15 KB.
constexpr std::size_t kPricesBytesMax = 2u << 20;

class Reader {
  public:
    Reader(const std::string& path, route::PriceTable& out) : path_(path), out_(out) {}

    Status read(const toml::table& root) {
        HEARTH_CHECK_OK(check_keys(root, {"date", "provider", "model"}));
        HEARTH_TRY(out_.date, text(root, "date"));
        if (const toml::node* node = root.get("provider")) {
            HEARTH_TRY(const toml::array* blocks, blocks_of(*node, "provider"));
            for (const toml::node& block : *blocks) HEARTH_CHECK_OK(provider(*block.as_table()));
        } else {
            out_.providers = route::built_in_prices().providers;
        }
        const toml::node* node = root.get("model");
        if (!node) return refuse(root, "there is no [[model]] block, so that nothing has a price");
        HEARTH_TRY(const toml::array* blocks, blocks_of(*node, "model"));
        for (const toml::node& block : *blocks) HEARTH_CHECK_OK(model(*block.as_table()));
        return {};
    }

  private:
    std::unexpected<Error> refuse(const toml::node& at, const std::string& message) const {
        const auto where = at.source().begin;
        return fail(ErrorKind::invalid_request,
                    format("{}:{}:{}: {}", path_, where.line, where.column, message));
    }

    Status check_keys(const toml::table& table, const std::set<std::string_view>& known) const {
        for (const auto& [key, value] : table)
            if (!known.contains(key.str()))
                return refuse(value, format("unknown key {}", key.str()));
        return {};
    }

    Result<const toml::array*> blocks_of(const toml::node& node, std::string_view name) const {
        const toml::array* blocks = node.as_array();
        if (!blocks || !blocks->is_array_of_tables())
            return refuse(node, format("write it as [[{}]] blocks", name));
        return blocks;
    }

    Result<std::string> text(const toml::table& table, std::string_view key) const {
        const toml::node* node = table.get(key);
        if (!node) return refuse(table, format("{} is missing", key));
        if (!node->is_string() || node->as_string()->get().empty())
            return refuse(*node, format("{} must be text", key));
        return node->as_string()->get();
    }

    // A price as its writer wrote it: text, or a number whose shortest digits are what was written.
    Result<std::string> price(const toml::table& table, std::string_view key, bool needed) const {
        const toml::node* node = table.get(key);
        if (!node && needed) return refuse(table, format("{} is missing", key));
        if (!node) return std::string();
        if (const auto* written = node->as_string()) return written->get();
        if (const auto* whole = node->as_integer()) return std::to_string(whole->get());
        const auto* number = node->as_floating_point();
        if (!number) return refuse(*node, format("{} must be a number or text", key));
        char digits[400];  // a double without an exponent has at most 325
        const auto [end, error] =
            std::to_chars(digits, digits + sizeof digits, number->get(), std::chars_format::fixed);
        if (error != std::errc()) return refuse(*node, format("{} is no price", key));
        return std::string(digits, end);
    }

    Status provider(const toml::table& table) {
        HEARTH_CHECK_OK(check_keys(table, {"name", "hosts"}));
        route::Provider provider;
        HEARTH_TRY(provider.name, text(table, "name"));
        const toml::node* node = table.get("hosts");
        const toml::array* hosts = node ? node->as_array() : nullptr;
        if (!hosts) return refuse(table, "hosts must be a list such as [ \"api.example.com\" ]");
        for (const toml::node& host : *hosts) {
            if (!host.is_string()) return refuse(host, "a host must be text");
            provider.hosts.push_back(host.as_string()->get());
        }
        out_.providers.push_back(std::move(provider));
        return {};
    }

    Status model(const toml::table& table) {
        HEARTH_CHECK_OK(
            check_keys(table, {"provider", "name", "input_usd_per_mtok",
                               "cached_input_usd_per_mtok", "output_usd_per_mtok", "context"}));
        HEARTH_TRY(const std::string provider, text(table, "provider"));
        HEARTH_TRY(const std::string name, text(table, "name"));
        HEARTH_TRY(const std::string input, price(table, "input_usd_per_mtok", true));
        HEARTH_TRY(const std::string cached, price(table, "cached_input_usd_per_mtok", false));
        HEARTH_TRY(const std::string output, price(table, "output_usd_per_mtok", true));
        std::int64_t n_ctx = 0;
        if (const toml::node* node = table.get("context")) {
            const auto* tokens = node->as_integer();
            if (!tokens || tokens->get() < 0 || tokens->get() > chat::kTokensMax)
                return refuse(*node, "context must be a whole number of tokens");
            n_ctx = tokens->get();
        }
        const Status added = route::add_price(out_, provider, name, input, cached, output, n_ctx);
        if (!added) return refuse(table, added.error().message);
        return {};
    }

    const std::string& path_;
    route::PriceTable& out_;
};

}  // namespace

Result<route::PriceTable> parse_prices(std::string_view text, const std::string& path) {
    const toml::parse_result parsed = toml::parse(text, path);
    if (!parsed) {
        const toml::parse_error& error = parsed.error();
        const auto where = error.source().begin;
        return fail(ErrorKind::invalid_request,
                    format("{}:{}:{}: {}", path, where.line, where.column, error.description()));
    }
    route::PriceTable table;
    table.source = path;
    HEARTH_CHECK_OK(Reader(path, table).read(parsed.table()));
    return table;
}

Result<route::PriceTable> load_prices(const Settings& settings, const store::Folders& folders) {
    const std::string& named = settings.text("cost.prices");
    const std::string path = named.empty() ? folders.config + "/prices.toml" : named;
    auto text = read_file(path, kPricesBytesMax);
    // Empty: a shell has made the file that `hearth cost prices --toml` is about to fill.
    const bool is_there = text ? !text->empty() : text.error().kind != ErrorKind::not_found;
    if (named.empty() && !is_there) return route::built_in_prices();
    if (!text) return std::unexpected(text.error());
    return parse_prices(*text, path);
}

std::string to_toml(const route::PriceTable& table) {
    const auto quoted = [](const std::string& text) { return json_text(text); };
    const auto usd = [](std::int64_t picousd) {
        return route::decimal_text(picousd, route::kPricePlaces);
    };
    std::string out = format("date = {}\n", quoted(table.date));
    for (const route::Provider& provider : table.providers) {
        out += format("\n[[provider]]\nname = {}\nhosts = [", quoted(provider.name));
        for (const std::string& host : provider.hosts)
            out += (&host == &provider.hosts.front() ? " " : ", ") + quoted(host);
        out += " ]\n";
    }
    for (const route::ListedPrice& listed : table.prices) {
        out += format("\n[[model]]\nprovider = {}\nname = {}\n", quoted(listed.provider),
                      quoted(listed.model));
        out += format("input_usd_per_mtok = \"{}\"\n", usd(listed.price.input_picousd));
        if (listed.price.cached_picousd)
            out +=
                format("cached_input_usd_per_mtok = \"{}\"\n", usd(*listed.price.cached_picousd));
        out += format("output_usd_per_mtok = \"{}\"\n", usd(listed.price.output_picousd));
        if (listed.n_ctx > 0) out += format("context = {}\n", listed.n_ctx);
    }
    return out;
}

}  // namespace hearth::app
