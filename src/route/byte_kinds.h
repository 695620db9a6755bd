// What the scan sees of 64 bytes at once: which of them are letters, digits and marks, a bit each.
//
// A text is cut at these bits instead of byte by byte: how long a word is, is what a branch
// predictor knows least. The loop over the 64 bytes has neither branches nor look-ups, so that a
// compiler makes vectors of it; eight kinds become eight bits by one multiplication.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "route/detector.h"

namespace hearth::route {

struct ByteKinds {
    static constexpr std::size_t kBytes = 64;
    std::uint64_t letters = 0;  // '_' and bytes >= 0x80 too
    std::uint64_t digits = 0;
    std::uint64_t dots = 0, dashes = 0, marks = 0;  // marks: '@' ':' '='

    // Of the bytes [from, from + 64); what lies past the text's end is of no kind.
    static ByteKinds of(std::string_view text, std::size_t from) {
        if (text.size() - from >= kBytes) return of_64(text.data() + from);
        char rest[kBytes] = {};
        std::memcpy(rest, text.data() + from, text.size() - from);
        return of_64(rest);
    }

    // A full stop counts between two letters or digits, a hyphen as the first of several: the
    // others are prose and arithmetic, and no detector makes anything of them.
    std::uint64_t marks_that_count(std::string_view text, std::size_t from) const {
        const auto bit_of = [](bool holds, int place) { return std::uint64_t(holds) << place; };
        const char left = from > 0 ? text[from - 1] : '\0';
        const char right = text.size() - from > kBytes ? text[from + kBytes] : '\0';
        const std::uint64_t words = letters | digits;
        const std::uint64_t between =
            (words << 1 | bit_of(is_word(left), 0)) & (words >> 1 | bit_of(is_word(right), 63));
        const std::uint64_t first =
            ~(dashes << 1 | bit_of(left == '-', 0)) & (dashes >> 1 | bit_of(right == '-', 63));
        return marks | (dots & between) | (dashes & first);
    }

  private:
    enum Bit : std::uint8_t { kLetter = 0, kDigit, kDot, kDash, kMark };

    // Each kind is an expression of bytes: joined as bool they become ints, four times as wide.
    static constexpr std::uint8_t kind_of(char byte) {
        const auto c = std::uint8_t(byte);
        const auto letter = std::uint8_t(std::uint8_t((c | 0x20) - 'a') < 26 ? 1 : 0);
        const auto high = std::uint8_t(c >= 0x80 ? 1 : 0), bar = std::uint8_t(c == '_' ? 1 : 0);
        const auto digit = std::uint8_t(std::uint8_t(c - '0') < 10 ? 1 << kDigit : 0);
        const auto dot = std::uint8_t(c == '.' ? 1 << kDot : 0);
        const auto dash = std::uint8_t(c == '-' ? 1 << kDash : 0);
        const auto colon = std::uint8_t(c == ':' ? 1 << kMark : 0);
        const auto equals = std::uint8_t(c == '=' ? 1 << kMark : 0);
        const auto at = std::uint8_t(c == '@' ? 1 << kMark : 0);
        return std::uint8_t(letter | high | bar | digit | dot | dash | colon | equals | at);
    }

    static ByteKinds of_64(const char* bytes) {
        std::uint8_t kinds[kBytes];
        for (std::size_t i = 0; i < kBytes; ++i) kinds[i] = kind_of(bytes[i]);
        ByteKinds out;
        for (std::size_t i = 0; i < kBytes; i += 8) {
            std::uint64_t eight;
            std::memcpy(&eight, kinds + i, 8);
            if constexpr (std::endian::native == std::endian::big) eight = __builtin_bswap64(eight);
            // The byte k's bit moves to bit 56 + k; the products of other places stay below.
            const auto bits = [&](Bit bit) {
                constexpr std::uint64_t kOnes = 0x0101010101010101u;
                return ((eight >> bit & kOnes) * 0x0102040810204080u >> 56) << i;
            };
            out.letters |= bits(kLetter), out.digits |= bits(kDigit), out.dots |= bits(kDot);
            out.dashes |= bits(kDash), out.marks |= bits(kMark);
        }
        return out;
    }
};

}  // namespace hearth::route
