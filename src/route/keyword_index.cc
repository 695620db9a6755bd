#include "route/keyword_index.h"

#include <algorithm>

#include "base/check.h"

namespace hearth::route {

KeywordIndex::KeywordIndex() {
    for (std::uint32_t d = 0; d < detector_table_size; ++d) {
        for (const Keyword& keyword : detector_table[d]->keywords) {
            const std::string_view text = keyword.text;
            char eight[kBytes] = {};
            std::memcpy(eight, text.data(), std::min(text.size(), kBytes));
            std::uint64_t letters = 0;
            for (std::size_t i = 0; i < std::min(text.size(), kBytes); ++i)
                letters |= std::uint64_t(is_letter(text[i])) << i;
            CHECK(!keyword.prefix || text.size() >= 3);
            const std::uint64_t key =
                keyword.prefix ? prefix_key(load(eight)) : whole_key(load(eight), letters);
            entries_.push_back({text, key, d, std::uint32_t(d * kGroupsPerDetector + keyword.group),
                                keyword.group, keyword.prefix});
            const std::uint32_t bit = slot_of(key);
            (keyword.prefix ? prefix_ : whole_)[bit / 64] |= std::uint64_t(1) << (bit % 64);
        }
    }
    std::ranges::stable_sort(entries_, {}, [](const Entry& e) { return bucket_of(e.key); });
    ends_.assign(kBuckets + 1, 0);
    for (const Entry& entry : entries_) ++ends_[bucket_of(entry.key) + 1];
    for (std::uint32_t b = 0; b < kBuckets; ++b) ends_[b + 1] += ends_[b];
}

std::size_t KeywordIndex::end_of(const Entry& entry, const Scan& scan, std::size_t start) {
    const std::size_t end = start + entry.text.size();
    // The last byte tells most apart: "he has" from "he was", "sk_live_" from "sk_test_".
    const char last = scan.at(end - 1), last_wanted = entry.text.back();
    if (entry.prefix)
        return last == last_wanted && scan.text.substr(start).starts_with(entry.text) ? end : 0;
    if (lower(last) != last_wanted || is_word(scan.at(end))) return 0;
    return scan.is_here(start, entry.text) ? end : 0;
}

}  // namespace hearth::route
