// Bounds of the route room, each with its reason.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hearth::route {

// Places tried after the first one. Each may wait for a connect timeout before it is given up, so
// more than a few would keep the caller waiting for minutes.
inline constexpr std::size_t kFallbacksMax = 4;

// Dearest price that configuration may state, in USD per million tokens. A thousand times the
// dearest price list of today; it keeps cost arithmetic far from overflow.
inline constexpr double kPriceUsdPerMtokMax = 1e6;

// Names of targets that one message lists before it says "and n more".
inline constexpr std::size_t kListedMax = 8;

// A recorded decision that is read back. Ours are about 300 bytes and 300 more per target.
inline constexpr std::size_t kRecordedBytesMax = 1u << 20;

// What the ledger multiplies, each far beyond what is real and small enough that every product
// below fits in 127 bits (2^127 is 1.7e38). The largest is idle time by watts by price: 1e17 * 1e8
// * 1e8.
inline constexpr std::int64_t kBusyNsMax = 1'000'000'000'000'000;           // 11 days of one answer
inline constexpr std::int64_t kEnergyUjMax = 100'000'000'000'000'000;       // 100 kW for 11 days
inline constexpr std::int64_t kMilliwattsMax = 100'000'000;                 // 100 kW, a rack
inline constexpr std::int64_t kElectricityMicrousdPerKwhMax = 100'000'000;  // 100 USD
// 10 million USD. Idle time at it and at the shortest life, 1e17 * 1e13 / 3.6e12, fits in 63 bits.
inline constexpr std::int64_t kHardwareMicrousdMax = 10'000'000'000'000;
// 114 years: its nanoseconds, the largest denominator, are 3.6e18 and fit in 63 bits.
inline constexpr std::int64_t kLifetimeHoursMax = 1'000'000;
inline constexpr std::int64_t kLedgerTokensMax = 1'000'000'000'000;

// Taint. A shorter text, white space aside, is said in many conversations ("I am sorry, I cannot
// help with that."): it is marked for its own only.
inline constexpr std::size_t kMarkedBytesMin = 64;
// A line of a text is marked by itself from this length on; shorter ones are common property.
inline constexpr std::size_t kMarkedLineBytesMin = 64;
// A line is kept in memory until its end; a longer one is marked in pieces.
inline constexpr std::size_t kMarkedLineBytesMax = 64u << 10;
// Lines of one text that are marked: a context of a million tokens has about as many. The whole of
// a longer text still has its mark.
inline constexpr std::size_t kMarksOfText = 16'384;
// Marks of all conversations: about 30 MB of memory and 12 MiB on disk. The oldest are forgotten.
inline constexpr std::size_t kMarksMax = 262'144;

// Redaction. The longest name of a kind of entity in a pseudonym.
inline constexpr std::size_t kPseudonymKindBytesMax = 32;
// Different values of one request that get pseudonyms; past it the request stays here.
inline constexpr std::size_t kPseudonymsMax = 10'000;

// Text that one scan reads. Twice the largest request body; the rest of a longer text counts as
// restricted without being read.
inline constexpr std::size_t kScanBytesMax = std::size_t(64) << 20;

// Spans that one scan keeps before overlapping ones are resolved. Ordinary personal text has one
// per 50 bytes; a table of a million card numbers is restricted after the first of them.
inline constexpr std::size_t kFindingsMax = 100'000;

// [[detector]] blocks, their words and patterns. A dictionary of a company's customers fits; the
// automaton takes about 32 bytes per byte of it.
inline constexpr std::size_t kUserDetectorsMax = 256;
inline constexpr std::size_t kUserWordBytesMin = 2;
inline constexpr std::size_t kUserWordBytesMax = 256;
inline constexpr std::size_t kUserWordsBytesMax = std::size_t(1) << 20;
inline constexpr std::size_t kUserPatternBytesMax = 1024;

// Size of a pattern once its repeats are written out. A scan does at most kUserPatternEdgesMax
// steps per byte, whatever the text.
inline constexpr std::size_t kUserPatternPlacesMax = 512;
inline constexpr std::size_t kUserPatternEdgesMax = 4096;

}  // namespace hearth::route
