// What the tests of quotas ask with.
#pragma once

#include <initializer_list>
#include <optional>
#include <utility>

#include "serve/quota.h"

namespace hearth::serve {

inline constexpr const char* kKey = "hk-aaaaaaaa";

inline Limits limits(std::initializer_list<std::pair<Bound, std::int64_t>> hard) {
    Limits l;
    for (const auto& [bound, n] : hard) l.hard.at(std::size_t(bound)) = n;
    return l;
}

inline chat::ChatRequest request(std::optional<std::int64_t> max_output = {}) {
    chat::ChatRequest r;
    r.max_output_tokens = max_output;
    return r;
}

}  // namespace hearth::serve
