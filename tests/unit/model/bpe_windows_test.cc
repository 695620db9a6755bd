// Merging in windows against merging whole, with random ranks: small alphabets and small windows,
// so that seams fall everywhere and often do not hold.
#include "engine/model/bpe_windows.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <span>
#include <string>
#include <utility>

namespace hearth::model {
namespace {

// Ranks of joins by their text, as SentencePiece has them, or by the pair, as GPT-2 has them.
struct Ranks {
    std::map<std::pair<std::string, std::string>, int> ranks;
    void merge(std::string_view text, std::vector<BpeSymbol>& out) const {
        std::vector<std::string> symbols;
        for (const char c : text) symbols.emplace_back(1, c);
        for (;;) {
            std::size_t best = symbols.size();
            int rank = 1 << 30;
            for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
                const auto it = ranks.find({symbols[i], symbols[i + 1]});
                if (it == ranks.end() || it->second >= rank) continue;
                rank = it->second;
                best = i;
            }
            if (best == symbols.size()) break;
            symbols[best] += symbols[best + 1];
            symbols.erase(symbols.begin() + std::ptrdiff_t(best) + 1);
        }
        for (const std::string& s : symbols) {
            std::uint32_t id = 0;  // tells texts apart
            for (const char c : s) id = id * 257 + static_cast<unsigned char>(c) + 1;
            out.push_back({std::uint32_t(s.size()), std::int32_t(id >> 1)});
        }
    }
};

Ranks random_ranks(std::mt19937& random, int n_letters) {
    Ranks out;
    std::vector<std::string> tokens;
    for (int i = 0; i < n_letters; ++i) tokens.emplace_back(1, char('a' + i));
    const bool ordered = random() % 2;  // as a trained vocabulary has them, or without any order
    for (int i = 0; i < 14; ++i) {
        const std::string left = tokens[random() % tokens.size()],
                          right = tokens[random() % tokens.size()];
        if (left.size() + right.size() > 9) continue;
        out.ranks.try_emplace({left, right}, ordered ? i : int(random() % 20));
        tokens.push_back(left + right);
    }
    return out;
}

struct Windowed {
    std::vector<BpeSymbol> symbols;
    int n_whole = 0, n_taken_back = 0;
};

Windowed in_windows(const Ranks& ranks, const std::string& text, std::size_t window_bytes) {
    Windowed out;
    static BpeWindows buffers;  // what is left of a text does not matter to the next one
    merge_in_windows(
        text, buffers,
        [&](std::string_view piece, std::vector<BpeSymbol>& symbols) {
            out.n_whole += piece.size() == text.size();
            ranks.merge(piece, symbols);
        },
        [&](std::span<const BpeSymbol> symbols) {
            out.symbols.insert(out.symbols.end(), symbols.begin(), symbols.end());
        },
        [&] {
            ++out.n_taken_back;
            out.symbols.clear();
        },
        window_bytes);
    return out;
}

TEST(BpeWindows, give_what_merging_the_whole_text_gives) {
    const unsigned seed = 5;
    std::mt19937 random(seed);
    std::int64_t n_whole = 0;
    for (int i = 0; i < 3000; ++i) {
        const int n_letters = 1 + int(random() % 3);
        const Ranks ranks = random_ranks(random, n_letters);
        std::string text;
        const std::size_t period = 1 + random() % 12;
        for (std::size_t n = random() % 200; text.size() < n;)
            text += text.size() >= period && random() % 10
                        ? text[text.size() - period]
                        : char('a' + random() % unsigned(n_letters));
        std::vector<BpeSymbol> expected;
        ranks.merge(text, expected);
        const Windowed got = in_windows(ranks, text, 16 + random() % 10);
        n_whole += text.size() > 40 && got.n_whole > 0;
        ASSERT_EQ(got.symbols, expected) << text << ", case " << i << " of seed " << seed;
    }
    EXPECT_LT(n_whole, 600);  // windows are the rule
}

// Letters that are all different, each joining its right neighbour sooner than its left one: the
// pairs are laid from the end of the text, so that the first windows are wrong for half the
// lengths.
TEST(BpeWindows, take_back_what_a_far_end_changes) {
    Ranks ranks;
    std::string row;
    for (int i = 0; i < 200; ++i) row += char(i + 1);
    for (int i = 0; i + 1 < 200; ++i)
        ranks.ranks[{row.substr(std::size_t(i), 1), row.substr(std::size_t(i) + 1, 1)}] = 200 - i;
    int n_taken_back = 0;
    for (std::size_t n = 17; n <= row.size(); ++n) {
        const std::string text = row.substr(0, n);
        std::vector<BpeSymbol> expected;
        ranks.merge(text, expected);
        const Windowed got = in_windows(ranks, text, 16);
        ASSERT_EQ(got.symbols, expected) << n;
        n_taken_back += got.n_taken_back;
    }
    EXPECT_GT(n_taken_back, 0);
}

}  // namespace
}  // namespace hearth::model
