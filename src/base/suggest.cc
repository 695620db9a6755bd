#include "base/suggest.h"

#include <algorithm>
#include <numeric>

#include "base/format.h"
#include "base/utf8.h"

namespace hearth {
namespace {

constexpr std::size_t kComparedBytes = 64;
constexpr std::size_t kShownBytes = 80;
constexpr std::size_t kShownNames = 12;

char lower(char c) {
    return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c;
}

// Levenshtein's distance with one row of the table kept.
std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t(0));
    for (std::size_t i = 0; i < a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i + 1;
        for (std::size_t j = 0; j < b.size(); ++j) {
            const std::size_t replace = diagonal + (lower(a[i]) == lower(b[j]) ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = std::min({replace, row[j] + 1, row[j + 1] + 1});
        }
    }
    return row[b.size()];
}

std::string joined(std::span<const std::string> names) {
    std::string text;
    for (std::size_t i = 0; i < std::min(names.size(), kShownNames); ++i)
        append_name(text, shown_name(names[i]));
    if (names.size() > kShownNames) text += format(" and {} more", names.size() - kShownNames);
    return text;
}

}  // namespace

std::vector<std::string> closest_names(std::string_view wanted, std::span<const std::string> names,
                                       std::size_t n_max) {
    struct Scored {
        std::size_t distance, index;
    };
    const std::string_view cut = wanted.substr(0, kComparedBytes);
    std::vector<Scored> near;
    for (std::size_t i = 0; i < names.size(); ++i) {
        const std::string_view name = std::string_view(names[i]).substr(0, kComparedBytes);
        const std::size_t distance = edit_distance(cut, name);
        if (2 * distance <= std::max(cut.size(), name.size())) near.push_back({distance, i});
    }
    std::ranges::stable_sort(near, {}, &Scored::distance);
    std::vector<std::string> closest;
    for (const Scored& scored : near)
        if (closest.size() < n_max) closest.push_back(names[scored.index]);
    return closest;
}

void append_name(std::string& list, std::string_view name) {
    if (!list.empty()) list += ", ";
    list += name;
}

std::string shown_name(std::string_view name) {
    // Repaired first, then cut: showing what was shown gives the same text again. Four times the
    // length is more than enough to fill it.
    std::string whole = utf8_visible(name.substr(0, 4 * kShownBytes));
    if (whole.size() <= kShownBytes && name.size() <= 4 * kShownBytes) return whole;
    const std::string_view cut = std::string_view(whole).substr(0, kShownBytes);
    return std::string(cut.substr(0, utf8_complete_prefix(cut))) + "…";
}

std::string not_found_text(std::string_view what, std::string_view wanted,
                           std::span<const std::string> names) {
    std::string text = format("no {} is called \"{}\".", what, shown_name(wanted));
    const std::vector<std::string> close = closest_names(wanted, names);
    if (!close.empty()) text += format(" Close: {}.", joined(close));
    text += names.empty() ? format(" No {} is available.", what)
                          : format(" Available: {}.", joined(names));
    return text;
}

}  // namespace hearth
