// Byte-pair merging of a long text in windows, with the result of merging it whole.
//
// Merging picks, again and again, the neighbours of the best rank, leftmost first. The work that
// this needs grows with the text, and so do the cache misses: a million bytes in one word took 15
// to 20 times as long as a hundred thousand. Windows keep it small.
//
// Why it is exact: take symbols s1 … sk that cover a text, such that merging the text of each two
// neighbours alone gives just these two. Then merging the whole text gives s1 … sk. For suppose
// some merge joins parts of si and s(i+1), and it is the first to cross such a border. Until then
// each symbol's text has been merged as if alone, in the same order, since the order of picks
// depends on ranks and places only; so the same merge would cross when si and s(i+1) are merged
// alone. The converse holds by the same reasoning: what merging gives has neighbours of this kind.
//
// So a window is merged alone, all but its end is kept, the next window begins where the kept part
// ends, and the one pair at the seam is checked. Where it does not hold, the seam is laid earlier;
// where no seam holds, the window grows, in the end to the whole text.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace hearth::model {

// What merging left of a text, in order. A symbol is a character or a token, far below 4 GiB.
struct BpeSymbol {
    std::uint32_t n_bytes = 0;
    std::int32_t id = -1;
    friend bool operator==(const BpeSymbol&, const BpeSymbol&) = default;
};

// 4 KiB: the symbols and candidates of a window, under 300 KiB, stay in the second-level cache.
inline constexpr std::size_t kBpeWindowBytes = 4096;

// Buffers that the windows of one text need; kept for the next text.
struct BpeWindows {
    std::vector<BpeSymbol> window, next, pair;
};

// Hands the symbols of text, in order, to take(std::span<const BpeSymbol>). merge(piece, out)
// appends those of a piece taken alone; the pieces are text's own bytes, and a piece may end inside
// a character. take_back() says that all taken so far was wrong and comes again from the start.
// Nothing is kept here of what was taken: its memory would be touched for the first time with every
// long text, which made a million bytes cost 14 times as much as a hundred thousand.
// Requires: window_bytes >= 16.
template <typename Merge, typename Take, typename TakeBack>
void merge_in_windows(std::string_view text, BpeWindows& buffers, const Merge& merge,
                      const Take& take, const TakeBack& take_back,
                      std::size_t window_bytes = kBpeWindowBytes) {
    auto& [window, next, pair] = buffers;
    window.clear();
    if (text.size() <= window_bytes) {
        merge(text, window);
        return take(std::span<const BpeSymbol>(window));
    }
    // Do the symbols left and right of `seam` stay two when their text is merged alone?
    const auto holds = [&](std::size_t seam, const BpeSymbol& left, const BpeSymbol& right) {
        pair.clear();
        merge(text.substr(seam - left.n_bytes, left.n_bytes + right.n_bytes), pair);
        return pair.size() == 2 && pair[0] == left && pair[1] == right;
    };
    std::size_t at = 0, n = window_bytes;  // the window: its symbols hold beside what was taken
    std::optional<BpeSymbol> last;         // taken
    merge(text.substr(0, n), window);
    while (at + n < text.size()) {
        bool moved = false;
        for (const std::size_t share : {n - n / 16, n / 2, n / 4}) {
            std::size_t n_keep = 0, kept_bytes = 0;
            while (kept_bytes + window[n_keep].n_bytes <= share)
                kept_bytes += window[n_keep++].n_bytes;
            if (n_keep == 0) break;
            const std::size_t seam = at + kept_bytes;
            next.clear();
            merge(text.substr(seam, window_bytes), next);
            if (!holds(seam, window[n_keep - 1], next[0])) continue;
            take(std::span<const BpeSymbol>(window).first(n_keep));
            last = window[n_keep - 1];
            at = seam;
            n = std::min(window_bytes, text.size() - at);
            std::swap(window, next);
            moved = true;
            break;
        }
        if (moved) continue;
        n = std::min(2 * n, text.size() - at);
        window.clear();
        merge(text.substr(at, n), window);
        if (last && !holds(at, *last, window[0])) {
            take_back();
            window.clear();
            merge(text, window);
            break;
        }
    }
    take(std::span<const BpeSymbol>(window));
}

}  // namespace hearth::model
