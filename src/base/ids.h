// Distinct integer types for ids, so that one cannot be passed as another, and printable random
// ids.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace hearth {

template <class Tag, class Int>
struct Id {
    Int value = 0;
    constexpr Id() = default;
    constexpr explicit Id(Int v) : value(v) {}
    friend constexpr auto operator<=>(Id, Id) = default;
};

using TokenId = Id<struct TokenTag, std::int32_t>;  // index into a model's vocabulary
using BlockId = Id<struct BlockTag, std::int32_t>;  // one block of the paged KV cache

// PREFIX and 24 characters of [0-9a-z] from the system's random source (124 bits).
std::string random_id(std::string_view prefix);
// 64 bits from the system's random source.
std::uint64_t random_u64();

}  // namespace hearth

template <class Tag, class Int>
struct std::hash<hearth::Id<Tag, Int>> {
    std::size_t operator()(hearth::Id<Tag, Int> id) const noexcept {
        return std::hash<Int>{}(id.value);
    }
};
