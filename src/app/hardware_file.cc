#include "app/hardware_file.h"

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include <algorithm>

#include "base/format.h"

namespace hearth::app {
namespace {

// Far beyond any machine; keeps what follows from them finite.
constexpr double kNumberMax = 1e9;

std::optional<double> number(const toml::table& table, std::string_view key) {
    const toml::node* node = table.get(key);
    const auto value = node ? node->value<double>() : std::nullopt;
    return value && *value >= 0 && *value <= kNumberMax ? value : std::nullopt;
}

std::optional<Sheet> sheet_of(std::string_view key, const toml::table& table) {
    Sheet sheet;
    sheet.key = key;
    sheet.name = table["name"].value_or(std::string(key));
    const auto take = [&](const char* name, double& to) {
        const auto value = number(table, name);
        if (value) to = *value;
        return value && *value > 0;
    };
    const bool whole = take("mem_bw_gb_s", sheet.bandwidth_gb_s) &&
                       take("fp16_tflops", sheet.tflops) && take("vram_gb", sheet.memory_gb) &&
                       take("tdp_w", sheet.watts) &&
                       take("llamacpp_decode_eff", sheet.decode_share) &&
                       take("llamacpp_prefill_eff", sheet.prefill_share);
    sheet.price_usd = number(table, "street_usd");
    return whole ? std::optional(sheet) : std::nullopt;
}

Result<toml::table> parsed(std::string_view text, const std::string& path) {
    toml::parse_result result = toml::parse(text, path);
    if (!result) {
        const auto where = result.error().source().begin;
        return fail(ErrorKind::invalid_request, format("{}:{}:{}: {}", path, where.line,
                                                       where.column, result.error().description()));
    }
    return std::move(result).table();
}

Sheets owned(const toml::table& root) {
    Sheets out;
    const toml::table* gpus = root["gpu"].as_table();
    if (!gpus) return out;
    for (const auto& [key, node] : *gpus) {
        const toml::table* table = node.as_table();
        if (auto sheet = table ? sheet_of(key.str(), *table) : std::nullopt)
            out.list.push_back(std::move(*sheet));
        else
            ++out.n_unusable;
    }
    return out;
}

}  // namespace

Result<Sheets> parse_hardware(std::string_view text, const std::string& path,
                              std::string_view sheets) {
    HEARTH_TRY(const toml::table root, parsed(text, path));
    Sheets out = owned(root);
    if (const toml::table* offers = root["cloud"].as_table()) {
        HEARTH_TRY(const toml::table other, parsed(sheets, "hardware.toml beside " + path));
        const Sheets gpus = owned(other);
        for (const auto& [key, node] : *offers) {
            const toml::table* offer = node.as_table();
            const auto rent = offer ? number(*offer, "price_hr") : std::nullopt;
            const auto gpu = std::ranges::find(
                gpus.list, offer ? (*offer)["gpu"].value_or(std::string()) : "", &Sheet::key);
            if (!rent || gpu == gpus.list.end()) {
                ++out.n_unusable;
                continue;
            }
            Sheet sheet = *gpu;
            sheet.key = std::string(key.str());
            sheet.name = (*offer)["name"].value_or(sheet.key);
            sheet.rent_usd_hr = rent;
            out.list.push_back(std::move(sheet));
        }
    }
    if (out.list.empty())
        return fail(ErrorKind::invalid_request,
                    format("{} has no [gpu.<key>] with vram_gb, mem_bw_gb_s, fp16_tflops, tdp_w, "
                           "llamacpp_decode_eff and llamacpp_prefill_eff, and no [cloud.<key>] "
                           "with price_hr and a gpu that hardware.toml beside it knows",
                           path));
    return out;
}

}  // namespace hearth::app
