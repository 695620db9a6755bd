// hardware_file: machines as data sheets list them ([gpu.<key>] tables) and as providers rent them
// ([cloud.<key>] tables that name a gpu), from a TOML file of the user's.
//
// A rate follows from the sheet: decoding reads all weights once a token, prefill multiplies by
// each parameter once, and the file says which share of the limit programs reach:
//
//   decode_tps  = mem_bw_gb_s * llamacpp_decode_eff / model's gigabytes
//   prefill_tps = fp16_tflops * 10^12 * llamacpp_prefill_eff / (2 * model's parameters)
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hearth::app {

struct Sheet {
    std::string key, name;
    double memory_gb = 0, bandwidth_gb_s = 0, tflops = 0, watts = 0;
    double decode_share = 0, prefill_share = 0;
    std::optional<double> price_usd = {};    // to buy
    std::optional<double> rent_usd_hr = {};  // to rent, one of it

    double decode_tps(double model_gb) const { return bandwidth_gb_s * decode_share / model_gb; }
    double prefill_tps(double params_b) const {
        return tflops * 1e12 * prefill_share / (2 * params_b * 1e9);
    }
};

struct Sheets {
    std::vector<Sheet> list;
    std::size_t n_unusable = 0;  // entries without a number that is needed
};
// sheets: the file that rented machines' gpus are looked up in; may be the same text.
// Errors: invalid_request with path:line:column.
Result<Sheets> parse_hardware(std::string_view text, const std::string& path,
                              std::string_view sheets);

}  // namespace hearth::app
