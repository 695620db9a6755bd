// What the scan sees of 64 bytes at once: which of them are letters, digits and marks, a bit each.
//
// A text is cut at these bits instead of byte by byte: how long a word is, is what a branch
// predictor knows least. Every x86-64 gathers a bit of sixteen bytes in one instruction; elsewhere
// a loop without branches and look-ups becomes vectors, and a multiplication gathers eight.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "route/detector.h"

namespace hearth::route {

struct ByteKinds {
    static constexpr std::size_t kBytes = 64;
    std::uint64_t letters = 0;  // '_' and bytes >= 0x80 too
    std::uint64_t digits = 0;
    std::uint64_t dots = 0, dashes = 0, marks = 0;  // marks: '@' ':' '='

    bool operator==(const ByteKinds&) const = default;

    // Of the bytes [from, from + 64); what lies past the text's end is of no kind.
    static ByteKinds of(std::string_view text, std::size_t from) {
        if (from >= text.size()) return {};
        if (text.size() - from >= kBytes) return of_64(text.data() + from);
        char rest[kBytes] = {};
        std::memcpy(rest, text.data() + from, text.size() - from);
        return of_64(rest);
    }

    // The bits n places on, with those of the 64 bytes behind these; 1 <= n < 64.
    static std::uint64_t ahead(std::uint64_t bits, std::uint64_t next, int n) {
        return bits >> n | next << (kBytes - std::size_t(n));
    }

    // Most full stops, hyphens and colons are prose, arithmetic and code. A full stop counts before
    // two or three last letters, as a host's name ends ("www" is a keyword); a hyphen as the first
    // of several; of a row of colons the first, and where an address has its scheme.
    std::uint64_t marks_that_count(std::string_view text, std::size_t from,
                                   const ByteKinds& next) const {
        const char left = from > 0 ? text[from - 1] : '\0';
        const std::uint64_t words = letters | digits, next_words = next.letters | next.digits;
        const std::uint64_t host = words | dashes, next_host = next_words | next.dashes;
        const std::uint64_t behind_word = words << 1 | std::uint64_t(is_word(left));
        const std::uint64_t two = ahead(letters, next.letters, 1) & ahead(letters, next.letters, 2);
        const std::uint64_t ends = ~ahead(host, next_host, 3) |
                                   (ahead(letters, next.letters, 3) & ~ahead(host, next_host, 4));
        const std::uint64_t first_of_dashes =
            ~(dashes << 1 | std::uint64_t(left == '-')) & ahead(dashes, next.dashes, 1);
        return marks | (dots & behind_word & two & ends) | (dashes & first_of_dashes);
    }

    // The plain form, for every machine.
    static ByteKinds of_64_plain(const char* bytes) {
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

    static ByteKinds of_64(const char* bytes) {
#if defined(__SSE2__)
        ByteKinds out;
        for (std::size_t i = 0; i < kBytes; i += 16) {
            const __m128i c = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + i));
            const auto is = [&](char byte) { return _mm_cmpeq_epi8(c, _mm_set1_epi8(byte)); };
            // From first on, n of them; the comparison is of signed bytes, so that they begin at
            // the least.
            const auto within = [](__m128i of, char first, int n) {
                const __m128i moved = _mm_sub_epi8(of, _mm_set1_epi8(char(first - 128)));
                return _mm_cmplt_epi8(moved, _mm_set1_epi8(char(n - 128)));
            };
            const auto bits = [&](__m128i holds) {
                return std::uint64_t(std::uint32_t(_mm_movemask_epi8(holds))) << i;
            };
            const __m128i folded = _mm_or_si128(c, _mm_set1_epi8(0x20));
            const __m128i high = c;  // the bit that is gathered is the byte's highest
            out.letters |= bits(_mm_or_si128(_mm_or_si128(within(folded, 'a', 26), is('_')), high));
            out.digits |= bits(within(c, '0', 10));
            out.dots |= bits(is('.'));
            out.dashes |= bits(is('-'));
            out.marks |= bits(_mm_or_si128(_mm_or_si128(is('@'), is(':')), is('=')));
        }
        return out;
#else
        return of_64_plain(bytes);
#endif
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
};

}  // namespace hearth::route
