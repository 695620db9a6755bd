#include "app/input.h"

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "app/open.h"
#include "base/clock.h"
#include "base/format.h"
#include "route/cost.h"

namespace hearth::app {
namespace {

int each_line(std::istream& in, const std::function<void(const std::string&)>& use) {
    std::string line;
    for (std::int64_t n = 1; std::getline(in, line); ++n) {
        if (line.empty()) continue;
        const auto text = parse_json(line);
        if (!text || !text->is_string())
            return report({.kind = ErrorKind::invalid_request,
                           .message = format("line {}: not a JSON string", n)},
                          true);
        use(text->get_ref<const std::string&>());
        std::fflush(stdout);
    }
    return kDone;
}

}  // namespace

Result<std::int64_t> since_from(const std::string& text) {
    if (text == "all") return 0;
    constexpr std::int64_t kUnitsMax = 100'000;  // of hours or days: far before 1970
    const std::string digits = text.substr(0, text.empty() ? 0 : text.size() - 1);
    const auto n = route::parse_decimal(digits, 0, kUnitsMax);
    if (!n || (text.back() != 'd' && text.back() != 'h'))
        return fail(ErrorKind::invalid_request,
                    format("--since {} is no span of time; write 30d, 12h or all", text));
    constexpr std::int64_t kNsPerHour = 3'600 * kNsPerS;
    const std::int64_t span = *n * (text.back() == 'd' ? 24 * kNsPerHour : kNsPerHour);
    return std::max<std::int64_t>(0, system_clock().wall_ns() - span);
}

int each_json_string(const std::string& file, const std::function<void(const std::string&)>& use) {
    if (file.empty() || file == "-") return each_line(std::cin, use);
    const auto text = read_text(file);
    if (!text) return report(text.error(), true);
    std::istringstream lines(*text);
    return each_line(lines, use);
}

}  // namespace hearth::app
