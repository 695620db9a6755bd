// Words and endings that a detector looks up, arranged when it is compiled: a word that is none of
// them costs a hash or a last byte, no comparison of texts.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace hearth::route {

// Whole words; each has its place in the list it was made from, a repeated one the first.
template <std::size_t N>
class WordSet {
  public:
    consteval explicit WordSet(const std::string_view (&words)[N]) {
        static_assert(2 * N <= kSlots);  // a search for an unknown word ends soon
        for (std::size_t i = 0; i < N; ++i) {
            words_[i] = words[i];
            std::size_t slot = slot_of(words[i]);
            while (slots_[slot] != 0 && words_[slots_[slot] - 1u] != words[i])
                slot = (slot + 1) % kSlots;
            if (slots_[slot] == 0) slots_[slot] = std::uint8_t(i + 1);
        }
    }

    // One of the first n words.
    bool has(std::string_view word, std::size_t n = N) const {
        if (word.empty()) return false;
        for (std::size_t slot = slot_of(word); slots_[slot] != 0; slot = (slot + 1) % kSlots)
            if (words_[slots_[slot] - 1u] == word) return slots_[slot] <= n;
        return false;
    }

  private:
    static constexpr std::size_t kSlots = 512;
    static constexpr std::size_t slot_of(std::string_view word) {
        const auto byte = [&](std::size_t i) { return std::uint32_t(std::uint8_t(word[i])); };
        const std::uint32_t ends = byte(0) | byte(word.size() / 2) << 8 |
                                   byte(word.size() - 1) << 16 | std::uint32_t(word.size()) << 24;
        return ends * 0x9E3779B1u >> 23;
    }

    std::array<std::string_view, N> words_;
    std::array<std::uint8_t, kSlots> slots_{};  // a word's place in the list and 1; 0 for none
};

// Endings by their last bytes.
template <std::size_t N>
class EndingSet {
  public:
    consteval explicit EndingSet(const std::string_view (&endings)[N]) {
        static_assert(N < 256);
        std::size_t n = 0;
        for (std::size_t last = 0; last < 256; ++last) {
            from_[last] = std::uint8_t(n);
            for (const std::string_view ending : endings)
                if (std::uint8_t(ending.back()) == last) endings_[n++] = ending;
        }
        from_[256] = std::uint8_t(n);
    }

    // One of them that ends in the word's last byte holds.
    template <class Holds>
    bool any(std::string_view word, Holds&& holds) const {
        if (word.empty()) return false;
        const std::size_t last = std::uint8_t(word.back());
        for (std::size_t i = from_[last]; i < from_[last + 1]; ++i)
            if (holds(endings_[i])) return true;
        return false;
    }

  private:
    std::array<std::string_view, N> endings_;
    std::array<std::uint8_t, 257> from_{};
};

}  // namespace hearth::route
