// TextStream against an oracle that sees the whole text at once and knows nothing of streams.
#include "engine/text_stream.h"

#include <gtest/gtest.h>

#include "base/utf8.h"
#include "support/seeds.h"

namespace hearth::engine {
namespace {

using test::Dice;

struct Expected {
    std::string text;
    bool stopped = false;
    std::size_t end = 0;  // bytes of the repaired text up to and with the stop string
};

// The stop string that is complete first; of those complete at one place the longest.
Expected by_definition(const std::string& bytes, const std::vector<std::string>& stops) {
    const std::string whole = utf8_repaired(bytes);
    for (std::size_t end = 1; end <= whole.size(); ++end) {
        std::size_t longest = 0;
        for (const std::string& stop : stops)
            if (std::string_view(whole).substr(0, end).ends_with(stop))
                longest = std::max(longest, stop.size());
        if (longest > 0) return {whole.substr(0, end - longest), true, end};
    }
    return {whole, false, whole.size()};
}

// Few letters, so that stop strings overlap and nearly match all the time; two-byte and four-byte
// characters; bytes that are wrong.
std::string random_bytes(Dice& dice, std::int64_t n, bool valid) {
    static const std::vector<std::string> parts{
        "a", "a", "a", "b", "b", "ab", "\xc3\xa9", "\xc3\xa8", "\xf0\x9f\x98\x80"};
    static const std::vector<std::string> bad{"\xff", "\xc3",         "\xe2\x82",
                                              "\x80", "\xed\xa0\x80", "\xf0\x9f"};
    std::string out;
    for (std::int64_t i = 0; i < n; ++i) {
        const bool wrong = !valid && dice.chance(8);
        const auto& from = wrong ? bad : parts;
        out += from[std::size_t(dice.roll(0, std::int64_t(from.size()) - 1))];
    }
    return out;
}

TEST(TextStreamProperty, agrees_with_the_whole_text_however_it_is_cut) {
    for (const std::uint64_t seed : test::seeds(5000)) {
        SCOPED_TRACE("HEARTH_SEED=" + std::to_string(seed));
        Dice dice(seed);
        std::vector<std::string> stops;
        for (std::int64_t i = dice.roll(0, 4); i > 0; --i)
            stops.push_back(random_bytes(dice, dice.roll(1, 9), true));
        const std::string bytes = random_bytes(dice, dice.roll(0, 90), false);
        const Expected expected = by_definition(bytes, stops);

        TextStream stream(stops);
        std::string shown;
        bool stopped = false;
        std::size_t at = 0;
        while (at < bytes.size() && !stopped) {
            const auto n = std::size_t(dice.roll(0, 6));
            stopped = stream.push(std::string_view(bytes).substr(at, n), shown);
            at = std::min(at + n, bytes.size());
            // Never part of a stop string, never part of a code point, never ahead of the text.
            ASSERT_TRUE(is_utf8(shown));
            ASSERT_EQ(expected.text.substr(0, shown.size()), shown);
            if (stopped) break;
            // Held back no longer than needed: what is certain by now is shown.
            const std::string so_far = utf8_repaired(std::string_view(bytes).substr(
                0, utf8_complete_prefix(std::string_view(bytes).substr(0, at))));
            std::size_t held = 0;
            for (const std::string& stop : stops)
                for (std::size_t k = 1; k < stop.size(); ++k)
                    if (so_far.ends_with(stop.substr(0, k))) held = std::max(held, k);
            ASSERT_EQ(shown.size(), so_far.size() - held);
        }
        if (!stopped) stopped = stream.finish(shown);
        ASSERT_EQ(shown, expected.text);
        ASSERT_EQ(stopped, expected.stopped);
    }
}

}  // namespace
}  // namespace hearth::engine
