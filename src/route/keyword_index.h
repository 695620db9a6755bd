// KeywordIndex: which words of a text may be a detector's keyword, and which keywords these are.
//
// Every word of a text is asked for, and hardly one in a hundred is a keyword: the question costs
// two loads and no branch. A keyword that is a whole word has a bit for its first eight letters,
// folded by setting bit 5, shorter ones padded with zeros. A prefix, which more letters may follow
// and whose case counts, has one for its first three bytes. What falls together here is told apart
// when the few that pass are compared.
//
// Immutable once made.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "route/detector.h"

namespace hearth::route {

class KeywordIndex {
  public:
    static constexpr std::size_t kBytes = 8;  // of a word that are looked at

    struct Entry {
        std::string_view text;
        std::uint64_t key;
        std::uint32_t detector;  // in detector_table
        std::uint32_t slot;      // of the keyword's group among the groups of all detectors
        std::uint8_t group;
        bool prefix;
    };

    KeywordIndex();

    // The word that begins a text's eight bytes may be a keyword; bit k of letters says that the
    // byte k is a letter, which at least the first is.
    bool may_be(const char* eight_bytes, std::uint64_t letters) const {
        const std::uint64_t bytes = load(eight_bytes);
        const std::uint32_t whole = slot_of(whole_key(bytes, letters));
        const std::uint32_t prefix = slot_of(prefix_key(bytes));
        return ((whole_[whole / 64] >> (whole % 64) | prefix_[prefix / 64] >> (prefix % 64)) & 1) !=
               0;
    }

    // Calls visit(entry, end) for every keyword that is at start, a word's first letter.
    template <class Visit>
    void for_each_at(const Scan& scan, std::size_t start, Visit&& visit) const {
        char eight[kBytes] = {};
        const std::string_view text = scan.text.substr(start, kBytes);
        std::memcpy(eight, text.data(), text.size());
        std::uint64_t letters = 0;
        for (std::size_t i = 0; i < text.size(); ++i)
            letters |= std::uint64_t(is_letter(text[i])) << i;
        const std::uint64_t bytes = load(eight);
        const auto those_of = [&](std::uint64_t key) {
            const std::uint32_t bucket = bucket_of(key);
            for (std::uint32_t e = ends_[bucket]; e < ends_[bucket + 1]; ++e)
                if (entries_[e].key == key)
                    if (const std::size_t end = end_of(entries_[e], scan, start))
                        visit(entries_[e], end);
        };
        those_of(whole_key(bytes, letters));
        those_of(prefix_key(bytes));
    }

  private:
    static std::uint64_t load(const char* eight_bytes) {
        std::uint64_t bytes;
        std::memcpy(&bytes, eight_bytes, kBytes);
        return bytes;
    }
    // Keeps the first n bytes, as they lie in memory.
    static constexpr auto kKept = [] {
        std::array<std::uint64_t, kBytes + 1> kept{};
        for (std::size_t n = 0; n <= kBytes; ++n) {
            std::array<std::uint8_t, kBytes> bytes{};
            for (std::size_t i = 0; i < n; ++i) bytes[i] = 0xFF;
            kept[n] = std::bit_cast<std::uint64_t>(bytes);
        }
        return kept;
    }();
    static std::uint64_t whole_key(std::uint64_t bytes, std::uint64_t letters) {
        const auto n = std::size_t(std::countr_zero(~letters | 1u << kBytes));
        return (bytes | 0x2020202020202020u) & kKept[n];
    }
    static std::uint64_t prefix_key(std::uint64_t bytes) { return bytes & kKept[3]; }
    static std::uint32_t slot_of(std::uint64_t key) {
        return std::uint32_t(key * 0x9E3779B97F4A7C15u >> 48);
    }
    static constexpr std::uint32_t kBuckets = 4096;
    static std::uint32_t bucket_of(std::uint64_t key) { return slot_of(key) / 16; }

    // Where the keyword ends that begins at start; 0 where the text is another.
    static std::size_t end_of(const Entry& entry, const Scan& scan, std::size_t start);

    std::array<std::uint64_t, 1024> whole_{}, prefix_{};
    std::vector<Entry> entries_;       // by bucket
    std::vector<std::uint32_t> ends_;  // entries [ends_[b], ends_[b + 1]) are of bucket b
};

}  // namespace hearth::route
